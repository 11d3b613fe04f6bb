"""The conflicts that were decided, with both versions, as a person looks at them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.store.bookkeeping import conflict, require_books

_WINNERS = {"station": "control", "control": "station", "both": "combined"}
_Row = dict[str, Any] | None


@dataclass(frozen=True)
class Conflict:
    """`winner` is station, control, or combined: a row of both, where `columns` are those in which a side lost.
    `clock_offset`: seconds that the station's clock was ahead of control's, as far as `newest` took it into account."""

    id: int
    at: datetime
    station: str
    table: str
    key: list[Any]
    policy: str
    winner: str
    loser: str
    reason: str
    columns: list[str]
    clock_offset: int
    station_row: _Row
    control_row: _Row
    base_row: _Row
    result_row: _Row


def find(
    control: Database, station: str | None = None, table: str | None = None, *, limit: int | None = None
) -> tuple[list[Conflict], int]:
    """Conflicts, the newest first, and how many there are without the limit."""
    c = conflict.c
    where = [column == name for column, name in ((c.station, station), (c.table_name, table)) if name is not None]
    count = sa.select(sa.func.count()).select_from(conflict).where(*where)
    query = sa.select(conflict).where(*where).order_by(c.id.desc()).limit(limit)
    with control.begin() as conn:
        require_books(conn)
        return [conflict_of(row) for row in conn.execute(query).mappings()], int(conn.scalar(count) or 0)


def by_id(control: Database, number: int) -> Conflict:
    """UsageError where there is none of that number."""
    with control.begin() as conn:
        require_books(conn)
        row = conn.execute(sa.select(conflict).where(conflict.c.id == number)).mappings().first()
    if row is None:
        next_step = "See: stationsync conflicts list"
        raise UsageError("conflicts", f"no such conflict: {number}.", not_done="Nothing was done.", next_step=next_step)
    return conflict_of(row)


def conflict_of(row: Any) -> Conflict:
    versions = {name: _parsed(row[name]) for name in ("station_row", "control_row", "base_row", "result_row")}
    return Conflict(
        row["id"],
        row["at"],
        row["station"],
        row["table_name"],
        json.loads(row["key_text"]),
        row["policy"],
        _WINNERS[row["loser"]],
        row["loser"],
        row["reason"],
        json.loads(row["columns"]),
        row["clock_offset"],
        **versions,
    )


def _parsed(text: str | None) -> _Row:
    return None if text is None else dict(json.loads(text))
