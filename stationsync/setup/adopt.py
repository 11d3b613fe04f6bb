"""Adopting: rows that an older set-up has already put into control become base, station by station.

Pass 1, over all stations, takes the rows that are equal at both sides: their station is their owner. Pass 2 hands
the rows that differ to the ordinary merge, which follows the table's conflict policy and keeps both versions. In
this order, because a row that is equal tells its owner better than one that differs. Rows only at a station are
left to its first pull. Adopting again finds nothing more to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.statements import TEMPORARY
from stationsync.errors import (
    DatabaseBusy,
    NotInitialised,
    Refused,
    SchemaRefused,
    StationSyncError,
    Unexpected,
    guarded,
)
from stationsync.model.changes import Checked, Chunk, Counts, Position
from stationsync.model.plan import CONTROL, Share
from stationsync.model.schema import TableShape
from stationsync.pairing.pair import Pair
from stationsync.rollback import ownership, went_back
from stationsync.session import extract, stage
from stationsync.session.lease import lease
from stationsync.session.session import Session
from stationsync.store import bookkeeping
from stationsync.store.bookkeeping import STATION, left_owner
from stationsync.sync import adopt_columns, beginning, key_clashes, merge, runs

# As in `Adopted`: same at both sides or not, not at control, of a key that another station or this one owns.
EQUAL, DIFFERENT, ONLY_HERE, FOREIGN, KNOWN = "equal", "different", "only_here", "foreign", "known"


class Page:
    """A page of station rows next to control's, and what each row is."""

    def __init__(self, session: Session, owners: sa.Table, chunk: Chunk) -> None:
        self._session = session
        self._chunk = chunk
        self._owners = owners
        self._staged = stage.stage_table(session, "stationsync_page")
        self._kind = self._kinds()
        with session.transaction():
            stage.recreate(session.control, self._staged)
            stage.fill(session, self._staged, chunk.rows)
            query = self._select(self._kind, sa.func.count()).group_by(self._kind)
            self.counts = {str(kind): int(rows) for kind, rows in session.control.execute(query)}

    def _kinds(self) -> sa.ColumnElement[str]:
        session, owner = self._session, self._owners.c[STATION]
        control = session.control_table
        return sa.case(
            (owner.in_([session.pair.name, left_owner(session.pair.name)]), KNOWN),
            (owner.is_not(None), FOREIGN),
            (control.c[session.fit.key[0]].is_(None), ONLY_HERE),
            (stage.Comparing(session).same(self._staged, control), EQUAL),
            else_=DIFFERENT,
        )

    def _select(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        fit, control, owners = self._session.fit, self._session.control_table, self._owners
        joined = self._staged.outerjoin(control, stage.same_key(fit, self._staged, control)).outerjoin(
            owners, stage.same_key(fit, self._staged, owners)
        )
        return sa.select(*columns).select_from(joined)

    def rows_of(self, kind: str) -> Checked | None:
        """These rows, to be merged; None where there are none."""
        if not self.counts.get(kind):
            return None
        rows = self._chunk.rows
        if self.counts[kind] < rows.num_rows:
            session, dialect = self._session, self._session.dialect
            columns = [dialect.readable(self._staged.c[c.name], c.staged).label(c.name) for c in session.fit.columns]
            query = self._select(*columns).where(self._kind == kind)
            with session.transaction():
                rows = dialect.read_all(session.control, query, session.fit.families)
        return Checked(Chunk(rows, None, more=False), (), rows.slice(0, 0))

    def own(self, kind: str) -> None:
        """On a dry run: these rows would have an owner now."""
        session, key = self._session, self._session.fit.key
        query = self._select(
            *(self._staged.c[name] for name in key), sa.literal(session.pair.name), sa.literal(0)
        ).where(self._kind == kind)
        with session.transaction():
            names = [column.name for column in self._owners.columns]
            # A snapshot first: MySQL cannot name a temporary table twice in one statement.
            taken = [dict(zip(names, row, strict=True)) for row in session.control.execute(query)]
            if taken:
                session.control.execute(sa.insert(self._owners), taken)


@dataclass(frozen=True)
class Adopted:
    """The rows of one station's table: adopted as equal, or different (of these `conflicts` lost a version and
    `quarantined` were held back), only at the station, of a key that another station owns, known already."""

    station: str
    table: str
    policy: str
    equal: int = 0
    different: int = 0
    only_here: int = 0
    foreign: int = 0
    known: int = 0
    conflicts: int = 0
    quarantined: int = 0

    @property
    def share(self) -> Share:
        """Of a dry run's plan: what differs is decided, with both versions kept."""
        return Share(
            self.station, self.table, CONTROL, conflicts=self.different, quarantined=self.foreign + self.quarantined
        )


@dataclass(frozen=True)
class Adoption:
    """`only_at_control`: rows without owner, per control table; `errors`: stations that could not be looked at."""

    adopted: tuple[Adopted, ...] = ()
    only_at_control: dict[str, int] = field(default_factory=dict)
    errors: tuple[StationSyncError, ...] = ()


def adopt(control: Database, pairs: Sequence[Pair], *, dry_run: bool = False) -> Adoption:
    """Adopt the rows of every control table that `pairs` name. On a dry run nothing is written; it needs no base.

    A station that is off-line or does not fit stops none of the others."""
    adopted: list[Adopted] = []
    errors: list[StationSyncError] = []
    only_at_control: dict[str, int] = {}
    for table in dict.fromkeys(pair.control_table for pair in pairs):
        group = [pair for pair in pairs if pair.control_table == table]
        try:
            with guarded(f"control/{table}"), control.connect() as conn:
                shape = control.dialect.reflect(conn, table)
                assert shape is not None  # `initialise` has seen it
                conn.rollback()
                group = [pair.spelled(shape) for pair in group]
                owners = _dry_owners(conn, group[0], shape) if dry_run else _owners(group[0], shape)
                group = _own_ones(conn, group, errors)
                if not group or not _without_owner(conn, group[0], owners):
                    continue
                work = _Adopting(conn, owners, dry_run, errors)
                adopted += work.adopt(group)
                only_at_control[table] = _without_owner(conn, group[0], owners)
        except Unexpected as error:
            errors.append(error)
    return Adoption(tuple(adopted), only_at_control, tuple(errors))


def _own_ones(conn: sa.Connection, pairs: Sequence[Pair], errors: list[StationSyncError]) -> list[Pair]:
    """Without those, whose error is added, that are another name's, also where there is nothing to adopt."""
    found = []
    for pair in pairs:
        try:
            with guarded(pair.place):
                if _is_new(conn, pair):
                    went_back.require_own_of(pair)
        except StationSyncError as error:
            # What else is wrong with it is told where its rows are to be adopted, and by its first run.
            if isinstance(error, Refused) and not isinstance(error, SchemaRefused):
                errors.append(error)
                continue
        found.append(pair)
    return found


def _is_new(conn: sa.Connection, pair: Pair) -> bool:
    try:
        with pair.control.transaction(conn):
            return ownership.known_to_others(conn, pair)
    except (NotInitialised, SchemaRefused):
        return False  # a dry run before the first `init`, or of an older version


def _owners(pair: Pair, shape: TableShape) -> sa.Table:
    """The key and the owner of each row of the base."""
    return bookkeeping.base_table(pair.control.dialect, shape, pair.options.key, [])


def _dry_owners(conn: sa.Connection, pair: Pair, shape: TableShape) -> sa.Table:
    """The same in a temporary table, which a dry run fills as the real one would be."""
    base = _owners(pair, shape)
    columns = [sa.Column(c.name, c.type, primary_key=c.primary_key, quote=True) for c in base.columns]
    owners = sa.Table("stationsync_owners", sa.MetaData(), *columns, **TEMPORARY)
    with conn.begin():
        stage.recreate(conn, owners)
        if pair.control.dialect.reflect(conn, base.name) is not None:
            conn.execute(sa.insert(owners).from_select(list(base.columns.keys()), sa.select(*base.columns)))
    return owners


def _without_owner(conn: sa.Connection, pair: Pair, owners: sa.Table) -> int:
    control = sa.table(pair.control_table, *(sa.column(name) for name in pair.options.key))
    same = sa.and_(*(control.c[name] == owners.c[name] for name in pair.options.key))
    joined = control.outerjoin(owners, same)
    with conn.begin():
        # With NULL in the key it is control's own, and nobody's to adopt.
        has_key = (control.c[name].is_not(None) for name in pair.options.key)
        query = sa.select(sa.func.count()).select_from(joined).where(owners.c[STATION].is_(None), *has_key)
        return int(conn.scalar(query) or 0)


class _Adopting:
    """Adopts one control table. A dry run works on the one connection `conn` and on `owners`, a temporary table."""

    def __init__(self, conn: sa.Connection, owners: sa.Table, dry_run: bool, errors: list[StationSyncError]) -> None:
        self._conn = conn
        self._owners = owners
        self._dry_run = dry_run
        self._errors = errors

    def adopt(self, pairs: Sequence[Pair]) -> list[Adopted]:
        first = [found for pair in pairs if (found := self._tried(pair, self._take_equal)) is not None]
        by_name = {pair.name: pair for pair in pairs}
        return [self._second(by_name[found.station], found) for found in first]

    def _second(self, pair: Pair, first: Adopted) -> Adopted:
        if not first.different:
            return first
        then = self._tried(pair, self._merge_different)
        if then is None:
            return replace(first, different=0)
        return replace(then, equal=first.equal, known=first.known)

    def _tried(self, pair: Pair, work: Callable[[Session], Adopted]) -> Adopted | None:
        try:
            with guarded(pair.place), self._session(pair) as session:
                return work(session)
        except StationSyncError as error:
            self._errors.append(error)
            return None

    @contextmanager
    def _session(self, pair: Pair) -> Iterator[Session]:
        if self._dry_run:
            session = Session(pair, self._conn)
            try:
                session.open(base=False)
                yield session
            finally:
                session.close()
            return
        with lease(pair, even_paused=True) as leased:
            if leased is None:
                what = "another run is under way."
                next_step = "Run again: stationsync init"
                raise DatabaseBusy(pair.place, what, not_done="Its rows were not adopted.", next_step=next_step)
            leased.open()
            went_back.require_own(leased)
            adopt_columns.adopt(leased)
            yield leased

    def _take_equal(self, session: Session) -> Adopted:
        found = _nothing(session)
        for page in self._pages(session):
            found = _plus(found, page, EQUAL, DIFFERENT, ONLY_HERE, FOREIGN, KNOWN)
            if self._dry_run:
                page.own(EQUAL)
            elif rows := page.rows_of(EQUAL):
                merge.merge_chunk(session, rows, None)
        return found

    def _merge_different(self, session: Session) -> Adopted:
        found = _nothing(session)
        merged = self._own if self._dry_run else _Merging(session).merge
        for page in self._pages(session):
            found = _plus(found, page, DIFFERENT, ONLY_HERE, FOREIGN)
            counts = merged(page)
            found = replace(
                found,
                conflicts=found.conflicts + counts.conflicts,
                quarantined=found.quarantined + counts.quarantined,
            )
        return found

    @staticmethod
    def _own(page: Page) -> Counts:
        page.own(DIFFERENT)
        return Counts()

    def _pages(self, session: Session) -> Iterator[Page]:
        after: Position | None = None
        while True:
            chunk = extract.read_page(session, None, after)
            if clashes := key_clashes.held(session, chunk.rows, based=not self._dry_run):
                # The first pull keeps them in quarantine.
                rest = [i for i in range(len(chunk)) if i not in clashes]
                chunk = replace(chunk, rows=chunk.rows.take(pa.array(rest, pa.int64())))
            if len(chunk):
                yield Page(session, self._owners, chunk)
            if not chunk.more:
                return
            after = chunk.last


def _plus(found: Adopted, page: Page, *kinds: str) -> Adopted:
    return replace(found, **{kind: getattr(found, kind) + page.counts.get(kind, 0) for kind in kinds})


class _Merging:
    """The ordinary merge, for the rows of pages that differ; validated as a pull would."""

    def __init__(self, session: Session) -> None:
        self._session = session
        beginning.recall(session)
        self._validator = runs.validator_of(session)

    def merge(self, page: Page) -> Counts:
        rows = page.rows_of(DIFFERENT)
        return merge.merge_chunk(self._session, self._validator.validate(rows.chunk), None) if rows else Counts()


def _nothing(session: Session) -> Adopted:
    return Adopted(session.pair.name, session.pair.table, str(session.pair.options.conflicts))
