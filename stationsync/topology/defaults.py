"""What the defaults of `stations.yaml` may say, and how a station's own words go over them. Frozen values."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from stationsync.topology.notation import Duration, FleetName, Frozen, TimeZone, When, WorkName


class Schedule(Frozen):
    """When each kind of run starts: an interval ("5m"), a cron expression, or None: ad hoc only."""

    sync: When | None = None
    pull: When | None = None
    push: When | None = None
    reconcile: When | None = None

    def overridden(self, by: Schedule | None) -> Schedule:
        """Field by field; null switches one off. `sync` and `pull`/`push` stand for the same work, so
        naming either drops what is inherited of the other."""
        named = by.model_fields_set if by else frozenset()
        dropped = {"pull", "push"} if "sync" in named else {"sync"} if {"pull", "push"} & named else set()
        kept = {name: getattr(self, name) for name in Schedule.model_fields if name not in dropped | named}
        return Schedule(**kept, **{name: getattr(by, name) for name in named})


class FleetSchedule(Schedule):
    """Of the whole fleet: every station's runs, and those that are the fleet's own."""

    watchdog: When | None = "1m"
    maintenance: When | None = "15 2 * * *"
    fleet_report: When | None = "5m"


class Place(Frozen):
    """Where runs wait for a worker. The workers of a pool take from all its queues, or from those they are told."""

    work_pool: WorkName | None = None
    work_queue: WorkName | None = None


def place_of(*levels: Place) -> Place:
    """From the nearest level that names a pool. A queue is of the pool that is named beside it, or farther away."""
    queue = None
    for level in levels:
        queue = queue or level.work_queue
        if level.work_pool:
            return Place(work_pool=level.work_pool, work_queue=queue)
    return Place(work_queue=queue)


class Defaults(Place):
    """`fleet` is the name by which deployments on a shared Prefect server are known to be this file's. `metrics_file`:
    for Prometheus; where it is relative, to the working directory of the worker."""

    fleet: FleetName | None = None
    groups: dict[str, Place] = Field(default_factory=dict)
    schedule: FleetSchedule = FleetSchedule()
    timezone: TimeZone = "UTC"
    stale_after: Duration = timedelta(minutes=15)
    metrics_file: Path | None = None
