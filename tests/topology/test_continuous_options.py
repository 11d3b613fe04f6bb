"""Which continuous runs a topology asks for, and what a wrong schedule is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.fleet import KAFKA_TEST

from stationsync.errors import StationSyncError
from stationsync.topology.continuous import continuous_runs
from stationsync.topology.model import Topology
from stationsync.topology.schedules import Continuous
from stationsync.topology.topology_file import from_mapping

EVERY_5S: dict[str, Any] = {"sync": {"every": "5s", "run": "10m"}}


def topology(defaults: dict[str, Any] | None = None, **stations: dict[str, Any]) -> Topology:
    return from_mapping(
        {
            "control": {"url": "mysql+pymysql://u@c/control"},
            "tables": {"kafka_test": KAFKA_TEST},
            "defaults": {"work_pool": "central", "fleet": "ours", **(defaults or {})},
            "stations": {
                name.replace("_", "-"): {"url": f"mysql+pymysql://u@{name}/x", **own} for name, own in stations.items()
            },
        }
    )


def runs(found: Topology) -> dict[str, tuple[str, ...]]:
    return {one.name: one.stations for one in continuous_runs(found)}


def test_the_fleet_s_a_group_s_and_a_station_s_are_runs_of_their_own() -> None:
    found = topology(
        {
            "schedule": EVERY_5S,
            "groups": {"north": {"schedule": {"sync": {"every": "1s"}}}, "south": {"work_pool": "far"}},
        },
        a={},
        b={"group": "north"},
        c={"group": "south"},
        d={"schedule": {"sync": {"every": "30s", "run": "1h"}}},
        e={"schedule": {"sync": "5m"}},
        f={"schedule": {"sync": None}},
        g={"group": "north", "schedule": {"reconcile": "1h"}},
        h={"schedule": {"pull": "1m"}},
    )
    assert runs(found) == {"ours-central": ("a",), "north": ("b", "g"), "ours-far": ("c",), "d": ("d",)}
    by_name = {one.name: one for one in continuous_runs(found)}
    assert by_name["north"].schedule == Continuous(every=timedelta(seconds=1), run=timedelta(minutes=10))
    assert (by_name["ours-far"].place.work_pool, by_name["d"].schedule.run) == ("far", timedelta(hours=1))


def test_without_such_a_schedule_there_is_none() -> None:
    assert runs(topology({"schedule": {"sync": "5m"}}, a={})) == {}


def test_a_group_and_a_station_of_one_name_are_refused() -> None:
    with pytest.raises(StationSyncError, match=r"two continuous runs have the name a \(a and b\)") as caught:
        topology({"groups": {"a": {"schedule": EVERY_5S}}}, a={"schedule": EVERY_5S}, b={"group": "a"})
    assert "defaults.schedule.sync" in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "place", "words"),
    [
        ({"sync": {"every": "0.5s"}}, "defaults.schedule.sync.every", "at least 1s"),
        ({"sync": {"every": "often"}}, "defaults.schedule.sync.every", "write a duration"),
        ({"sync": {"every": "5s", "run": "10s"}}, "defaults.schedule.sync.run", "1m at least"),
        ({"sync": {"every": "5m", "run": "6m"}}, "defaults.schedule.sync.run", "10m at least"),
        ({"sync": {"every": "5s", "run": "2d"}}, "defaults.schedule.sync.run", "a day at most"),
        ({"sync": {"evry": "5s"}}, "defaults.schedule.sync.evry", "did you mean every"),
        ({"sync": {"run": "10m"}}, "defaults.schedule.sync.every", ""),
        ({"sync": "often"}, "defaults.schedule.sync", "write an interval such as 5m"),
        ({"sync": ["5s"]}, "defaults.schedule.sync", ""),
        ({"pull": {"every": "5s"}}, "defaults.schedule.pull", ""),
    ],
)
def test_a_wrong_one_is_told_with_its_place(schedule: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(StationSyncError) as caught:
        topology({"schedule": schedule}, a={})
    assert place in str(caught.value)
    assert words in str(caught.value)
