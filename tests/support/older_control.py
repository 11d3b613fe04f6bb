"""A control that is put back from a backup, with its rows by plain SQL."""

from __future__ import annotations

from typing import Any

from stationsync.model.changes import Report
from stationsync.reconcile.reconcile import reconcile
from stationsync.sync import runs
from support.databases import Databases
from support.fleet import Fleet
from support.sample import row

SEND = {"deletes": "archive", "control_deletes": "send", "max_deletes": "100"}


def a_fleet(databases: Databases, rows: int = 60, **options: Any) -> Fleet:
    """Rows of two years ago; synchronised. Control has a column for flags."""
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN flag integer")
    databases.create_kafka_test(1)
    fleet = Fleet(databases, **{"exclude": ["master_id", "flag"], **options})
    fleet.init()
    put(databases, 1, rows)
    fleet.sync()
    return fleet


def put(databases: Databases, first: int, last: int, at: str = "") -> None:
    rows = [row(n, at=at or f"2024-01-01 {n // 60 % 24:02}:{n % 60:02}:00") for n in range(first, last + 1)]
    databases.put(1, rows)


def backup(databases: Databases) -> None:
    databases.execute("control", "CREATE TABLE saved AS SELECT * FROM kafka_test")


def put_back(databases: Databases) -> None:
    """Rows only: the bookkeeping stays as it is."""
    databases.execute("control", "DELETE FROM kafka_test")
    databases.execute("control", "INSERT INTO kafka_test SELECT * FROM saved")


def texts(databases: Databases, where: Any) -> dict[int, str]:
    return {number: text for number, text, *_ in databases.rows(where)}


def swept(fleet: Fleet, *, dry_run: bool = False) -> Report:
    return sweep(fleet, 1, dry_run=dry_run)


def sweep(fleet: Fleet, station: int, *, dry_run: bool = False) -> Report:
    return reconcile(fleet.pairs(station)[0], runs.plain_steps(), dry_run=dry_run)
