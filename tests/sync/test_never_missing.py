"""No committed change is ever passed over: rows of one second, stamps of the future, clocks set back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import after_merge, ago, before_merge
from support.sample import row

from stationsync.errors import StationSyncError
from stationsync.model.changes import Counts

STATE = "SELECT {} FROM stationsync_state WHERE station = 'station-1' AND direction = 'up'"
SECOND = "2024-03-01 12:00:00"


class Stopped(BaseException):
    """The run ends here."""


@pytest.fixture
def fleet(databases: Databases) -> Fleet:
    return a_fleet(databases)


def a_fleet(databases: Databases, **options: Any) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **options)
    fleet.init()
    return fleet


def put_numbered(databases: Databases, first: int, last: int, at: str = SECOND) -> None:
    """Rows first..last, made by one statement, all stamped alike."""
    numbers = f"WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s"
    if databases.kind == "mariadb":
        numbers = f"SELECT seq AS n FROM seq_{first}_to_{last}"
    sql = "INSERT INTO kafka_test (id, text, code, create_date, modify_date) SELECT n, 'row', 'A', %s, %s FROM"
    databases.execute(1, f"{sql} ({numbers}) numbers", [at, at])


def state(fleet: Fleet, column: str) -> Any:
    return fleet.databases.query("control", STATE.format(column))[0][0]


def require_same(fleet: Fleet) -> None:
    """For many rows: the same at the station, at control and in the base; and nothing left to do."""
    fleet.require_nothing_to_do()
    found = fleet.databases.rows(1)
    assert fleet.databases.rows("control") == found
    assert fleet.databases.rows("control", "stationsync_base_kafka_test") == found


def numbers(fleet: Fleet) -> list[int]:
    return [values[0] for values in fleet.databases.rows("control")]


# --- many rows of one second


def test_rows_of_one_second_are_read_over_several_pages(databases: Databases) -> None:
    fleet = a_fleet(databases, page_rows=7)
    put_numbered(databases, 1, 50)
    databases.put(1, [row(60, at="2024-02-29 00:00:00"), row(61, at="2024-03-01 12:00:01")])
    up = fleet.pull()
    assert (up.counts.applied, up.chunks) == (52, 8)
    require_same(fleet)


@pytest.mark.parametrize("rows", [49, 50, 51])
def test_a_full_last_page_is_neither_the_end_nor_read_twice(databases: Databases, rows: int) -> None:
    fleet = a_fleet(databases, page_rows=10)
    put_numbered(databases, 1, rows)
    assert fleet.pull().counts == Counts(read=rows, applied=rows)
    require_same(fleet)


def test_a_run_stopped_in_the_middle_of_a_second_goes_on_behind_its_place(databases: Databases) -> None:
    stops_and_goes_on(a_fleet(databases, page_rows=1_000), 20_000, 1_000)


def test_100_000_rows_of_one_statement(mariadb_databases: MariaDBDatabases) -> None:
    stops_and_goes_on(a_fleet(mariadb_databases, page_rows=10_000), 100_000, 10_000)


def stops_and_goes_on(fleet: Fleet, rows: int, page: int) -> None:
    """One statement stamps all rows alike; the run stops after three pages and, again, after three more."""
    databases = fleet.databases
    put_numbered(databases, 1, rows, at="2023-01-01 00:00:00")
    fleet.pull()
    stamp = ago(3600)
    databases.execute(1, "UPDATE kafka_test SET text = 'stamped', modify_date = %s", [stamp])
    databases.execute("control", "UPDATE stationsync_state SET watermark = %s WHERE direction = 'up'", [ago(7200)])

    for times in (1, 2):
        with pytest.raises(Stopped):
            fleet.pull(**after_merge(_stop, times=3))
        assert _stamped(fleet) == times * 3 * page
        assert str(state(fleet, "watermark")) < stamp
    left = rows - 6 * page
    assert fleet.pull().counts == Counts(read=left, applied=left)
    assert (_stamped(fleet), state(fleet, "place")) == (rows, None)
    require_same(fleet)


def _stop() -> None:
    raise Stopped


def _stamped(fleet: Fleet) -> int:
    query = "SELECT COUNT(*) FROM kafka_test WHERE text = 'stamped'"
    return int(fleet.databases.query("control", query)[0][0])


def test_rows_written_behind_the_place_while_a_run_was_stopped_arrive(databases: Databases) -> None:
    """They are older than the place where the run goes on, so it is the run after that which brings them."""
    fleet = a_fleet(databases, page_rows=10)
    put_numbered(databases, 100, 150, at=ago(0))
    with pytest.raises(Stopped):
        fleet.pull(**after_merge(_stop, times=2))
    databases.put(1, [row(1, at=ago(0))])
    fleet.edit(1, 101, text="edited behind the place", at=ago(0))
    fleet.pull()
    fleet.pull()
    assert 1 in numbers(fleet)
    require_same(fleet)


def test_a_station_that_fails_in_the_middle_is_read_on_later(
    databases: Databases,
) -> None:
    fleet = a_fleet(databases, page_rows=10)
    put_numbered(databases, 1, 50)

    def hide() -> None:
        databases.execute(1, "ALTER TABLE kafka_test RENAME TO hidden")

    with pytest.raises(StationSyncError):
        fleet.pull(**after_merge(hide, times=2))
    databases.execute(1, "ALTER TABLE hidden RENAME TO kafka_test")
    # Pages may have been read ahead before the table was gone.
    done = len(numbers(fleet))
    assert done in (20, 30, 40)
    assert fleet.pull().counts == Counts(read=50 - done, applied=50 - done)
    require_same(fleet)


# --- the second just polled, the future, a clock set back


def test_updates_within_the_second_just_polled_arrive(fleet: Fleet) -> None:
    fleet.databases.put(1, [row(1)])
    fleet.sync()
    stamp = ago(0)
    for text in ("once", "twice", "three times"):
        fleet.edit(1, 1, text=text, at=stamp)
        assert fleet.pull().counts.applied == 1
        assert fleet.databases.rows("control")[0][1] == text
    require_same(fleet)


def test_updates_within_one_second_arrive_without_any_lookback(databases: Databases) -> None:
    fleet = a_fleet(databases, lookback="0s")
    databases.put(1, [row(1)])
    fleet.sync()
    stamp = ago(0)
    for text in ("once", "twice"):
        fleet.edit(1, 1, text=text, at=stamp)
        assert fleet.pull().counts.applied == 1
    require_same(fleet)


def test_a_row_dated_in_the_future_travels_and_does_not_carry_the_watermark_along(fleet: Fleet) -> None:
    databases = fleet.databases
    databases.put(1, [row(1, at="2090-01-01 00:00:00"), row(2)])
    assert fleet.pull().counts.applied == 2
    assert str(state(fleet, "watermark")) <= ago(0)
    fleet.require_nothing_to_do()
    databases.put(1, [row(3, at=ago(0))])
    fleet.edit(1, 1, text="edited", at="2090-01-01 00:00:00")
    assert fleet.pull().counts == Counts(read=2, applied=2)
    fleet.edit("control", 2, text="down", at="2091-01-01 00:00:00")
    fleet.push()
    require_same(fleet)


def test_the_first_run_reads_rows_of_any_age(fleet: Fleet) -> None:
    dates = ["0001-01-01 00:00:00", "1677-01-01 00:00:00", "1969-12-31 23:59:59", "9999-12-31 23:59:59"]
    fleet.databases.put(1, [row(n, at=date) for n, date in enumerate(dates, 1)])
    assert fleet.pull().counts.applied == 4
    require_same(fleet)


@pytest.mark.parametrize("place", ["", '{"modified": "2090-01-01 00:00:00", "key": "[\\"1\\",\\"A\\"]"}'])
def test_after_a_clock_was_set_back_rows_before_the_watermark_arrive(fleet: Fleet, place: str) -> None:
    """An hour ago the station's clock was still an hour ahead: summer time ended, or somebody set it right."""
    databases = fleet.databases
    databases.put(1, [row(1)])
    fleet.sync()
    ahead = "watermark = %s, clock_measured = 3600000000, place = %s, place_bound = %s"
    kept = place or None
    remembered: Sequence[Any] = [ago(-3600), kept, kept and ago(-3600)]
    databases.execute("control", f"UPDATE stationsync_state SET {ahead} WHERE direction = 'up'", remembered)
    databases.put(1, [row(2, at=ago(600)), row(3, at=ago(3500))])
    assert fleet.pull().counts.applied == 2
    assert str(state(fleet, "watermark")) <= ago(0)
    require_same(fleet)


def test_a_row_written_while_a_page_is_merged_is_read_by_the_same_or_the_next_run(fleet: Fleet) -> None:
    databases = fleet.databases
    databases.put(1, [row(1)])
    fleet.pull(**before_merge(lambda: databases.put(1, [row(2, at=ago(1))])))
    fleet.pull()
    assert numbers(fleet) == [1, 2]
    require_same(fleet)
