"""What control's books say of the journal: its chunks and its files. Each call works in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import NotInitialised
from stationsync.journal.format import Stamp, file_name, partition
from stationsync.store.bookkeeping import journal, journal_file

STAGED, PLACED, DOOMED = "staged", "placed", "doomed"
_AT_ONCE = 500


@dataclass(frozen=True)
class File:
    """A file of the journal. `staging` and `path`: where it lies before and after it was placed, below `root`."""

    id: str
    station: str
    table: str
    day: str
    state: str
    root: str
    staging: str
    path: str
    rows: int
    bytes: int
    first_at: datetime
    last_at: datetime

    @classmethod
    def new(cls, id: str, station: str, table: str, root: str, at: datetime, folder: str) -> File:
        """Of a chunk of that moment, to be staged in `folder`. Nothing is in it yet."""
        day = f"{at:%Y-%m-%d}"
        staging = f"{folder}/{id}.parquet"
        path = f"{partition(table, station, day)}/{file_name(at, id)}"
        return cls(id, station, table, day, STAGED, root, staging, path, 0, 0, at, at)


def owner_of(control: Database) -> str:
    """Tells this control's staged files from another's: to both, the other's are named by no row."""
    url = control.url
    return hashlib.sha256(repr((url.host, url.port, url.database)).encode()).hexdigest()[:12]


def write_file(conn: sa.Connection, file: File) -> None:
    values = {name: getattr(file, attribute) for name, attribute in _COLUMNS.items()}
    conn.execute(sa.insert(journal_file).values(values))


def write_chunk(
    conn: sa.Connection,
    id: str,
    pair: tuple[str, str],
    stamp: Stamp,
    decisions: Mapping[str, int],
    unchanged: int,
    *,
    file: str | None,
    lost: str | None = None,
) -> None:
    values = {
        "id": id,
        "at": stamp.at,
        "station": pair[0],
        "table_name": pair[1],
        "direction": str(stamp.direction),
        "run": stamp.run,
        "flow_run": stamp.flow_run,
        "window_from": stamp.window_from,
        "window_to": stamp.window_to,
        "row_count": sum(decisions.values()),
        "unchanged": unchanged,
        "decisions": json.dumps(dict(decisions)),
        "file": file,
        "lost": lost,
    }
    conn.execute(sa.insert(journal).values(values))


def last_at(conn: sa.Connection, station: str, table: str) -> datetime | None:
    """Of the pair's newest chunk. Raises NotInitialised where the journal's tables are not there yet."""
    query = sa.select(sa.func.max(journal.c.at)).where(journal.c.station == station, journal.c.table_name == table)
    try:
        found: datetime | None = conn.scalar(query)
    except sa.exc.DBAPIError as error:
        raise _older(error) from error
    return found


def files(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> list[File]:
    """In the order of their records. Raises NotInitialised."""
    query = sa.select(journal_file).where(*where).order_by(journal_file.c.first_at, journal_file.c.id)
    try:
        rows = conn.execute(query).mappings().all()
    except sa.exc.DBAPIError as error:
        raise _older(error) from error
    return [file_of(row) for row in rows]


def file_of(row: Mapping[Any, Any]) -> File:
    return File(**{attribute: row[name] for name, attribute in _COLUMNS.items()})


def staged(conn: sa.Connection, station: str, table: str) -> list[File]:
    """Files that were committed, and not yet placed as far as we know."""
    c = journal_file.c
    return files(conn, c.state == STAGED, c.station == station, c.table_name == table)


def set_state(conn: sa.Connection, ids: Iterable[str], state: str, of: str) -> None:
    for some in _some(list(ids)):
        update = sa.update(journal_file).where(journal_file.c.id.in_(some), journal_file.c.state == of)
        conn.execute(update.values(state=state))


def forget(conn: sa.Connection, ids: Iterable[str]) -> None:
    """Files that were deleted."""
    for some in _some(list(ids)):
        conn.execute(sa.delete(journal_file).where(journal_file.c.id.in_(some)))


def _some(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


def _older(error: sa.exc.DBAPIError) -> Exception:
    missing = "journal" in str(error.orig) and (
        "no such table" in str(error.orig) or "doesn't exist" in str(error.orig)
    )
    return NotInitialised("control", "the journal's tables are not there yet.") if missing else error


# Column of the table: attribute of File.
_COLUMNS = {
    "id": "id",
    "station": "station",
    "table_name": "table",
    "day": "day",
    "state": "state",
    "root": "root",
    "staging": "staging",
    "path": "path",
    "row_count": "rows",
    "byte_count": "bytes",
    "first_at": "first_at",
    "last_at": "last_at",
}
