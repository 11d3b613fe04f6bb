"""The pure rules of a lost station: what a reseed gives back, and which station went back in time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from stationsync.database.dialect import Clock
from stationsync.model.changes import Policy, Position
from stationsync.pairing.decide import Row, Rule
from stationsync.recovery.reseed_rule import Return, StationOutcome, give_back
from stationsync.rollback.brake import limit
from stationsync.rollback.remembered import horizon, newest_of
from stationsync.rollback.went_back import lost, turned_back

NOON = datetime(2024, 5, 1, 12)


def version(a: str, fixed: str = "f", at: str | None = "2024-01-02 00:00:00") -> Row:
    return {"id": 1, "a": a, "fixed": fixed, "modified": at}


OLDER, SAME, NEWER = "2024-01-01 00:00:00", "2024-01-02 00:00:00", "2024-01-03 00:00:00"
BASE = version("b")
EDITED = version("c", at=NEWER)


@pytest.mark.parametrize(
    ("s", "c", "expected"),
    [
        (None, None, Return(StationOutcome.VANISHED)),
        (BASE, None, Return(StationOutcome.VANISHED)),
        (None, BASE, Return(StationOutcome.INSERT, BASE)),
        (None, EDITED, Return(StationOutcome.INSERT, EDITED)),
        (BASE, BASE, Return(StationOutcome.EQUAL, BASE)),
        (EDITED, EDITED, Return(StationOutcome.EQUAL, EDITED)),
        # Control's edit was waiting: nobody's version is lost.
        (BASE, EDITED, Return(StationOutcome.REWRITE, EDITED)),
        # The station went back.
        (version("old", at=OLDER), BASE, Return(StationOutcome.REWRITE, BASE, keep=True)),
        (version("old", at=OLDER), EDITED, Return(StationOutcome.REWRITE, EDITED, keep=True)),
        (version("old", at=SAME), BASE, Return(StationOutcome.REWRITE, BASE, keep=True)),
        (version("old", at=None), BASE, Return(StationOutcome.REWRITE, BASE, keep=True)),
        (version("old", at="0000-00-00 00:00:00"), BASE, Return(StationOutcome.REWRITE, BASE, keep=True)),
        # Written since.
        (version("new", at=NEWER), BASE, Return(StationOutcome.NEWER, keep=True)),
        (version("new", at=NEWER), EDITED, Return(StationOutcome.NEWER)),
    ],
)
def test_what_a_reseed_gives_back(s: Row | None, c: Row | None, expected: Return) -> None:
    assert give_back(s, c, BASE, Rule(Policy.NEWEST, "modified")) == expected


BOTH = version("c", "changed", NEWER)
FIXED = version("b", "changed", NEWER)
ALLOWED = version("c", "f", NEWER)


@pytest.mark.parametrize(
    ("s", "c", "expected"),
    [
        (None, BOTH, Return(StationOutcome.INSERT, BOTH)),
        (BASE, BOTH, Return(StationOutcome.REWRITE, ALLOWED)),
        (ALLOWED, BOTH, Return(StationOutcome.EQUAL, ALLOWED)),
        # Of an edit that is not allowed nothing is left, its stamp neither.
        (BASE, FIXED, Return(StationOutcome.EQUAL, BASE)),
        (version("old", at=OLDER), FIXED, Return(StationOutcome.REWRITE, BASE, keep=True)),
    ],
)
def test_columns_that_control_may_not_edit_stay_the_station_s(s: Row | None, c: Row, expected: Return) -> None:
    rule = Rule(Policy.NEWEST, "modified", editable=frozenset({"id", "a", "modified"}))
    assert give_back(s, c, BASE, rule) == expected


def test_a_base_row_without_a_date() -> None:
    rule, base = Rule(Policy.NEWEST, "modified"), version("b", at=None)
    assert give_back(version("s", at=None), base, base, rule) == Return(StationOutcome.REWRITE, base, keep=True)
    assert give_back(version("s"), base, base, rule) == Return(StationOutcome.NEWER, keep=True)


# --- recognising


def seen(rows: int, at: str = SAME) -> list[Position]:
    return [Position(at, (str(n),)) for n in range(rows)]


def stamps(first: int, rows: int, at: str | None = SAME) -> dict[str, str | None]:
    return {f'["{n}"]': at for n in range(first, rows)}


def minutes(rows: int) -> list[Position]:
    """The newest first, one a minute."""
    return [Position(f"2024-01-02 {n // 60:02}:{n % 60:02}:00", (str(n),)) for n in reversed(range(rows))]


def left(rows: int, *which: range) -> dict[str, str | None]:
    there = {n for part in which for n in part}
    return {f'["{p.key[0]}"]': p.modified for p in minutes(rows) if int(str(p.key[0])) in there}


@pytest.mark.parametrize(
    ("there", "usual", "expected"),
    [
        (left(100, range(100)), False, 0),
        (left(100, range(85)), False, 0),  # no more than the limit
        (left(100, range(50)), False, 50),  # all of the newest are gone
        (left(100, range(50), range(99, 100)), False, 0),  # one of them is left: deletes
        (left(100, range(50)), True, 0),  # where deletes are usual
        ({}, False, 100),
        (dict.fromkeys(left(100, range(100)), OLDER), True, 100),  # older versions are no deletes
        (left(100, range(50), range(99, 100)) | dict.fromkeys(left(100, range(60, 90)), OLDER), True, 49),
    ],
)
def test_when_a_station_was_turned_back(there: dict[str, str | None], usual: bool, expected: int) -> None:
    assert turned_back(minutes(100), there, 20, deletes_usual=usual) == expected


def test_rows_of_one_second_are_one_moment() -> None:
    """None of them is newer than another: where one is left, the others were deleted."""
    assert turned_back(seen(100), stamps(99, 100), 20, deletes_usual=False) == 0


def test_stamps_of_any_year_are_compared() -> None:
    assert not lost([Position("0001-01-01 00:00:00", ("1",))], {'["1"]': "0001-01-01 00:00:00"})
    assert not lost([Position("0000-00-00 00:00:00", ("1",))], {'["1"]': "0001-01-01 00:00:00"})


def test_the_newest_rows_each_once_and_none_of_the_future() -> None:
    rows = [Position(f"2024-05-01 11:{n:02}:00", (str(n),)) for n in range(50)]
    future, again = Position("2024-05-01 12:00:01", ("1",)), Position("2024-05-01 11:59:00", ("0",))
    found = newest_of([*rows, future, again, Position("0000-00-00 00:00:00", ("x",))], NOON)
    assert (len(found), found[0], found[1]) == (32, again, rows[49])
    assert future not in found


def test_the_future_is_what_both_clocks_call_so() -> None:
    hour, control = timedelta(hours=1), Clock(NOON, NOON)
    assert horizon(Clock(NOON, NOON), control) == NOON
    assert horizon(Clock(NOON + hour, NOON + hour), control) == NOON + hour
    # A machine that was set back together with its clock.
    assert horizon(Clock(NOON - hour, NOON - hour), control) == NOON
    # A station in another time zone.
    assert horizon(Clock(NOON + 9 * hour, NOON), control) == NOON + 9 * hour
    assert horizon(Clock(NOON + 8 * hour, NOON - hour), control) == NOON + 9 * hour


@pytest.mark.parametrize(("rows", "expected"), [(0, 20), (5, 20), (200, 20), (1_000, 100), (50_000, 1_000)])
def test_how_many_rows_may_be_lost(rows: int, expected: int) -> None:
    assert limit(rows) == expected
