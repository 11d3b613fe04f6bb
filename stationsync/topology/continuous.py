"""Which continuous runs a topology asks for, and of which stations each is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from stationsync.topology.fleet import fleet_name
from stationsync.topology.model import StationGroup, Topology, WorkPlace
from stationsync.topology.schedules import Continuous


@dataclass(frozen=True)
class ContinuousRun:
    """Of stations that one worker reaches; named after who has the schedule: the fleet, a group, a station."""

    name: str
    schedule: Continuous
    place: WorkPlace
    stations: tuple[str, ...]


def continuous_runs(topology: Topology) -> tuple[ContinuousRun, ...]:
    """In the order of their first stations."""
    found: dict[tuple[_Owner, WorkPlace], ContinuousRun] = {}
    for name in topology.stations:
        schedule = topology.schedule(name).sync
        if not isinstance(schedule, Continuous):
            continue
        place = topology.place(name)
        owner = _owner(topology, name)
        run = found.get((owner, place)) or ContinuousRun(owner.name, schedule, place, ())
        found[owner, place] = replace(run, stations=(*run.stations, name))
    return tuple(_named(found))


class _Owner(NamedTuple):
    """Who has the schedule."""

    kind: str
    name: str


def _owner(topology: Topology, station: str) -> _Owner:
    own = topology.station(station)
    if own.schedule and "sync" in own.schedule.model_fields_set:
        return _Owner("station", station)
    group = topology.defaults.groups.get(own.group or "", StationGroup()).schedule
    if own.group and group and "sync" in group.model_fields_set:
        return _Owner("group", own.group)
    return _Owner("fleet", fleet_name(topology))


def _named(runs: Mapping[tuple[_Owner, WorkPlace], ContinuousRun]) -> list[ContinuousRun]:
    """Each with a name of its own: of an owner with stations in several work pools, the pool is named too."""
    named: list[ContinuousRun] = []
    for (owner, _), run in runs.items():
        several = sum(other == owner for other, _ in runs) > 1
        place = "-".join(filter(None, (run.place.work_pool, run.place.work_queue)))
        named.append(replace(run, name=f"{run.name}-{place}") if several else run)
    return named


def same_names(topology: Topology) -> tuple[str, ...]:
    """What is wrong where two runs have one name, in words."""
    taken: dict[str, ContinuousRun] = {}
    found = []
    for run in continuous_runs(topology):
        if run.name in taken:
            stations = f"{taken[run.name].stations[0]} and {run.stations[0]}"
            found.append(
                f"two continuous runs have the name {run.name} ({stations}): rename the group, or defaults.fleet"
            )
        taken[run.name] = run
    return tuple(found)
