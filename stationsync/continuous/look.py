"""A look at both sides of many tables: what is cheap to ask, and differs where a whole run may find something to do.

Of a station's table: its rows from the place on at which the next pull would begin to read, its newest rows, and what
its server says of it (`table_facts`), by which a pull also knows a table that went back. Of control's: the edits that
a push would look at, and how the books stand. Nothing is locked or written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from stationsync.database.dialect import ComparedColumn, Dialect
from stationsync.database.statements import in_order
from stationsync.database.table_facts import TableFacts
from stationsync.keeping import books
from stationsync.model.changes import Direction
from stationsync.model.schema import SHAPES
from stationsync.pairing import stamp
from stationsync.pairing.fit import Fit
from stationsync.pairing.pair import Pair
from stationsync.rollback.remembered import NEWEST
from stationsync.session import extract, stage
from stationsync.session.session import Session, has_key
from stationsync.store import pauses
from stationsync.store.bookkeeping import PENDING, STATION, base_table, of_this_version, quarantine, state
from stationsync.topology.model import TableDirection

Place = tuple[str, str]


@dataclass(frozen=True)
class OpenedPair:
    """A pair, and how the last whole run found that its tables fit."""

    pair: Pair
    fit: Fit

    @staticmethod
    def of(session: Session) -> OpenedPair:
        # Of a thousand stations with the same tables, one is kept.
        return OpenedPair(session.pair, _shared(replace(session.fit, place="", findings=())))

    @property
    def dialect(self) -> Dialect:
        """Control's."""
        return self.pair.control.dialect

    @property
    def place(self) -> Place:
        return self.pair.name, self.pair.table

    @property
    def sends_edits(self) -> bool:
        return self.pair.options.direction is not TableDirection.UP


@lru_cache(SHAPES)
def _shared(fit: Fit) -> Fit:
    return fit


@dataclass(frozen=True)
class RowSum:
    """How many rows, and their digests in one."""

    count: int = 0
    digest: int = 0


@dataclass(frozen=True)
class StationLook:
    """Of one table: the rows stamped from some moment on, the newest ones, and what the server says."""

    late: RowSum
    newest: RowSum
    facts: TableFacts


@dataclass(frozen=True)
class PairBooks:
    """How the books of a pair stand: the watermarks, whether a run was cut off in the middle, the newest row that was
    seen at the station, and how many of its rows wait for another row."""

    up: datetime | None = None
    down: datetime | None = None
    cut_off: bool = False
    newest: datetime | None = None
    waiting: int = 0


@dataclass(frozen=True)
class ControlLook:
    """Of many stations at one moment. `edits`: of pairs that have any, those that a push would look at, edited and
    waiting ones apart."""

    paused: frozenset[str] = frozenset()
    books: Mapping[Place, PairBooks] = field(default_factory=dict)
    edits: Mapping[Place, tuple[RowSum, RowSum]] = field(default_factory=dict)


def at_station(
    conn: sa.Connection, tables: Sequence[OpenedPair], starts: Mapping[Place, datetime]
) -> dict[Place, StationLook]:
    """Each table from its start on. Raises what the driver does."""
    parts = [part for i, one in enumerate(tables) for part in _of_table(i, one.pair.station.dialect, one.fit)]
    moments = {f"start_{i}": extract.as_text(starts[one.place]) for i, one in enumerate(tables)}
    found = {(i, kind): RowSum(int(n), int(d or 0)) for i, kind, n, d in conn.execute(sa.union_all(*parts), moments)}
    return {
        one.place: StationLook(
            found[i, 0], found[i, 1], one.pair.station.dialect.table_facts(conn, one.fit.station.name)
        )
        for i, one in enumerate(tables)
    }


@lru_cache(SHAPES)
def _of_table(number: int, dialect: Dialect, fit: Fit) -> tuple[sa.Select[Any], sa.Select[Any]]:
    table = fit.station.table()
    identified = has_key(table, fit.nullable_key)
    digest = dialect.digest([ComparedColumn(table.c[c.station.name], c.station, c.control) for c in fit.columns])
    start: Any = sa.bindparam(f"start_{number}")
    from_there = stamp.not_before(fit, lambda name: table.c[fit.by_name[name].station.name], start)
    newest = sa.select(digest.label("digest")).where(identified)
    newest = newest.order_by(stamp.at_station(fit, table).desc()).limit(NEWEST)
    rows = newest.subquery()
    return (
        _summed(number, 0, dialect, digest).select_from(table).where(from_there, identified),
        _summed(number, 1, dialect, rows.c.digest).select_from(rows),
    )


def _summed(number: int, kind: int, dialect: Dialect, digest: sa.ColumnElement[int]) -> sa.Select[Any]:
    # Literals, for a statement of many tables is compiled once.
    which: tuple[sa.ColumnElement[int], ...] = sa.literal_column(str(number)), sa.literal_column(str(kind))
    return sa.select(*which, sa.func.count(), dialect.combined(digest))


def start_of(pair: Pair, known: PairBooks) -> datetime | None:
    """Where the next pull begins to read, at the latest; None where it reads everything, or goes on in the middle."""
    if known.up is None or known.cut_off:
        return None
    start = known.up - pair.options.lookback
    return start if known.newest is None else min(start, known.newest)


