"""The quarantine as a person handles it: list, look at one entry, try again, discard."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import DatabaseBusy, SchemaRefused, StationSyncError, UsageError, guarded
from stationsync.keeping import books
from stationsync.keeping.books import DISCARDED, OPEN, RELEASED
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.reasons import Code
from stationsync.model.wire import Family, parse_key_text
from stationsync.pairing.keys import among
from stationsync.pairing.pair import Pair
from stationsync.session import extract
from stationsync.session.lease import lease
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION, of_this_version, quarantine, require_books, station_of
from stationsync.sync import adopt_columns, push, runs

_AT_ONCE = 5_000


@dataclass(frozen=True)
class QuarantineEntry:
    """A row that could not be applied: up, at control; down, at its station. `row` has wire values. `code`: None as
    long as `init` has not given one to what an older version wrote."""

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
    code: Code | None = None

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
    since: datetime | None = None,
    limit: int | None = None,
) -> tuple[list[QuarantineEntry], int]:
    """Entries, open ones first, the newest first, and how many there are without the limit; the open ones only, or
    `closed` too. `since`: of a version that was kept at that moment (UTC) or later."""
    c = quarantine.c
    where = [column == name for column, name in ((c.station, station), (c.table_name, table)) if name is not None]
    where += [] if closed else [c.state == OPEN]
    where += [] if since is None else [c.last_at >= since]
    with _books(control) as conn:
        count = sa.select(sa.func.count()).select_from(quarantine).where(*where)
        query = sa.select(quarantine).where(*where).order_by(sa.case((c.state == OPEN, 0), else_=1))
        query = query.order_by(c.last_at.desc(), c.id.desc()).limit(limit)
        return [entry_of(row) for row in conn.execute(query).mappings()], int(conn.scalar(count) or 0)


def by_ids(control: Database, ids: Sequence[int]) -> list[QuarantineEntry]:
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


def retry(
    control: Database,
    pair_of: Callable[[str, str], Pair],
    entries: Sequence[QuarantineEntry],
    known: Callable[[str], str | None] = lambda table: None,
    stations: Collection[str] | None = None,
) -> Retried:
    """Try entries again, released ones excepted: up, the station's row is read and merged; down, it is sent.

    Entries of a name that is not among `stations` any more are tried with the station that owns their rows now, as
    after a change of names; `known` is a station that has a table of this name."""

    def group(entry: QuarantineEntry) -> tuple[str, str, str]:
        return entry.station, entry.table, str(entry.direction)

    errors = []
    waiting = sorted((entry for entry in entries if entry.state != RELEASED), key=group)
    for (station, table, direction), grouped in groupby(waiting, group):
        of_group = list(grouped)
        try:
            with guarded(f"{station}/{table}"):
                if stations is not None and station not in stations:
                    asked = known(table)
                    _retry_gone(control, pair_of, of_group, pair_of(asked, table) if asked else None, stations)
                    continue
                pair = pair_of(station, table)
                _require_key(pair, of_group)
                again = _retry_up if direction == Direction.UP else _retry_down
                for start in range(0, len(of_group), _AT_ONCE):
                    again(control, pair, of_group[start : start + _AT_ONCE])
        except StationSyncError as error:
            errors.append(error)
    return Retried(_states(control, [entry.id for entry in entries]), tuple(errors))


def _retry_gone(
    control: Database,
    pair_of: Callable[[str, str], Pair],
    entries: Sequence[QuarantineEntry],
    asked: Pair | None,
    stations: Collection[str],
) -> None:
    """Of a name that is gone: the rows may have an owner of another name, who has the latest version of them."""
    owners = _owners(asked, entries) if asked else {}
    for owner in sorted({name for name in owners.values() if name in stations}):
        theirs = [entry for entry in entries if owners.get(entry.key) == owner]
        pair = pair_of(owner, theirs[0].table)
        _require_run(pair, runs.pull_keys(pair, runs.plain_steps(), tuple(entry.key for entry in theirs)))
        with _books(control) as conn:
            _set_states(conn, control, [entry.id for entry in theirs], OPEN, RELEASED)
    left = [str(entry.id) for entry in entries if owners.get(entry.key) not in stations]
    if left:
        raise UsageError(
            entries[0].station,
            f"no station of this name is in the topology, and no other has these rows: {', '.join(left[:20])}"
            f"{f' and {len(left) - 20:,} more' if len(left) > 20 else ''}.",
            not_done="They stay in quarantine.",
            next_step=f"Has it another name now? stationsync rename {entries[0].station} NEW; if it is gone for good:"
            f" stationsync quarantine discard {' '.join(left[:20])}",
        )


def _owners(pair: Pair, entries: Sequence[QuarantineEntry]) -> dict[tuple[str | bytes, ...], str]:
    """Key -> the station that the base has it of."""
    found: dict[tuple[str | bytes, ...], str] = {}
    keys = [entry.key for entry in entries if len(entry.key) == len(pair.options.key)]
    with pair.control.connect() as conn:
        session = Session(pair, conn)
        session.open_at_control()
        own = [(session.base.c[name], session.fit.by_name[name].control) for name in session.fit.key]
        columns = [session.dialect.readable(column, kind).label(f"k{i}") for i, (column, kind) in enumerate(own)]
        for start in range(0, len(keys), extract.KEYS_A_QUERY):
            part = keys[start : start + extract.KEYS_A_QUERY]
            query = sa.select(session.base.c[STATION].label("owner"), *columns).where(among(part, own))
            with pair.control.transaction(conn):
                families = {f"k{i}": kind.family for i, (_, kind) in enumerate(own)} | {"owner": Family.TEXT}
                rows, _ = session.dialect.read(conn, query, families, extract.MAX_BYTES)
            owners = rows["owner"].to_pylist()
            texts = zip(*(rows[f"k{i}"].to_pylist() for i in range(len(own))), strict=True)
            found |= {tuple(key): station_of(owner) for key, owner in zip(texts, owners, strict=True)}
    return found


def _require_key(pair: Pair, entries: Sequence[QuarantineEntry]) -> None:
    key = pair.options.key
    if old := [str(entry.id) for entry in entries if len(entry.key) != len(key)]:
        what = f"entry {', '.join(old)} is of another key than [{', '.join(key)}], which the table has now."
        step = f"Its row comes by itself with the new key. Discard it: stationsync quarantine discard {' '.join(old)}"
        raise SchemaRefused(pair.place, what, not_done="Nothing was tried again.", next_step=step)


def _retry_up(control: Database, pair: Pair, entries: Sequence[QuarantineEntry]) -> None:
    _reopen(control, entries)
    report = runs.pull_keys(pair, runs.plain_steps(), tuple(entry.key for entry in entries))
    _require_run(pair, report)


def _retry_down(control: Database, pair: Pair, entries: Sequence[QuarantineEntry]) -> None:
    """An open entry is not sent again in the version that was refused; so it is released, and comes back if refused."""
    ids = [entry.id for entry in entries]
    with lease(pair) as session:
        if session is None:
            raise _under_way(pair)
        session.open()
        adopt_columns.adopt(session)
        with session.transaction():
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


def _reopen(control: Database, entries: Sequence[QuarantineEntry]) -> None:
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
    with control.begin() as conn, of_this_version():
        require_books(conn)
        yield conn


def entry_of(row: Any) -> QuarantineEntry:
    return QuarantineEntry(
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
        None if row["code"] is None else Code(row["code"]),
    )
