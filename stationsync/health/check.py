"""`check`: is everything there that runs need? Control first, then the stations side by side. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.dialect import ColumnTypes
from stationsync.database.mariadb import limits, trials
from stationsync.errors import JournalUnavailable, NotInitialised, StationSyncError, TryAgain, guarded
from stationsync.health import check_matrix, check_stamps
from stationsync.health.check_matrix import Shape
from stationsync.health.check_notes import CheckedDatabase, each_once, of_error, of_finding
from stationsync.health.check_stamps import Looked
from stationsync.journal import place
from stationsync.model.changes import Level, Note
from stationsync.model.schema import Side, TableShape
from stationsync.model.wire import Family
from stationsync.pairing import row_filter
from stationsync.pairing.drift import describe, difference, told
from stationsync.pairing.fit import Fit, WithoutKey, looks_created, nullable
from stationsync.pairing.fitting import compare
from stationsync.pairing.pair import Pair
from stationsync.session import stage
from stationsync.session.session import rows_without_key
from stationsync.setup.initialise import base_of
from stationsync.store import bookkeeping, known_shapes
from stationsync.store.known_shapes import KnownShape
from stationsync.sync.suites import load_suite, spelled
from stationsync.topology.model import ControlDeletes, Deletes, TableDirection

_AT_ONCE = 8
_NO_TABLE = "Create it, or mend the name in the topology."


@dataclass
class _Control:
    """What the stations are compared with; empty where control could not be asked."""

    shapes: dict[str, TableShape] = field(default_factory=dict)
    base_columns: dict[str, ColumnTypes] = field(default_factory=dict)
    # Tables whose base its server cannot make.
    beyond_limits: set[str] = field(default_factory=set)
    # Its rows with NULL in the key, by table.
    without_key: dict[str, int] = field(default_factory=dict)
    # Control's UTC minus our own steady clock.
    clock: timedelta | None = None
    # What the last runs saw of stamps.
    looked: Mapping[tuple[str, str], Looked] = field(default_factory=dict)
    # Nothing of ours is there yet.
    new: bool = False
    # (station, table) that a run has reached.
    begun: frozenset[tuple[str, str]] = frozenset()
    # What runs remember of all tables.
    known: Mapping[tuple[str, str, Side], KnownShape] = field(default_factory=dict)


@dataclass
class _Station:
    """What was found out beside notes: the fits, and the tables by their names in the topology."""

    fits: list[Fit] = field(default_factory=list)
    shapes: dict[str, TableShape | None] = field(default_factory=dict)


def check(control: Database, stations: Sequence[Sequence[Pair]]) -> list[CheckedDatabase]:
    """Control, then each station (its pairs) in the given order. Expectation suites are tried where they are named."""
    pairs = [pair for station in stations for pair in station]
    facts = _Control()
    first = _checked(control, lambda conn: _control_notes(conn, control, pairs, facts))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        found = list(pool.map(lambda station: _check_station(station, facts), stations))
    fits = [fit for _, fits in found for fit in fits]
    # Every station finds the same about control's side; it is told once.
    theirs = [note for checked, _ in found for note in checked.notes if _is_control(note)]
    about = [Note(n.level, _at_control(n), n.what, n.next_step) for n in theirs]
    notes = each_once([*first.notes, *about, *suite_notes(pairs, fits), *journal_notes(pairs)])
    own = [replace(one, notes=tuple(n for n in one.notes if not _is_control(n))) for one, _ in found]
    return [CheckedDatabase(first.place, first.about, notes), *own]


def _is_control(note: Note) -> bool:
    return note.place == "control" or note.place.endswith(", control")


def _at_control(note: Note) -> str:
    """control, or control/TABLE, of a place such as station-1/TABLE, control."""
    return "/".join(["control", *note.place.removesuffix(", control").split("/")[1:]])


def _checked(database: Database, ask: Callable[[sa.Connection], Iterator[Note]]) -> CheckedDatabase:
    """Connect and ask; whatever stops that is a note too, after those that came before."""
    notes: list[Note] = []
    about = ""
    try:
        with database.begin() as conn:
            about, old = _server(conn, database)
            notes += old
            with guarded(database.place):
                for note in ask(conn):  # one by one: an error ends it, and keeps what was found
                    notes.append(note)
    except StationSyncError as error:
        notes.append(of_error(error))
    return CheckedDatabase(database.place, about, each_once(notes))


def _of_table(database: Database, place: str, found: Iterator[Note]) -> Iterator[Note]:
    """The notes on one table. What stops them there stops nothing else, unless the database is gone."""
    try:
        with guarded(place), database.errors():
            yield from found
    except TryAgain:
        raise
    except StationSyncError as error:
        yield of_error(error)


def _server(conn: sa.Connection, database: Database) -> tuple[str, list[Note]]:
    if not database.dialect.is_server:
        return f"SQLite {conn.scalar(sa.text('SELECT sqlite_version()'))}", []
    return trials.version(conn, database.place)


def _now(conn: sa.Connection, database: Database) -> tuple[timedelta, bool]:
    """Its UTC minus our own steady clock, and whether it shows us open transactions."""
    clock = database.dialect.clock(conn, Family.TIMESTAMP)
    since = clock.utc - clock.utc.min
    return since - timedelta(seconds=time.monotonic()), clock.sees_transactions


def _control_notes(conn: sa.Connection, control: Database, pairs: Sequence[Pair], facts: _Control) -> Iterator[Note]:
    facts.clock, _ = _now(conn, control)
    for pair in pairs:
        if pair.control_table not in facts.shapes:
            place = f"control/{pair.control_table}"
            yield from _of_table(control, place, _control_table(conn, pair, facts))
    yield from _limits(conn, pairs, facts)
    try:
        bookkeeping.require_transactions(conn, control.dialect)
    except StationSyncError as error:
        yield of_error(error)
    present = set(sa.inspect(conn).get_table_names())
    missing = [table.name for table in bookkeeping.metadata.sorted_tables if table.name not in present]
    facts.new = len(missing) == len(bookkeeping.metadata.sorted_tables)
    if facts.new:
        # The order of a new installation: check, then init.
        what = "nothing is initialised yet: there are no bookkeeping tables."
        yield Note(Level.WARNING, "control", what, NotInitialised.default_next_step)
    elif missing:
        what = f"the bookkeeping tables are not there: {', '.join(missing)}."
        yield Note(Level.PROBLEM, "control", what, NotInitialised.default_next_step)
    if control.dialect.is_server:
        yield from trials.read_only(conn, "control")
        yield from trials.temporary_tables(conn, "control")
        yield from trials.defining_rights(conn, "control", _own_tables(pairs), initialised=not missing)
        if any(pair.options.deletes is Deletes.ARCHIVE for pair in pairs):
            yield from trials.sight_of_references(conn, "control")
        yield from trials.bulk_load(conn, "control")
        for name in (table.name for table in bookkeeping.metadata.sorted_tables if table.name in present):
            columns = list(control.dialect.column_types(conn, name))
            yield from trials.control_rights(conn, "control", name, columns)
    facts.begun = frozenset() if missing else _begun(conn)
    facts.known = known_shapes.read_all(conn) or {}
    facts.looked = check_stamps.read_all(conn)
    for pair in {pair.control_table: pair for pair in pairs if pair.control_table in facts.shapes}.values():
        shape = facts.shapes[pair.control_table]
        if {*pair.options.key, pair.options.modified} <= set(facts.base_columns[shape.name]) & set(shape.names):
            yield from check_stamps.at_control(conn, pair, shape[pair.options.modified].family)


def _limits(conn: sa.Connection, pairs: Sequence[Pair], facts: _Control) -> Iterator[Note]:
    """Whether control's server can make the base of each table; tried where there is none yet."""
    for name, shape in facts.shapes.items():
        sharing = [pair.spelled(shape) for pair in pairs if pair.control_table == name]
        key = sharing[0].options.key
        right = shape.kind == "table" and all(column in shape for column in key)
        if not right or facts.base_columns[name] or not sharing[0].control.dialect.is_server:
            continue
        if refused := limits.tried(conn, base_of(sharing, shape), f"control/{name}", key):
            facts.beyond_limits.add(name)
            yield of_error(refused)


