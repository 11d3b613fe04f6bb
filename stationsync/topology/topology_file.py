"""Reads the topology from YAML and reports all its problems at once, each with its place and line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stationsync.errors import did_you_mean
from stationsync.topology.alerting_file import read_alerts
from stationsync.topology.continuous import same_names
from stationsync.topology.model import Defaults, Endpoint, Station, TableOptions, Topology
from stationsync.topology.notation import check_identifier
from stationsync.topology.options import OFF, Journal, Maintenance
from stationsync.topology.parts import Parts
from stationsync.topology.positions import ENVIRONMENT, Loader, Place, Problems, parsed, read

# Where nothing names a file: one's own folder first, then the checkout's sample.
HERE = Path("stations.yaml")
DEFAULT_FILE = Path("deployments/stations.yaml")
_SECTIONS = frozenset(Topology.model_fields) - {"folder"}

# Control's table is shared by all stations: a row's key and home cannot depend on who sends it.
SHARED = ("key", "control_table")
# The base has the name with one more sign for rows that left the filter.
LONGEST_FILTERED = 62


def topology_path(path: str | Path | None = None) -> Path:
    return Path(path or os.environ.get(ENVIRONMENT) or (HERE if HERE.is_file() else DEFAULT_FILE))


def load(path: str | Path | None = None, *, unfinished: bool = False) -> Topology:
    """From `path`, else the file that STATIONSYNC_TOPOLOGY names, else stations.yaml here, else that of deployments/.

    `unfinished`: it may have no station, or no table, yet. Secrets are not resolved here.
    """
    file = topology_path(path)
    problems = Problems(str(file))
    data = read(file, problems)
    return Reader(problems, file.absolute().parent, unfinished).topology(data)


def from_text(text: str, file: Path) -> Topology:
    """The topology that `file` would be if it had this text; it may be unfinished."""
    problems = Problems(str(file))
    found = parsed(text.encode(), Loader)
    problems.lines.update(found.lines)
    return Reader(problems, file.absolute().parent, unfinished=True).topology(found.content)


def from_mapping(data: Mapping[str, Any], folder: Path | None = None, place: str = "topology") -> Topology:
    """The topology from what the file would hold, checked in the same way. What is in no folder has a journal only
    where it names one."""
    data = data if folder else {"journal": OFF, **data}
    found = Reader(Problems(place), (folder or Path()).absolute()).topology(data)
    return found if folder else found.model_copy(update={"folder": None})


@dataclass
class Reader(Parts):
    """The topology, part after part. `unfinished`: it may have no station, or no table, yet."""

    unfinished: bool = False

    def topology(self, data: object) -> Topology:
        content = self.mapping(data, (), empty="is empty")
        if not content:
            self.problems.refuse()
        for name in content.keys() - _SECTIONS:
            self.problems.add((name,), f"unknown field{did_you_mean(name, _SECTIONS)}")
        control = self.check(Endpoint, content.get("control", {}), ("control",))
        defaults = self.check(Defaults, content.get("defaults", {}), ("defaults",))
        journal = self.check(Journal, content.get("journal", {}), ("journal",))
        maintenance = self.check(Maintenance, content.get("maintenance") or {}, ("maintenance",))
        no_table = "names no table; add one with: stationsync add-table TABLE --from STATION"
        no_station = "names no station; add one with: stationsync add-station NAME URL"
        raw = self.mapping(content.get("tables"), ("tables",), empty="" if self.unfinished else no_table)
        tables = {name: self.table(name, options) for name, options in raw.items()}
        rows = self.mapping(content.get("stations"), ("stations",), empty="" if self.unfinished else no_station)
        stations = {name: self.station(name, row, raw, tables) for name, row in rows.items()}
        self.fit(content.get("control"), raw, rows)
        self.groups(defaults, rows)
        alerts = read_alerts(self, content.get("alerts"), rows)
        self.problems.refuse()
        assert control  # else there were problems
        assert defaults
        assert journal
        assert maintenance
        found = Topology(
            control=control,
            defaults=defaults,
            tables={name: table for name, table in tables.items() if table},
            stations={name: station for name, station in stations.items() if station},
            alerts=alerts,
            journal=journal,
            maintenance=maintenance,
            folder=self.folder,
        )
        for words in same_names(found):
            self.problems.add(("defaults", "schedule", "sync"), words)
        self.problems.refuse()
        return found

    def fit(self, control: object, tables: Mapping[str, Any], stations: Mapping[str, Any]) -> None:
        """Compares parts by the little that is needed of each: another mistake in a part hides nothing."""
        homes: dict[str, str] = {}
        for name, options in tables.items():
            home = (isinstance(options, Mapping) and options.get("control_table")) or name
            if (other := homes.setdefault(str(home).casefold(), name)) != name:
                place = ("tables", name, "control_table")
                self.problems.add(place, f"is the control table of {other} as well")
        centre = self.endpoint(control)
        users = {centre.database: "control"} if centre else {}
        for name, endpoint in ((name, self.endpoint(station)) for name, station in stations.items()):
            place, user = ("stations", name, "url"), f"station {name}"
            if endpoint and (other := users.setdefault(endpoint.database, user)) != user:
                self.problems.add(place, f"is the database of {other} as well")
            if endpoint and centre and endpoint.is_sqlite != centre.is_sqlite:
                self.problems.add(place, "mixes SQLite and MySQL: control has the other one")

    def groups(self, defaults: Defaults | None, stations: Mapping[str, Any]) -> None:
        used = {str(row.get("group")) for row in stations.values() if isinstance(row, Mapping) and row.get("group")}
        for name in defaults.groups if defaults else ():
            if name not in used:
                self.problems.add(
                    ("defaults", "groups", name), f"no station is of this group{did_you_mean(name, used)}"
                )

    def endpoint(self, data: object) -> Endpoint | None:
        """The database alone, where its URL is right."""
        url = data.get("url") if isinstance(data, Mapping) else None
        try:
            return Endpoint.model_validate({"url": url}, context={"folder": self.folder})
        except ValidationError:
            return None

    def table(self, name: str, data: object) -> TableOptions | None:
        place: Place = ("tables", name)
        try:
            check_identifier(name)
        except ValueError as error:
            self.problems.add(place, str(error))
            return None
        options = self.mapping(data, place)
        # The default name is held to the same limits as a written one.
        names = {"control_table": options.get("control_table") or name}
        return self.check(TableOptions, {"station_table": name, **options, **names}, place)

    def station(
        self, name: str, data: object, raw: Mapping[str, Any], tables: Mapping[str, TableOptions | None]
    ) -> Station | None:
        place: Place = ("stations", name)
        content = self.mapping(data, place, empty="is empty")
        if not content:
            return None
        own = self.station_tables(content.pop("tables", None), (*place, "tables"), raw, tables)
        if content.pop("name", name) != name:
            self.problems.add((*place, "name"), "the key is the name; take this out")
        if len(name) > LONGEST_FILTERED and any(options.where for options in own.values()):
            self.problems.add(
                place, f"its name is too long for a filter of rows (where): {LONGEST_FILTERED} letters at most"
            )
        station = self.check(Station, {**content, "name": name}, place)
        return station.model_copy(update={"tables": own}) if station else None

    def station_tables(
        self, data: object, place: Place, raw: Mapping[str, Any], tables: Mapping[str, TableOptions | None]
    ) -> dict[str, TableOptions]:
        """The options of the station's tables: the table's own, with what the station writes over them."""
        if isinstance(data, list):
            self.once(data, place)
            data = {str(name): None for name in data}
        elif data is None:
            data = dict.fromkeys(tables)
            if not data:  # said of the file
                return {}
        resolved = {}
        for name, override in self.mapping(data, place, empty="names no table; without it, all").items():
            if name not in tables:
                self.problems.add((*place, name), f"no such table{did_you_mean(name, tables)}")
            elif (base := tables[name]) is not None:
                options = self.overridden(raw[name], override, base, (*place, name))
                resolved[name] = options or base
        return resolved

    def overridden(
        self, raw: Mapping[str, Any], override: object, base: TableOptions, place: Place
    ) -> TableOptions | None:
        if override is None:
            return base
        changes = self.mapping(override, place)
        for name in SHARED:
            if name in changes:
                self.problems.add((*place, name), "is the same for all stations; write it under tables")
        return self.check(TableOptions, {**raw, **changes}, place)
