"""What the watchdog makes of what it sees: cases, without Prefect and without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stationsync.health.watch import (
    Doing,
    Stale,
    WatchdogFacts,
    WatchdogFinding,
    WatchdogLimits,
    WatchedDeployment,
    WatchedRun,
    Worker,
    judge,
    quiet,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = WatchdogLimits()
BEAT = timedelta(seconds=30)
SYNC = WatchedDeployment("d1", "sync/station-1", "central", "station-1", beat=BEAT, limit="deployment:d1")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def running(seconds: float, **more: Any) -> WatchedRun:
    return WatchedRun("r1", "sync station-1", "d1", "RUNNING", ago(seconds), **more)


def due(seconds: float, name: str = "late", **more: Any) -> WatchedRun:
    """Due so long ago; a negative number: so soon."""
    return WatchedRun(f"{name}-{seconds}", name, "d1", "SCHEDULED", ago(seconds), ago(seconds), **more)


def crashed(seconds: float, **more: Any) -> WatchedRun:
    return WatchedRun("r1", "sync station-1", "d1", "CRASHED", ago(seconds), **more)


def facts(*runs: WatchedRun, one: WatchedDeployment = SYNC, **more: Any) -> WatchdogFacts:
    return WatchdogFacts(NOW, [one], runs, **more)


def told(found: list[WatchdogFinding]) -> list[tuple[str, Doing | None]]:
    return [(finding.what, finding.action.doing if finding.action else None) for finding in found]


DEAD = ("run without a heartbeat", Doing.CRASH)


@pytest.mark.parametrize(
    ("run", "beat", "expected"),
    [
        (running(10), 30, []),
        (running(74), 30, []),
        (running(76), 30, [DEAD]),
        (running(4000, heartbeat=ago(40)), 30, []),
        (running(4000, heartbeat=ago(80)), 30, [DEAD]),
        # Somebody works on the station's tables.
        (running(4000, heartbeat=ago(80), leased=True), 30, []),
        (running(4000, heartbeat=ago(80), leased=False), 30, [DEAD]),
        (running(4000, heartbeat=ago(760), leased=True), 30, [DEAD]),
        # Prefect's usual heartbeat, and none at all.
        (running(4000, heartbeat=ago(80)), 180, []),
        (running(4000, heartbeat=ago(460)), 180, [DEAD]),
        (running(1700), None, []),
        (running(1900), None, [DEAD]),
        (replace(running(80), state="CANCELLING"), 30, [("run without a heartbeat", Doing.CANCEL)]),
        # Somebody was asked, and may take his time.
        (replace(running(9000), state="PAUSED"), 30, []),
        (replace(running(80), state="PENDING"), 30, []),
        (replace(running(91), state="PENDING"), 30, [("run stuck before its start", Doing.CRASH)]),
        # Of another fleet, or of nobody's deployment.
        (replace(running(9000), deployment="other"), 30, []),
    ],
)
def test_a_run_that_gives_no_sign(run: WatchedRun, beat: float | None, expected: list[Any]) -> None:
    one = replace(SYNC, beat=None if beat is None else timedelta(seconds=beat))
    assert told(judge(facts(run, one=one), LIMITS)) == expected


def test_only_runs_that_should_have_given_a_sign_are_asked_about() -> None:
    assert quiet(facts(running(74)), LIMITS) == []
    assert quiet(facts(running(76)), LIMITS) == [running(76)]


def test_late_runs_pile_up_and_the_newest_stays() -> None:
    found = judge(facts(due(100), due(40), due(70), due(-30), workers=[alive()]), LIMITS)
    assert [(one.what, one.action and one.action.target) for one in found] == [
        ("late runs pile up", "late-100"),
        ("late runs pile up", "late-70"),
    ]
    # What a person started says what a schedule's run does not.
    by_hand = facts(due(100, scheduled=False), due(70, scheduled=False), due(40), workers=[alive()])
    assert judge(by_hand, LIMITS) == []


@pytest.mark.parametrize(
    ("slots", "runs", "leaked"),
    [
        (0, (), 0),
        (1, (), 1),
        (1, (running(1),), 0),
        (1, (replace(running(1), state="PENDING"),), 0),
        (3, (running(1),), 2),
        (1, (due(-5), crashed(700)), 1),
    ],
)
def test_a_slot_that_no_run_holds_is_released(slots: int, runs: tuple[WatchedRun, ...], leaked: int) -> None:
    found = judge(facts(*runs, one=replace(SYNC, slots=slots)), LIMITS)
    released = [one.action for one in found if one.action and one.action.doing is Doing.RELEASE]
    assert [(one.target, one.count) for one in released] == ([("deployment:d1", leaked)] if leaked else [])


def alive(pool: str = "central") -> Worker:
    return Worker(pool, "worker-1", ago(20), BEAT)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"workers": [alive()]}, []),
        ({}, ["runs wait: the work pool has no worker"]),
        ({"workers": [alive("other")]}, ["runs wait: the work pool has no worker"]),
        ({"workers": [alive()], "pools_paused": frozenset({"central"})}, ["runs wait: the work pool is paused"]),
        (
            {"workers": [replace(alive(), seen=ago(100))]},
            ["runs wait: the work pool has no worker", "worker gives no sign"],
        ),
    ],
)
def test_runs_that_nobody_takes(more: dict[str, Any], what: list[str]) -> None:
    found = judge(facts(due(130), **more), LIMITS)
    assert [one.what for one in found] == what
    assert all(one.next_step and one.action is None for one in found)
    assert judge(facts(due(100), **{**more, "workers": [alive()]}), LIMITS) == []


def test_a_worker_that_died_is_told_for_a_while_and_then_forgotten() -> None:
    def found(seconds: float, *others: Worker) -> list[Any]:
        return told(judge(facts(workers=[replace(alive(), name="dead", seen=ago(seconds)), *others]), LIMITS))

    silent = ("worker gives no sign", None)
    assert found(90) == []
    assert found(91) == [silent]
    # One that was started again has another name.
    assert [found(seconds, alive()) for seconds in (91, 700)] == [[silent], []]
    assert found(3700, alive()) == [("worker gives no sign", Doing.FORGET)]
    # Nobody else serves its pool.
    assert [found(seconds) for seconds in (700, 3700)] == [[silent], [silent]]


START = ("run crashed", Doing.START)


@pytest.mark.parametrize(
    ("runs", "one", "expected"),
    [
        ((crashed(5),), SYNC, [START]),
        ((crashed(700),), SYNC, []),
        ((crashed(5), due(-60)), SYNC, []),
        ((crashed(5), replace(running(1), id="r2")), SYNC, []),
        # What took a crashed run's place crashed as well: the schedule goes on, we do not.
        ((crashed(5, again=True),), SYNC, []),
        ((crashed(90), replace(crashed(5, again=True), id="r2")), SYNC, []),
        ((crashed(5, scheduled=False),), SYNC, []),
        ((crashed(5),), replace(SYNC, paused=True), []),
    ],
)
def test_another_run_takes_the_place_of_one_that_crashed(
    runs: Any, one: WatchedDeployment, expected: list[Any]
) -> None:
    found = judge(facts(*runs, one=one), LIMITS)
    assert told(found) == expected
    assert all(finding.action and finding.action.key == "watchdog-again-r1" for finding in found)


STALE = Stale("station-1", ago(600), "kafka_test no run came to its end")


@pytest.mark.parametrize(
    ("runs", "one", "stale", "expected"),
    [
        ((), SYNC, STALE, Doing.START),
        ((due(-60),), SYNC, STALE, None),
        ((due(20),), SYNC, STALE, None),
        ((running(10),), SYNC, STALE, None),
        # A run cannot mend that.
        ((), SYNC, replace(STALE, offline=True), None),
        ((), replace(SYNC, scheduled=False), STALE, None),
        ((), replace(SYNC, station="station-2"), STALE, None),
        ((), replace(SYNC, name="reconcile/station-1"), STALE, None),
    ],
)
def test_a_stale_station_gets_a_run_where_none_comes_by_itself(
    runs: tuple[WatchedRun, ...], one: WatchedDeployment, stale: Stale, expected: Doing | None
) -> None:
    (found,) = judge(facts(*runs, one=one, stale=[stale], workers=[alive()]), LIMITS)
    assert (found.what, found.where) == ("stale: kafka_test no run came to its end", "station-1")
    assert (found.action.doing if found.action else None) is expected
    assert found.action or found.next_step


def test_a_paused_station_is_left_alone() -> None:
    assert judge(facts(stale=[STALE], paused=frozenset({"station-1"})), LIMITS) == []
    assert judge(facts(one=replace(SYNC, paused=True), stale=[STALE]), LIMITS) == []


def test_two_watchdogs_start_one_run_and_a_later_one_another() -> None:
    def key(moment: datetime) -> str:
        (found,) = judge(replace(facts(stale=[STALE]), now=moment), LIMITS)
        assert found.action
        return found.action.key

    assert key(NOW) == key(NOW + timedelta(seconds=50))
    assert key(NOW) != key(NOW + LIMITS.again)


def test_after_a_long_standstill_not_everything_is_cleared_away_at_once() -> None:
    found = judge(facts(*(due(100 + n) for n in range(900)), workers=[alive()]), LIMITS)
    assert sum(one.action is not None for one in found) == LIMITS.actions
    assert found[-1].what == "399 more things to clear away"


def test_control_that_does_not_answer_is_told_and_the_rest_is_done() -> None:
    found = told(judge(facts(running(90), control="control: off-line"), LIMITS))
    assert found == [("control could not be asked how old its data is", None), DEAD]
