"""A station's table that was put back, emptied or made anew, whose keys are given again: known by its newest rows and
by what its server says, whatever its size; and what is no such thing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.errors import StationWentBack
from stationsync.recovery import reseed

SHARED = (
    "text varchar(100), code varchar(100) NOT NULL, modify_date datetime NOT NULL, UNIQUE (id, code), KEY (modify_date)"
)


def a_fleet(databases: Databases, rows: int, stamped: int = 7200, **options: Any) -> Fleet:
    """Rows of some hours ago, one a second."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    fleet = Fleet(databases, **options)
    fleet.init()
    fill(databases, 1, rows, stamped)
    fleet.sync()
    fleet.require_nothing_to_do()
    return fleet


def fill(databases: Databases, first: int, last: int, stamped: int, text: str = "row") -> None:
    """In one statement, with numbers that the table gives."""
    stamps = [ago(stamped - n) for n in range(last - first + 1)]
    rows = [row(0, text=f"{text} {first + n}", at=at) for n, at in enumerate(stamps)]
    for one in rows:
        del one["id"]
    databases.put(1, rows)


def truncate(databases: Databases) -> None:
    if databases.kind == "mariadb":
        databases.execute(1, "TRUNCATE TABLE kafka_test")
    else:
        databases.execute(1, "DELETE FROM kafka_test")
        databases.execute(1, "DELETE FROM sqlite_sequence")


def lose(databases: Databases, last: int) -> None:
    """Back to a backup that ended with this row."""
    databases.execute(1, "DELETE FROM kafka_test WHERE id > %s", [last])
    if databases.kind == "mariadb":
        databases.execute(1, f"ALTER TABLE kafka_test AUTO_INCREMENT = {last + 1}")
    else:
        databases.execute(1, "UPDATE sqlite_sequence SET seq = %s", [last])


def require_refused(fleet: Fleet, folder: Path, *runs: str, **options: Any) -> None:
    """Each run, with nothing written at control but its own result."""
    databases = fleet.databases
    before = snapshot(databases, "control", 1)
    for run in runs or ("pull", "push", "sync", "reconcile"):
        done = Command(databases, folder, **options)(run, "station-1")
        assert done.code == 1, (run, done)
        assert "seems to have been restored" in done.err, (run, done)
    if "reconcile" in (runs or ("reconcile",)):
        plan = Command(databases, folder, **options)("reconcile", "station-1", "--dry-run")
        assert "it would be refused" in plan.out + plan.err, plan
    after = snapshot(databases, "control", 1)
    books = ("stationsync_state", "stationsync_proof", "stationsync_incident")
    assert {k: v for k, v in before.items() if not k.endswith(books)} == {
        k: v for k, v in after.items() if not k.endswith(books)
    }


def texts_of(rows: Sequence[tuple[str]]) -> set[str]:
    return {json.loads(one)["text"] for (one,) in rows}


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("again", [0, 50, 150, 170])
def test_the_newest_rows_are_lost_and_their_numbers_given_again(
    databases: Databases, tmp_path: Path, again: int
) -> None:
    """150 of 2,000: no more than a sweep may delete. None of their numbers given again yet, some, all, or more."""
    if databases.kind == "sqlite" and again != 150:
        pytest.skip("once is enough")
    fleet = a_fleet(databases, 2_000)
    lose(databases, 1_850)
    if again:
        fill(databases, 1_851, 1_850 + again, 1_100, text="another")
    require_refused(fleet, tmp_path, *(("sync", "push") if not again else ()))
    if again != 150:
        return
    # README's procedure: control is right.
    Command(databases, tmp_path).well("reseed", "station-1", "--yes")
    fleet.sync()
    fleet.require_nothing_to_do()
    fleet.require_equal()
    kept = databases.query("control", "SELECT control_row FROM stationsync_conflict")
    assert {f"row {n}" for n in range(1_851, 2_001)} <= texts_of(kept)
    assert databases.count("control") == 2_000


