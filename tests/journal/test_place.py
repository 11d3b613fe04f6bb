"""Where a station's runs wait for a worker, and the other words of `defaults` that only deployments need."""

from __future__ import annotations

from typing import Any

import pytest

from stationsync.errors import UsageError
from stationsync.topology.model import WorkPlace
from stationsync.topology.topology_file import from_mapping


def fleet(station: dict[str, Any] | None = None, **defaults: Any) -> dict[str, Any]:
    return {
        "control": {"url": "mysql+pymysql://u@hq/all"},
        "defaults": defaults,
        "tables": {"orders": {"key": ["id"], "modified": "changed"}},
        "stations": {"a": {"url": "mysql+pymysql://u@a/shop", **(station or {})}},
    }


GROUPS = {"remote": {"work_pool": "dmz", "work_queue": "slow"}}


@pytest.mark.parametrize(
    ("station", "defaults", "pool", "queue"),
    [
        ({}, {}, None, None),
        ({}, {"work_pool": "central"}, "central", None),
        ({}, {"work_pool": "central", "work_queue": "q"}, "central", "q"),
        ({"work_pool": "own"}, {"work_pool": "central"}, "own", None),
        # The defaults' queue is of the defaults' pool.
        ({"work_pool": "own"}, {"work_pool": "central", "work_queue": "q"}, "own", None),
        ({"work_queue": "mine"}, {"work_pool": "central", "work_queue": "q"}, "central", "mine"),
        ({"group": "remote"}, {"work_pool": "central", "groups": GROUPS}, "dmz", "slow"),
        ({"group": "remote", "work_queue": "mine"}, {"work_pool": "central", "groups": GROUPS}, "dmz", "mine"),
        ({"group": "remote", "work_pool": "own"}, {"groups": GROUPS}, "own", None),
        # A group that says nothing is a word for status and alerts.
        ({"group": "word"}, {"work_pool": "central"}, "central", None),
    ],
)
def test_the_station_goes_over_its_group_and_the_group_over_the_defaults(
    station: dict[str, Any], defaults: dict[str, Any], pool: str | None, queue: str | None
) -> None:
    assert from_mapping(fleet(station, **defaults)).place("a") == WorkPlace(work_pool=pool, work_queue=queue)


@pytest.mark.parametrize(
    ("station", "defaults", "expected"),
    [
        ({}, {"work_pol": "x"}, "defaults.work_pol: unknown field; did you mean work_pool?"),
        ({"work_queu": "x"}, {}, "stations.a.work_queu: unknown field; did you mean work_queue?"),
        ({"work_pool": ""}, {}, "stations.a.work_pool: the name of a work pool or queue"),
        ({}, {"work_queue": "a/b"}, "defaults.work_queue: the name of a work pool or queue"),
        ({}, {"groups": {"remote": {"work_pool": "dmz"}}}, "defaults.groups.remote: no station is of this group"),
        (
            {"group": "remote"},
            {"groups": {"remotee": {"work_pool": "dmz"}}},
            "defaults.groups.remotee: no station is of this group; did you mean remote?",
        ),
        ({"group": "r"}, {"groups": {"r": {"pool": "dmz"}}}, "defaults.groups.r.pool: unknown field"),
        ({}, {"fleet": "a b"}, "defaults.fleet: a fleet's name has letters"),
        ({}, {"timezone": "Seoul"}, "defaults.timezone: write a time zone"),
        ({}, {"timezone": "../etc"}, "defaults.timezone: write a time zone"),
        ({}, {"timezone": ""}, "defaults.timezone: write a time zone"),
    ],
)
def test_a_mistake_is_named_with_its_place(station: dict[str, Any], defaults: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_mapping(fleet(station, **defaults))
    (line,) = caught.value.what.splitlines()[1:]
    assert line.strip().startswith(expected)
