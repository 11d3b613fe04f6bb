"""Control's table was restored from an older backup, emptied or damaged, and our bookkeeping was not: recognised before
anything is turned back at a station."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from support.command import snapshot
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.older_control import SEND, a_fleet, backup, put, put_back, sweep, swept, texts
from support.reports import json_of
from support.sample import row

from stationsync.errors import ControlWentBack
from stationsync.model.changes import Report
from stationsync.recovery import backfill, reseed_control
from stationsync.recovery.backfill_range import BackfillRange
from stationsync.rollback.older_control import ControlFacts, ControlHow, ControlStanding, fell_back, how, suspicious
from stationsync.sync import runs
from stationsync.sync.rehearse import Rehearsal


def refilled(fleet: Fleet) -> Report:
    return backfill.backfill(fleet.pairs()[0], runs.plain_steps(), backfill.BackfillOrder(BackfillRange()))


RUNS: dict[str, Callable[[Fleet], object]] = {
    "pull": Fleet.pull,
    "push": Fleet.push,
    "reconcile": swept,
    "backfill": refilled,
    "pull, dry": lambda fleet: rehearsed(fleet, "pull"),
    "push, dry": lambda fleet: rehearsed(fleet, "push"),
}


def rehearsed(fleet: Fleet, what: str) -> Report:
    (pair,) = fleet.pairs()
    report: Report = getattr(Rehearsal(), what)(pair, runs.plain_steps())
    return report


def require_refused(fleet: Fleet, run: Callable[[Fleet], object]) -> ControlWentBack:
    """And nothing was written, but for how the run went."""
    databases = fleet.databases

    def rows() -> dict[str, list[Any]]:
        found = snapshot(databases, "control", 1)
        return {name: rows for name, rows in found.items() if not name.endswith(("_state", "_proof", "_backfill"))}

    before = rows()
    with pytest.raises(ControlWentBack) as caught:
        run(fleet)
    assert rows() == before
    return caught.value


# --- recognised


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("run", RUNS)
def test_a_restored_control_turns_no_station_back(databases: Databases, run: str) -> None:
    """40 rows were edited since the backup, 5 are new, one was edited at control."""
    fleet = a_fleet(databases, **SEND)
    backup(databases)
    for number in range(1, 41):
        fleet.edit(1, number, text=f"edited {number}", at=ago(40))
    fleet.edit("control", 41, text="control's", at=ago(40))
    put(databases, 61, 65, ago(39))
    fleet.sync()
    put_back(databases)
    databases.put(1, [row(99, text="after the disaster", at=ago(1))])

    error = require_refused(fleet, RUNS[run])
    assert "46 of 65 rows known of station-1 are older or missing at control" in error.what
    assert "stationsync reseed-control station-1 --table kafka_test" in error.next_step
    assert "stationsync trust-control station-1 --table kafka_test" in error.next_step
    assert "Nothing was read, sent or deleted" in str(error)


def test_a_dry_reconcile_says_what_it_would_do_and_that_it_would_be_refused(databases: Databases) -> None:
    fleet = a_fleet(databases)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="edited", at=ago(40))
    fleet.sync()
    put_back(databases)
    report = swept(fleet, dry_run=True)
    assert json_of(report)["found"]["edited"] == 10
    assert len([note for note in report.warnings if "reseed-control" in note]) == 1


def test_a_backup_of_which_a_few_rows_are_older_is_recognised(databases: Databases) -> None:
    """Far fewer than a table may lose, but the newest: what the brake would let through."""
    fleet = a_fleet(databases)
    backup(databases)
    for number in (7, 8, 9):
        fleet.edit(1, number, text="edited", at=ago(40))
    fleet.sync()
    put_back(databases)
    for run in (Fleet.pull, Fleet.push, swept, refilled):
        assert "3 of 60 rows" in require_refused(fleet, run).what


def test_edits_that_only_control_had_and_that_went_down_are_looked_for_too(databases: Databases) -> None:
    """No pull has seen them at the station yet."""
    fleet = a_fleet(databases)
    backup(databases)
    for number in (7, 8, 9):
        fleet.edit("control", number, text="control's", at=ago(40))
    fleet.push()
    put_back(databases)
    require_refused(fleet, Fleet.push)
    require_refused(fleet, Fleet.pull)


def test_what_waits_since_a_conflict_is_looked_for_once_it_went_down(databases: Databases) -> None:
    fleet = a_fleet(databases, conflicts="control")
    backup(databases)
    for number in (7, 8, 9):
        fleet.edit(1, number, text="the station's", at=ago(41))
        fleet.edit("control", number, text="control's", at=ago(40))
    fleet.pull()
    fleet.push()
    assert texts(databases, 1)[7] == "control's"
    put_back(databases)
    require_refused(fleet, Fleet.push)


def test_a_reconcile_sees_older_rows_that_no_pull_remembers(databases: Databases) -> None:
    """They were brought by a sweep, stamped before the watermark."""
    fleet = a_fleet(databases, rows=20)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="late", at="2024-01-05 00:00:00")
    swept(fleet)
    put_back(databases)
    require_refused(fleet, swept)


def test_an_emptied_control_table_deletes_nothing_at_the_station(databases: Databases) -> None:
    fleet = a_fleet(databases, **SEND)
    databases.execute("control", "DELETE FROM kafka_test")
    for run in (Fleet.pull, Fleet.push, swept, refilled):
        assert "60 of 60 rows" in require_refused(fleet, run).what


def test_new_rows_that_a_backup_lacks_are_not_deleted_at_the_station(databases: Databases) -> None:
    """Where control's deletes travel, and fewer are missing than the brake would stop."""
    fleet = a_fleet(databases, rows=300, **SEND)
    backup(databases)
    put(databases, 301, 325, ago(60))
    fleet.sync()
    put_back(databases)
    for run in (Fleet.pull, Fleet.push, swept, refilled):
        require_refused(fleet, run)


