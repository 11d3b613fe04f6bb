"""The stories on other servers than this machine's: TEST_CONTROL and TEST_STATION name folders with a `mariadbd`."""

from __future__ import annotations

import os
from pathlib import Path


def of_side(side: str) -> Path | None:
    """The server program of `control` or `station`; None for this machine's."""
    folder = os.environ.get(f"TEST_{side.upper()}")
    return Path(folder) / "mariadbd" if folder else None
