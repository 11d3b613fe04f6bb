"""A station row that is older than known: decided as any other, and what it replaces at control is kept."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.command import Command
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.database.connection import dialect_of
from stationsync.database.dialect import Clock

OLDER = "older at the station than known"


def a_fleet(databases: Databases, rows: int = 60, **options: Any) -> Fleet:
    """Rows of some hours ago, one a second."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    fleet = Fleet(databases, **options)
    fleet.init()
    databases.put(1, [row(n, at=ago(7200 - n)) for n in range(1, rows + 1)])
    fleet.sync()
    return fleet


def kept(databases: Databases) -> list[tuple[str, str, str, Any]]:
    """Number, loser and reason of each conflict, and the text that control had."""
    found = databases.query(
        "control", "SELECT key_text, loser, reason, control_row FROM stationsync_conflict ORDER BY id"
    )
    return [(json.loads(key)[0], loser, reason, json.loads(text)["text"]) for key, loser, reason, text in found]


@pytest.mark.parametrize("route", ["pull", "reconcile"])
def test_what_it_replaces_is_kept(databases: Databases, tmp_path: Path, route: str) -> None:
    fleet = a_fleet(databases)
    # Within what a pull reads again, or not.
    back = ago(20) if route == "pull" else ago(90_000)
    fleet.edit(1, 30, text="new", at=ago(5))
    fleet.sync()
    fleet.edit(1, 30, text="restored", at=back)
    if route == "pull":
        fleet.pull()
    else:
        fleet.require_nothing_to_do()
        plan = Command(databases, tmp_path).well("reconcile", "station-1", "--dry-run")
        assert OLDER in plan.out
        Command(databases, tmp_path).well("reconcile", "station-1")
    assert kept(databases) == [("30", "control", OLDER, "new")]
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 30") == [("restored",)]
    fleet.require_nothing_to_do()
    fleet.require_equal()
    Command(databases, tmp_path).well("reconcile", "station-1")
    assert len(kept(databases)) == 1


def test_where_columns_are_merged_the_whole_replaced_row_is_kept(databases: Databases) -> None:
    fleet = a_fleet(databases, conflicts="merge")
    fleet.edit(1, 30, text="new", at=ago(5))
    fleet.sync()
    fleet.edit(1, 30, text="restored", at=ago(20))
    fleet.edit("control", 30, create_date="2020-02-02 00:00:00", at=ago(2))
    fleet.sync()
    ((number, loser, reason, text),) = kept(databases)
    assert (number, loser, text) == ("30", "both", "new")
    assert reason.startswith(OLDER)
    assert databases.query(1, "SELECT text, create_date FROM kafka_test WHERE id = 30")[0][0] == "restored"
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_where_control_had_edited_it_the_policy_decides_as_usual(databases: Databases) -> None:
    fleet = a_fleet(databases, conflicts="station")
    fleet.edit(1, 30, text="new", at=ago(5))
    fleet.sync()
    fleet.edit(1, 30, text="restored", at=ago(20))
    fleet.edit("control", 30, text="edited", at=ago(2))
    fleet.sync()
    ((number, loser, reason, text),) = kept(databases)
    assert (number, loser, text) == ("30", "control", "edited")
    assert reason == f"{OLDER}; the policy of this table is: station"
    fleet.require_nothing_to_do()


def test_a_second_is_a_difference(databases: Databases) -> None:
    fleet = a_fleet(databases)
    then, before = ago(5), ago(6)
    fleet.edit(1, 31, text="new", at=then)
    fleet.sync()
    fleet.edit(1, 31, text="a second less", at=before)
    fleet.pull()
    assert kept(databases) == [("31", "control", OLDER, "new")]


# --- many at once: a restored station


