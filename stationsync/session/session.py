"""An open pair: the control session that holds the lease, the station's connection, and both tables in Core."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.care import Care
from stationsync.database.dialect import Clock
from stationsync.errors import SchemaRefused, StationOffline
from stationsync.journal.recorder import Recorder
from stationsync.model.changes import Chunk, Direction
from stationsync.model.schema import Side, TableShape
from stationsync.model.wire import Family
from stationsync.pairing import row_filter
from stationsync.pairing.fit import Fit
from stationsync.pairing.fitting import alone, compare
from stationsync.pairing.pair import Pair
from stationsync.pairing.watermark import Reading
from stationsync.session.known import Known
from stationsync.store import bookkeeping, known_shapes
from stationsync.topology.zones import SERVER


@dataclass(frozen=True)
class Opened:
    """What opening a pair yields: how its tables fit, the tables in Core (`base`: what was synchronised of them), and
    the clocks, as they were at `clocks_read` of our own monotonic one."""

    fit: Fit
    station_table: sa.Table
    control_table: sa.Table
    base: sa.Table
    # The station's rows that have an identity: no NULL in the key.
    identified: sa.ColumnElement[bool]
    # Those that the filter of rows lets through, and those it does not.
    let_through: sa.ColumnElement[bool]
    outside: sa.ColumnElement[bool]
    # None where the station was not asked.
    station_clock: Clock | None
    control_clock: Clock
    clocks_read: float


class LoadsAhead(Protocol):
    """What loads a page beforehand, on a connection of its own: `sync.beside`."""

    def take(self, chunk: Chunk) -> sa.Connection | None:
        """The connection in whose transaction this page is, if it is; it is the caller's to end it."""

    def drop(self) -> None:
        """Nothing of a page that was begun, and that nobody ended, stays."""


