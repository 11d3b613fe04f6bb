"""Reconcile finds what no watermark can, repairs it, and proves that both sides are equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row
from support.sweeps import ROWS, a_fleet, everything, found, require_proved, sweep

from stationsync.model.changes import Report, Status
from stationsync.reconcile.reconcile import reconcile
from stationsync.reconcile.scan import ComparisonSteps
from stationsync.sync import runs


def test_equal_sides_are_proved_equal_and_the_checksum_is_of_the_rows(databases: Databases) -> None:
    fleet = a_fleet(databases, 2)
    first = require_proved(fleet, 1)
    assert json_of(first)["ranges"] > 5
    assert json_of(require_proved(fleet, 1))["checksum"] == json_of(first)["checksum"]
    assert json_of(require_proved(fleet, 2))["checksum"] != json_of(first)["checksum"]
    fleet.edit(1, 7, "S1", text="another")
    fleet.sync(1)
    assert json_of(require_proved(fleet, 1))["checksum"] != json_of(first)["checksum"]


def silent(fleet: Fleet) -> None:
    """What a watermark cannot see: rows stamped long ago, edits without a stamp, no date at all, swapped values."""
    databases = fleet.databases
    databases.put(1, [row(1000, "S1", at="2020-01-01 00:00:00"), row(1001, "S1", at="2019-01-01 00:00:00")])
    databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 5")
    databases.execute(
        1, "UPDATE kafka_test SET text = CASE id WHEN 10 THEN 'row 20' ELSE 'row 10' END WHERE id IN (10, 20)"
    )
    databases.execute("control", "UPDATE kafka_test SET text = 'silent at control' WHERE id = 30")
    databases.put(1, [row(1002, "S1", at="2090-01-01 00:00:00")])


def test_what_no_watermark_sees_is_found_and_repaired(databases: Databases) -> None:
    fleet = a_fleet(databases)
    silent(fleet)
    fleet.sync()  # brings the row of the future only
    report = sweep(fleet)
    assert report.status is Status.DONE
    assert found(report) == {"changed": 5, "edited": 1}
    assert json_of(report)["exceptions"] == {}
    assert dict(fleet.databases.query(1, "SELECT id, text FROM kafka_test WHERE id IN (10, 20, 30)")) == {
        10: "row 20",
        20: "row 10",
        30: "silent at control",
    }
    require_proved(fleet, rows=ROWS + 3)
    fleet.require_nothing_to_do()


def test_a_dry_run_shows_the_plan_and_writes_nothing(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    silent(fleet)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 40")
    before = everything(fleet)
    report = sweep(fleet, dry_run=True)
    assert found(report) == {"changed": 6, "gone": 1, "edited": 1}
    assert json_of(report)["samples"]["gone"] == [["40", "S1"]]
    assert everything(fleet) == before


def test_rows_that_vanished_from_control_come_back(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute("control", "DELETE FROM kafka_test WHERE id BETWEEN 100 AND 180")
    assert found(sweep(fleet)) == {"vanished": 81}
    require_proved(fleet)
    fleet.require_nothing_to_do()


def test_other_stations_rows_are_left_alone(databases: Databases) -> None:
    fleet = a_fleet(databases, 2)
    fleet.edit("control", 3, "S2", text="for station 2")
    databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 3")
    assert found(sweep(fleet, 1)) == {"changed": 1}
    assert databases.query(2, "SELECT text FROM kafka_test WHERE id = 3") == [("row 3",)]
    assert found(sweep(fleet, 2)) == {"edited": 1}
    require_proved(fleet, 1)
    require_proved(fleet, 2)


def test_what_is_in_quarantine_is_told_as_such(databases: Databases) -> None:
    fleet = a_fleet(databases, 2)
    for station in (1, 2):
        databases.put(station, [row(999, "S1", text=f"of {station}", at=ago(60))])
        fleet.pull(station)
    for _ in range(2):
        report = sweep(fleet, 2)
        assert json_of(report)["exceptions"] == {"quarantined": 1}
        assert report.status is Status.NOTHING


def test_a_write_between_compare_and_repair_is_not_lost(databases: Databases) -> None:
    fleet = a_fleet(databases)
    silent(fleet)
    (pair,) = fleet.pairs()
    steps = ComparisonSteps()

    def edited_meanwhile(comparison: Any, spans: Any) -> Any:
        found = steps.look_into(comparison, spans)
        fleet.edit(1, 5, "S1", text="newer")
        fleet.edit("control", 200, "S1", text="meanwhile")
        return found

    reconcile(pair, runs.plain_steps(), replace(steps, look_into=edited_meanwhile))
    fleet.sync()
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 5") == [("newer",)]
    assert databases.query(1, "SELECT text FROM kafka_test WHERE id = 200") == [("meanwhile",)]
    require_proved(fleet, rows=ROWS + 3)


def test_a_sweep_that_was_cut_off_goes_on_where_it_was(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 5")
    (pair,) = fleet.pairs()
    steps = ComparisonSteps()
    calls: list[Any] = []

    def short(scanner: Any, scan: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stationsync.reconcile.scan._STRETCH_SECONDS", 0)
            return scanner.stretch(scan)

    def one_range(scanner: Any, scan: Any) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(scan.place)
        return short(scanner, scan)

    with pytest.raises(KeyboardInterrupt):
        reconcile(pair, runs.plain_steps(), replace(steps, compare=one_range))
    seen: list[Any] = []

    def noted(scanner: Any, scan: Any) -> Any:
        seen.append((scan.place, scan.ranges))
        return steps.compare(scanner, scan)

    report = reconcile(pair, runs.plain_steps(), replace(steps, compare=noted))
    assert seen[0][0] is not None
    assert seen[0][1] == 3
    assert found(report) == {"changed": 1}
    require_proved(fleet)


def test_a_row_without_a_date_is_brought(databases: Databases) -> None:
    for where in ("control", 1):
        auto = "master_id INTEGER PRIMARY KEY AUTO_INCREMENT, " if where == "control" else ""
        auto = auto.replace("AUTO_INCREMENT", "AUTOINCREMENT") if databases.kind == "sqlite" else auto
        unique = "UNIQUE (id)" if where == "control" else "PRIMARY KEY (id)"
        columns = "id INTEGER NOT NULL, text VARCHAR(50), code VARCHAR(9), create_date DATETIME, modify_date DATETIME"
        databases.execute(where, f"CREATE TABLE kafka_test ({auto}{columns}, {unique})")
    fleet = Fleet(databases, key=["id"])
    fleet.init()
    databases.execute(1, "INSERT INTO kafka_test (id, text) VALUES (1, 'no date'), (2, 'no date either')")
    report = fleet.pull()
    assert report.counts.applied == 0
    assert "reconcile" in report.warnings[0]
    assert found(sweep(fleet)) == {"changed": 2}
    assert databases.count("control") == 2
    assert json_of(sweep(fleet))["exceptions"] == {}


def test_control_s_edits_of_a_table_that_only_goes_up_are_left(databases: Databases) -> None:
    fleet = a_fleet(databases, direction="up")
    databases.execute("control", "UPDATE kafka_test SET text = 'own' WHERE id = 30")
    assert found(sweep(fleet)) == {}
    assert databases.query(1, "SELECT text FROM kafka_test WHERE id = 30") == [("row 30",)]


def test_two_sweeps_at_once_one_says_so(databases: Databases) -> None:
    fleet = a_fleet(databases)
    (pair,) = fleet.pairs()
    steps = ComparisonSteps()
    inner: list[Report] = []

    def compare(scanner: Any, scan: Any) -> Any:
        inner.append(sweep(fleet))
        return steps.compare(scanner, scan)

    reconcile(pair, runs.plain_steps(), replace(steps, compare=compare))
    assert [report.status for report in inner] == [Status.UNDER_WAY]
