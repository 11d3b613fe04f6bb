"""The topology: control, the stations, their tables and options. Frozen values, no I/O.

`topology_file` reads them from `stations.yaml`. A password stays a reference until a connection is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from stationsync.errors import UsageError, did_you_mean
from stationsync.model.changes import Policy
from stationsync.topology.alerting import Alerts
from stationsync.topology.notation import (
    Columns,
    Duration,
    FleetName,
    Frozen,
    Identifier,
    MaxBad,
    MaxDeletes,
    ModifiedZone,
    TimeZone,
    WorkName,
    common,
    repeated,
)
from stationsync.topology.options import NO_JOURNAL, Journal, Maintenance
from stationsync.topology.row_filter import Leaving, check_filter, check_leaving
from stationsync.topology.schedules import FleetSchedule, Schedule
from stationsync.topology.secrets import FORMS, is_reference
from stationsync.topology.tls import Tls
from stationsync.topology.zones import SERVER


class Endpoint(Frozen):
    """A database: where it is, the reference to its password, and how the connection is encrypted."""

    url: str
    password: SecretStr | None = None
    tls: Tls | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, text: str, info: ValidationInfo) -> str:
        return _checked_url(text, (info.context or {}).get("folder"))

    @field_validator("password")
    @classmethod
    def _password(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None and not is_reference(password.get_secret_value()):
            raise ValueError(f"write a reference, {FORMS}")
        return password

    @field_validator("tls")
    @classmethod
    def _tls(cls, tls: Tls | None, info: ValidationInfo) -> Tls | None:
        if tls and str(info.data.get("url", "")).startswith("sqlite:"):
            raise ValueError("is for MariaDB; SQLite is a file")
        return tls

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    @property
    def database(self) -> tuple[object, ...]:
        """Equal for two URLs of one database, whoever logs in."""
        url = make_url(self.url)
        return (url.host or "").lower(), url.port or 3306, url.query.get("unix_socket"), url.database


def _checked_url(text: str, folder: Path | None) -> str:
    """No message repeats any part of the URL: what cannot be read may hold a password anywhere."""
    url = _parsed(text)
    if url is None or url.drivername not in ("mysql+pymysql", "sqlite"):
        raise ValueError("write mysql+pymysql://user@host:port/database or sqlite:///path")
    if url.password is not None or any("passw" in name.lower() for name in url.query):
        raise ValueError("holds a password; take it out and write it beside the URL, as password: ${ENV}")
    if url.drivername == "mysql+pymysql":
        missing = [part for part, value in (("host", url.host), ("database", url.database)) if not value]
        if missing:
            raise ValueError(f"names no {' and no '.join(missing)}: mysql+pymysql://user@host:port/database")
        return text
    if url.host or not url.database or url.database == ":memory:":
        raise ValueError("names no database file: sqlite:///path with three slashes, four for an absolute path")
    # abspath, because a file reached through `..` is the same database.
    path = os.path.abspath(folder / url.database) if folder else url.database
    return url.set(database=path).render_as_string()


def _parsed(text: str) -> URL | None:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        return None


class WorkPlace(Frozen):
    """Where runs wait for a worker. The workers of a pool take from all its queues, or from those they are told."""

    work_pool: WorkName | None = None
    work_queue: WorkName | None = None


def place_of(*levels: WorkPlace) -> WorkPlace:
    """From the nearest level that names a pool. A queue is of the pool that is named beside it, or farther away."""
    queue = None
    for level in levels:
        queue = queue or level.work_queue
        if level.work_pool:
            return WorkPlace(work_pool=level.work_pool, work_queue=queue)
    return WorkPlace(work_queue=queue)


class StationGroup(WorkPlace):
    """What its stations have in common, where they do not say otherwise themselves."""

    schedule: Schedule | None = None


class Defaults(WorkPlace):
    """`fleet` is the name by which deployments on a shared Prefect server are known to be this file's. `metrics_file`:
    for Prometheus; where it is relative, to the working directory of the worker."""

    fleet: FleetName | None = None
    groups: dict[str, StationGroup] = Field(default_factory=dict)
    schedule: FleetSchedule = FleetSchedule()
    timezone: TimeZone = "UTC"
    stale_after: Duration = timedelta(minutes=15)
    metrics_file: Path | None = None


STATION_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
# In commands and reports it is the central database.
NO_STATION = "control"


class Deletes(StrEnum):
    """What becomes of control's row when the station deleted its own."""

    IGNORE = "ignore"
    ARCHIVE = "archive"
    FLAG = "flag"


class ZeroDates(StrEnum):
    QUARANTINE = "quarantine"
    CARRY = "carry"


class ControlDeletes(StrEnum):
    """What becomes of a row that control lost: brought back from the station, or deleted there as well."""

    RESTORE = "restore"
    SEND = "send"


class TableDirection(StrEnum):
    BOTH = "both"
    UP = "up"
    DOWN = "down"


