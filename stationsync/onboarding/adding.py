"""A station, or a table, added to a fleet: looked at in the real databases first, then written into stations.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError

from stationsync.database.connection import Database
from stationsync.database.mariadb import trials
from stationsync.errors import (
    GrantMissing,
    LoginRefused,
    SchemaRefused,
    StationSyncError,
    TryAgain,
    UsageError,
    did_you_mean,
    guarded,
)
from stationsync.health.check_notes import of_error
from stationsync.model.changes import Level, Note
from stationsync.model.wire import Family
from stationsync.onboarding import files, look, new_folder
from stationsync.onboarding.look import SeenControl, SeenTable
from stationsync.onboarding.proposal import TableProposal
from stationsync.pairing.fitting import compare
from stationsync.pairing.pair import Blocks, Pair, control_of, pairs, station_of
from stationsync.store import bookkeeping
from stationsync.sync.suites import FOLDER_VARIABLE
from stationsync.topology.editing import Entry, Line, with_entry, with_table_at
from stationsync.topology.model import NO_STATION, STATION_NAME, Endpoint, Topology
from stationsync.topology.topology_file import from_text

_NOT_DONE = "Nothing was changed."
_SCHEME = re.compile(r"(?:mysql|mariadb)(?:\+pymysql)?://")


@dataclass(frozen=True)
class LookedAt:
    """A database that was added: what it is ("MariaDB 10.11.6"; empty where nobody looked), and what is missing there,
    with the statement for whoever runs it."""

    about: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class StationsFile:
    """The file that is added to, as it is now."""

    path: Path
    text: str
    topology: Topology


def opened(path: Path) -> StationsFile:
    """Raises UsageError with all that is wrong with it; it may have no station, or no table, yet."""
    text = files.read(path)
    return StationsFile(path, text, from_text(text, path))


def database_url(text: str, place: str, folder: Path) -> str:
    """The URL as the topology has it. Raises UsageError, which never repeats it: it may hold a password."""
    url = _SCHEME.sub("mysql+pymysql://", text.strip(), count=1)
    try:
        Endpoint.model_validate({"url": url}, context={"folder": folder})
    except ValidationError as error:
        what = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(place, f"its URL: {what}.", not_done=_NOT_DONE, next_step="Type it again.") from None
    return url


def new(folder: Path, url: str, password: str | None, blocks: Blocks | None, *, offline: bool) -> LookedAt:
    """Make the folder, after a look at control's database."""
    made = new_folder.texts(folder, url, password)
    for path in made:
        files.require_new(path)
    found = LookedAt("")
    if not offline:
        given = {"url": url, "password": password}
        endpoint = Endpoint.model_validate(given, context={"folder": folder.absolute()})
        control = control_of(Topology(control=endpoint, tables={}, stations={}), blocks)
        found = _looked(control, _at_control)
    files.create(made)
    return found


def require_station_name(name: str, topology: Topology) -> None:
    if not re.fullmatch(STATION_NAME, name):
        what = f"{name!r} is no name: it has lower-case letters, digits and hyphens, at most 63 in all."
    elif name == NO_STATION:
        what = f"{name} is the central database: no station may have that name."
    elif name in topology.stations:
        what = f"there is a station {name} already."
    else:
        return
    raise UsageError("add-station", what, not_done=_NOT_DONE, next_step="Choose another name.")


def add_station(
    file: StationsFile,
    name: str,
    url: str,
    password: str | None,
    blocks: Blocks | None,
    *,
    group: str | None = None,
    tables: Sequence[str] = (),
    offline: bool = False,
) -> LookedAt:
    """Write the station into the file, after a look at its database and at those of its tables that are known."""
    require_station_name(name, file.topology)
    for table in tables:
        if table not in file.topology.tables:
            hint = did_you_mean(table, file.topology.tables) or "."
            known = ", ".join(file.topology.tables) or "none yet"
            raise UsageError("add-station", f"there is no table {table}{hint}", next_step=f"Known: {known}.")
    options: dict[str, str | Sequence[str] | None] = {"url": url, "password": password, "group": group}
    options["tables"] = list(tables) or None
    lines = tuple(Line(option, value) for option, value in options.items() if value)
    text = with_entry(file.text, "stations", Entry(name, lines), str(file.path))
    topology = _checked(text, file.path, f"station {name}")
    found = LookedAt("")
    if not offline:
        station = station_of(topology, name, blocks)
        found = _looked(station, lambda conn: _at_station(conn, station))
        of_tables = [note for pair in pairs(topology, name, None, blocks) for note in _of_pair(pair)]
        found = replace(found, notes=tuple(dict.fromkeys([*found.notes, *of_tables])))
    files.replace(file.path, file.text, text)
    return found


def _at_station(conn: sa.Connection, station: Database) -> Iterator[Note]:
    yield from trials.read_only(conn, station.place)
    yield from trials.temporary_tables(conn, station.place)
    if not station.dialect.clock(conn, Family.DATETIME).sees_transactions:
        yield trials.no_sight_of_transactions(conn, station.place)


def _looked(database: Database, ask: Callable[[sa.Connection], Iterator[Note]]) -> LookedAt:
    try:
        with guarded(database.place), database.begin() as conn:
            if not database.dialect.is_server:
                return LookedAt("SQLite")
            about, old = trials.version(conn, database.place)
            return LookedAt(about, (*old, *ask(conn)))
    except (TryAgain, LoginRefused) as error:
        first = "Check user, password and database name. " if isinstance(error, LoginRefused) else ""
        step = f"{first}To write it without a look: --offline"
        raise type(error)(error.place, error.what, not_done=_NOT_DONE, next_step=step) from None


