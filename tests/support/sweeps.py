"""A fleet whose tables are swept, and what a proof has to say."""

from __future__ import annotations

from typing import Any

from stationsync.model.changes import Report, Status
from stationsync.reconcile.reconcile import reconcile
from stationsync.sync import runs
from support.databases import Databases, Where
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row

ROWS = 300


def a_fleet(databases: Databases, stations: int = 1, **options: Any) -> Fleet:
    """Stations with 300 rows each, the same at control; ranges of 50 rows."""
    databases.create_kafka_test("control", control=True)
    for n in range(1, stations + 1):
        databases.create_kafka_test(n)
        databases.put(n, [row(i, code=f"S{n}", at=ago(7200)) for i in range(1, ROWS + 1)])
    fleet = Fleet(databases, stations, sweep_rows=50, **options)
    fleet.init()
    for n in range(1, stations + 1):
        fleet.sync(n)
    return fleet


def sweep(fleet: Fleet, station: int = 1, **options: Any) -> Report:
    (pair,) = fleet.pairs(station)
    return reconcile(pair, runs.plain_steps(), **options)


def found(report: Report) -> dict[str, int]:
    return {kind: n for kind, n in json_of(report)["found"].items() if n}


def require_proved(fleet: Fleet, station: int = 1, rows: int = ROWS) -> Report:
    """Nothing to do, nothing excepted, both sides equal by plain drivers too."""
    report = sweep(fleet, station)
    assert report.status is Status.NOTHING, report
    assert found(report) == {}
    assert json_of(report)["exceptions"] == {}
    assert json_of(report)["rows"] == rows
    fleet.require_equal(station)
    return report


def settled(fleet: Fleet) -> None:
    """Both sides are equal, and there is nothing more to do."""
    fleet.sync()
    assert sweep(fleet).status in (Status.DONE, Status.NOTHING)
    fleet.sync()
    fleet.require_nothing_to_do()
    assert sweep(fleet).status is Status.NOTHING
    fleet.require_equal()


def everything(fleet: Fleet) -> dict[Where, Any]:
    """Both tables and all of our books, as they are."""
    tables = ["kafka_test", "stationsync_base_kafka_test", "stationsync_state", "stationsync_proof"]
    tables += ["stationsync_planned_delete", "stationsync_trash", "stationsync_conflict", "stationsync_quarantine"]
    control = {name: sorted(map(str, fleet.databases.query("control", f"SELECT * FROM {name}"))) for name in tables}
    return {"control": control, 1: fleet.databases.rows(1)}