@pytest.mark.some(1, 2)
@pytest.mark.parametrize("now", [0, 5, 20, 25])
def test_a_small_table_is_truncated_and_filled_again(databases: Databases, tmp_path: Path, now: int) -> None:
    fleet = a_fleet(databases, 20)
    truncate(databases)
    if now:
        fill(databases, 1, now, 600, text="another")
    if databases.kind == "sqlite" and not now:
        return  # it says nothing of a table that never had a row
    require_refused(fleet, tmp_path, "sync", "push")
    reseed.trust(fleet.pairs()[0])
    fleet.sync()
    fleet.require_nothing_to_do()
    # What comes later under the other numbers replaces nothing unseen either.
    fill(databases, now + 1, 30, 40, text="later")
    fleet.sync()
    fleet.require_nothing_to_do()
    texts = databases.query("control", "SELECT control_row FROM stationsync_conflict")
    assert {f"row {n}" for n in range(1, 21)} == texts_of(texts)


@pytest.mark.parametrize("process", [True, False])
def test_without_any_column_that_says_when_a_row_was_made(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, process: bool
) -> None:
    """Filled past the old counter: all that is left to see is that nothing of the newest rows is as it was."""
    databases = mariadb_databases
    databases.execute("control", f"CREATE TABLE kafka_test (id bigint NOT NULL, {SHARED})")
    databases.execute(1, f"CREATE TABLE kafka_test (id bigint AUTO_INCREMENT PRIMARY KEY, {SHARED})")
    fleet = Fleet(databases)
    fleet.init()
    sql = "INSERT INTO kafka_test (text, code, modify_date) VALUES (%s, 'A', %s)"
    for n in range(1, 13):
        databases.execute(1, sql, [f"row {n}", ago(600 - n)])
    fleet.sync()
    databases.execute(1, "TRUNCATE TABLE kafka_test" if process else "DELETE FROM kafka_test")
    if not process:
        time.sleep(1.1)  # the server tells the second in which a table was made
        databases.execute(1, "ALTER TABLE kafka_test AUTO_INCREMENT = 1")
    for n in range(1, 21):
        databases.execute(1, sql, [f"another {n}", ago(60 - n)])
    require_refused(fleet, tmp_path, "sync", "reconcile")


def test_rows_put_under_old_numbers_by_hand_are_kept_where_it_is_not_certain(databases: Databases) -> None:
    """A server that says nothing, and few rows: the run goes on, and replaces nothing unseen."""
    fleet = a_fleet(databases, 60)
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 57")
    databases.put(1, [row(n, text=f"another {n}", at=ago(30)) for n in range(58, 60)])
    fleet.edit(1, 5, text="an edit")
    fleet.sync()
    kept = databases.query("control", "SELECT key_text, loser, control_row FROM stationsync_conflict ORDER BY id")
    assert [(key, loser, f'"row {n}"' in text) for n, (key, loser, text) in zip((58, 59), kept, strict=True)] == [
        ('["58","A"]', "control", True), ('["59","A"]', "control", True),
    ]  # fmt: skip
    fleet.require_nothing_to_do()


# --- what is no restore


def test_a_table_that_is_rebuilt_while_its_rows_are_edited(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases, 60)
    for statement in ("ALTER TABLE kafka_test FORCE", "OPTIMIZE TABLE kafka_test"):
        databases.execute(1, statement)
        databases.execute(1, "UPDATE kafka_test SET text = CONCAT(text, '!'), modify_date = %s", [ago(3)])
        databases.execute(1, "DELETE FROM kafka_test WHERE id = (SELECT MAX(id) FROM kafka_test)")
        fleet.sync()
        fleet.require_nothing_to_do()
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(0,)]


def test_all_rows_of_a_small_table_are_deleted_and_others_come(databases: Databases) -> None:
    fleet = a_fleet(databases, 10)
    databases.execute(1, "DELETE FROM kafka_test")
    fleet.require_nothing_to_do()
    fill(databases, 11, 15, 30)
    fleet.sync()
    assert databases.count("control") == 15
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(0,)]


def test_a_short_lived_table_may_count_from_one_again(databases: Databases) -> None:
    fleet = a_fleet(databases, 20, short_lived=True)
    truncate(databases)
    fill(databases, 1, 5, 60, text="another")
    fleet.sync()
    fleet.require_nothing_to_do()


