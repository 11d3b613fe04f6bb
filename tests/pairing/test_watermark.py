"""Where a run reads from, and how far it may say "seen": pure, so every case is a line."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationsync.database.dialect import Clock
from stationsync.model.changes import Position
from stationsync.pairing.watermark import Mark, Reading, plan
from stationsync.topology import zones
from stationsync.topology.zones import Forward

NOON = datetime(2024, 6, 1, 12)
PLACE = Position("2024-06-01 11:00:00", ("7", "A"))
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def planned(
    mark: Mark | None = None,
    now: datetime = NOON,
    oldest_open: timedelta | None = None,
    control: datetime | None = None,
    **options: timedelta,
) -> Reading:
    """A plan of a station whose clock says `now`, while control's says `control`; UTC at both."""
    theirs = now if control is None else control
    usual = {"lookback": MINUTE, "settle": 2 * SECOND, "max_hold": HOUR}
    source = Clock(now, now, oldest_open)
    return plan(mark or Mark(), source, Clock(theirs, theirs), **{**usual, **options})


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2024-06-01 {text}")


@pytest.mark.parametrize(
    ("now", "oldest_open", "options", "bound"),
    [
        ("12:00:10", None, {}, "12:00:08"),
        ("12:00:10.999999", None, {}, "12:00:08"),
        ("12:00:10", None, {"settle": timedelta(0)}, "12:00:10"),
        ("12:00:10", None, {"settle": 1.5 * SECOND}, "12:00:08"),
        ("12:00:10", 0 * SECOND, {}, "12:00:08"),
        ("12:00:10", 30 * SECOND, {}, "11:59:39"),
        ("12:00:10.5", 30.25 * SECOND, {}, "11:59:39"),
        ("12:00:10", 30 * SECOND, {"settle": MINUTE}, "11:59:10"),
        ("12:00:10", 2 * HOUR, {}, "11:00:10"),
        ("12:00:10", 2 * HOUR, {"max_hold": 3 * HOUR}, "10:00:09"),
    ],
)
def test_the_bound_is_behind_settle_and_open_transactions(
    now: str, oldest_open: timedelta | None, options: dict[str, Any], bound: str
) -> None:
    reading = planned(None, at(now), oldest_open, **options)
    assert (reading.bound, reading.mark.watermark) == (at(bound), at(bound))


def test_a_transaction_open_for_longer_than_max_hold_is_no_longer_waited_for_and_told() -> None:
    assert planned(oldest_open=HOUR).warnings == ()
    (warning,) = planned(oldest_open=HOUR + SECOND).warnings
    assert "open for 1:00:01" in warning


@pytest.mark.parametrize(
    ("watermark", "now", "oldest_open", "lookback", "start"),
    [
        (None, "12:00:00", None, MINUTE, None),
        ("11:50:00", "12:00:00", None, MINUTE, "11:49:00"),
        ("11:50:00", "12:00:00", None, timedelta(0), "11:50:00"),
        # The bound fell behind the watermark: a transaction older than that was not seen by the last run.
        ("11:59:58", "12:00:00", 10 * MINUTE, timedelta(0), "11:49:59"),
    ],
)
def test_reading_begins_at_the_watermark_less_lookback(
    watermark: str | None, now: str, oldest_open: timedelta | None, lookback: timedelta, start: str | None
) -> None:
    mark = Mark(watermark and at(watermark))
    reading = planned(mark, at(now), oldest_open, lookback=lookback)
    assert reading.start == (start and at(start))
    assert reading.after is None


def test_a_run_that_was_cut_off_goes_on_behind_its_place_and_not_past_its_bound() -> None:
    first = planned(Mark(at("10:00:00")), at("11:00:00"))
    cut_off = first.remember(PLACE, more=True)
    assert (cut_off.watermark, cut_off.place, cut_off.place_bound) == (at("10:00:00"), PLACE, at("10:59:58"))

    second = planned(cut_off, at("12:00:00"))
    assert (second.after, second.bound) == (PLACE, at("10:59:58"))
    again = second.remember(replace(PLACE, key=("8", "A")), more=True)
    assert (again.watermark, again.place_bound) == (at("10:00:00"), at("10:59:58"))

    done = planned(again, at("13:00:00")).remember(None, more=False)
    assert (done.watermark, done.place, done.place_bound) == (at("10:59:58"), None, None)