def _begun(conn: sa.Connection) -> frozenset[tuple[str, str]]:
    c = bookkeeping.state.c
    found = conn.execute(sa.select(c.station, c.table_name).where(c.watermark.is_not(None)).distinct())
    return frozenset((str(station), str(table)) for station, table in found)


def _own_tables(pairs: Sequence[Pair]) -> list[str]:
    bases = dict.fromkeys(bookkeeping.base_name(pair.control_table) for pair in pairs)
    return [*(table.name for table in bookkeeping.metadata.sorted_tables), *bases]


def _control_table(conn: sa.Connection, pair: Pair, facts: _Control) -> Iterator[Note]:
    name, dialect = pair.control_table, pair.control.dialect
    shape = dialect.reflect(conn, name)
    if shape is None:
        yield _no_table(conn, pair.control, name, "SELECT, INSERT, UPDATE, DELETE")
        return
    facts.shapes[name] = shape
    pair = pair.spelled(shape)
    base = bookkeeping.base_name(name)
    facts.base_columns[name] = dialect.column_types(conn, base)
    facts.without_key[name] = rows_without_key(conn, name, nullable(shape, pair.options.key))
    if dialect.is_server:
        columns = [c.name for c in shape.columns if not c.generated and c.name not in pair.options.exclude]
        yield from trials.control_rights(conn, "control", name, columns)
        if facts.base_columns[name]:
            yield from trials.control_rights(conn, "control", base, list(facts.base_columns[name]))