@pytest.mark.parametrize("runs", [["pull"], ["push"], ["sync"], ["reconcile"]], ids=" ".join)
def test_an_older_copy_of_a_station_is_refused(databases: Databases, tmp_path: Path, runs: list[str]) -> None:
    """80 edits of the station's and 10 of control's: no more than a sweep may find older in 1,000 rows."""
    fleet = a_fleet(databases, rows=1_000)
    databases.execute(1, "CREATE TABLE saved AS SELECT * FROM kafka_test")
    at = ago(5)
    databases.execute(1, "UPDATE kafka_test SET text = 'station', modify_date = %s WHERE id <= 80", [at])
    sql = "UPDATE kafka_test SET text = 'control', modify_date = %s WHERE id BETWEEN 81 AND 90"
    databases.execute("control", sql, [at])
    fleet.sync()
    fleet.require_nothing_to_do()
    databases.execute(1, "DELETE FROM kafka_test")
    databases.execute(1, "INSERT INTO kafka_test SELECT * FROM saved")
    before = databases.rows("control")
    done = Command(databases, tmp_path)(*runs, "station-1")
    assert done.code == 1
    assert "seems to have been restored" in done.err
    assert "90 of 1,000 rows known are older" in done.err
    assert (databases.rows("control"), kept(databases)) == (before, [])
    if runs == ["reconcile"]:
        # Whoever says that the station is right replaces nothing unseen.
        Command(databases, tmp_path).well("trust", "station-1", "--yes")
        Command(databases, tmp_path).well("reconcile", "station-1")
        assert sorted(text for *_, text in kept(databases)) == ["control"] * 10 + ["station"] * 80
        fleet.sync()
        fleet.require_equal()


def test_a_reconcile_right_after_trust_goes_on(databases: Databases, tmp_path: Path) -> None:
    """More rows are older than a sweep may find."""
    fleet = a_fleet(databases)
    databases.execute(1, "CREATE TABLE saved AS SELECT * FROM kafka_test")
    databases.execute(1, "UPDATE kafka_test SET text = 'new', modify_date = %s", [ago(5)])
    fleet.sync()
    databases.execute(1, "DELETE FROM kafka_test")
    databases.execute(1, "INSERT INTO kafka_test SELECT * FROM saved")
    command = Command(databases, tmp_path)
    assert command("reconcile", "station-1").code == 1
    command.well("trust", "station-1", "--yes")
    command.well("reconcile", "station-1")
    assert [(loser, text) for _, loser, _, text in kept(databases)] == [("control", "new")] * 60
    fleet.sync()
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_rows_older_than_others_that_are_as_they_were_are_no_restore(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, rows=400)
    databases.execute(1, "UPDATE kafka_test SET text = 'imported', modify_date = %s WHERE id <= 30", [ago(90_000)])
    fleet.require_nothing_to_do()
    Command(databases, tmp_path).well("reconcile", "station-1")
    assert len(kept(databases)) == 30
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_clock_that_was_set_back_goes_on_and_what_it_replaces_is_kept(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour back, while all rows are edited: each is older than known, by an amount that the clock explains."""
    fleet = a_fleet(databases, rows=60)
    hour = timedelta(hours=1)
    databases.execute(1, "UPDATE kafka_test SET text = 'before', modify_date = %s", [ago(2)])
    fleet.sync()
    set_back(databases, monkeypatch, hour)
    databases.execute(1, "UPDATE kafka_test SET text = 'after', modify_date = %s", [ago(3_600)])
    fleet.sync()
    assert {(loser, reason, text) for _, loser, reason, text in kept(databases)} == {("control", OLDER, "before")}
    assert len(kept(databases)) == 60
    fleet.require_nothing_to_do()
    fleet.require_equal()
    fleet.edit(1, 3, text="on", at=ago(3_599))
    fleet.sync()
    fleet.require_equal()


def set_back(databases: Databases, monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """The station's clock from here on."""
    dialect = type(dialect_of(sa.make_url(databases.url(1))))
    clock = dialect.clock

    def earlier(self: Any, conn: sa.Connection, family: Any, *more: Any) -> Clock:
        found = clock(self, conn, family, *more)
        is_station = _database(conn) == _name(databases)
        return replace(found, now=found.now - by, utc=found.utc - by) if is_station else found

    monkeypatch.setattr(dialect, "clock", earlier)


def _database(conn: sa.Connection) -> str:
    if conn.dialect.name == "sqlite":
        return str(conn.exec_driver_sql("PRAGMA database_list").all()[0][2])
    return str(conn.scalar(sa.text("SELECT DATABASE()")))


def _name(databases: Databases) -> str:
    return str(sa.make_url(databases.url(1)).database)


@pytest.mark.parametrize("first", [["reconcile", "station-1"], ["backfill", "station-1", "--all"]])
@pytest.mark.parametrize("then", ["sync", "reconcile"])
def test_a_table_that_is_put_back_before_its_first_pull(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, first: list[str], then: str
) -> None:
    """Rows came by another way than a pull. Its one row is written again behind the backup, so nothing is older."""
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path)
    command.well("init")
    databases.put(1, [row(1, text="as of the backup", at=ago(900))])
    command.well(*first)
    databases.execute(1, "UPDATE kafka_test SET text = 'lost with the table', modify_date = %s", [ago(600)])
    command.well(*first)
    time.sleep(1.1)  # a table's age is told in seconds
    databases.execute(1, "CREATE TABLE again LIKE kafka_test")
    databases.execute(1, "DROP TABLE kafka_test")
    databases.execute(1, "RENAME TABLE again TO kafka_test")
    databases.put(1, [row(1, text="written since", at=ago(60))])
    command("sync", "station-1") if then == "sync" else command("reconcile", "station-1")
    texts = {text for _, _, _, text in kept(databases)}
    texts |= {text for (text,) in databases.query("control", "SELECT text FROM kafka_test")}
    assert "lost with the table" in texts