class Session:
    """A pair at work, for one run: the resources that the run uses, what opening it yielded (`Opened`) and what the run
    knows (`Known`). Not shared between runs; the station's connection is reopened when it was lost."""

    def __init__(self, pair: Pair, control: sa.Connection) -> None:
        self.pair = pair
        self.control = control
        self.dialect = pair.control.dialect
        self._station: sa.Connection | None = None
        self._stack = ExitStack()
        self.seen = known_shapes.SeenShapes(pair)
        self.known = Known()
        self._opened: Opened | None = None
        self.journal = Recorder(self)
        # The average row of the widest page so far.
        self.row_bytes = 0
        self.ahead: LoadsAhead | None = None
        # Whether a wait for a lock was in vain: at control, and at the station.
        self.care, self.station_care = Care(), Care()

    @property
    def opened(self) -> Opened:
        assert self._opened is not None, "open() comes first"
        return self._opened

    @property
    def fit(self) -> Fit:
        return self.opened.fit

    @property
    def station_table(self) -> sa.Table:
        return self.opened.station_table

    @property
    def control_table(self) -> sa.Table:
        return self.opened.control_table

    @property
    def base(self) -> sa.Table:
        return self.opened.base

    @property
    def identified(self) -> sa.ColumnElement[bool]:
        return self.opened.identified

    @property
    def carried(self) -> sa.ColumnElement[bool]:
        """The station's rows that are synchronised."""
        return sa.and_(self.opened.identified, self.opened.let_through)

    @property
    def outside(self) -> sa.ColumnElement[bool]:
        """The station's rows that its filter keeps back."""
        return sa.and_(self.opened.identified, self.opened.outside)

    @property
    def station_clock(self) -> Clock:
        assert self.opened.station_clock is not None, "opened without the station"
        return self.opened.station_clock

    @property
    def control_clock(self) -> Clock:
        return self.opened.control_clock

    @property
    def clocks_read(self) -> float:
        return self.opened.clocks_read

    def open(self, *, base: bool = True) -> None:
        """Reflect, compare and read both clocks. Without `base`, the table for it need not be there yet.

        Raises SchemaRefused, NotInitialised, StationOffline."""
        with self.seen.explaining():
            own, control, fit = self._compare(base)
        zone, family = self.pair.options.modified_zone, fit.by_name[fit.modified].station.family
        with self.station() as conn, conn.begin():
            clock = self.pair.station.dialect.clock(conn, family, zone, self._late)
            row_filter.require(conn, self.pair, own.table())
        self._end_opening(own, control, fit, clock)

    def _compare(self, base: bool) -> tuple[TableShape, TableShape, Fit]:
        pair, shapes = self.pair, self.seen.shapes
        with self.transaction():
            self.seen.read(self.control)
            found = shapes[Side.CONTROL] = self.dialect.reflect(self.control, pair.control_table)
            control = _shape(pair.control_table, found, "control")
            known = self.dialect.column_types(self.control, bookkeeping.base_name(control.name))
            bookkeeping.require_transactions(self.control, self.dialect)
        with self.station() as conn, conn.begin():
            found = shapes[Side.STATION] = pair.station.dialect.reflect(conn, pair.station_table)
            own = _shape(pair.station_table, found, pair.name)
            pair = self.pair = self.seen.pair = pair.spelled(control, own)
            self.known = replace(self.known, facts=pair.station.dialect.table_facts(conn, pair.station_table))
            fit = compare(pair.place, own, control, pair.options).require()
        self.seen.refuse_lost(fit)
        if base:
            bookkeeping.require(pair.control, control, known, fit.names, fit.key)
            self.seen.require()
        return own, control, fit

    def open_at_control(self) -> None:
        """Without the station, which may be off-line, for what is about control and the base only. The columns are
        those that the last good run synchronised; before there was one, all that may be.

        Raises SchemaRefused, NotInitialised."""
        pair = self.pair
        with self.transaction():
            self.seen.read(self.control)
            control = _shape(pair.control_table, self.dialect.reflect(self.control, pair.control_table), "control")
            known = self.dialect.column_types(self.control, bookkeeping.base_name(control.name))
            bookkeeping.require_transactions(self.control, self.dialect)
        pair = self.pair = self.seen.pair = pair.spelled(control)
        fit = alone(pair.place, control, pair.options, self.seen.columns_of(Side.STATION)).require()
        bookkeeping.require(pair.control, control, known, fit.names, fit.key)
        self.seen.require()
        self._end_opening(control, control, fit, None)

    def remember_shapes(self) -> None:
        """This run was good: the next one is compared with what it saw of both tables."""
        if self.seen.unknown():
            with self.transaction():
                self.seen.remember(self.control, self.now)

    def _end_opening(self, own: TableShape, control: TableShape, fit: Fit, station_clock: Clock | None) -> None:
        station_table = own.table()
        with self.transaction():
            family = fit.by_name[fit.modified].station.family
            control_clock = self.dialect.clock(self.control, family, self.pair.control_zone, self._late)
        self._opened = Opened(
            fit,
            station_table,
            control.table(),
            bookkeeping.base_table(self.dialect, control, fit.key, fit.names),
            has_key(station_table, fit.nullable_key),
            row_filter.let_through(self.pair.options.where),
            row_filter.outside(self.pair.options.where),
            station_clock,
            control_clock,
            time.monotonic(),
        )

    @property
    def _late(self) -> timedelta:
        """How long ago a row may have been stamped that a run has still to see."""
        options = self.pair.options
        return options.max_hold + options.settle + options.lookback

    @property
    def skew(self) -> timedelta:
        """The station's UTC minus control's."""
        return self.station_clock.utc - self.control_clock.utc

    @property
    def about(self) -> str:
        """A digest of what a mark of this pair is about: which database, tables, key and columns."""
        url, fit = self.pair.station.url, self.fit
        what = [url.host, url.port, url.database, fit.station.name, fit.control.name, fit.modified, fit.key, fit.names]
        what += [fit.modified_else] if fit.modified_else else []
        # Stamps of another zone: what was seen up to a moment of the one says nothing about the other.
        own, theirs = self.pair.options.modified_zone, self.pair.control_zone
        what += [own, theirs] if {own, theirs} != {SERVER} else []
        # What one filter let through says nothing about another's rows.
        what += [self.pair.options.where] if self.pair.options.where else []
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    @property
    def now(self) -> datetime:
        """The moment of this run for the books: control's clock, UTC."""
        return self.control_clock.utc

    @contextmanager
    def station(self) -> Iterator[sa.Connection]:
        """The station's connection; after an error that lost it, the next use opens a new one."""
        if self._station is None:
            self._station = self._stack.enter_context(self.pair.station.connect())
        try:
            with self.pair.station.errors():
                yield self._station
        except StationOffline:
            self.drop_station()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction at control; the driver's errors come out as ours."""
        with self.pair.control.transaction(self.control):
            yield

    def on(self, conn: sa.Connection) -> Session:
        """The same with another connection to control, for another thread."""
        other = copy(self)
        other.control = conn
        return other

    @contextmanager
    def writing_on(self, conn: sa.Connection) -> Iterator[None]:
        """While open, what is done at control is done on this connection."""
        own, self.control = self.control, conn
        try:
            yield
        finally:
            self.control = own

    @contextmanager
    def journaled(self, direction: Direction, reading: Reading | None = None) -> Iterator[None]:
        """As `transaction`, with what is added to the journal meanwhile in a file of its own."""
        with self.pair.control.errors(), self.journal.transaction(direction, reading):
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Looks at control that are all of one moment. Nothing is locked or written."""
        self.control.execution_options(stationsync_snapshot=True)
        try:
            with self.transaction():
                yield
        finally:
            self.control.execution_options(stationsync_snapshot=False)

    def begin_care(self, *, station: bool = False) -> None:
        """A wait for a lock was in vain, at control or at the station."""
        if station:
            with self.station() as conn:
                self.station_care.begin(self.pair.station.dialect, conn)
        else:
            with self.pair.control.errors():
                self.care.begin(self.dialect, self.control)

    def read(self, query: sa.Select[Any], families: Mapping[str, Family]) -> pa.Table:
        """All rows of a query at control, in wire form."""
        return self.dialect.read_all(self.control, query, families)

    def count_without_key(self) -> int:
        """The station's rows with NULL in the key. Where no key column may be NULL, nobody is asked."""
        if not (names := self.fit.nullable_key):
            return 0
        with self.station() as conn, conn.begin():
            return rows_without_key(conn, self.fit.station.name, names)

    def drop_station(self) -> None:
        self._station = None
        stack, self._stack = self._stack, ExitStack()
        try:
            stack.close()
        except Exception:  # noqa: BLE001 - the connection is already lost; closing it can only say so again
            return

    def close(self) -> None:
        self.journal.close()
        self.drop_station()


def has_key(table: sa.FromClause, nullable: Sequence[str]) -> sa.ColumnElement[bool]:
    """Rows with no NULL in these columns."""
    return sa.and_(sa.true(), *(table.c[name].is_not(None) for name in nullable))


def rows_without_key(conn: sa.Connection, table: str, nullable: Sequence[str]) -> int:
    """How many rows have NULL in one of these columns."""
    if not nullable:
        return 0
    columns = sa.table(table, *map(sa.column, nullable))
    query = sa.select(sa.func.count()).select_from(columns).where(sa.not_(has_key(columns, nullable)))
    return int(conn.scalar(query) or 0)


def _shape(table: str, shape: TableShape | None, side: str) -> TableShape:
    if shape is None:
        raise SchemaRefused(
            side,
            f"there is no table {table}.",
            next_step="Create it, or mend the name in deployments/stations.yaml, then: stationsync check",
        )
    return shape