class TableOptions(Frozen):
    """How one table is synchronised. Column names are control's, but for the left sides of `rename`."""

    key: Annotated[Columns, Field(min_length=1)]
    modified: Identifier
    # Of a list under `modified`, the others: the first that is not NULL stamps the row.
    modified_else: Columns = ()
    modified_zone: ModifiedZone = SERVER
    exclude: Columns = ()
    created: Identifier | None = None
    rename: dict[Identifier, Identifier] = Field(default_factory=dict)
    control_table: Identifier | None = None
    station_table: Identifier | None = None
    direction: TableDirection = TableDirection.BOTH
    editable: Columns | None = None
    conflicts: Policy = Policy.NEWEST
    flag_column: Identifier | None = None
    deletes: Deletes = Deletes.IGNORE
    control_deletes: ControlDeletes = ControlDeletes.RESTORE
    # A condition in SQL over the station's columns: its other rows are not synchronised.
    where: Annotated[str, AfterValidator(check_filter)] | None = None
    leaving: Leaving = Leaving.KEEP
    short_lived: bool = False
    max_deletes: Annotated[MaxDeletes, BeforeValidator(MaxDeletes.parse)] = MaxDeletes()
    expectations: Annotated[str, Field(min_length=1)] | None = None
    zero_dates: ZeroDates = ZeroDates.QUARANTINE
    lookback: Duration = timedelta(seconds=60)
    settle: Duration = timedelta(seconds=2)
    max_hold: Duration = timedelta(hours=1)
    max_skew: Duration = timedelta(seconds=5)
    max_bad: Annotated[MaxBad, BeforeValidator(MaxBad.parse)] = MaxBad()
    page_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    run_rows: Annotated[int, Field(ge=1, le=10_000_000_000)] = 20_000_000
    sweep_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 8_000
    sweep_pause: Duration = timedelta(0)

    @model_validator(mode="before")
    @classmethod
    def _modified_list(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(listed := data.get("modified"), list):
            return data
        if not listed or repeated(map(str, listed)) or not all(isinstance(one, str) for one in listed):
            raise ValueError("modified names columns, each once, such as [modify_date, create_date]")
        return {**data, "modified": listed[0], "modified_else": tuple(listed[1:])}

    @property
    def stamps(self) -> tuple[str, ...]:
        """The columns that stamp a row; the first that is not NULL does."""
        return (self.modified, *self.modified_else)

    @property
    def follows_deletes(self) -> bool:
        """Whether something happens at control to rows that the station deleted."""
        return self.deletes is not Deletes.IGNORE and self.direction is not TableDirection.DOWN

    @property
    def sends_deletes(self) -> bool:
        """Whether rows that control deleted go at the station."""
        return self.control_deletes is ControlDeletes.SEND and self.direction is not TableDirection.UP

    @property
    def leaves_vanished(self) -> bool:
        """Whether rows that control deleted stay at the station, and nowhere else."""
        return self.direction is TableDirection.DOWN and not self.sends_deletes

    # Pydantic gives a field's validator the fields before it that are right: `info.data`.
    @field_validator("exclude")
    @classmethod
    def _exclude(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        needed = (*info.data.get("key", ()), *filter(None, [info.data.get("modified")]))
        needed += tuple(info.data.get("modified_else", ()))
        if wrong := common(columns, needed):
            raise ValueError(f"{wrong} is a key column or `modified`, which are always synchronised")
        return columns

    @field_validator("created")
    @classmethod
    def _created(cls, column: str | None, info: ValidationInfo) -> str | None:
        modified = tuple(filter(None, [info.data.get("modified")]))
        if column is not None and common((column,), (*info.data.get("key", ()), *modified)):
            raise ValueError(f"{column} is a key column or `modified`: name a column that a row keeps for life")
        if column is not None and common((column,), info.data.get("exclude", ())):
            raise ValueError(f"{column} is excluded, so it would tell nothing about the station's rows")
        return column

    @field_validator("rename")
    @classmethod
    def _rename(cls, names: dict[str, str]) -> dict[str, str]:
        if twice := repeated(names.values()):
            raise ValueError(f"gives the name {twice} to two columns")
        if twice := repeated(names):
            raise ValueError(f"gives the column {twice} two names")
        return names

    @field_validator("editable")
    @classmethod
    def _editable(cls, columns: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if wrong := common(columns or (), info.data.get("key", ())):
            raise ValueError(f"{wrong} is a key column, which nobody edits")
        if wrong := common(columns or (), info.data.get("exclude", ())):
            raise ValueError(f"{wrong} is excluded, so an edit of it would go nowhere")
        if columns is not None and info.data.get("direction") is TableDirection.DOWN:
            # Such a column would differ for ever, and each row of it end in quarantine.
            raise ValueError("a column that goes neither up (direction: down) nor down: name it under exclude instead")
        return columns

    @field_validator("flag_column")
    @classmethod
    def _flag_column(cls, column: str | None, info: ValidationInfo) -> str | None:
        if column is not None and not common((column,), info.data.get("exclude", ())):
            raise ValueError(f"{column} is control's own: name it under exclude as well")
        return column

    @field_validator("deletes")
    @classmethod
    def _deletes(cls, deletes: Deletes, info: ValidationInfo) -> Deletes:
        if deletes is Deletes.FLAG and not info.data.get("flag_column", ""):
            raise ValueError("flag needs a column to set: name one of control's own under flag_column")
        return deletes

    @field_validator("leaving")
    @classmethod
    def _leaving(cls, leaving: Leaving, info: ValidationInfo) -> Leaving:
        followed = info.data.get("deletes") is not Deletes.IGNORE and info.data.get("direction") != TableDirection.DOWN
        return check_leaving(leaving, info.data.get("where", ""), followed)

    def named(self, table: str) -> TableOptions:
        """With the names in both databases filled in: by default the table's name in the file."""
        names = {"control_table": self.control_table or table, "station_table": self.station_table or table}
        return TableOptions.model_validate({**dict(self), **names})


def _not_control(name: str) -> str:
    if name == NO_STATION:
        raise ValueError(
            f"{name} is the central database: no station may have that name; its rows take another one"
            f" with: stationsync rename {name} NEW"
        )
    return name


class Station(Endpoint, WorkPlace):
    """`tables` has the options resolved: the table's own, with this station's overrides applied."""

    name: Annotated[str, Field(pattern=STATION_NAME), AfterValidator(_not_control)]
    tables: dict[str, TableOptions] = Field(default_factory=dict)
    group: Annotated[str, Field(min_length=1)] | None = None
    schedule: Schedule | None = None
    stale_after: Duration | None = None

    @field_validator("group", mode="before")
    @classmethod
    def _one_group(cls, group: object) -> object:
        if isinstance(group, (list, dict)):
            raise ValueError("a station is in one group: write its name")
        return group

    def filled(self, tables: Mapping[str, TableOptions]) -> Station:
        """With names filled in, and all tables where it names none."""
        own = {name: options.named(name) for name, options in (self.tables or tables).items()}
        return self.model_copy(update={"tables": own})


class Topology(Frozen):
    control: Endpoint
    defaults: Defaults = Defaults()
    tables: dict[Identifier, TableOptions]
    stations: dict[str, Station]
    journal: Journal = NO_JOURNAL
    alerts: Alerts = Alerts()
    maintenance: Maintenance = Maintenance()
    # Where its file is; None of one that is in no file. No section of the file.
    folder: Path | None = None

    @property
    def suites(self) -> Path | None:
        """The folder of its own expectation suites."""
        return self.folder / "expectations" if self.folder else None

    @field_validator("tables")
    @classmethod
    def _name_tables(cls, tables: dict[str, TableOptions]) -> dict[str, TableOptions]:
        return {name: options.named(name) for name, options in tables.items()}

    @field_validator("stations")
    @classmethod
    def _fill_stations(cls, stations: dict[str, Station], info: ValidationInfo) -> dict[str, Station]:
        tables = info.data.get("tables", {})
        return {name: station.filled(tables) for name, station in stations.items()}

    def station(self, name: str) -> Station:
        if name in self.stations:
            return self.stations[name]
        raise _unknown(f"stations.{name}", "no such station", name, self.stations)

    def options(self, station: str, table: str) -> TableOptions:
        tables = self.station(station).tables
        if table in tables:
            return tables[table]
        raise _unknown(f"stations.{station}.tables.{table}", "no such table at this station", table, tables)

    def control_zone(self, table: str) -> str:
        """In which zone control's application stamps its edits: as the table says, whatever a station says of its own
        stamps."""
        return self.tables[table].modified_zone if table in self.tables else SERVER

    def tables_of(self, station: str) -> tuple[str, ...]:
        return tuple(self.station(station).tables)

    def schedule(self, station: str) -> Schedule:
        """The station's own schedule over its group's, over the default one."""
        own = self.station(station)
        group = self.defaults.groups.get(own.group or "", StationGroup())
        return self.defaults.schedule.overridden(group.schedule).overridden(own.schedule)

    def place(self, station: str) -> WorkPlace:
        """Where its runs wait for a worker: as the station says, else its group, else the defaults."""
        own = self.station(station)
        return place_of(own, self.defaults.groups.get(own.group or "", StationGroup()), self.defaults)

    def stale_after(self, station: str) -> timedelta:
        own = self.station(station).stale_after
        return self.defaults.stale_after if own is None else own


def _unknown(place: str, what: str, name: str, known: Iterable[str]) -> UsageError:
    names = list(known)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    hint = did_you_mean(name, names) or "."
    return UsageError(
        place, what + hint, not_done="Nothing was done.", next_step=f"Known: {', '.join(names[:20])}{more}."
    )
