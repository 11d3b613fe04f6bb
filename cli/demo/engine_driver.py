"""How the demo runs things: this driver calls the engine, as the `stationsync` command does."""

from __future__ import annotations

from typing import Literal, Protocol

from cli.demo.fleet import DemoFleet
from stationsync.errors import StationOffline
from stationsync.model.changes import Direction, Report, Status
from stationsync.reconcile.reconcile import reconcile
from stationsync.sync import runs

Kind = Literal["pull", "push", "sync", "reconcile"]


class Driver(Protocol):
    def run(self, kind: Kind, station: str) -> list[Report]:
        """A run of one station: pull, push, one after the other, or a reconcile. An off-line station is a report."""


class EngineDriver:
    def __init__(self, fleet: DemoFleet) -> None:
        self._fleet = fleet

    def run(self, kind: Kind, station: str) -> list[Report]:
        (pair,) = self._fleet.pairs(station)
        steps = runs.plain_steps()
        if kind == "reconcile":
            return [reconcile(pair, steps)]
        reports: list[Report] = []
        try:
            if kind != "push":
                reports.append(runs.pull(pair, steps))
            if kind != "pull":
                reports.append(runs.push_edits(pair, steps))
        except StationOffline as error:
            way = Direction.DOWN if reports or kind == "push" else Direction.UP
            reports.append(Report(pair.name, pair.table, way, Status.OFFLINE, message=str(error)))
        return reports