@pytest.mark.parametrize("back", [2 * SECOND, 10 * MINUTE, HOUR])
def test_a_clock_set_back_is_read_again_that_far_and_a_place_is_given_up(back: timedelta) -> None:
    """Summer time ends, or somebody sets the clock: what was stamped meanwhile lies before the watermark."""
    before = planned(now=NOON, control=NOON)
    cut_off = before.remember(PLACE, more=True)
    for mark in (before.mark, replace(cut_off, watermark=before.bound)):
        reading = planned(mark, NOON + MINUTE - back, control=NOON + MINUTE)
        assert reading.start is not None
        assert reading.start <= NOON - back - MINUTE
        assert (reading.after, reading.mark.watermark) == (None, reading.bound)
        assert reading.bound <= NOON + MINUTE - back


def test_a_clock_set_back_long_ago_is_noticed_by_the_next_run() -> None:
    reading = planned(planned(now=NOON).mark, NOON + 5 * HOUR, control=NOON + 6 * HOUR)
    assert reading.start == NOON - 2 * SECOND - HOUR - MINUTE


@pytest.mark.parametrize("step", [timedelta(0), 0.9 * SECOND, -HOUR])
def test_a_clock_that_wavers_or_is_put_forward_reads_nothing_again(step: timedelta) -> None:
    mark = planned(now=NOON).remember(PLACE, more=True)
    reading = planned(replace(mark, watermark=NOON), NOON + HOUR - step, control=NOON + HOUR)
    assert (reading.start, reading.after) == (min(NOON, reading.bound) - MINUTE, PLACE)


@pytest.mark.parametrize(
    ("ahead", "offset"),
    [(0.4, 0), (2, 0), (-2, 0), (2.1, 2), (600, 600), (-600, -600), (32_400.3, 32_400)],
)
def test_the_clock_s_offset_for_conflicts_is_steady(ahead: float, offset: int) -> None:
    """Measured anew by every run, it must not waver, or conflicts would be decided anew."""
    mark = planned(now=NOON + ahead * SECOND, control=NOON).mark
    assert mark.clock_offset == offset * SECOND
    for wavering in (-1.5, 0.7, 1.5):
        mark = planned(mark, NOON + (ahead + wavering) * SECOND if offset else NOON, control=NOON).mark
        assert mark.clock_offset == offset * SECOND


SECONDS = st.floats(0, 7200, allow_nan=False).map(lambda seconds: seconds * SECOND)
OPTIONS = st.fixed_dictionaries({"lookback": SECONDS, "settle": SECONDS, "max_hold": SECONDS})
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1))
SEEN = MOMENTS.map(lambda moment: moment.replace(microsecond=0))
MARKS = st.builds(
    Mark,
    st.none() | SEEN,
    st.none() | st.just(PLACE),
    st.none() | SEEN,
    st.none() | st.timedeltas(-HOUR, HOUR),
    st.just(timedelta(0)),
)


@given(MARKS, MOMENTS, st.none() | SECONDS, OPTIONS)
def test_the_bound_never_passes_settle_or_an_open_transaction(
    mark: Mark, now: datetime, oldest_open: timedelta | None, options: dict[str, timedelta]
) -> None:
    reading = planned(mark, now, oldest_open, **options)
    assert reading.bound <= now - options["settle"]
    assert reading.bound.microsecond == 0
    if oldest_open is not None and oldest_open <= options["max_hold"]:
        assert reading.bound <= now - min(oldest_open, options["max_hold"])
    assert reading.mark.watermark == reading.bound
    assert reading.start is None or reading.start <= reading.bound


@given(MARKS, MOMENTS, OPTIONS, st.lists(st.booleans(), max_size=5))
def test_however_often_a_run_is_cut_off_the_watermark_only_moves_at_its_end(
    mark: Mark, now: datetime, options: dict[str, timedelta], chunks: list[bool]
) -> None:
    reading = planned(mark, now, **options)
    for _ in chunks:
        cut_off = reading.remember(PLACE, more=True)
        assert cut_off.place == PLACE
        assert cut_off.watermark is None if mark.watermark is None else cut_off.watermark <= mark.watermark
        now += MINUTE
        bound = reading.bound
        reading = planned(cut_off, now, control=now, **options)
        assert reading.after is None or reading.bound <= bound
    assert reading.remember(None, more=False).watermark == reading.bound


@st.composite
def days(draw: st.DrawFn) -> list[tuple[timedelta, timedelta, int | None]]:
    """Steps of a day: time passes (by control's clock), the station's clock is set by so much, and a run either comes
    to its end (None) or is cut off after so many rows."""
    passes = st.integers(0, 3600).map(lambda seconds: seconds * SECOND)
    is_set = st.sampled_from([timedelta(0)] * 4 + [HOUR, -HOUR, 10 * MINUTE, -10 * MINUTE, -90 * SECOND])
    cut_off = st.none() | st.integers(1, 4)
    return draw(st.lists(st.tuples(passes, is_set, cut_off), min_size=2, max_size=12))


