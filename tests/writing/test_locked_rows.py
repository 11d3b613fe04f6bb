"""A row that an application keeps locked, at either side: the others go through, it waits for the next run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import MariaDBDatabases, Where
from support.fleet import Fleet
from support.locks import brief, locking
from support.sample import row

from stationsync.errors import LockWait
from stationsync.model.changes import Status
from stationsync.model.reasons import LOCKED

ROWS = 60


@pytest.fixture(params=["skip locked", "halving"])
def short_waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    brief(monkeypatch, skips_locked=request.param == "skip locked")


def a_fleet(databases: MariaDBDatabases, **options: Any) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **options)
    fleet.init()
    databases.put(1, [row(n) for n in range(1, ROWS + 1)])
    fleet.sync()
    return fleet


def now() -> str:
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))


def edit_all(databases: MariaDBDatabases, where: Where, text: str = "edited") -> None:
    databases.execute(where, f"UPDATE kafka_test SET text = '{text}', modify_date = UTC_TIMESTAMP() WHERE id <= 40")


def reasons(databases: MariaDBDatabases) -> list[Any]:
    return databases.query("control", "SELECT key_text, reasons FROM stationsync_quarantine WHERE state = 'open'")


@pytest.mark.usefixtures("short_waits")
def test_a_row_locked_at_control(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_fleet(mariadb_databases)
    edit_all(mariadb_databases, 1)
    application = locking(mariadb_databases, "control", "SELECT id FROM kafka_test WHERE id IN (5, 50) FOR UPDATE")
    counts = fleet.pull().counts
    # The one that is not in the chunk is nobody's matter.
    assert (counts.applied, counts.locked, counts.quarantined, counts.read) == (39, 1, 1, 40)
    assert [(key, str(LOCKED) in why) for key, why in reasons(mariadb_databases)] == [('["5","A"]', True)]
    again = fleet.pull()
    assert (again.status, again.counts.applied) == (Status.NOTHING, 0)
    assert len(reasons(mariadb_databases)) == 1
    application.rollback()
    counts = fleet.pull().counts
    assert (counts.applied, counts.released) == (1, 1)
    assert reasons(mariadb_databases) == []
    fleet.require_equal()
    fleet.require_nothing_to_do()


@pytest.mark.usefixtures("short_waits")
def test_a_row_locked_at_the_station(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_fleet(mariadb_databases)
    edit_all(mariadb_databases, "control")
    application = locking(mariadb_databases, 1, "UPDATE kafka_test SET text = 'theirs' WHERE id IN (7, 50)")
    counts = fleet.push().counts
    assert (counts.applied, counts.locked, counts.quarantined) == (39, 1, 0)
    assert fleet.push().counts.applied == 0
    application.rollback()
    assert fleet.push().counts.applied == 1
    assert reasons(mariadb_databases) == []
    fleet.require_equal()
    fleet.require_nothing_to_do()


@pytest.mark.usefixtures("short_waits")
def test_an_edit_that_met_a_lock_goes_down_though_the_watermark_has_passed_it(
    mariadb_databases: MariaDBDatabases,
) -> None:
    mariadb_databases.create_kafka_test(1)
    mariadb_databases.create_kafka_test("control", control=True)
    fleet = Fleet(mariadb_databases)
    fleet.init()
    mariadb_databases.put(1, [row(n, at="2024-05-01 00:00:00") for n in range(1, 11)])
    fleet.pull()
    fleet.edit("control", 7, at="2024-05-02 00:00:00", text="long ago")
    application = locking(mariadb_databases, 1, "SELECT id FROM kafka_test WHERE id = 7 FOR UPDATE")
    assert fleet.push().counts.locked == 1
    application.rollback()
    assert fleet.push().counts.applied == 1
    assert mariadb_databases.query(1, "SELECT text FROM kafka_test WHERE id = 7") == [("long ago",)]
    fleet.require_nothing_to_do()


def test_what_was_edited_under_the_lock_is_decided_as_ever(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)
    fleet = a_fleet(mariadb_databases)
    edit_all(mariadb_databases, 1, "station")
    mine = "UPDATE kafka_test SET text = 'control', modify_date = UTC_TIMESTAMP() + INTERVAL 1 MINUTE WHERE id = 5"
    application = locking(mariadb_databases, "control", mine)
    assert fleet.pull().counts.locked == 1
    application.commit()
    fleet.sync()
    kept = mariadb_databases.query("control", "SELECT key_text, loser FROM stationsync_conflict")
    assert kept == [('["5","A"]', "station")]
    assert mariadb_databases.query(1, "SELECT text FROM kafka_test WHERE id = 5") == [("control",)]
    fleet.require_equal()


def test_new_rows_beside_a_range_that_is_locked(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks of gaps: there is no row to be skipped."""
    brief(monkeypatch)
    fleet = a_fleet(mariadb_databases)
    mariadb_databases.execute("control", "INSERT INTO kafka_test SELECT 900, 900, 'x', 'own', NOW(), '2000-01-01'")
    application = locking(
        mariadb_databases, "control", "SELECT id FROM kafka_test WHERE id BETWEEN 100 AND 200 FOR UPDATE"
    )
    mariadb_databases.put(1, [row(n, at=now()) for n in (150, *range(1_000, 1_004))])
    counts = fleet.pull().counts
    assert (counts.applied, counts.locked) == (4, 1)
    application.rollback()
    assert fleet.pull().counts.applied == 1
    fleet.require_nothing_to_do()