def _no_table(conn: sa.Connection, database: Database, table: str, rights: str) -> Note:
    """Without any right on it, a table is not even shown."""
    place = f"{database.place}/{table}"
    if database.dialect.is_server:
        try:
            if not trials.may_read(conn, table):
                return trials.no_right(conn, place, table, rights)
        except sa.exc.DBAPIError:
            pass  # there is none
    return Note(Level.PROBLEM, place, f"there is no table {table}.", _NO_TABLE)


def _check_station(pairs: Sequence[Pair], facts: _Control) -> tuple[CheckedDatabase, list[Fit]]:
    found = _Station()
    checked = _checked(pairs[0].station, lambda conn: _station_notes(conn, pairs, facts, found))
    return replace(checked, shapes=tuple(_shape(pair, facts, found) for pair in pairs)), found.fits


def _shape(pair: Pair, facts: _Control, found: _Station) -> Shape:
    own, control = (facts.known.get((pair.name, pair.table, side)) for side in (Side.STATION, Side.CONTROL))
    if pair.table in found.shapes:
        station = check_matrix.MatrixSide(describe(found.shapes[pair.table]), own)
    else:
        station = check_matrix.MatrixSide(own.description if own else None, own, last_seen=own is not None)
    theirs = None if facts.clock is None else describe(facts.shapes.get(pair.control_table))
    return Shape(pair.name, pair.table, station, check_matrix.MatrixSide(theirs, control))


def _station_notes(conn: sa.Connection, pairs: Sequence[Pair], facts: _Control, found: _Station) -> Iterator[Note]:
    station = pairs[0].station
    clock, sees_transactions = _now(conn, station)
    yield from _skew(pairs, clock, facts)
    for pair in pairs:
        yield from _of_table(station, pair.place, _station_table(conn, pair, facts, found))
    if not station.dialect.is_server:
        return
    if not sees_transactions:
        yield trials.no_sight_of_transactions(conn, station.place)
    if any(pair.options.direction is not TableDirection.UP for pair in pairs):
        yield from trials.read_only(conn, station.place)
        yield from trials.temporary_tables(conn, station.place)


def _skew(pairs: Sequence[Pair], clock: timedelta, facts: _Control) -> Iterator[Note]:
    if facts.clock is None:
        return
    skew = clock - facts.clock
    if abs(skew) > min(pair.options.max_skew for pair in pairs):
        what = f"its clock is {skew.total_seconds():+,.1f} s off control's; conflicts are decided corrected."
        yield Note(Level.WARNING, pairs[0].name, what, "Let a time service (NTP) set both clocks.")


def _station_table(conn: sa.Connection, pair: Pair, facts: _Control, found: _Station) -> Iterator[Note]:
    table = pair.station_table
    shape = found.shapes[pair.table] = pair.station.dialect.reflect(conn, table)
    yield from _changes(pair, facts, shape)
    if shape is None:
        yield _no_table(conn, pair.station, table, "SELECT, UPDATE")
        return
    control = facts.shapes.get(pair.control_table)
    if control is None:
        return
    pair = pair.spelled(control, shape)
    fit = compare(pair.place, shape, control, pair.options, _without_key(conn, pair, shape, facts))
    found.fits.append(fit)
    yield from map(of_finding, fit.findings)
    yield from _created(pair, fit)
    yield from _filter(conn, pair, shape)
    if pair.station.dialect.is_server:
        columns = [c.station.name for c in fit.columns]
        editable = [c.station.name for c in fit.columns if c.editable]
        sends = pair.options.control_deletes is ControlDeletes.SEND
        yield from trials.station_rights(conn, pair.place, table, columns, editable, deletes=sends)
    if pair.station.dialect.is_server and not any(f.refused for f in fit.findings):
        staged = stage.table_of(pair.control.dialect, fit)
        if control.name not in facts.beyond_limits and (no := limits.tried(conn, staged, pair.place, fit.key)):
            yield of_error(no)
    yield from check_stamps.at_station(conn, pair, fit, facts.looked.get((pair.name, pair.table), Looked()))
    if facts.new:
        return
    try:
        bookkeeping.require(pair.control, control, facts.base_columns[control.name], fit.names, fit.key)
        if (pair.name, pair.table) not in facts.begun:
            # Here, because what a run needs comes with it.
            from stationsync.rollback import went_back

            went_back.require_own_of(pair)
    except StationSyncError as error:
        yield of_error(error)