@given(days())
def test_every_row_is_read_whatever_the_clock_does_and_wherever_runs_are_cut_off(
    day: list[tuple[timedelta, timedelta, int | None]],
) -> None:
    """Even without any lookback. At each step a row is stamped just after the clock was set, the worst moment, and
    another as time passes."""
    control, ahead, mark = NOON, timedelta(0), Mark()
    unread: list[datetime] = []
    for passes, is_set, cut_off in [*day, (MINUTE, timedelta(0), None), (MINUTE, timedelta(0), None)]:
        ahead += is_set
        unread += [control + ahead, control + ahead + passes / 2]
        control += passes
        reading = planned(mark, control + ahead, control=control, lookback=timedelta(0))
        place = reading.after and datetime.fromisoformat(reading.after.modified)
        found = sorted(
            row for row in unread if (row > place if place else reading.start is None or row >= reading.start)
        )
        page = found[:cut_off]
        unread = [row for row in unread if row not in page]
        last = Position(str(page[-1]), ()) if page else None
        mark = reading.remember(last, more=len(page) < len(found))
    assert unread == []


# --- summer time begins: 02:00 is 03:00 at once


def summer(now: str, oldest_open: timedelta | None = None, mark: Mark | None = None, **options: timedelta) -> Reading:
    """A plan of a station whose clock was put forward at 03:00 (its new time)."""
    clock = Clock(at(now), at(now) - 2 * HOUR, oldest_open, forward=Forward(at("01:00:00"), HOUR))
    usual = {"lookback": MINUTE, "settle": 2 * SECOND, "max_hold": HOUR}
    return plan(mark or Mark(), clock, Clock(clock.utc, clock.utc), **{**usual, **options})


@pytest.mark.parametrize(
    ("now", "oldest_open", "bound"),
    [
        ("03:00:01", None, "01:59:59"),
        ("03:00:02", None, "03:00:00"),
        ("03:10:00", 20 * MINUTE, "01:49:59"),
        ("03:10:00", 5 * MINUTE, "03:04:59"),
    ],
)
def test_the_bound_stands_at_what_was_stamped_before_summer_time(
    now: str, oldest_open: timedelta | None, bound: str
) -> None:
    assert summer(now, oldest_open).bound == at(bound)


@pytest.mark.parametrize(
    ("watermark", "start"), [("03:00:28", "01:59:28"), ("03:05:00", "03:04:00"), ("01:59:50", "01:58:50")]
)
def test_lookback_goes_over_the_hour_that_never_was(watermark: str, start: str) -> None:
    assert summer("03:06:00", mark=Mark(at(watermark))).start == at(start)


def test_a_zone_s_clock_put_forward_and_back() -> None:
    wall = zones.wall_of("Europe/Berlin")
    spring = datetime(2024, 3, 31, 1)
    assert zones.last_forward(wall, spring + 30 * MINUTE, HOUR) == Forward(spring, HOUR)
    assert zones.last_forward(wall, spring + 61 * MINUTE, HOUR) is None
    assert zones.last_forward(wall, spring - SECOND, HOUR) is None
    autumn = datetime(2024, 10, 27, 1)
    assert zones.last_forward(wall, autumn + MINUTE, HOUR) is None
    # Half an hour before it, rows are stamped that are to be followed by rows of the same hour.
    asked = autumn - 30 * MINUTE
    assert zones.earliest(wall, asked) == datetime(2024, 10, 27, 1, 30)
    assert zones.latest(wall, autumn + 30 * MINUTE) == datetime(2024, 10, 27, 3, 30)
    assert zones.earliest(wall, NOON) == zones.latest(wall, NOON) == NOON + 2 * HOUR


@pytest.mark.parametrize(
    ("written", "zone"),
    [("server", "server"), ("utc", "UTC"), ("+0:00", "UTC"), ("+9:00", "+09:00"), ("-11:30", "-11:30"),
     ("Asia/Seoul", "Asia/Seoul")],
)  # fmt: skip
def test_a_zone_as_it_is_written(written: str, zone: str) -> None:
    assert zones.parse_zone(written) == zone


@pytest.mark.parametrize("written", ["", "9", "+9", "+25:00", "+09:75", "Asia/Seul", "../etc/passwd", "localtime", 9])
def test_what_is_no_zone(written: object) -> None:
    with pytest.raises(ValueError, match="write server, UTC"):
        zones.parse_zone(written)
