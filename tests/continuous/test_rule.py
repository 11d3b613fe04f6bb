"""When a whole run is due: by what a look at either side says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from stationsync.continuous import rule
from stationsync.continuous.division import is_of
from stationsync.continuous.look import Baseline, PairBooks, RowSum, StationLook
from stationsync.continuous.rule import Due
from stationsync.database.table_facts import TableFacts
from stationsync.model.changes import Counts, Direction, Report, Status
from stationsync.model.details import RunDetails

AT = datetime(2026, 1, 1, 12)
SEEN = StationLook(RowSum(2, 7), RowSum(32, 99), TableFacts(33, "made", "server"))
BEFORE = Baseline(AT - timedelta(minutes=1), SEEN, (RowSum(), RowSum()), AT)
BOOKS = PairBooks(up=AT, down=AT, newest=AT)
EDITS = (RowSum(1, 5), RowSum())
NONE = (RowSum(), RowSum())


@pytest.mark.parametrize(
    ("before", "books", "edits", "age", "due"),
    [
        (BEFORE, BOOKS, NONE, 10, Due.NOT),
        (None, BOOKS, NONE, 10, Due.FIRST),
        (Baseline(), BOOKS, NONE, 10, Due.FIRST),
        (BEFORE, BOOKS, NONE, 300, Due.TIME),
        (BEFORE, replace(BOOKS, up=None), NONE, 10, Due.BOOKS),
        (BEFORE, replace(BOOKS, cut_off=True), NONE, 10, Due.BOOKS),
        # Control was put back: its watermark went back with it.
        (BEFORE, replace(BOOKS, up=AT - timedelta(seconds=1)), NONE, 10, Due.BOOKS),
        (BEFORE, replace(BOOKS, up=AT + timedelta(hours=1)), NONE, 10, Due.NOT),
        (BEFORE, replace(BOOKS, waiting=3), NONE, 10, Due.NOT),
        (BEFORE, replace(BOOKS, waiting=3), NONE, 31, Due.WAITING),
        (BEFORE, BOOKS, EDITS, 10, Due.EDITS),
        # The last run met these very edits, and could not send them.
        (replace(BEFORE, edits=EDITS), BOOKS, EDITS, 10, Due.NOT),
        (replace(BEFORE, edits=EDITS), BOOKS, NONE, 10, Due.NOT),
        (replace(BEFORE, edits=EDITS), BOOKS, (RowSum(1, 6), RowSum()), 10, Due.EDITS),
        (BEFORE, BOOKS, (RowSum(), RowSum(1, 5)), 10, Due.EDITS),
    ],
)
def test_by_the_books(
    before: Baseline | None, books: PairBooks, edits: tuple[RowSum, RowSum], age: float, due: Due
) -> None:
    assert rule.due_by_books(before, books, edits, age=age, whole_every=300) is due


@pytest.mark.parametrize(
    "now",
    [
        replace(SEEN, late=RowSum(2, 8)),
        replace(SEEN, late=RowSum(3, 7)),
        replace(SEEN, newest=RowSum(31, 99)),
        replace(SEEN, facts=TableFacts(32, "made", "server")),
        replace(SEEN, facts=TableFacts(33, "made anew", "server")),
        replace(SEEN, facts=TableFacts(33, "made", "another server")),
    ],
)
def test_by_the_station(now: StationLook) -> None:
    assert rule.due_by_station(BEFORE, SEEN) is Due.NOT
    assert rule.due_by_station(BEFORE, now) is Due.STATION


def a_report(status: Status = Status.NOTHING, counts: Counts | None = None, *, more: bool = False) -> Report:
    counts = counts or Counts()
    return Report("s", "t", Direction.UP, status, counts, details=RunDetails(more=more))


@pytest.mark.parametrize(
    ("report", "settled"),
    [
        (a_report(), True),
        (a_report(Status.DONE, Counts(applied=3, read=3)), True),
        (a_report(Status.UNDER_WAY), False),
        (a_report(Status.FAILED), False),
        (a_report(Status.OFFLINE), False),
        (a_report(Status.DONE, Counts(locked=1)), False),
        (a_report(Status.DONE, more=True), False),
    ],
)
def test_what_a_run_left_undone_no_look_declares_done(report: Report, settled: bool) -> None:
    assert rule.is_settled([a_report(), report]) is settled


def test_pauses_grow_to_a_minute_and_are_spread() -> None:
    for failures in (1, 2, 3, 50):
        expected = min(5 * 2 ** (failures - 1), 60)
        assert 0.75 * expected <= rule.pause_after(failures, 5) <= 1.25 * expected


def test_stations_meet_in_common_rounds() -> None:
    assert {rule.next_round(begun, 5) for begun in (100.0, 101.3, 104.9)} == {105.0}


def test_a_table_is_never_stale_for_want_of_a_whole_run() -> None:
    assert rule.whole_every(timedelta(minutes=3)) == 60
    assert rule.whole_every(timedelta(days=1)) == 300


def test_each_station_is_of_one_part_and_the_parts_are_alike() -> None:
    names = [f"station-{n}" for n in range(1000)]
    parts = [sum(is_of(name, part, 3) for name in names) for part in range(3)]
    assert sum(parts) == 1000
    assert min(parts) > 280