@pytest.mark.parametrize("between", ["push", "reconcile", "backfill"])
def test_an_older_copy_is_known_after_a_run_that_moves_no_watermark(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, between: str
) -> None:
    """A few rows are older, and that run merges them: the next one finds none, and may replace others all the same."""
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path, conflicts="control")
    begun = datetime.fromisoformat(str(ago(900))).replace(microsecond=0)

    def stamp(seconds: int) -> str:
        return str(begun + timedelta(seconds=seconds))

    command.well("init")
    databases.put(1, [row(n, text="as of the backup", at=stamp(0)) for n in range(1, 5)])
    command.well("sync", "station-1")
    databases.execute(1, "CREATE TABLE again LIKE kafka_test")
    databases.execute(1, "INSERT INTO again SELECT * FROM kafka_test")
    databases.execute(
        1, "UPDATE kafka_test SET text = CONCAT('lost ', id), modify_date = %s WHERE id IN (2, 3, 4)", [stamp(1)]
    )
    command.well("sync", "station-1")
    time.sleep(1.1)  # a table's age is told in seconds
    databases.execute(1, "DROP TABLE kafka_test")
    databases.execute(1, "RENAME TABLE again TO kafka_test")
    databases.execute(
        "control", "UPDATE kafka_test SET text = 'of control', modify_date = %s WHERE id IN (2, 4)", [ago(5)]
    )
    databases.execute(1, "UPDATE kafka_test SET text = 'written since', modify_date = %s WHERE id = 3", [ago(3)])
    command(between, "station-1", *(["--all"] if between == "backfill" else []))
    # Another row says the same once more, and less: it is older than what that run had made of it.
    databases.execute(1, "UPDATE kafka_test SET text = 'a clock behind', modify_date = %s WHERE id = 2", [ago(12)])
    command("sync", "station-1")
    command("reconcile", "station-1")
    texts = {text for _, _, _, text in kept(databases)}
    texts |= {text for side in ("control", 1) for (text,) in databases.query(side, "SELECT text FROM kafka_test")}
    assert {"lost 3", "written since"} <= texts
