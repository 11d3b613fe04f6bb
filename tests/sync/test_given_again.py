"""A key that was given twice: with `created`, another row takes its place, and the old one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.model.changes import Status
from stationsync.sync import runs

TRASH = "SELECT key_text, side, state, reason, row_json FROM stationsync_trash ORDER BY id"


def a_fleet(databases: Databases, rows: int = 60, **options: Any) -> Fleet:
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN remark varchar(100)")
    databases.create_kafka_test(1)
    own = {"exclude": ["master_id", "remark"], "created": "create_date"}
    fleet = Fleet(databases, **{**own, **options})
    fleet.init()
    databases.put(1, [row(n, at=ago(7200 - n)) for n in range(1, rows + 1)])
    fleet.sync()
    return fleet


def give_again(databases: Databases, *numbers: int, text: str = "another") -> None:
    """The application deleted these rows; others got their numbers."""
    for number in numbers:
        databases.execute(1, "DELETE FROM kafka_test WHERE id = %s", [number])
        databases.put(1, [row(number, text=f"{text} {number}", at=ago(30))])


def trash_of(fleet: Fleet) -> list[tuple[Any, ...]]:
    found = fleet.databases.query("control", TRASH)
    return [(json.loads(key)[0], side, state, reason, json.loads(kept)) for key, side, state, reason, kept in found]


def control_row(databases: Databases, number: int) -> tuple[Any, ...]:
    (found,) = databases.query("control", "SELECT text, remark, master_id FROM kafka_test WHERE id = %s", [number])
    return found


def test_the_old_row_goes_to_the_trash_and_the_new_one_is_a_row_of_its_own(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute("control", "UPDATE kafka_test SET remark = 'of the old one' WHERE id = 60")
    (_, _, number) = control_row(databases, 60)
    fleet.edit(1, 30, text="an ordinary edit")
    give_again(databases, 60)
    pulled, _ = fleet.sync()
    assert (pulled.counts.applied, pulled.counts.conflicts) == (2, 0)
    ((key, side, state, reason, kept),) = trash_of(fleet)
    assert (key, side, state, reason) == ("60", "control", "kept", "its key was given again")
    assert (kept["text"], kept["remark"]) == ("row 60", "of the old one")
    text, remark, now = control_row(databases, 60)
    assert (text, remark) == ("another 60", None)
    assert now != number
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_an_edit_of_control_that_waited_is_kept_with_the_old_row_and_never_sent(databases: Databases) -> None:
    fleet = a_fleet(databases)
    give_again(databases, 60)
    fleet.edit("control", 60, text="edited", at=ago(5))
    # The push meets the new row, and lets the merge decide.
    fleet.push()
    assert [(key, kept["text"]) for key, *_, kept in trash_of(fleet)] == [("60", "edited")]
    assert databases.query(1, "SELECT text FROM kafka_test WHERE id = 60") == [("another 60",)]
    assert control_row(databases, 60)[0] == "another 60"
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_row_that_control_had_deleted_meanwhile_is_kept_too(databases: Databases) -> None:
    fleet = a_fleet(databases)
    give_again(databases, 60)
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 60")
    fleet.sync()
    assert [(key, kept["text"]) for key, *_, kept in trash_of(fleet)] == [("60", "row 60")]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_change_of_nothing_but_the_stamp_is_no_other_row(databases: Databases) -> None:
    fleet = a_fleet(databases)
    fleet.edit(1, 60, text="edited")
    fleet.edit("control", 59, create_date="2020-02-02 00:00:00")
    fleet.sync()
    # Control's own edit of the column went down: it is the same row.
    assert trash_of(fleet) == []
    fleet.require_nothing_to_do()
    fleet.require_equal()


@pytest.mark.parametrize("route", ["reconcile", "backfill"])
def test_by_whatever_route_it_comes(databases: Databases, tmp_path: Path, route: str) -> None:
    """Stamped long ago, so that no pull reads it."""
    fleet = a_fleet(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 17")
    databases.put(1, [row(17, text="another 17", at=ago(100_000))])
    fleet.require_nothing_to_do()
    command = Command(databases, tmp_path, exclude=["master_id", "remark"], created="create_date")
    if route == "reconcile":
        command.well("reconcile", "station-1", "--dry-run")
        assert trash_of(fleet) == []
    more = ["--table", "kafka_test", "--from-key", "1", "--to-key", "60"] if route == "backfill" else []
    command.well(route, "station-1", *more)
    ((key, *_, kept),) = trash_of(fleet)
    assert (key, kept["text"]) == ("17", "row 17")
    assert control_row(databases, 17)[0] == "another 17"
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_many_at_once_and_what_the_list_shows(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, rows=600)
    # Every second row, so that this is no restore: the newest one is as it was.
    numbers = list(range(1, 600, 2))
    databases.execute(1, "DELETE FROM kafka_test WHERE id % 2 = 1")
    databases.put(1, [row(n, text=f"another {n}", at=ago(30)) for n in numbers])
    fleet.options(page_rows=250)
    fleet.sync()
    assert [key for key, *_ in trash_of(fleet)] == [str(n) for n in numbers]
    fleet.require_nothing_to_do()
    fleet.require_equal()
    command = Command(databases, tmp_path)
    listed = command.well("trash", "list", "station-1", "--limit", "1", "--json").json
    assert (listed["total"], listed["items"][0]["reason"]) == (300, "its key was given again")
    # Its key lives: the old row cannot come back under it.
    refused = command("trash", "restore", listed["items"][0]["id"])
    assert refused.code == 1
    assert control_row(databases, 599)[0] == "another 599"


@pytest.mark.parametrize("rule", ["RESTRICT", "CASCADE"])
def test_where_other_rows_refer_to_the_old_one_it_is_overwritten_and_kept(
    mariadb_databases: MariaDBDatabases, rule: str
) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases)
    databases.execute(
        "control",
        "CREATE TABLE note (id bigint, code varchar(100), said text, FOREIGN KEY (id, code) REFERENCES kafka_test"
        f" (id, code) ON DELETE {rule})",
    )
    databases.execute("control", "INSERT INTO note VALUES (60, 'A', 'a note')")
    give_again(databases, 59, 60)
    fleet.sync()
    assert [(key, kept["text"]) for key, *_, kept in trash_of(fleet)] == [("59", "row 59"), ("60", "row 60")]
    assert [control_row(databases, n)[0] for n in (59, 60)] == ["another 59", "another 60"]
    assert databases.query("control", "SELECT said FROM note") == [("a note",)]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_trigger_that_forbids_the_delete(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases)
    databases.execute(
        "control",
        "CREATE TRIGGER stays BEFORE DELETE ON kafka_test FOR EACH ROW IF OLD.id = 60 THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF",
    )
    give_again(databases, 58, 60)
    fleet.sync()
    assert [key for key, *_ in trash_of(fleet)] == ["58", "60"]
    assert [control_row(databases, n)[0] for n in (58, 60)] == ["another 58", "another 60"]
    fleet.require_nothing_to_do()


def test_bytes_count_and_null_is_a_value(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    ddl = (
        "CREATE TABLE t (id bigint PRIMARY KEY, made varchar(40) COLLATE utf8mb4_general_ci, v int,"
        " m datetime(6) NOT NULL, KEY (m))"
    )
    for where in ("control", 1):
        databases.execute(where, ddl)
    fleet = Fleet(databases, tables={"t": {"key": ["id"], "modified": "m", "created": "made"}})
    fleet.init()
    before = ["a", "a", "a", None, None]
    databases.put(1, [{"id": n, "made": made, "v": 1, "m": ago(60)} for n, made in enumerate(before)], "t")
    fleet.sync()
    for n, made in enumerate(["a", "A", "a ", None, "a"]):
        databases.execute(1, "UPDATE t SET made = %s, v = 2, m = %s WHERE id = %s", [made, ago(5), n])
    fleet.sync()
    assert [key for key, *_ in trash_of(fleet)] == ["1", "2", "4"]
    assert databases.rows(1, "t", "*", "id") == databases.rows("control", "t", "*", "id")
    (pair,) = fleet.pairs()
    assert runs.pull(pair, runs.plain_steps()).status is Status.NOTHING


def test_of_a_table_that_goes_down_only_nothing_comes_up(databases: Databases) -> None:
    fleet = a_fleet(databases)
    fleet.options(direction="down")
    give_again(databases, 60)
    fleet.sync()
    assert trash_of(fleet) == []
    assert control_row(databases, 60)[0] == "row 60"
    assert databases.query("control", "SELECT loser FROM stationsync_conflict") == [("station",)]
    fleet.require_nothing_to_do()


def test_check_proposes_it_and_is_content_then(databases: Databases, tmp_path: Path) -> None:
    a_fleet(databases)
    command = Command(databases, tmp_path, exclude=["master_id", "remark"])
    done = command.well("check")
    assert "created: create_date" in done.out
    command.topology["tables"]["kafka_test"]["created"] = "create_date"
    assert "created: create_date" not in command.well("check").out
    command.topology["tables"]["kafka_test"]["created"] = "no_such_column"
    assert "the created column no_such_column is not in both tables" in command("check").out


@pytest.mark.parametrize(
    ("column", "why"),
    [("id", "is a key column"), ("modify_date", "is a key column"), ("remark", "is excluded")],
)
def test_a_column_that_cannot_be_it(databases: Databases, tmp_path: Path, column: str, why: str) -> None:
    command = Command(databases, tmp_path, exclude=["master_id", "remark"], created=column)
    done = command("status")
    assert done.code == 2
    assert why in done.err
