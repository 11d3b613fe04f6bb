"""The conflicts that were decided, with both versions, as a person looks at them; and that somebody did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.model.wire import Family
from stationsync.store.bookkeeping import conflict, of_this_version, require_books

OPEN, DONE, TAKEN = "open", "done", "taken"
_AT_ONCE = 1_000
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
    # Once a person has answered it: "done" (looked at), or "taken" (it, or values of theirs, stands now); and when.
    answer: str | None = None
    answered_at: datetime | None = None

    @property
    def state(self) -> str:
        return self.answer or OPEN


@dataclass(frozen=True)
class ConflictFilter:
    """Which conflicts; None: whatever it is. `loser`: station, control or both. `since`: decided at that moment (UTC)
    or later."""

    station: str | None = None
    table: str | None = None
    since: datetime | None = None
    loser: str | None = None
    open_only: bool = False

    @property
    def conditions(self) -> list[sa.ColumnElement[bool]]:
        c = conflict.c
        named = ((c.station, self.station), (c.table_name, self.table), (c.loser, self.loser))
        found = [column == name for column, name in named if name is not None]
        found += [c.at >= self.since] if self.since is not None else []
        return [*found, *([is_open()] if self.open_only else [])]


def is_open() -> sa.ColumnElement[bool]:
    return conflict.c.answer.is_(None)


def find(control: Database, wanted: ConflictFilter, *, limit: int | None = None) -> tuple[list[Conflict], int]:
    """Open ones first, then by table, the newest first; and how many there are without the limit."""
    c = conflict.c
    where = wanted.conditions
    count = sa.select(sa.func.count()).select_from(conflict).where(*where)
    query = sa.select(conflict).where(*where).order_by(c.answer.is_not(None), c.table_name, c.id.desc()).limit(limit)
    with control.begin() as conn, of_this_version():
        require_books(conn)
        return [conflict_of(row) for row in conn.execute(query).mappings()], int(conn.scalar(count) or 0)


def by_id(control: Database, number: int) -> Conflict:
    """UsageError where there is none of that number."""
    return by_ids(control, [number])[0]


def by_ids(control: Database, ids: Sequence[int]) -> list[Conflict]:
    """In the given order, each once. UsageError where there is none of one of these numbers."""
    wanted = list(dict.fromkeys(ids))
    found: dict[int, Conflict] = {}
    with control.begin() as conn, of_this_version():
        require_books(conn)
        for start in range(0, len(wanted), _AT_ONCE):
            some = conflict.c.id.in_(wanted[start : start + _AT_ONCE])
            rows = conn.execute(sa.select(conflict).where(some)).mappings()
            found |= {row["id"]: conflict_of(row) for row in rows}
    if missing := [number for number in wanted if number not in found]:
        raise _unknown(missing)
    return [found[number] for number in wanted]


def _unknown(numbers: Sequence[int]) -> UsageError:
    what = f"no such conflict: {', '.join(map(str, numbers))}."
    return UsageError("conflicts", what, not_done="Nothing was done.", next_step="See: stationsync conflicts list")


def answer_by_ids(control: Database, ids: Sequence[int]) -> list[int]:
    """Say that these were looked at; those that were open, in the given order. Raises UsageError, and nothing is
    answered, where one is not there."""
    wanted = list(dict.fromkeys(ids))
    with control.begin() as conn, of_this_version():
        require_books(conn)
        found: dict[int, str | None] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = conflict.c.id.in_(wanted[start : start + _AT_ONCE])
            query = sa.select(conflict.c.id, conflict.c.answer).where(some)
            found |= {int(number): answer for number, answer in conn.execute(query)}
        if missing := [number for number in wanted if number not in found]:
            raise _unknown(missing)
        still = [number for number in wanted if found[number] is None]
        for start in range(0, len(still), _AT_ONCE):
            _answer(control, conn, [conflict.c.id.in_(still[start : start + _AT_ONCE])])
        return still


def answer_all(control: Database, wanted: ConflictFilter) -> int:
    """The same of all open ones that are so; how many."""
    with control.begin() as conn, of_this_version():
        require_books(conn)
        return _answer(control, conn, wanted.conditions)


def take_open(conn: sa.Connection, ids: Sequence[int], now: datetime) -> set[int]:
    """In the caller's transaction: these are answered by what stands from now on; those of them that were open."""
    some = sa.select(conflict.c.id).where(conflict.c.id.in_(ids), is_open())
    found = {int(number) for number in conn.scalars(some.with_for_update())}
    conn.execute(sa.update(conflict).where(conflict.c.id.in_(found)).values(answer=TAKEN, answered_at=now))
    return found


def _answer(control: Database, conn: sa.Connection, where: Sequence[sa.ColumnElement[bool]]) -> int:
    now = control.dialect.clock(conn, Family.DATETIME).utc
    update = sa.update(conflict).where(*where, is_open()).values(answer=DONE, answered_at=now)
    return int(conn.execute(update).rowcount)


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
        answer=row["answer"],
        answered_at=row["answered_at"],
    )


def _parsed(text: str | None) -> _Row:
    return None if text is None else dict(json.loads(text))
