"""The deployments that a topology wants, as frozen values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deployments.kinds import CONTINUOUS, FLEET, KINDS, Kind, Schemas
from deployments.stagger import anchor, cron
from stationsync.errors import UsageError
from stationsync.model.amounts import format_duration
from stationsync.model.changes import Direction
from stationsync.topology.continuous import ContinuousRun, continuous_runs
from stationsync.topology.fleet import OURS, digest, fleet_name, fleet_of, tagged
from stationsync.topology.model import Topology, WorkPlace, place_of
from stationsync.topology.notation import schedule_interval
from stationsync.topology.schedules import Continuous

# A run that finds another under way is cancelled: the next one carries the same changes. For a tidy UI only; the lock
# that counts is in the control database.
LIMIT = 1
COLLISION, QUEUED = "CANCEL_NEW", "ENQUEUE"
# How often a run says that it lives, in seconds: the least that Prefect allows. Set with each deployment, so that it
# holds whatever a worker was started with; a value that somebody set there stays.
BEAT, HEARTBEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", 30
# What prefect.yaml has, switched off, where there is no schedule.
NO_SCHEDULE = "0 0 1 1 *"


@dataclass(frozen=True)
class ScheduleTiming:
    """A schedule: `every` from `anchor`, or `cron`."""

    slug: str
    every: timedelta | None = None
    anchor: datetime | None = None
    cron: str | None = None
    timezone: str = "UTC"

    def __str__(self) -> str:
        if self.every:
            return f"every {format_duration(self.every)}"
        return f"at {self.cron} {self.timezone}"


@dataclass(frozen=True)
class Deployment:
    """All that stationsync sets of a deployment. Whoever pauses it, or adds tags and job variables, is left alone.

    `station` is its name on the server; the fleet's own have the fleet's there."""

    kind: str
    station: str
    entrypoint: str
    description: str
    parameters: Mapping[str, Any]
    parameter_schema: Mapping[str, Any]
    tags: frozenset[str]
    work_pool: str | None
    work_queue: str | None
    schedules: tuple[ScheduleTiming, ...] = ()
    limit: int | None = LIMIT
    collision: str | None = COLLISION
    heartbeat: int | None = HEARTBEAT

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.station}"

    def tagged(self, prefix: str) -> str | None:
        return tagged(self.tags, prefix)


def _fleet_place(topology: Topology) -> WorkPlace:
    """Where the fleet's own runs wait: the default pool, else that of most stations. Control is reached from all."""
    if topology.defaults.work_pool:
        return place_of(topology.defaults)
    return Counter(topology.place(name) for name in topology.stations).most_common(1)[0][0]


def require_pools(topology: Topology) -> None:
    """Refused where a station has no work pool."""
    without = [name for name in topology.stations if not topology.place(name).work_pool]
    if without:
        raise UsageError(
            "stations." + without[0],
            "names no work pool, so no worker would run it"
            + (f" (nor do {len(without) - 1} more)" if without[1:] else ""),
            not_done="Nothing was changed.",
            next_step="Write work_pool: NAME there, under its group in defaults.groups, or under defaults.",
        )


def wanted(topology: Topology, schemas: Schemas) -> tuple[Deployment, ...]:
    """Station after station, as the file has them, then the fleet's. Refused where a station has no work pool."""
    require_pools(topology)
    fleet = fleet_of(topology)
    return (
        *(_of_station(topology, fleet, name, kind, schemas) for name in topology.stations for kind in KINDS),
        *(_continuous(topology, fleet, run, schemas) for run in continuous_runs(topology)),
        *(_of_fleet(topology, fleet, kind, schemas) for kind in FLEET),
    )


def _of_fleet(topology: Topology, fleet: str, kind: Kind, schemas: Schemas) -> Deployment:
    place, when = _fleet_place(topology), getattr(topology.defaults.schedule, kind.identifier, None)
    return Deployment(
        kind=kind.name,
        station=fleet_name(topology),
        entrypoint=kind.entrypoint,
        description=_described(kind, when),
        parameters={},
        parameter_schema=schemas[kind.name],
        tags=frozenset({OURS, f"fleet:{fleet}", f"control:{digest(topology.control)}"}),
        work_pool=place.work_pool,
        work_queue=None if place.work_queue == "default" else place.work_queue,
        schedules=_timings(fleet, kind, when, topology),
        limit=LIMIT if kind.limited else None,
        collision=COLLISION if kind.limited else None,
    )


def _of_station(topology: Topology, fleet: str, name: str, kind: Kind, schemas: Schemas) -> Deployment:
    station, place = topology.station(name), topology.place(name)
    when = getattr(topology.schedule(name), kind.identifier, None)
    # Then its runs are those of the continuous run that it is part of.
    when = None if isinstance(when, Continuous) else when
    tags = {OURS, f"fleet:{fleet}", f"control:{digest(topology.control)}", f"station:{name}"}
    tags |= {f"direction:{kind.direction}", f"database:{digest(station)}"}
    return Deployment(
        kind=kind.name,
        station=name,
        entrypoint=kind.entrypoint,
        description=_described(kind, when),
        parameters={"station": name},
        parameter_schema=schemas[kind.name],
        tags=frozenset(tags | ({f"group:{station.group}"} if station.group else set())),
        work_pool=place.work_pool,
        work_queue=None if place.work_queue == "default" else place.work_queue,
        schedules=_timings(name, kind, when, topology),
        collision=QUEUED if kind.queued else COLLISION,
    )


def _continuous(topology: Topology, fleet: str, run: ContinuousRun, schemas: Schemas) -> Deployment:
    """Its runs overlap: the next one warms up beside the one that ends."""
    length = run.schedule.run
    some = f"{len(run.stations)} stations" if len(run.stations) > 1 else run.stations[0]
    return Deployment(
        kind=CONTINUOUS.name,
        station=run.name,
        entrypoint=CONTINUOUS.entrypoint,
        description=f"{CONTINUOUS.description} {some}, {run.schedule}.",
        parameters={"name": run.name},
        parameter_schema=schemas[CONTINUOUS.name],
        tags=frozenset({OURS, f"fleet:{fleet}", f"control:{digest(topology.control)}", f"direction:{Direction.BOTH}"}),
        work_pool=run.place.work_pool,
        work_queue=None if run.place.work_queue == "default" else run.place.work_queue,
        schedules=(ScheduleTiming(CONTINUOUS.name, every=length, anchor=anchor(run.name, CONTINUOUS.name, length)),),
        limit=None,
        collision=None,
    )


def _described(kind: Kind, when: str | None) -> str:
    return kind.description if when else f"{kind.description} Runs when somebody starts it."


def _timings(name: str, kind: Kind, when: str | None, topology: Topology) -> tuple[ScheduleTiming, ...]:
    if not when:
        return ()
    interval = schedule_interval(when)
    if interval is None:
        return (ScheduleTiming(kind.name, cron=cron(name, when.lower()), timezone=topology.defaults.timezone),)
    return (ScheduleTiming(kind.name, every=interval, anchor=anchor(name, kind.name, interval)),)
