"""A pair: one station's table and control's. What a run is about, before anything is connected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.model.schema import TableShape
from stationsync.pairing.fit import spelled
from stationsync.topology import secrets
from stationsync.topology.model import TableOptions, Topology
from stationsync.topology.options import NO_JOURNAL, Journal
from stationsync.topology.zones import SERVER

Blocks = Callable[[str], str]


@dataclass(frozen=True)
class Pair:
    """`name` is the station's; `table` the table's name in the topology."""

    name: str
    table: str
    options: TableOptions
    station: Database
    control: Database
    journal: Journal = NO_JOURNAL
    # In which zone control's application stamps; `options.modified_zone` is the station's.
    control_zone: str = SERVER
    # The folder of the topology's own expectation suites.
    suites: Path | None = None

    @property
    def place(self) -> str:
        return f"{self.name}/{self.table}"

    def spelled(self, control: TableShape, station: TableShape | None = None) -> Pair:
        """With column names in its options as the tables spell them."""
        options = spelled(self.options, control, station)
        return self if options is self.options else replace(self, options=options)

    @property
    def station_table(self) -> str:
        return self.options.station_table or self.table

    @property
    def control_table(self) -> str:
        return self.options.control_table or self.table


def control_of(topology: Topology, blocks: Blocks | None = None) -> Database:
    control = topology.control
    reference = control.password.get_secret_value() if control.password else None
    return Database(
        "control",
        sa.make_url(control.url),
        lambda: secrets.resolve(reference, "control.password", blocks),
        False,
        control.tls,
    )


def station_of(topology: Topology, name: str, blocks: Blocks | None = None) -> Database:
    station = topology.station(name)
    reference = station.password.get_secret_value() if station.password else None
    place = f"stations.{name}.password"
    password = partial(secrets.resolve, reference, place, blocks)
    return Database(name, sa.make_url(station.url), password, True, station.tls)


def pairs(topology: Topology, station: str, table: str | None = None, blocks: Blocks | None = None) -> list[Pair]:
    """The pairs of a station, in the topology's order; UsageError for an unknown station or table."""
    control, own = control_of(topology, blocks), station_of(topology, station, blocks)
    names = topology.tables_of(station) if table is None else (table,)
    journal = topology.journal
    return [
        Pair(
            station,
            name,
            topology.options(station, name),
            own,
            control,
            journal,
            topology.control_zone(name),
            topology.suites,
        )
        for name in names
    ]
