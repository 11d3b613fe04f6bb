"""How runs are spread over a fleet. Pure; the figures must never change, or every deployment would."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as ServerCron

from deployments.stagger import EPOCH, anchor, cron

FLEET = [f"station-{n}" for n in range(200)]


def test_a_station_has_the_same_place_on_every_machine_for_ever() -> None:
    assert anchor("station-1", "sync", timedelta(minutes=5)) == datetime(2026, 1, 1, 0, 4, 28, tzinfo=UTC)
    assert cron("station-1", "30 3 * * *") == "58 3 * * *"


@pytest.mark.parametrize("seconds", [1, 30, 60, 300, 900, 86_400])
def test_anchors_stay_within_the_interval_and_fill_it(seconds: int) -> None:
    interval = timedelta(seconds=seconds)
    offsets = [(anchor(name, "sync", interval) - EPOCH).total_seconds() for name in FLEET]
    assert all(0 <= offset < seconds for offset in offsets)
    tenths = Counter(int(offset * 10 // seconds) for offset in offsets)
    if seconds >= 60:
        assert len(tenths) == 10
        assert max(tenths.values()) < 40


@pytest.mark.parametrize(("pull", "other"), [(60, 300), (60, 120), (60, 60), (300, 3600), (300, 900)])
@pytest.mark.parametrize("kind", ["push", "reconcile"])
def test_push_and_reconcile_never_begin_with_the_station_s_own_pull(kind: str, pull: int, other: int) -> None:
    for name in FLEET:
        begin = anchor(name, "pull", timedelta(seconds=pull))
        after = anchor(name, kind, timedelta(seconds=other)) - begin
        apart = after.total_seconds() % pull
        assert min(apart, pull - apart) >= 10


CASES = {
    # expression: what the first eight stations get of (minute, hour), at the latest and the earliest
    "30 3 * * *": ((3, 30), (4, 29)),
    "0 3 * * *": ((3, 0), (3, 59)),
    "59 23 * * *": ((23, 59), (23, 59)),
    "15 23 * * mon": ((23, 15), (23, 59)),
    "0,30 3 * * *": ((3, 0), (3, 59)),
    "50 1 * * *": ((1, 50), (2, 49)),
}


@pytest.mark.parametrize("expression", CASES)
def test_a_daily_run_moves_by_less_than_an_hour_and_never_to_another_day(expression: str) -> None:
    first, last = CASES[expression]
    for name in FLEET:
        moments = _moments(cron(name, expression))
        assert all(first <= moment <= last for moment in moments), (name, cron(name, expression))
        assert len(moments) == len(_moments(expression))


@pytest.mark.parametrize(
    "expression",
    ["*/5 * * * *", "* * * * *", "0 * * * *", "0,30 * * * *", "5/20 3 * * *", "0 */6 * * *", "50 1,13 * * mon-fri",
     "10 20-23 1 jan *", "0,45 8-17 * * *", "0-59/10 * 1,15 * *", "0 00 * * *"],
)  # fmt: skip
def test_a_shifted_expression_runs_as_often_and_is_read_by_prefect(expression: str) -> None:
    for name in FLEET[:40]:
        shifted = cron(name, expression)
        assert CronSchedule(cron=shifted).cron == shifted
        assert len(_moments(shifted)) == len(_moments(expression)), shifted
        assert shifted.split()[2:] == expression.split()[2:]


def test_a_fleet_s_nightly_runs_are_spread_over_the_hour() -> None:
    minutes = Counter(cron(name, "30 3 * * *") for name in FLEET)
    assert len(minutes) > 50
    assert max(minutes.values()) < 12


def _moments(expression: str) -> list[tuple[int, int]]:
    """When it runs on a day on which it does, as Prefect's own server reads it: (hour, minute)."""
    return _moments_of_a_day(" ".join([*expression.split()[:2], "* * *"]))


@cache
def _moments_of_a_day(whole_day: str) -> list[tuple[int, int]]:
    found = []
    for moment in ServerCron(cron=whole_day)._get_dates_generator(start=datetime(2026, 6, 1, tzinfo=UTC)):
        if moment.date() != datetime(2026, 6, 1).date():
            break
        found.append((moment.hour, moment.minute))
    return found