def _without_key(conn: sa.Connection, pair: Pair, shape: TableShape, facts: _Control) -> WithoutKey:
    own_names = {control: own for own, control in pair.options.rename.items()}
    names = nullable(shape, (own_names.get(name, name) for name in pair.options.key))
    own = rows_without_key(conn, shape.name, names)
    return WithoutKey(own, facts.without_key.get(pair.control_table))


def _created(pair: Pair, fit: Fit) -> Iterator[Note]:
    """Proposed, where a column looks like one."""
    options = pair.options
    if options.created or options.direction is TableDirection.DOWN or not (name := looks_created(fit)):
        return
    what = f"column {name} seems to be one that a row keeps for life; named, it tells a row whose key was given again"
    step = f"If no application ever changes it, write in the topology, at table {pair.table}: created: {name}"
    yield Note(Level.INFO, pair.place, f"{what}.", step)


def _filter(conn: sa.Connection, pair: Pair, shape: TableShape) -> Iterator[Note]:
    """Whether the station takes the filter of its rows, and what it costs there."""
    if (where := pair.options.where) is None:
        return
    table = shape.table()
    try:
        row_filter.require(conn, pair, table)
    except StationSyncError as error:
        yield of_error(error)
        return
    query = sa.select(sa.literal(1)).select_from(table).where(row_filter.let_through(where))
    if not pair.station.dialect.uses_index(conn, query):
        what = f"no index serves the filter of its rows (where: {where}): a first read and a reconcile look at all."
        yield Note(Level.INFO, pair.place, what, "An index on its columns helps where it lets few rows through.")


def _changes(pair: Pair, facts: _Control, own: TableShape | None) -> Iterator[Note]:
    shapes = {Side.STATION: own, Side.CONTROL: facts.shapes.get(pair.control_table)}
    for side, shape in shapes.items():
        known = facts.known.get((pair.name, pair.table, side))
        if known and (lines := difference(known.description, describe(shape))):
            place = pair.place if side is Side.STATION else f"{pair.place}, control"
            yield Note(Level.INFO, place, f"changed since the last good run: {told(lines)}")


def journal_notes(pairs: Sequence[Pair]) -> Iterator[Note]:
    """Of the machine and the user that check runs as: workers elsewhere have a journal, or rights, of their own. A file
    is written, and taken away at once."""
    for journal in {pair.journal for pair in pairs}:
        if journal.url is None:
            continue
        try:
            place.require_usable(journal.url)
        except JournalUnavailable as error:
            level = Level.PROBLEM if journal.required else Level.WARNING
            step = "Give it to the user of the workers, and run commands as that user or one of its group: chown, chmod"
            yield Note(level, error.place, error.what, step)
        if place.readable_by_all(journal.url):
            step = f"Take that right away: chmod -R o-rwx {journal.url}"
            yield Note(Level.WARNING, f"journal {journal.url}", "every user of this machine may read it.", step)


_Families = dict[str, Family] | None


def suite_notes(pairs: Sequence[Pair], fits: Sequence[Fit]) -> Iterator[Note]:
    """Each suite once for every set of column types that it meets; on its own where no table could be looked at."""
    by_place = {fit.place: fit.families for fit in fits}
    wanted: dict[tuple[str, str], tuple[str, _Families]] = {}
    for pair in pairs:
        if name := pair.options.expectations:
            families = by_place.get(pair.place)
            wanted.setdefault((name, repr(families)), (name, families))
    met = {name for name, families in wanted.values() if families is not None}
    beside = pairs[0].suites if pairs else None
    for name, families in wanted.values():
        if families is not None or name not in met:
            yield from _tried(name, families, beside)


def _tried(name: str, families: _Families, beside: Path | None) -> Iterator[Note]:
    # Here, because Great Expectations comes with it.
    from stationsync.sync.validation import check_suite

    try:
        with guarded(f"expectations/{name}"):
            check_suite(spelled(load_suite(name, beside=beside), families or ()), families)
    except StationSyncError as error:
        yield of_error(error)
