"""A fleet over the databases of a test, driven through the engine as the `stationsync` command drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stationsync.model.changes import Report, Status
from stationsync.pairing.pair import Pair, control_of, pairs
from stationsync.setup.initialise import initialise
from stationsync.sync import runs
from stationsync.topology.model import Topology
from stationsync.topology.topology_file import from_mapping
from support.databases import Databases

KAFKA_TEST = {"key": ["id", "code"], "modified": "modify_date", "exclude": ["master_id"]}


class Fleet:
    """Stations 1..n named station-1..n, all with the tables of `tables`; `overrides` are a station's own options."""

    def __init__(
        self,
        databases: Databases,
        stations: int = 1,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        urls: Mapping[str, str] | None = None,
        overrides: Mapping[int, Mapping[str, Any]] | None = None,
        journal: Any = "off",
        **options: Any,
    ) -> None:
        self.databases = databases
        self._overrides = dict(overrides or {})
        self.stations = stations
        self._tables = {"kafka_test": KAFKA_TEST} if tables is None else tables
        self._urls = dict(urls or {})
        self._journal = journal
        self.options(**options)

    def options(self, **options: Any) -> None:
        """Change table options from here on."""
        self._tables = {name: {**table, **options} for name, table in self._tables.items()}
        self.topology = self._topology()

    def _topology(self) -> Topology:
        numbers = range(1, self.stations + 1)
        stations: dict[str, Any] = {f"station-{n}": {"url": self._url(f"station-{n}", n)} for n in numbers}
        for n, own in self._overrides.items():
            stations[f"station-{n}"]["tables"] = {name: dict(own) for name in self._tables}
        control = {"url": self._url("control", "control")}
        journal = {"url": str(self._journal)} if isinstance(self._journal, Path) else self._journal
        return from_mapping({"control": control, "tables": self._tables, "stations": stations, "journal": journal})

    def _url(self, name: str, where: Any) -> str:
        return self._urls.get(name) or self.databases.url(where)

    def pairs(self, station: int = 1, table: str | None = None) -> list[Pair]:
        return pairs(self.topology, f"station-{station}", table)

    def init(self) -> None:
        everything = [pair for n in range(1, self.stations + 1) for pair in self.pairs(n)]
        for error in initialise(control_of(self.topology), everything).errors.values():
            raise error

    def pull(self, station: int = 1, **steps: Callable[..., Any]) -> Report:
        return self._run(runs.pull, station, steps)

    def push(self, station: int = 1, **steps: Callable[..., Any]) -> Report:
        return self._run(runs.push_edits, station, steps)

    def _run(self, run: Callable[..., Report], station: int, steps: Mapping[str, Any]) -> Report:
        (pair,) = self.pairs(station)
        return run(pair, replace(runs.plain_steps(), **steps))

    def sync(self, station: int = 1) -> tuple[Report, Report]:
        return self.pull(station), self.push(station)

    def edit(self, where: Any, id: int, code: str = "A", at: datetime | str | None = None, **values: Any) -> None:
        """Edit a row as an application does: it stamps `modify_date`, by default with the present second (UTC)."""
        stamp = str(at or datetime.now(UTC).replace(tzinfo=None, microsecond=0))
        values = {**values, "modify_date": stamp}
        sets = ", ".join(f"{name} = %s" for name in values)
        sql = f"UPDATE kafka_test SET {sets} WHERE id = %s AND code = %s"
        self.databases.execute(where, sql, [*values.values(), id, code])

    def require_nothing_to_do(self, stations: Sequence[int] = (1,)) -> None:
        for station in stations:
            for report in self.sync(station):
                assert report.status is Status.NOTHING, report

    def require_equal(self, station: int = 1, columns: str = "id, text, code, create_date, modify_date") -> None:
        """The station's rows, control's rows of that station, and the base are the same."""
        ours = self.databases.rows(station, columns=columns)
        base = "stationsync_base_kafka_test"
        owned = f"JOIN {base} b ON b.id = c.id AND b.code = c.code AND b.stationsync_station = 'station-{station}'"
        qualified = ", ".join(f"c.{name.strip()}" for name in columns.split(","))
        found = self.databases.query("control", f"SELECT {qualified} FROM kafka_test c {owned} ORDER BY c.id, c.code")
        assert [tuple(map(str, row)) for row in found] == [tuple(map(str, row)) for row in ours]
        kept = self.databases.query(
            "control", f"SELECT {columns} FROM {base} WHERE stationsync_station = 'station-{station}' ORDER BY id, code"
        )
        assert [tuple(map(str, row)) for row in kept] == [tuple(map(str, row)) for row in ours]
