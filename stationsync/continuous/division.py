"""Which process visits which station. Pure: each knows by itself, and a station keeps its process when others come."""

from __future__ import annotations

import hashlib
import os

# So few stations are not worth a further process.
_FEWEST = 20


def is_of(station: str, part: int, parts: int) -> bool:
    """Whether a station is of this part of so many."""
    return int.from_bytes(hashlib.sha256(station.encode()).digest()[:8]) % parts == part


def processes_for(stations: int) -> int:
    """As many as there are cores, fewer for few stations."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, stations // _FEWEST))
