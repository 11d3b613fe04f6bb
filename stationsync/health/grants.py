"""The least that a MariaDB user of ours needs, as SQL, from the topology alone. Pure; `check` tries the same rights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.engine import make_url

from stationsync.errors import UsageError
from stationsync.store import bookkeeping
from stationsync.topology.model import (
    Deletes,
    Endpoint,
    Station,
    TableDirection,
    TableOptions,
    Topology,
)

PASSWORD = "<PASSWORD>"  # noqa: S105 - a placeholder: a password is never printed
_ROWS = "SELECT, INSERT, UPDATE, DELETE"


class When(StrEnum):
    ALWAYS = "always"
    RECOMMENDED = "recommended"
    RESEED = "reseed"  # only while `stationsync reseed` runs


@dataclass(frozen=True)
class Grant:
    rights: str
    on: str
    why: str
    when: When = When.ALWAYS


@dataclass(frozen=True)
class Granted:
    """A user of one database with all its grants; `secret` is the reference that the topology has for its password."""

    place: str
    database: str
    account: str
    secret: str
    tls: bool
    grants: tuple[Grant, ...]

    @property
    def create(self) -> str:
        only = " REQUIRE SSL" if self.tls else ""
        return f"CREATE USER IF NOT EXISTS {self.account} IDENTIFIED BY '{PASSWORD}'{only};"

    def statement(self, grant: Grant) -> str:
        return f"GRANT {grant.rights} ON {grant.on} TO {self.account};"


def grants(topology: Topology, place: str, user: str | None = None, host: str = "%") -> Granted:
    """Of `control` or a station. Raises UsageError for an unknown station, and where there are no users."""
    endpoint: Endpoint = topology.control if place == "control" else topology.station(place)
    url = make_url(endpoint.url)
    if endpoint.is_sqlite:
        raise UsageError(place, "is a SQLite file, which has no users.", not_done="There is nothing to grant.")
    database = str(url.database)
    found = _station(endpoint, database) if isinstance(endpoint, Station) else _control(topology, database)
    name = user or url.username or "stationsync"
    secret = endpoint.password.get_secret_value() if endpoint.password else ""
    return Granted(place, database, f"{_text(name)}@{_text(host)}", secret, endpoint.tls is not None, tuple(found))


def _station(station: Station, database: str) -> Iterator[Grant]:
    tables = list(station.tables.values())
    for options in tables:
        yield Grant("SELECT", _table(database, options.station_table), "reads the rows and the shape of the table")
    for options in tables:
        if rights := _updates(options):
            why = "sends control's edits; of the columns that `editable` names, where it names any"
            yield Grant(rights, _table(database, options.station_table), why)
    sending = [options for options in tables if options.sends_deletes]
    for options in sending:
        yield Grant("DELETE", _table(database, options.station_table), "control_deletes: send")
    if sending:
        yield _sight(database)
    if any(options.direction is not TableDirection.UP for options in tables):
        yield _temporary(database)
    yield _process()
    for options in tables:
        yield Grant(
            "INSERT, UPDATE", _table(database, options.station_table),
            "only while `stationsync reseed` writes a lost station's rows back; REVOKE it afterwards", When.RESEED,
        )  # fmt: skip


def _control(topology: Topology, database: str) -> Iterator[Grant]:
    options = [one for station in topology.stations.values() for one in station.tables.values()]
    tables = dict.fromkeys(str(one.control_table) for one in options)
    for table in tables:
        yield Grant(_ROWS, _table(database, table), "merges the stations' rows")
    for table in _own(tables):
        rights = f"{_ROWS}, CREATE, ALTER, INDEX, DROP"
        yield Grant(rights, _table(database, table), "bookkeeping, which `stationsync init` makes")
    if any(one.deletes is Deletes.ARCHIVE for one in options):
        yield _sight(database)
    for table in tables:
        why = "sees whether a trigger forbids to take rows out for a moment whose unique values change places"
        yield Grant("TRIGGER", _table(database, table), why, When.RECOMMENDED)
    yield _temporary(database)
    yield _process()


def _own(tables: Iterable[str]) -> Sequence[str]:
    general = [table.name for table in bookkeeping.metadata.sorted_tables]
    return [*general, *(bookkeeping.base_name(table) for table in tables)]


def _updates(options: TableOptions) -> str:
    """As `fit` decides which columns control may edit."""
    if options.direction is TableDirection.UP or options.editable == ():
        return ""
    if options.editable is None:
        return "UPDATE"
    own = {control: station for station, control in options.rename.items()}
    names = dict.fromkeys((*options.editable, *options.stamps))
    return f"UPDATE ({', '.join(_name(own.get(name, name)) for name in names)})"


def _sight(database: str) -> Grant:
    why = "rows are deleted: sees the foreign keys that would take rows of other tables along, and those rows"
    return Grant("SELECT, REFERENCES", _everything(database), why)


def _temporary(database: str) -> Grant:
    return Grant("CREATE TEMPORARY TABLES", _everything(database), "writes are compared in a temporary table first")


def _process() -> Grant:
    why = "sees open transactions: a row that is committed late need not wait for reconcile"
    return Grant("PROCESS", "*.*", why, When.RECOMMENDED)


def _table(database: str, table: str | None) -> str:
    return f"{_name(database)}.{_name(str(table))}"


def _everything(database: str) -> str:
    # In a grant on a whole database, _ and % would stand for any letters.
    escaped = database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return f"{_name(escaped)}.*"


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
