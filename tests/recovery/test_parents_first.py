"""Several tables that refer to each other, the ones that refer before those that they refer to: what brings rows back
at control does so with one command."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command
from support.databases import MariaDBDatabases
from support.inject import ago

from stationsync.recovery.parents_first import in_order

TABLES = ("items", "orders", "customers")
TABLE = {"modified": "modify_date", "key": ["id"], "deletes": "archive"}
EACH = {table: [1, 2, 3] for table in TABLES}


def test_the_order() -> None:
    assert in_order(TABLES, {"items": {"orders"}, "orders": {"customers"}, "customers": set()}) == list(TABLES[::-1])
    assert in_order("abc", {"a": set(), "b": {"b"}, "c": set()}) == ["a", "b", "c"]
    # In a circle nobody is first; what refers to it comes after it.
    assert in_order("abc", {"a": {"c"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "a"]


@pytest.fixture
def command(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> Command:
    """Control holds an item to its order, and an order to its customer."""
    databases = mariadb_databases
    for number, table in reversed(list(enumerate(TABLES))):
        columns = "id int NOT NULL PRIMARY KEY, up int NULL, modify_date datetime NOT NULL"
        bound = f", FOREIGN KEY (up) REFERENCES {TABLES[number + 1]} (id)" if number < 2 else ""
        databases.execute(1, f"CREATE TABLE {table} ({columns})")
        databases.execute("control", f"CREATE TABLE {table} ({columns}{bound})")
        databases.put(1, [{"id": n, "up": n, "modify_date": ago(300)} for n in (1, 2, 3)], table)
    command = Command(databases, tmp_path, tables=dict.fromkeys(TABLES, TABLE))
    command.well("init")
    command.well("sync", "station-1")
    assert there(command) == EACH
    return command


def there(command: Command) -> dict[str, list[int]]:
    query = command.databases.query
    return {table: [n for (n,) in query("control", f"SELECT id FROM {table} ORDER BY id")] for table in TABLES}


@pytest.mark.parametrize("how", [("reseed-control", "station-1"), ("journal", "replay")], ids=lambda how: how[0])
def test_rows_that_control_lost_come_back_with_one_command(command: Command, how: tuple[str, ...]) -> None:
    for table in TABLES:
        command.databases.execute("control", f"DELETE FROM {table}")
    command.well(*how, "--yes")
    assert there(command) == EACH
    assert command.ids("quarantine", "list") == []
    assert {one["status"] for one in command.well("sync", "station-1", "--json").json["reports"]} == {"nothing to do"}


def test_rows_out_of_the_trash_in_any_order(command: Command) -> None:
    for table in TABLES:
        command.databases.execute(1, f"DELETE FROM {table} WHERE id = 3")
    command.well("reconcile", "station-1")
    assert there(command) == {table: [1, 2] for table in TABLES}
    kept = command.well("trash", "list", "--json").json["items"]
    ids = [one["id"] for table in TABLES for one in kept if one["table"] == table]
    # Without its order an item does not go in; what else is asked for does.
    done = command("trash", "restore", ids[0], ids[2], "--json")
    assert (done.code, done.json["restored"], len(done.json["errors"])) == (1, [ids[2]], 1)
    assert command.well("trash", "restore", ids[0], ids[1], "--json").json["restored"] == [ids[1], ids[0]]
    assert there(command) == EACH
