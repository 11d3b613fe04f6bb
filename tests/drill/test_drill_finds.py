"""What the fault drill has found in the engine: for each find the smallest story that shows it."""

from __future__ import annotations

from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.sweeps import sweep

from stationsync.model.changes import Status


def a_fleet(databases: Databases, **options: object) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.put(1, [row(1, at=ago(3600)), row(2, at=ago(3600))])
    fleet = Fleet(databases, **options)
    fleet.init()
    fleet.sync()
    return fleet


def test_a_sweep_that_can_do_nothing_says_so(databases: Databases) -> None:
    """Control's edit of a row that its station deleted waits in quarantine; no sweep moves it, however often."""
    fleet = a_fleet(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    fleet.edit("control", 1, text="edited")
    fleet.sync()
    sweep(fleet)
    assert sweep(fleet).status is Status.NOTHING
    assert [report.status for report in fleet.sync()] == [Status.NOTHING] * 2
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 1") == [("edited",)]


def test_an_edit_in_quarantine_ends_with_its_row(databases: Databases) -> None:
    """The station deletes a row that control edits, and by the policy the delete wins: the edit is kept as a conflict,
    and does not wait in quarantine for ever."""
    fleet = a_fleet(databases, deletes="archive", conflicts="station")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    fleet.edit("control", 1, text="edited")
    fleet.sync()
    entries = "SELECT state FROM stationsync_quarantine WHERE direction = 'down'"
    assert databases.query("control", entries) == [("open",)]
    sweep(fleet)
    assert databases.query("control", "SELECT id FROM kafka_test") == [(2,)]
    assert databases.query("control", "SELECT loser FROM stationsync_conflict") == [("control",)]
    assert databases.query("control", entries) == [("released",)]


def test_a_sweep_leaves_no_row_pending_whose_edit_has_lost(databases: Databases) -> None:
    """Both sides edit a row, and only a sweep sees it: the station wins, so nothing waits to go down."""
    fleet = a_fleet(databases, conflicts="station")
    databases.execute("control", "UPDATE kafka_test SET text = 'at control' WHERE id = 1")
    databases.execute(1, "UPDATE kafka_test SET text = 'at the station' WHERE id = 1")
    assert sweep(fleet).counts.conflicts == 1
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 1") == [("at the station",)]
    assert databases.query("control", "SELECT DISTINCT stationsync_pending FROM stationsync_base_kafka_test") == [(0,)]