@pytest.mark.usefixtures("short_waits")
def test_a_reconcile_goes_around_locked_rows(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    mariadb_databases.create_kafka_test(1)
    mariadb_databases.create_kafka_test("control", control=True)
    command = Command(mariadb_databases, tmp_path, deletes="archive", control_deletes="send")
    command.topology["journal"] = "off"
    command.well("init")
    mariadb_databases.put(1, [row(n) for n in range(1, ROWS + 1)])
    command.well("sync", "station-1")
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = 'unstamped' WHERE id <= 4")
    mariadb_databases.execute("control", "UPDATE kafka_test SET text = 'not stamped either' WHERE id BETWEEN 5 AND 8")
    mariadb_databases.execute(1, "DELETE FROM kafka_test WHERE id BETWEEN 11 AND 14")
    mariadb_databases.execute("control", "DELETE FROM kafka_test WHERE id BETWEEN 15 AND 18")
    above = locking(mariadb_databases, "control", "SELECT id FROM kafka_test WHERE id IN (1, 11) FOR UPDATE")
    below = locking(mariadb_databases, 1, "SELECT id FROM kafka_test WHERE id IN (5, 15) FOR UPDATE")
    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert (report["applied"], report["deleted"]) == (6, 6), report
    above.rollback()
    below.rollback()
    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert (report["applied"], report["deleted"]) == (2, 2), report
    assert reasons(mariadb_databases) == []
    assert mariadb_databases.rows(1) == mariadb_databases.rows("control")
    assert len(mariadb_databases.rows(1)) == ROWS - 8
    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert report["status"] == "nothing to do"


def test_everything_locked_is_given_up_in_time(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stationsync.database import care

    brief(monkeypatch)
    monkeypatch.setattr(care, "_PATIENCE", 2.0)
    fleet = a_fleet(mariadb_databases)
    # No row of it can be skipped.
    application = locking(mariadb_databases, "control", "SELECT id FROM kafka_test WHERE id > 60 FOR UPDATE")
    mariadb_databases.put(1, [row(n, at=now()) for n in range(1_000, 1_020)])
    with pytest.raises(LockWait, match="keeps rows or the table locked"):
        fleet.pull()
    application.rollback()
    assert fleet.pull().counts.applied + mariadb_databases.count("control") >= ROWS + 20
    fleet.pull()
    fleet.require_equal()
    fleet.require_nothing_to_do()
