"""The stories on other servers than the machine's own: TEST_CONTROL and TEST_STATION name folders with a server."""

from __future__ import annotations

import os
from pathlib import Path


def of_side(side: str) -> Path | None:
    """The server program of `control` or `station`; None for this machine's."""
    folder = os.environ.get(f"TEST_{side.upper()}")
    if not folder:
        return None
    return next(path for name in ("mariadbd", "mysqld") if (path := Path(folder) / name).exists())