def test_a_table_that_only_goes_up_is_not_left_old_without_a_word(databases: Databases) -> None:
    fleet = a_fleet(databases, direction="up")
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="edited", at=ago(40))
    fleet.sync()
    put_back(databases)
    require_refused(fleet, Fleet.pull)
    require_refused(fleet, swept)


def test_an_edit_after_the_restore_hides_nothing(databases: Databases) -> None:
    fleet = a_fleet(databases)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="edited", at=ago(41))
    fleet.sync()
    put_back(databases)
    for number in (1, 2, 50):
        fleet.edit("control", number, text="after the restore", at=ago(1))
    require_refused(fleet, Fleet.push)


@pytest.mark.parametrize("lost", ["an edit", "a row"])
def test_a_table_that_is_in_doubt_is_so_for_every_station(databases: Databases, lost: str) -> None:
    """Of station 2 only one row is concerned. It would be taken for somebody's edit, or delete."""
    fleet = a_fleet(databases, stations=2, **SEND)
    databases.create_kafka_test(2)
    databases.put(2, [row(n, "B") for n in range(1, 31)])
    fleet.sync(2)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="edited", at=ago(40))
    if lost == "an edit":
        fleet.edit(2, 1, "B", text="edited", at=ago(40))
    else:
        databases.put(2, [row(31, "B", at=ago(40))])
    fleet.sync(1)
    fleet.sync(2)
    put_back(databases)
    require_refused(fleet, Fleet.pull)
    for run in (fleet.pull, fleet.push, partial(sweep, fleet)):
        with pytest.raises(ControlWentBack) as caught:
            run(2)
        assert "1 of 3" in caught.value.what
    reseed_control.reseed(fleet.pairs(1)[0])
    fleet.sync(1)
    with pytest.raises(ControlWentBack):
        fleet.push(2)
    reseed_control.reseed(fleet.pairs(2)[0])
    fleet.require_nothing_to_do([1, 2])
    # Now one row that is put back is an edit again.
    fleet.edit("control", 2, "B", text="put back", at="2023-01-01 00:00:00")
    sweep(fleet, 2)
    assert ("put back",) in databases.query(2, "SELECT text FROM kafka_test")


# --- what is no restore


def test_a_row_that_a_person_set_back_at_control_goes_down(databases: Databases) -> None:
    fleet = a_fleet(databases)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="edited", at=ago(41))
    fleet.sync()
    for number in (3, 4):
        sql = "UPDATE kafka_test SET text = %s, modify_date = '2024-01-01 00:00:00' WHERE id = %s"
        databases.execute("control", sql, [f"row {number}", number])
    fleet.sync()
    swept(fleet)
    assert texts(databases, 1)[3] == texts(databases, "control")[3] == "row 3"
    fleet.require_nothing_to_do()
    fleet.require_equal()


@pytest.mark.parametrize("stamp", ["a little older", "untouched"])
def test_edits_of_control_may_be_stamped_a_little_older(databases: Databases, stamp: str) -> None:
    """By a clock that is slow; or not at all."""
    fleet = a_fleet(databases)
    at = ago(5)
    for number in range(1, 21):
        fleet.edit(1, number, text="the station's", at=at)
    fleet.sync()
    for number in range(1, 19):
        fleet.edit("control", number, text="control's", at=ago(5 + 600) if stamp == "a little older" else at)
    fleet.sync()
    swept(fleet)
    assert [texts(databases, 1)[number] for number in (1, 18, 19)] == ["control's", "control's", "the station's"]
    fleet.require_nothing_to_do()


def test_some_of_the_newest_rows_may_be_deleted_at_control(databases: Databases) -> None:
    fleet = a_fleet(databases, **SEND)
    databases.execute("control", "DELETE FROM kafka_test WHERE id > 45")
    fleet.require_nothing_to_do()
    swept(fleet)
    assert databases.count(1) == 45
    fleet.require_nothing_to_do()


