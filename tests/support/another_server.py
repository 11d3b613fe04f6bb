"""The stories on other servers than the machine's own: TEST_CONTROL and TEST_STATION name folders with a server."""

from __future__ import annotations

import os
import re
from pathlib import Path

SIDES = ("control", "station")
_SEQUENCE = re.compile(r"\bseq_(\d+)_to_(\d+)\b")


def of_side(side: str) -> Path | None:
    """The server program of `control` or `station`; None for this machine's."""
    folder = os.environ.get(f"TEST_{side.upper()}")
    if not folder:
        return None
    return next(path for name in ("mariadbd", "mysqld") if (path := Path(folder) / name).exists())


def any_mysql() -> bool:
    """Whether one of the sides is MySQL, which has not all that a test of MariaDB's may write."""
    return any(program is not None and program.name == "mysqld" for program in map(of_side, SIDES))


def mixed() -> bool:
    """Whether one side is MySQL and the other MariaDB: they do not print all types alike."""
    return len({program is not None and program.name == "mysqld" for program in map(of_side, SIDES)}) > 1


def with_sequences(sql: str) -> str:
    """MariaDB has a table of the numbers from any to any; MySQL is told how to count."""

    def numbers(found: re.Match[str]) -> str:
        first, last = found.groups()
        counting = f"SELECT {first} UNION ALL SELECT seq + 1 FROM numbers WHERE seq < {last}"
        return f"(WITH RECURSIVE numbers (seq) AS ({counting}) SELECT seq FROM numbers) AS counted"

    return _SEQUENCE.sub(numbers, sql)
