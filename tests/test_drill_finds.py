"""What the fault drill has found in the engine: for each find the smallest story that shows it."""

from __future__ import annotations

from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.sweeps import sweep

from stationsync.changes import Status


def a_fleet(databases: Databases, **options: object) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.put(1, [row(1, at=ago(3600))])
    fleet = Fleet(databases, **options)
    fleet.init()
    fleet.sync()
    return fleet


def test_a_sweep_that_can_do_nothing_says_so(databases: Databases) -> None:
    """Control's edit of a row that its station deleted waits in quarantine; no sweep moves it, however often."""
    fleet = a_fleet(databases)
    databases.execute(1, "DELETE FROM kafka_test")
    fleet.edit("control", 1, text="edited")
    fleet.sync()
    sweep(fleet)
    assert sweep(fleet).status is Status.NOTHING
    assert [report.status for report in fleet.sync()] == [Status.NOTHING] * 2
    assert databases.query("control", "SELECT text FROM kafka_test") == [("edited",)]