def test_old_rows_may_be_taken_out_of_control_by_hand(databases: Databases) -> None:
    fleet = a_fleet(databases, rows=300)
    databases.execute("control", "DELETE FROM kafka_test WHERE id < 200")
    fleet.require_nothing_to_do()
    swept(fleet)
    assert databases.count("control") == 300, "nobody carries these deletes: they come back"


def test_a_version_of_control_s_that_won_may_be_older(databases: Databases) -> None:
    fleet = a_fleet(databases, conflicts="control")
    for number in range(1, 11):
        fleet.edit("control", number, text="control's", at=ago(9000))
        fleet.edit(1, number, text="the station's", at=ago(40))
    fleet.pull()
    fleet.pull()
    fleet.push()
    assert texts(databases, 1)[1] == "control's"
    fleet.require_nothing_to_do()


# --- the rules

_HOUR = timedelta(hours=1)
_AT = "2026-03-01 12:00:00"


@pytest.mark.parametrize(
    ("base", "control", "expected"),
    [
        (_AT, _AT, ControlHow.SAME),
        (_AT, "2026-03-01 11:59:59", ControlHow.SAME),
        (_AT, "2026-03-01 12:00:05", ControlHow.NEWER),
        (_AT, "2026-03-01 11:59:50", ControlHow.OLDER),
        (_AT, "2026-03-01 11:00:00", ControlHow.OLDER),
        (_AT, "2026-03-01 10:59:59", ControlHow.TURNED),
        (_AT, None, ControlHow.OLDER),
        (None, _AT, ControlHow.NEWER),
        (None, None, ControlHow.SAME),
        ("0000-00-00 00:00:00", "0000-00-00 00:00:00", ControlHow.SAME),
    ],
)
def test_how_a_row_stands(base: str | None, control: str | None, expected: ControlHow) -> None:
    assert how(base, control, there=True, allowed=_HOUR) is expected
    assert how(base, control, there=False, allowed=_HOUR) is ControlHow.MISSING


def rows_of(**numbers: int) -> list[ControlStanding]:
    """Each a second older than the one before."""
    hows = [ControlHow[name.upper()] for name, number in numbers.items() for _ in range(number)]
    newest = datetime.fromisoformat(_AT)
    return [ControlStanding(kind, str(newest - timedelta(seconds=i))) for i, kind in enumerate(hows)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (rows_of(), False),
        (rows_of(same=32), False),
        (rows_of(newer=32), False),
        (rows_of(turned=2, same=30), False),
        (rows_of(same=29, turned=3), True),
        (rows_of(older=20, same=12), False),
        (rows_of(older=21, same=11), True),
        (rows_of(missing=1), True),
        (rows_of(missing=1, newer=3), True),
    ],
)
def test_what_makes_us_look_closer(rows: list[ControlStanding], expected: bool) -> None:
    assert suspicious(rows) is expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (rows_of(same=300), 0),
        (rows_of(turned=3, same=297), 3),
        (rows_of(same=64, turned=30), 0),  # among older ones: a person's edits
        (rows_of(same=64, older=31), 31),
        (rows_of(older=30, same=270), 0),
        (rows_of(missing=30, same=270), 0),
        (rows_of(missing=31, same=269), 31),
        (rows_of(newer=2, missing=31, same=267), 31),
        (rows_of(same=1, missing=299), 0),
        (rows_of(missing=300), 300),
    ],
)
def test_when_control_fell_back(rows: list[ControlStanding], expected: int) -> None:
    """Of 300 rows a tenth may be gone."""
    missing = sum(row.how is ControlHow.MISSING for row in rows)
    assert fell_back(ControlFacts(rows, 300, missing)) == expected


def test_few_deletes_are_usual_where_they_travel() -> None:
    rows = rows_of(missing=21, same=279)
    assert fell_back(ControlFacts(rows, 300, 21)) == 0
    assert fell_back(ControlFacts(rows, 300, 21, sends_deletes=True)) == 21
    assert fell_back(ControlFacts(rows, 300, 21, sends_deletes=True, deletes_usual=True)) == 0
    assert fell_back(ControlFacts(rows[1:], 299, 20, sends_deletes=True)) == 0


def test_a_table_in_doubt_needs_one_older_row_only() -> None:
    rows = rows_of(same=5, older=1, missing=1)
    assert suspicious(rows, in_doubt=True)
    assert fell_back(ControlFacts(rows, 300, 1)) == 0
    assert fell_back(ControlFacts(rows, 300, 1, in_doubt=True)) == 2
    deleted = rows_of(same=5, missing=1)
    assert fell_back(ControlFacts(deleted, 300, 1, in_doubt=True)) == 0, "it comes back by itself"
    assert fell_back(ControlFacts(deleted, 300, 1, in_doubt=True, sends_deletes=True)) == 1


def test_rows_of_one_moment_are_not_newer_than_each_other() -> None:
    rows = [replace(row, base=_AT) for row in rows_of(missing=150, same=150)]
    assert fell_back(ControlFacts(rows, 300, 150)) == 0
