"""How old a station's data is, told from the books: not from what runs say of themselves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.sample import row

from stationsync.errors import NotInitialised, StationOffline
from stationsync.health.freshness import DirectionFreshness, Freshness, Why, expected, freshness, judge
from stationsync.model.changes import Direction
from stationsync.pairing.pair import control_of
from stationsync.topology.model import TableOptions
from stationsync.topology.schedules import Schedule

NOW = datetime(2026, 3, 1, 12, 0)
UP, DOWN = Direction.UP, Direction.DOWN
BOTH = frozenset({UP, DOWN})


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def up(succeeded: float | None, reached: float | None = None, **more: Any) -> DirectionFreshness:
    return _way(UP, succeeded, reached, **more)


def down(succeeded: float | None, reached: float | None = None, **more: Any) -> DirectionFreshness:
    return _way(DOWN, succeeded, reached, **more)


def _way(direction: Direction, succeeded: float | None, reached: float | None, **more: Any) -> DirectionFreshness:
    seen = succeeded if reached is None else reached
    return DirectionFreshness(
        direction, None if succeeded is None else ago(succeeded), None if seen is None else ago(seen), "done", **more
    )


@pytest.mark.parametrize(
    ("ways", "asked", "why", "lag"),
    [
        ((up(1), down(2)), BOTH, Why.FRESH, 2),
        ((), BOTH, Why.NEVER, None),
        ((up(1),), BOTH, Why.NEVER, None),
        ((up(1), down(None, 1)), BOTH, Why.NEVER, None),
        ((up(1),), {UP}, Why.FRESH, 1),
        ((up(1), down(90)), BOTH, Why.OLD, 90),
        ((up(1), down(90)), {UP}, Why.FRESH, 1),
        ((up(15), down(15)), BOTH, Why.FRESH, 15),
        ((up(15.1), down(15)), BOTH, Why.OLD, 15.1),
        # Runs succeed each minute, and an open transaction holds the watermark back: for an hour that is as it should.
        ((up(1, 74), down(1)), BOTH, Why.FRESH, 74),
        ((up(1, 76), down(1)), BOTH, Why.HELD_BACK, 76),
        # An upwards-only table has no watermark downwards.
        ((up(1), DirectionFreshness(DOWN, ago(1), None)), BOTH, Why.FRESH, 1),
        ((), (), Why.FRESH, 0),
    ],
)
def test_what_is_stale(ways: tuple[DirectionFreshness, ...], asked: Any, why: Why, lag: float | None) -> None:
    found = judge(
        "station-1", "kafka_test", ways, now=NOW, expected=frozenset(asked),
        stale_after=timedelta(minutes=15), max_hold=timedelta(hours=1),
    )  # fmt: skip
    assert found.why is why
    assert found.lag == (None if lag is None else timedelta(minutes=lag))
    stale_since = found.now - found.lag + found.stale_after if found.stale and found.lag else None
    assert found.since == stale_since


@pytest.mark.parametrize(
    ("schedule", "direction", "ways"),
    [
        ({"sync": "5m"}, "both", BOTH),
        ({"sync": "5m"}, "up", {UP}),
        ({"pull": "1m"}, "both", {UP}),
        ({"pull": "1m", "push": "5m"}, "both", BOTH),
        ({"push": "5m"}, "up", ()),
        # A reconcile is no way of keeping fresh, and no schedule at all says nothing about who starts the runs.
        ({"reconcile": "30 3 * * *"}, "both", BOTH),
        ({}, "up", {UP}),
    ],
)
def test_the_ways_that_are_to_be_fresh(schedule: dict[str, str], direction: str, ways: Any) -> None:
    options = TableOptions.model_validate({"key": ["id"], "modified": "at", "direction": direction})
    assert expected(options, Schedule.model_validate(schedule)) == frozenset(ways)


def look(fleet: Fleet) -> dict[str, Freshness]:
    return {one.station: one for one in freshness(control_of(fleet.topology), fleet.topology)}


def test_a_station_is_fresh_by_runs_that_came_to_their_end(databases: Databases) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(1)])
    fleet = Fleet(databases, stations=2)
    with pytest.raises(NotInitialised):
        look(fleet)
    fleet.init()
    assert [one.why for one in look(fleet).values()] == [Why.NEVER, Why.NEVER]

    fleet.pull()
    assert look(fleet)["station-1"].why is Why.NEVER, "its edits were never sent down"
    fleet.push()
    found = look(fleet)["station-1"]
    assert found.why is Why.FRESH
    assert found.lag is not None
    assert timedelta(0) <= found.lag < found.stale_after
    assert found.reached is not None
    assert found.reached <= found.now

    databases.execute("control", "UPDATE stationsync_state SET done_at = '2020-01-01 00:00:00' WHERE direction = 'up'")
    assert look(fleet)["station-1"].why is Why.OLD
    fleet.pull()
    assert look(fleet)["station-1"].why is Why.FRESH


def test_a_run_of_a_station_that_is_off_line_makes_nothing_fresh(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    fleet = Fleet(databases)
    fleet.init()
    fleet.sync()
    databases.execute("control", "UPDATE stationsync_state SET done_at = '2020-01-01 00:00:00'")
    offline = Fleet(databases, urls={"station-1": "mysql+pymysql://u@127.0.0.1:1/none"})
    for run in (offline.pull, offline.push):
        with pytest.raises(StationOffline):
            run()
    found = look(offline)["station-1"]
    assert (found.why, found.offline) == (Why.OLD, True)
    assert "station-1" in found.message
