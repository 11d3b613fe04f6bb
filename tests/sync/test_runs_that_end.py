"""A run ends, whatever a station does: what was read is merged, there is said to be more, and the next run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, Where
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row
from support.sweeps import found, require_proved, sweep

from stationsync.errors import BrakePulled
from stationsync.model.changes import Report, Status
from stationsync.reconcile import scan
from stationsync.sync import runs

WATERMARK = "SELECT watermark FROM stationsync_state WHERE station = 'station-1' AND direction = '{}'"


def a_fleet(databases: Databases, **options: Any) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **{"page_rows": 2, "run_rows": 6, **options})
    fleet.init()
    return fleet


class Application:
    """It writes more rows behind every page than a page has, stamped now."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self.last = 100

    def write(self) -> None:
        first, self.last = self.last + 1, self.last + 5
        self._databases.put(1, [row(n, at=ago(0)) for n in range(first, self.last + 1)])

    def behind(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def with_it(*args: Any) -> Any:
            self.write()
            return step(*args)

        return with_it


def watermark(fleet: Fleet, direction: str = "up") -> str:
    return str(fleet.databases.query("control", WATERMARK.format(direction))[0][0])


def rows_of(fleet: Fleet, where: Where) -> int:
    return int(fleet.databases.query(where, "SELECT COUNT(*) FROM kafka_test")[0][0])


def pulled_until_done(fleet: Fleet) -> list[Report]:
    found = []
    while len(found) < 60:
        found.append(fleet.pull())
        if "more" not in json_of(found[-1]):
            return found
    raise AssertionError(found[-1])


def test_a_first_pull_in_parts(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.put(1, [row(n, at=ago(9_000 - n)) for n in range(1, 21)])
    first = fleet.pull()
    assert (first.counts.applied, json_of(first)["more"], first.up_to) == (6, True, None)
    (note,) = first.warnings
    assert "6 rows were read, and there is more" in note
    assert note.endswith("now: stationsync pull station-1 --table kafka_test")
    assert rows_of(fleet, "control") == 6
    rest = pulled_until_done(fleet)
    # Nothing is read twice.
    assert [report.counts.read for report in rest] == [6, 6, 2]
    assert rest[-1].up_to is not None
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_station_that_writes_faster_than_it_is_read(databases: Databases) -> None:
    fleet = a_fleet(databases, settle="0s")
    databases.put(1, [row(n, at=ago(60)) for n in range(1, 5)])
    fleet.sync()
    application = Application(databases)
    application.write()
    merge = application.behind(runs.plain_steps().merge)
    for _ in range(3):
        report = fleet.pull(merge=merge)
        assert json_of(report)["more"] is True
        assert report.counts.read <= 8
    # It rests, and all is there.
    pulled_until_done(fleet)
    assert rows_of(fleet, "control") == rows_of(fleet, 1) == 4 + application.last - 100
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_the_watermark_moves_beside_a_station_that_never_rests(databases: Databases) -> None:
    """A row that was committed late is met, though no run comes to the end of what the station writes."""
    fleet = a_fleet(databases, lookback="60s", run_rows=10, page_rows=10)
    databases.put(1, [row(n, at=ago(7_200)) for n in range(1, 5)])
    fleet.sync()
    before = watermark(fleet)
    # Stamps of the future are behind the bound whatever the clock says.
    databases.put(1, [row(n, at="2999-01-01 00:00:00") for n in range(100, 130)])
    for _ in range(2):
        report = fleet.pull()
        assert json_of(report)["more"] is True
        assert report.up_to is not None
    assert watermark(fleet) >= before
    databases.put(1, [row(50, at=ago(20))])
    fleet.pull()
    assert databases.query("control", "SELECT COUNT(*) FROM kafka_test WHERE id = 50") == [(1,)]


def test_edits_of_control_in_parts(databases: Databases) -> None:
    fleet = a_fleet(databases, run_rows=100)
    databases.put(1, [row(n, at=ago(9_000)) for n in range(1, 21)])
    fleet.sync()
    fleet.options(run_rows=6)
    for n in range(1, 21):
        fleet.edit("control", n, text="edited", at=ago(30))
    found = [fleet.push() for _ in range(1, 5)]
    assert [report.counts.applied for report in found] == [6, 6, 6, 2]
    assert [json_of(report).get("more") for report in found] == [True, True, True, None]
    assert "stationsync push station-1 --table kafka_test" in found[0].warnings[0]
    pulled_until_done(fleet)
    fleet.require_equal()


def test_a_plan_ends_too_and_moves_nothing(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    command = Command(databases, tmp_path, page_rows=2, run_rows=6)
    command.topology["journal"] = "off"
    command.well("init")
    databases.put(1, [row(n, at="2999-01-01 00:00:00") for n in range(1, 21)])
    (report,) = command.well("pull", "station-1", "--dry-run", "--json").json["reports"]
    assert (report["read"], report.get("more", True)) == (6, True)
    assert databases.query("control", WATERMARK.format("up")) in ([], [(None,)])
    (report,) = command.well("pull", "station-1", "--json").json["reports"]
    assert (report["applied"], report["more"]) == (6, True)


def test_a_reconcile_in_parts(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.sweeps import a_fleet as a_swept_fleet

    monkeypatch.setattr(scan, "RUN_RANGES", 2)
    monkeypatch.setattr(scan, "_STRETCH_SECONDS", 0)
    fleet = a_swept_fleet(databases)  # 300 rows, 50 a range
    databases.execute(1, "UPDATE kafka_test SET text = 'unseen' WHERE id IN (10, 290)")
    first = sweep(fleet)
    assert (json_of(first)["more"], first.counts.applied, json_of(first)["rows"]) == (True, 0, None)
    assert "stationsync reconcile station-1 --table kafka_test" in first.warnings[-1]
    found = [sweep(fleet) for _ in range(2)]
    while "more" in json_of(found[-1]) and len(found) < 10:
        found.append(sweep(fleet))
    assert found[-1].counts.applied == 2, found[-1]
    monkeypatch.undo()
    assert require_proved(fleet).status is Status.NOTHING


def a_wide_gap(databases: Databases, **options: Any) -> Fleet:
    """30 equal rows, and a reconcile that looks into six differences at a time."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **{"sweep_rows": 4, **options})
    fleet.init()
    databases.put(1, [row(n, at=ago(9_000)) for n in range(1, 31)])
    fleet.sync()
    fleet.options(run_rows=6)
    return fleet


def swept_until_done(fleet: Fleet) -> list[Report]:
    found = [sweep(fleet)]
    while "more" in json_of(found[-1]):
        assert len(found) < 20
        assert json_of(found[-1])["rows"] is None, "nothing is proved"
        assert "stationsync reconcile station-1 --table kafka_test" in found[-1].warnings[-1]
        found.append(sweep(fleet))
    return found


@pytest.mark.parametrize("at", [1, "control"])
def test_more_differences_than_one_reconcile_holds(databases: Databases, at: Where) -> None:
    """Those of both sides, repaired in parts: no part proves anything."""
    fleet = a_wide_gap(databases)
    databases.execute(at, "UPDATE kafka_test SET text = 'unseen' WHERE id > 5")
    found = swept_until_done(fleet)
    assert [report.counts.applied for report in found][:4] == [6, 6, 6, 6]
    assert databases.query("control" if at == 1 else 1, "SELECT COUNT(*) FROM kafka_test WHERE text = 'unseen'") == [
        (25,)
    ]
    require_proved(fleet, rows=30)


def test_rows_that_control_lost_come_back_in_parts(databases: Databases) -> None:
    fleet = a_wide_gap(databases)
    databases.execute("control", "DELETE FROM kafka_test WHERE id > 15")
    swept_until_done(fleet)
    require_proved(fleet, rows=30)


def test_many_deletes_wait_for_a_person_whatever_the_limit(databases: Databases) -> None:
    """A part of them is judged as all: part by part they would get past the brake."""
    fleet = a_wide_gap(databases, deletes="archive", max_deletes="90%")
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 20")
    databases.execute(1, "UPDATE kafka_test SET text = 'unseen' WHERE id <= 4")
    # A plan says so, and changes nothing.
    plan = sweep(fleet, dry_run=True)
    assert any("more than 6 rows differ" in note for note in plan.warnings), plan
    assert databases.query("control", "SELECT COUNT(*) FROM kafka_test WHERE text = 'unseen'") == [(0,)]
    # What takes no row away goes first.
    report = sweep(fleet)
    assert (report.counts.applied, report.counts.deleted, json_of(report)["more"]) == (4, 0, True)
    plan = sweep(fleet, dry_run=True)
    assert any("the brake would refuse this: 6 or more of 30" in note for note in plan.warnings), plan
    with pytest.raises(BrakePulled, match="or more of 30 rows known are gone at the station") as refused:
        sweep(fleet)
    assert "--allow-deletes" in refused.value.next_step
    assert databases.query("control", "SELECT COUNT(*) FROM kafka_test WHERE text = 'unseen'") == [(4,)]
    assert databases.count("control") == 30
    allowed = sweep(fleet, allow_deletes=True)
    assert allowed.counts.deleted == 6
    assert json_of(allowed)["more"] is True
    # What is left is few enough to be judged.
    sweep(fleet)
    assert databases.count("control") == 20
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_trash") == [(10,)]
    require_proved(fleet, rows=20)


def test_rows_that_are_left_alone_are_only_counted(databases: Databases) -> None:
    """A station that prunes its rows, and control that keeps them: they stand in the way of no other."""
    fleet = a_wide_gap(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id <= 20")
    databases.execute(1, "UPDATE kafka_test SET text = 'unseen' WHERE id = 30")
    report = sweep(fleet)
    assert found(report) == {"changed": 1, "gone": 20}
    assert json_of(report)["exceptions"] == {"gone": 20}
    assert "more" not in json_of(report)
    # Neither side has them any more: that is not left alone.
    databases.execute("control", "DELETE FROM kafka_test WHERE id <= 3")
    assert found(sweep(fleet)) == {"gone": 20, "vanished": 3}
    assert found(sweep(fleet)) == {"gone": 17}
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_trash") == [(3,)]


def test_a_backfill_in_parts(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    command = Command(databases, tmp_path, run_rows=6)
    command.topology["journal"] = "off"
    command.well("init")
    databases.put(1, [row(n, at=ago(900)) for n in range(1, 21)])
    rows = []
    for _ in range(4):
        (report,) = command.well("backfill", "station-1", "--all", "--json").json["reports"]
        rows.append((report["read"], report["backfill"].get("more", False)))
        assert rows[-1][1] is any("stationsync backfill station-1" in note for note in report["warnings"])
    assert rows == [(6, True), (6, True), (6, True), (2, False)]
    assert databases.count("control") == 20