def _at_control(conn: sa.Connection) -> Iterator[Note]:
    own = [table.name for table in bookkeeping.metadata.sorted_tables]
    yield from trials.read_only(conn, "control")
    yield from trials.temporary_tables(conn, "control")
    yield from trials.defining_rights(conn, "control", own, initialised=False)
    yield from trials.bulk_load(conn, "control")


def _of_pair(pair: Pair) -> list[Note]:
    """What is missing for a table that the fleet has already."""
    try:
        with guarded(pair.place), pair.station.begin() as conn:
            shape = pair.station.dialect.reflect(conn, pair.station_table)
        if shape is None:
            step = "Where it has none, name the tables that it has, in the topology under tables: of the station."
            what = f"there is no table {pair.station_table} that the user may see."
            return [Note(Level.PROBLEM, pair.place, what, step)]
        control = look.control_table(pair.control, pair.control_table)
        if control.shape is None:
            return []
        fit = compare(pair.place, shape, control.shape, pair.options)
        return look.lacking_at_station(pair.station, fit, pair.options)
    except StationSyncError as error:
        return [of_error(error)]


# --- a table


def see_table(
    file: StationsFile, table: str, station: str, control_table: str, stamps: Sequence[str], blocks: Blocks | None
) -> tuple[SeenTable, SeenControl]:
    """Raises UsageError for names that cannot be added, and what the databases say."""
    if table in file.topology.tables:
        what = f"there is a table {table} already."
        step = f"A station that names its tables takes part once {table} is among them, under tables: of the station."
        raise UsageError("add-table", what, not_done=_NOT_DONE, next_step=step)
    at_station = station_of(file.topology, station, blocks)
    seen = look.station_table(at_station, table, stamps)
    return seen, look.control_table(control_of(file.topology, blocks), control_table)


@dataclass(frozen=True)
class AddedTable:
    """`created`: control's table was made. `statements`: what makes it, where there is none. `others`: further stations
    that take part, because they name no tables of their own."""

    created: bool
    statements: tuple[str, ...]
    notes: tuple[Note, ...]
    suite: Path | None
    suite_there: bool
    others: tuple[str, ...]


def suite_path(file: StationsFile, proposal: TableProposal) -> Path | None:
    if proposal.suite is None:
        return None
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else file.path.absolute().parent / "expectations"
    return folder / f"{proposal.suite}.yaml"


def add_table(
    file: StationsFile, station: str, proposal: TableProposal, blocks: Blocks | None, *, create: bool, dry_run: bool
) -> AddedTable:
    """Make control's table where that is wanted, then write the suite and the entry. Whatever is refused before that
    changes nothing; a suite that is there already stays as it is."""
    table = proposal.table
    suite = suite_path(file, proposal)
    there = suite is not None and suite.exists()
    entry = replace(proposal, suite_there=there).entry
    text = with_table_at(with_entry(file.text, "tables", entry, str(file.path)), station, table, str(file.path))
    topology = _checked(text, file.path, f"table {table}")
    control, at_station = control_of(topology, blocks), station_of(topology, station, blocks)
    statements = control.dialect.create_statements(proposal.new) if proposal.new else ()
    notes = look.lacking_at_station(at_station, proposal.fit, proposal.options)
    if statements and create and not dry_run:
        _create(control, str(proposal.options.control_table), statements)
    if not statements or (create and not dry_run):
        notes += look.lacking_at_control(control, str(proposal.options.control_table))
    if not dry_run:
        _write(file, text, None if there else suite, proposal.rules)
    others = tuple(name for name in topology.stations if name != station and table in topology.tables_of(name))
    created = create and not dry_run and bool(statements)
    return AddedTable(created, statements, tuple(dict.fromkeys(notes)), suite, there, others)


def _write(file: StationsFile, text: str, suite: Path | None, rules: str) -> None:
    """The entry last: without it, the suite is a file that nobody reads."""
    if suite is not None:
        files.create({suite: (rules, files.SHARED)})
    try:
        files.replace(file.path, file.text, text)
    except BaseException:
        if suite is not None:
            suite.unlink(missing_ok=True)
        raise


def _create(control: Database, table: str, statements: Sequence[str]) -> None:
    place = f"control/{table}"
    try:
        with guarded(place), control.connect() as conn, control.errors():
            for statement in statements:
                with conn.begin():
                    # As it was printed: a % in it is none of the driver's.
                    conn.execution_options(no_parameters=True).exec_driver_sql(statement)
    except GrantMissing as error:
        step = f"Let whoever runs that database type: {' '.join(';'.join(statements).split())};"
        raise GrantMissing(place, error.what, not_done=_NOT_DONE, next_step=step) from None
    except SchemaRefused as error:
        raise SchemaRefused(place, error.what, not_done=_NOT_DONE) from None


def _checked(text: str, path: Path, place: str) -> Topology:
    """The topology as it would be. Raises UsageError, with the place that is added."""
    try:
        return from_text(text, path)
    except UsageError as error:
        lines = [line.strip() for line in error.what.splitlines()[1:]] or [error.what]
        what = " ".join(re.sub(r" \(line \d+\)", "", line) for line in lines)
        raise UsageError(place, what, not_done=_NOT_DONE, next_step="Mend what was typed.") from None
