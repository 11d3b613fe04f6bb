"""The demo's fleet: throw-away databases, the topology over them, and what people do there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from cli.demo.databases import MariaDBServers, OurDatabases, SQLiteFiles
from cli.demo.sample import SITES, SUITE, TABLE, Site, connector, ddl, sessions
from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.pairing.pair import Pair, control_of, pairs
from stationsync.setup.initialise import initialise
from stationsync.topology import topology_file

CONTROL = "control"


class DemoFleet:
    """Three stations and control. `folder` has the topology and the expectation suite."""

    def __init__(self, databases: OurDatabases, folder: Path) -> None:
        self.databases = databases
        self.folder = folder
        self.file = folder / "stations.yaml"
        self.expectations = folder / "expectations"

    def prepare(self) -> None:
        """Tables at all four places, the stations' rows, the topology, and our bookkeeping at control."""
        for name in (CONTROL, *(site.name for site in SITES)):
            for statement in ddl(self.databases.kind, control=name == CONTROL):
                self.databases.query(name, statement)
        for site in SITES:
            self.databases.insert(site.name, sessions(site, range(1, site.rows + 1)))
        self.expectations.mkdir()
        (self.expectations / f"{TABLE}.yaml").write_text(SUITE, encoding="utf-8")
        self.file.write_text(yaml.safe_dump(self._content(), sort_keys=False), encoding="utf-8")
        self.topology = topology_file.load(self.file)
        initialise(self.control, [pair for site in SITES for pair in self.pairs(site.name)])

    def _content(self) -> dict[str, Any]:
        options = {
            "key": ["id", "code"],
            "modified": "modify_date",
            "exclude": ["master_id"],
            "expectations": TABLE,
            "conflicts": "merge",
            "deletes": "archive",
        }
        return {
            "control": {"url": self.databases.url(CONTROL)},
            "tables": {TABLE: options},
            "stations": {site.name: {"url": self.databases.url(site.name)} for site in SITES},
        }

    @property
    def control(self) -> Database:
        return control_of(self.topology)

    def pairs(self, station: str) -> list[Pair]:
        return pairs(self.topology, station)

    # --- what people do

    def edit(self, where: str, site: Site, numbers: Sequence[int], *, ago: int = 0, **values: Any) -> None:
        """Edit rows of a site as an application does: it stamps them with the present second, or some `ago`."""
        values["modify_date"] = now(ago)
        sets = ", ".join(f"{name} = %s" for name in values)
        sql = f"UPDATE {TABLE} SET {sets} WHERE id = %s AND code = %s"
        self.databases.change(where, sql, ([*values.values(), n, connector(site, n)] for n in numbers))

    def edit_silently(self, where: str, site: Site, numbers: Sequence[int], price: int) -> None:
        """As somebody with a database client does: without a time stamp."""
        sql = f"UPDATE {TABLE} SET price = %s WHERE id = %s AND code = %s"
        self.databases.change(where, sql, ([price, n, connector(site, n)] for n in numbers))

    def delete(self, site: Site, numbers: Sequence[int]) -> None:
        sql = f"DELETE FROM {TABLE} WHERE id = %s AND code = %s"
        self.databases.change(site.name, sql, ([n, connector(site, n)] for n in numbers))

    def add(self, site: Site, count: int) -> list[int]:
        """New sessions at a site; their numbers."""
        first = self.databases.count(site.name) + 1
        numbers = range(first, first + count)
        self.databases.insert(site.name, sessions(site, numbers, now()))
        return list(numbers)

    # --- how things stand, by the plain drivers alone

    def station_row(self, site: Site, number: int) -> dict[str, Any]:
        return self.databases.row(site.name, site.code, number)

    def control_row(self, site: Site, number: int) -> dict[str, Any]:
        return self.databases.row(CONTROL, site.code, number)

    def equal(self, *sites: Site) -> bool:
        """Control has exactly the rows that these sites have."""
        here = self.databases
        return all(here.rows(site.name, site.code) == here.rows(CONTROL, site.code) for site in sites)

    def traces(self, *sites: Site) -> list[object]:
        return [self.databases.trace(site.name) for site in sites]


def now(ago: int = 0) -> str:
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=ago))


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[OurDatabases]:
    """The databases of this kind, started; ended and cleared away whatever happens."""
    names = (CONTROL, *(site.name for site in SITES))
    if kind == "sqlite":
        yield SQLiteFiles(folder, names)
        return
    servers = MariaDBServers(names)
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


def require_known(kind: str) -> None:
    if kind not in ("sqlite", "mariadb"):
        what, step = f"no such kind of database: {kind}.", "Known: sqlite, mariadb."
        raise UsageError("demo", what, not_done="Nothing was started.", next_step=step)
