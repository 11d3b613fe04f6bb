"""The quarantine as a person handles it: list, look at one entry, try again, discard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from stationsync import adopt_columns, books, push, runs
from stationsync.bookkeeping import quarantine, require_books
from stationsync.books import DISCARDED, OPEN, RELEASED
from stationsync.changes import Direction, Report, Status
from stationsync.database import Database
from stationsync.errors import DatabaseBusy, SchemaRefused, StationSyncError, UsageError, guarded
from stationsync.lease import lease
from stationsync.pair import Pair
from stationsync.wire import Family, parse_key_text

_AT_ONCE = 5_000


@dataclass(frozen=True)
class Entry:
    """A row that could not be applied: up, at control; down, at its station. `row` has wire values."""

    id: int
    station: str
    table: str
    direction: Direction
    key_text: str
    state: str
    times: int
    reasons: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    row: dict[str, Any]

    @property
    def key(self) -> tuple[str | bytes, ...]:
        return parse_key_text(self.key_text)


@dataclass(frozen=True)
class Retried:
    """What became of entries: their states afterwards by id, and the groups that could not be tried."""

    states: dict[int, str]
    errors: tuple[StationSyncError, ...]


def find(
    control: Database,
    station: str | None = None,
    table: str | None = None,
    *,
    closed: bool = False,
    limit: int | None = None,
) -> tuple[list[Entry], int]:
    """Entries, the newest first, and how many there are without the limit; the open ones only, or `closed` too."""
    c = quarantine.c
    where = [column == name for column, name in ((c.station, station), (c.table_name, table)) if name is not None]
    where += [] if closed else [c.state == OPEN]
    with _books(control) as conn:
        count = sa.select(sa.func.count()).select_from(quarantine).where(*where)
        query = sa.select(quarantine).where(*where).order_by(c.last_at.desc(), c.id.desc()).limit(limit)
        return [entry_of(row) for row in conn.execute(query).mappings()], int(conn.scalar(count) or 0)


def by_ids(control: Database, ids: Sequence[int]) -> list[Entry]:
    """In the order of `ids`; UsageError where there is none of that number."""
    with _books(control) as conn:
        query = sa.select(quarantine).where(quarantine.c.id.in_(ids))
        found = {row["id"]: entry_of(row) for row in conn.execute(query).mappings()}
    if missing := [number for number in ids if number not in found]:
        numbers = ", ".join(map(str, missing))
        next_step = "See: stationsync quarantine list --all"
        raise UsageError("quarantine", f"no such entry: {numbers}.", not_done="Nothing was done.", next_step=next_step)
    return [found[number] for number in dict.fromkeys(ids)]


def discard(control: Database, ids: Sequence[int]) -> int:
    """These versions of the rows are given up: kept as discarded, and not reported again. How many were open."""
    with _books(control) as conn:
        return _set_states(conn, control, ids, OPEN, DISCARDED)


def retry(control: Database, pair_of: Callable[[str, str], Pair], entries: Sequence[Entry]) -> Retried:
    """Try entries again, released ones excepted: up, the station's row is read and merged; down, it is sent."""

    def group(entry: Entry) -> tuple[str, str, str]:
        return entry.station, entry.table, str(entry.direction)

    errors = []
    waiting = sorted((entry for entry in entries if entry.state != RELEASED), key=group)
    for (station, table, direction), grouped in groupby(waiting, group):
        of_group = list(grouped)
        try:
            with guarded(f"{station}/{table}"):
                pair = pair_of(station, table)
                _require_key(pair, of_group)
                again = _retry_up if direction == Direction.UP else _retry_down
                for start in range(0, len(of_group), _AT_ONCE):
                    again(control, pair, of_group[start : start + _AT_ONCE])
        except StationSyncError as error:
            errors.append(error)
    return Retried(_states(control, [entry.id for entry in entries]), tuple(errors))


def _require_key(pair: Pair, entries: Sequence[Entry]) -> None:
    key = pair.options.key
    if old := [str(entry.id) for entry in entries if len(entry.key) != len(key)]:
        what = f"entry {', '.join(old)} is of another key than [{', '.join(key)}], which the table has now."
        step = f"Its row comes by itself with the new key. Discard it: stationsync quarantine discard {' '.join(old)}"
        raise SchemaRefused(pair.place, what, not_done="Nothing was tried again.", next_step=step)


def _retry_up(control: Database, pair: Pair, entries: Sequence[Entry]) -> None:
    _reopen(control, entries)
    report = runs.pull_keys(pair, runs.plain_steps(), tuple(entry.key for entry in entries))
    _require_run(pair, report)


def _retry_down(control: Database, pair: Pair, entries: Sequence[Entry]) -> None:
    """An open entry is not sent again in the version that was refused; so it is released, and comes back if refused."""
    ids = [entry.id for entry in entries]
    with lease(pair) as session:
        if session is None:
            raise _under_way(pair)
        session.open()
        adopt_columns.adopt(session)
        with pair.control.errors(), session.control.begin():
            books.set_state(session, Direction.DOWN, [entry.key_text for entry in entries], RELEASED)
            push.mark_pending(session, [entry.key for entry in entries])
    try:
        _require_run(pair, runs.push_edits(pair, runs.plain_steps()))
    except StationSyncError:
        with _books(control) as conn:
            _set_states(conn, control, ids, RELEASED, OPEN)
        raise


def _require_run(pair: Pair, report: Report) -> None:
    if report.status is Status.UNDER_WAY:
        raise _under_way(pair)


def _under_way(pair: Pair) -> DatabaseBusy:
    what = "another run is under way."
    return DatabaseBusy(pair.place, what, not_done="Nothing was tried again.", next_step="Run the command again.")


def _reopen(control: Database, entries: Sequence[Entry]) -> None:
    """A discarded entry that is tried again is an open one."""
    with _books(control) as conn:
        _set_states(conn, control, [entry.id for entry in entries], DISCARDED, OPEN)


def _set_states(conn: sa.Connection, control: Database, ids: Sequence[int], of: str, to: str) -> int:
    now = control.dialect.clock(conn, Family.DATETIME).utc
    where = (quarantine.c.id.in_(ids), quarantine.c.state == of)
    return int(conn.execute(sa.update(quarantine).where(*where).values(state=to, last_at=now)).rowcount)


def _states(control: Database, ids: Sequence[int]) -> dict[int, str]:
    with _books(control) as conn:
        query = sa.select(quarantine.c.id, quarantine.c.state).where(quarantine.c.id.in_(ids))
        found = {int(number): str(state) for number, state in conn.execute(query)}
    return {number: found[number] for number in ids}


@contextmanager
def _books(control: Database) -> Iterator[sa.Connection]:
    with control.connect() as conn, control.errors(), conn.begin():
        require_books(conn)
        yield conn


def entry_of(row: Any) -> Entry:
    return Entry(
        row["id"],
        row["station"],
        row["table_name"],
        Direction(row["direction"]),
        row["key_text"],
        row["state"],
        row["times"],
        tuple(json.loads(row["reasons"])),
        row["first_at"],
        row["last_at"],
        json.loads(row["row_json"]),
    )