def test_a_correction_of_when_rows_were_made_is_an_edit(databases: Databases) -> None:
    fleet = a_fleet(databases, 60)
    databases.execute(1, "UPDATE kafka_test SET create_date = '2020-01-01 00:00:00', modify_date = %s", [ago(3)])
    fleet.sync()
    fleet.require_equal()
    fleet.require_nothing_to_do()
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(0,)]


def test_a_counter_that_lost_free_numbers_is_no_restore(databases: Databases) -> None:
    """As after a crash: numbers that no known row had."""
    if databases.kind == "sqlite":
        pytest.skip("a counter of its own")
    fleet = a_fleet(databases, 60)
    databases.execute(1, "ALTER TABLE kafka_test AUTO_INCREMENT = 1000")
    fleet.edit(1, 3, text="edit")
    fleet.sync()
    databases.execute(1, "ALTER TABLE kafka_test AUTO_INCREMENT = 61")
    fleet.require_nothing_to_do()


def test_with_created_a_few_keys_that_are_given_again_are_no_restore(databases: Databases) -> None:
    fleet = a_fleet(databases, 60, created="create_date")
    lose(databases, 57)
    fill(databases, 58, 60, 30, text="another")
    fleet.sync()
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_trash") == [(3,)]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_books_without_it_are_caught_up_by_init(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, 20)
    databases.execute("control", "ALTER TABLE stationsync_state DROP COLUMN table_facts")
    done = Command(databases, tmp_path)("sync", "station-1")
    assert done.code == 1
    assert "stationsync init" in done.err
    fleet.init()
    fleet.require_nothing_to_do()
    truncate(databases)
    fill(databases, 1, 5, 60, text="another")
    with pytest.raises(StationWentBack):
        fleet.pull()


def test_a_busy_table_that_is_altered_goes_on(mariadb_databases: MariaDBDatabases) -> None:
    """Only what was newer than all that is as it was may be of an older copy: those few edits are written down once."""
    databases = mariadb_databases
    fleet = a_fleet(databases, 60)
    databases.execute(1, "ALTER TABLE kafka_test FORCE")
    for number in (5, 59, 60):
        fleet.edit(1, number, text="an edit")
    fleet.sync()
    fleet.require_nothing_to_do()
    conflicts = "SELECT key_text FROM stationsync_conflict ORDER BY id"
    assert databases.query("control", conflicts) == [('["59","A"]',), ('["60","A"]',)]
    for number in (5, 58, 60):
        fleet.edit(1, number, text="another edit")
    fleet.sync()
    fleet.require_equal()
    # Of the moment of row 58 there may be others: it counts, too.
    assert databases.query("control", conflicts) == [('["59","A"]',), ('["60","A"]',), ('["58","A"]',)]
    fleet.edit(1, 58, text="a third edit")
    fleet.sync()
    assert databases.query("control", conflicts)[3:] == []


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("deletes", ["ignore", "archive"])
@pytest.mark.parametrize("now", [0, 5, 25])
def test_a_reconcile_right_after_trust_goes_on(databases: Databases, tmp_path: Path, now: int, deletes: str) -> None:
    fleet = a_fleet(databases, 20, deletes=deletes)
    truncate(databases)
    if now:
        fill(databases, 1, now, 600, text="another")
    command = Command(databases, tmp_path, deletes=deletes)
    if databases.kind == "mariadb" or now:
        assert command("sync", "station-1").code == 1
    command.well("trust", "station-1", "--yes")
    done = command("reconcile", "station-1")
    if done.code:  # by the brake for deletes only, for the table is empty
        assert (now, deletes) == (0, "archive")
        command.well("reconcile", "station-1", "--allow-deletes")
    fleet.sync()
    fleet.require_nothing_to_do()
    kept = databases.query("control", "SELECT control_row FROM stationsync_conflict")
    kept += databases.query("control", "SELECT row_json FROM stationsync_trash")
    expected = {f"row {n}" for n in range(1, 21 if deletes == "archive" else min(now, 20) + 1)}
    assert expected == texts_of(kept)
