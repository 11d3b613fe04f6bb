"""An open pair: the control session that holds the lease, the station's connection, and both tables in Core."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.care import Care
from stationsync.database.dialect import Clock
from stationsync.database.table_facts import Remembered, TableFacts
from stationsync.errors import SchemaRefused, StationOffline
from stationsync.journal.recorder import Recorder
from stationsync.model.changes import Direction, Position
from stationsync.model.schema import Side, TableShape
from stationsync.model.wire import Family
from stationsync.pairing.fit import Fit, alone, compare
from stationsync.pairing.pair import Pair
from stationsync.pairing.stamp_zone import Evidence, Seen
from stationsync.pairing.watermark import Reading, steady
from stationsync.pairing.went_back_rule import Window
from stationsync.store import bookkeeping, known_shapes
from stationsync.topology.zones import SERVER

Columns = sa.FromClause


class Session:
    """Open for one run of one pair. Not shared between runs; the station's connection is reopened when it was lost."""

    def __init__(self, pair: Pair, control: sa.Connection) -> None:
        self.pair = pair
        self.control = control
        self.dialect = pair.control.dialect
        self._station: sa.Connection | None = None
        self._stack = ExitStack()
        self.seen = known_shapes.Seen(pair)
        self.fit: Fit
        self.station_clock: Clock
        self.control_clock: Clock
        # When that was, by our own monotonic clock.
        self.clocks_read: float
        self.journal = Recorder(self)
        # The average row of the widest page so far.
        self.row_bytes = 0
        # The server's checks of references are off: rows of several tables are merged, and verified afterwards.
        self.unchecked = False
        # The station's clock minus control's, as conflicts use it; from the remembered mark.
        self.clock_offset = timedelta(0)
        # The newest rows that were seen at the station, by which `went_back` knows it again; None: nobody looked yet.
        self.newest: tuple[Position, ...] | None = ()
        # The same as the run found it; what the run saw of stamps off the clock, what was known of that, and is now.
        self.newest_before: tuple[Position, ...] | None = ()
        self.stamped = Seen()
        self.stamps_before: Evidence | None = None
        self.stamps: Evidence | None = None
        # The same of control's edits.
        self.edited = Seen()
        # What its server says of the table, and what it said then; whether nothing may be replaced unseen by this run,
        # because keys may have been given again; and the stamps that an edit since the last run has.
        self.table_facts = TableFacts()
        self.remembered: Remembered | None = None
        self.doubtful = False
        self.window = Window(None, datetime.min)
        # The newest rows that were sent to the station, by which `older_control` knows control again.
        self.sent: tuple[Position, ...] = ()
        # Rows of this station that have values of unique indexes which others are to have.
        self.in_the_way: set[tuple[str | bytes, ...]] = set()
        # Whether a wait for a lock was in vain: at control, and at the station.
        self.care, self.station_care = Care(), Care()
        # Rows that the station's database changed while we wrote them; and whether what is merged now is one of them.
        self.altered: set[tuple[str | bytes, ...]] = set()
        self.our_write = False
        # Everything of the station is being read, for the first time or anew: the base may lack what it is to know.
        self.reads_all = False
        # Somebody has said that the station is right as it is, and no pull has read it since.
        self.accepted = False
        # What is merged is a backfill's: see `sync.classify`.
        self.backfill = False
        # The station's rows that have an identity: no NULL in the key.
        self.identified: sa.ColumnElement[bool] = sa.true()
        # How many have none, as this run counted them; None: nobody did.
        self.without_key: int | None = None
        # The same without a date in `modified`: no page ever has them.
        self.without_date: int | None = None

    def open(self, *, base: bool = True) -> None:
        """Reflect, compare and read both clocks. Without `base`, the table for it need not be there yet.

        Raises SchemaRefused, NotInitialised, StationOffline."""
        with self.seen.explaining():
            own, control = self._compare(base)
        self._build_tables(own, control)
        self.read_clocks()

    def _compare(self, base: bool) -> tuple[TableShape, TableShape]:
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
            self.table_facts = pair.station.dialect.table_facts(conn, pair.station_table)
            self.fit = compare(pair.place, own, control, pair.options).require()
        self.seen.refuse_lost(self.fit)
        if base:
            bookkeeping.require(pair.control, control, known, self.fit.names, self.fit.key)
            self.seen.require()
        return own, control

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
        self.fit = alone(pair.place, control, pair.options, self.seen.columns_of(Side.STATION)).require()
        bookkeeping.require(pair.control, control, known, self.fit.names, self.fit.key)
        self.seen.require()
        self._build_tables(control, control)
        self._read_control_clock()

    def remember_shapes(self) -> None:
        """This run was good: the next one is compared with what it saw of both tables."""
        if self.seen.unknown():
            with self.transaction():
                self.seen.remember(self.control, self.now)

    def _build_tables(self, own: TableShape, control: TableShape) -> None:
        self.station_table = own.table()
        self.control_table = control.table()
        self.base = bookkeeping.base_table(self.dialect, control, self.fit.key, self.fit.names)
        self.identified = has_key(self.station_table, self.fit.nullable_key)

    def read_clocks(self) -> None:
        family = self.fit.by_name[self.fit.modified].station.family
        with self.station() as conn, conn.begin():
            zone = self.pair.options.modified_zone
            self.station_clock = self.pair.station.dialect.clock(conn, family, zone, self._late)
        self._read_control_clock()

    def _read_control_clock(self) -> None:
        family = self.fit.by_name[self.fit.modified].station.family
        with self.transaction():
            self.control_clock = self.dialect.clock(self.control, family, self.pair.control_zone, self._late)
            self.clocks_read = time.monotonic()

    @property
    def _late(self) -> timedelta:
        """How long ago a row may have been stamped that a run has still to see."""
        options = self.pair.options
        return options.max_hold + options.settle + options.lookback

    def follow_offset(self, remembered: timedelta) -> None:
        """Conflicts are decided by the remembered offset of the clocks, as long as it still holds."""
        self.clock_offset = steady(remembered, self.station_clock.now - self.control_clock.now)

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
        self.without_key = 0
        if names := self.fit.nullable_key:
            with self.station() as conn, conn.begin():
                self.without_key = rows_without_key(conn, self.fit.station.name, names)
        return self.without_key

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