def at_control(conn: sa.Connection, tables: Sequence[OpenedPair], stations: Collection[str]) -> ControlLook:
    """In the caller's transaction. `tables` are those of whose edits is asked; `stations` those whose books are."""
    known = books_of(conn, stations)
    edits: dict[Place, tuple[RowSum, RowSum]] = {}
    for alike in _alike(one for one in tables if one.sends_edits):
        downs = {one.pair.name: _down(one, known.get(one.place)) for one in alike}
        starts = [start for start in downs.values() if start is not None]
        if starts:
            edits |= edits_of(conn, alike[0], min(starts), None if len(stations) > 1 else next(iter(stations)))
    return ControlLook(frozenset(pauses.lasting(conn)), known, edits)


def _down(one: OpenedPair, known: PairBooks | None) -> datetime | None:
    return None if known is None or known.down is None else known.down - one.pair.options.lookback


def _alike(tables: Iterable[OpenedPair]) -> Iterable[list[OpenedPair]]:
    """Of tables that are the same at control one statement tells all edits."""
    groups: dict[tuple[object, ...], list[OpenedPair]] = {}
    for one in tables:
        groups.setdefault((one.pair.table, one.pair.control_table, tuple(one.fit.names)), []).append(one)
    return groups.values()


def edits_of(
    conn: sa.Connection, one: OpenedPair, start: datetime, station: str | None
) -> dict[Place, tuple[RowSum, RowSum]]:
    """The edits of control's table from `start` on, and those that wait, by the station that they are for; of one
    `station` only."""
    query = _edited(one.dialect, one.fit, station is not None)
    values = {"start": extract.as_text(start)} | ({} if station is None else {"station": station})
    found: dict[Place, list[RowSum]] = {}
    for owner, kind, count, digest in conn.execute(query, values):
        rows = found.setdefault((owner, one.pair.table), [RowSum(), RowSum()])
        rows[kind] = RowSum(int(count), int(digest or 0))
    return {place: (edited, waiting) for place, (edited, waiting) in found.items()}


@dataclass(frozen=True)
class _Compared:
    fit: Fit
    dialect: Dialect


@lru_cache(SHAPES)
def _edited(dialect: Dialect, fit: Fit, one_station: bool) -> sa.CompoundSelect[Any]:
    control, base = fit.control.table(), base_table(dialect, fit.control, fit.key, fit.names)
    digest = dialect.digest([ComparedColumn(control.c[c.name], c.control, c.control) for c in fit.columns])
    start: Any = sa.bindparam("start")
    differs = sa.not_(stage.Comparing(_Compared(fit, dialect)).unedited(control, base))
    owner = base.c[STATION] == sa.bindparam("station") if one_station else sa.true()
    same = stage.same_key(fit, control, base)

    def summed(kind: int, rows: sa.FromClause, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
        what: Sequence[sa.ColumnElement[Any]] = (
            base.c[STATION],
            sa.literal_column(str(kind)),
            sa.func.count(),
            dialect.combined(digest),
        )
        return in_order(sa.select(*what).select_from(rows).where(owner, where).group_by(base.c[STATION]))

    late = stamp.not_before(fit, lambda name: control.c[name], start)
    return sa.union_all(
        summed(0, control.join(base, same), sa.and_(late, differs)),
        summed(1, base.join(control, same), base.c[PENDING] > 0),
    )


def books_of(conn: sa.Connection, stations: Collection[str]) -> dict[Place, PairBooks]:
    """In the caller's transaction. Raises NotInitialised."""
    marks = (state.c.station, state.c.table_name, state.c.direction, state.c.watermark, state.c.place, state.c.newest)
    found: dict[Place, dict[str, Any]] = {}
    for station, table, direction, watermark, place, newest in books.read_state(
        conn, sa.select(*marks).where(state.c.station.in_(stations))
    ):
        values = found.setdefault((station, table), {})
        if direction == Direction.UP:
            values |= {"up": watermark, "newest": books.newest_stamp(newest)}
        elif direction == Direction.DOWN:
            values["down"] = watermark
        values["cut_off"] = values.get("cut_off", False) or place is not None
    where = quarantine.c.station.in_(stations), books.waits_for_another()
    waiting = sa.select(quarantine.c.station, quarantine.c.table_name, sa.func.count()).where(*where)
    with of_this_version():
        for station, table, rows in conn.execute(waiting.group_by(quarantine.c.station, quarantine.c.table_name)):
            found.setdefault((station, table), {})["waiting"] = rows
    return {place: PairBooks(**values) for place, values in found.items()}


@dataclass(frozen=True)
class Baseline:
    """What a look found right before a whole run began, which handled it. None: nothing can be said by a look."""

    start: datetime | None = None
    station: StationLook | None = None
    edits: tuple[RowSum, RowSum] = (RowSum(), RowSum())
    up: datetime | None = None


def before_a_run(session: Session) -> tuple[OpenedPair, Baseline]:
    """Of a session that was just opened, before its run reads anything. Raises what reading raises."""
    one = OpenedPair.of(session)
    with session.transaction():
        seen = at_control(session.control, [one], [session.pair.name])
    known = seen.books.get(one.place, PairBooks())
    start = start_of(session.pair, known)
    if start is None:
        return one, Baseline()
    with session.station() as conn, conn.begin():
        station = at_station(conn, [one], {one.place: start})[one.place]
    return one, Baseline(start, station, seen.edits.get(one.place, (RowSum(), RowSum())), known.up)
