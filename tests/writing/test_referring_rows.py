"""Rows that refer to each other, in chains and circles, within a table and across tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import MariaDBDatabases, Where
from support.inject import ago

from stationsync.errors import DatabaseBusy
from stationsync.writing import references

TREE = {"modified": "modify_date", "key": ["id"], "exclude": ["master_id"]}


def create_tree(databases: MariaDBDatabases) -> None:
    """`boss` refers to the key, `code` and `like_code` to a unique column; both within the table."""
    columns = "id bigint NOT NULL, boss bigint NULL, code varchar(20) NULL UNIQUE, like_code varchar(20) NULL"
    columns += ", area int NOT NULL DEFAULT 1, modify_date datetime NOT NULL, UNIQUE pair (area, id)"
    bound = ", FOREIGN KEY boss_of (area, boss) REFERENCES tree (area, id)"
    bound += ", FOREIGN KEY like_of (like_code) REFERENCES tree (code)"
    databases.execute(1, f"CREATE TABLE tree ({columns}, PRIMARY KEY (id))")
    databases.execute(
        "control",
        f"CREATE TABLE tree (master_id int NOT NULL AUTO_INCREMENT PRIMARY KEY, {columns}, UNIQUE own (id){bound})",
    )


def put(databases: MariaDBDatabases, *rows: tuple[int, int | None], by: float = 300, where: Where = 1) -> None:
    named = [{"id": number, "boss": boss, "modify_date": ago(by)} for number, boss in rows]
    databases.put(where, named, "tree")


def tree(databases: MariaDBDatabases, where: Where) -> list[tuple[Any, ...]]:
    return databases.query(where, "SELECT id, boss, code, like_code FROM tree ORDER BY id")


def synced(command: Command) -> list[dict[str, Any]]:
    return list(command.well("sync", "station-1", "--json").json["reports"])


def test_chains_and_circles_of_one_table(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    create_tree(databases)
    command = Command(databases, tmp_path, tables={"tree": TREE}, lookback="1h", page_rows=15)
    command.well("init")
    # A chain of 40 whose rows come before the ones that they refer to, over pages; a row to itself; a pair; a circle
    # of three of which one refers to a row that is nowhere, and what hangs on to it.
    put(databases, *((n, n + 1) for n in range(1, 40)), (40, None))
    put(databases, (50, 50), (51, 52), (52, 51))
    put(databases, (61, 62), (62, 63), (63, 61), (64, 61))
    databases.execute(1, "UPDATE tree SET like_code = 'nowhere' WHERE id = 63")
    databases.execute(1, "UPDATE tree SET code = 'a', like_code = 'b' WHERE id = 51")
    databases.execute(1, "UPDATE tree SET code = 'b', like_code = 'a' WHERE id = 52")
    up, _ = synced(command)
    assert [row[0] for row in tree(databases, "control")] == [*range(1, 41), 50, 51, 52]
    assert up["applied"] == 43
    kept = command.well("quarantine", "list", "--json").json["entries"]
    assert sorted(int(entry["key"][0]) for entry in kept) == [61, 62, 63, 64]
    words = "control refuses the row, it refers to a row that is not there yet: "
    assert all(entry["reasons"][0].startswith(words) for entry in kept)
    assert any("(code)" in entry["reasons"][0] and entry["key"] == ["63"] for entry in kept)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}

    # References change places with values of the unique column, and a new row is the head of all.
    connection = databases.connect(1)
    cursor = connection.cursor()
    cursor.execute("UPDATE tree SET code = NULL WHERE id = 51")
    cursor.execute("UPDATE tree SET code = 'nowhere', boss = 70, modify_date = %s WHERE id = 40", [ago(100)])
    cursor.execute("INSERT INTO tree (id, boss, modify_date) VALUES (70, 1, %s)", [ago(90)])
    cursor.execute("UPDATE tree SET code = 'a', modify_date = %s WHERE id = 51", [ago(100)])
    connection.commit()
    up, _ = synced(command)
    assert (up["quarantined"], up["released"]) == (0, 4), command.well("quarantine", "list", "--json").out
    assert tree(databases, "control") == tree(databases, 1)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}


def test_a_chain_of_tables_arrives_with_one_sync(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    names = [f"link_{n}" for n in range(6)]
    for number, name in reversed(list(enumerate(names))):
        columns = "id int NOT NULL PRIMARY KEY, next int NULL, modify_date datetime NOT NULL"
        bound = f", FOREIGN KEY (next) REFERENCES link_{number + 1} (id)" if number < 5 else ""
        databases.execute(1, f"CREATE TABLE {name} ({columns})")
        databases.execute("control", f"CREATE TABLE {name} ({columns}{bound})")
    command = Command(databases, tmp_path, tables={name: {"modified": "modify_date", "key": ["id"]} for name in names})
    command.well("init")
    for name in names:
        databases.put(1, [{"id": 1, "next": 1, "modify_date": ago(100)}], name)
    reports = synced(command)
    assert [databases.count("control", name) for name in names] == [1] * 6
    assert sum(report["released"] for report in reports) == 5
    assert {report["status"] for report in synced(command)} == {"nothing to do"}


CUSTOMERS = {
    "customers": "id int NOT NULL PRIMARY KEY, address int NOT NULL, name varchar(20) NULL",
    "addresses": "id int NOT NULL PRIMARY KEY, customer int NOT NULL, city varchar(20) NULL, seat int NULL UNIQUE",
    "orders": "id int NOT NULL PRIMARY KEY, customer int NOT NULL",
}
BOUND = {
    "customers": "address) REFERENCES addresses (id)",
    "addresses": "customer) REFERENCES customers (id) ON DELETE CASCADE",
    "orders": "customer) REFERENCES customers (id)",
}


def customers(databases: MariaDBDatabases, tmp_path: Path, **options: Any) -> Command:
    """A customer and its default address refer to each other; an order to its customer."""
    for where in ("control", 1):
        for table, columns in CUSTOMERS.items():
            stamp = "modify_date datetime NOT NULL"
            databases.execute(where, f"CREATE TABLE {table} ({columns}, {stamp})")  # type: ignore[arg-type]
    for table, bound in BOUND.items():
        databases.execute("control", f"ALTER TABLE {table} ADD FOREIGN KEY ({bound}")
    tables = {table: {"modified": "modify_date", "key": ["id"]} for table in ("orders", "customers", "addresses")}
    command = Command(databases, tmp_path, tables=tables, lookback="1h", **options)
    command.well("init")
    return command


def add(databases: MariaDBDatabases, number: int, *, address: bool = True) -> None:
    databases.put(1, [{"id": number, "address": number, "modify_date": ago(300)}], "customers")
    if address:
        databases.put(1, [{"id": number, "customer": number, "modify_date": ago(300)}], "addresses")
    databases.put(1, [{"id": number, "customer": number, "modify_date": ago(300)}], "orders")


def ids(databases: MariaDBDatabases) -> dict[str, list[int]]:
    return {t: [n for (n,) in databases.query("control", f"SELECT id FROM {t} ORDER BY id")] for t in CUSTOMERS}


def test_a_circle_over_two_tables_goes_in_together(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    command = customers(databases, tmp_path)
    for number in range(1, 6):
        add(databases, number, address=number != 4)
    # What control does not take holds up its own circle only.
    databases.execute("control", "ALTER TABLE addresses ADD CHECK (city <> 'nowhere')")
    databases.execute(1, "UPDATE addresses SET city = 'nowhere' WHERE id = 5")
    synced(command)
    assert ids(databases) == {key: [1, 2, 3] for key in CUSTOMERS}
    kept = command.well("quarantine", "list", "--json").json["entries"]
    assert {(e["table"], e["key"][0]) for e in kept} == {
        ("customers", "4"), ("orders", "4"), ("customers", "5"), ("addresses", "5"), ("orders", "5"),
    }  # fmt: skip
    assert {report["status"] for report in synced(command)} == {"nothing to do"}

    databases.put(1, [{"id": 4, "customer": 4, "modify_date": ago(300)}], "addresses")
    databases.execute(1, "UPDATE addresses SET city = 'here' WHERE id = 5")
    synced(command)
    assert ids(databases) == {key: [1, 2, 3, 4, 5] for key in CUSTOMERS}
    assert command.ids("quarantine", "list") == []
    assert {report["status"] for report in synced(command)} == {"nothing to do"}
    for table in CUSTOMERS:
        sql = f"SELECT * FROM {table} ORDER BY id"
        assert databases.query(1, sql) == databases.query("control", sql)


def test_a_station_gets_a_circle_back_and_an_edit_waits_for_its_row(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    """Down: an edit of control's refers to a row that is not at the station; and a lost station is given its rows."""
    databases = mariadb_databases
    create_tree(databases)
    command = Command(databases, tmp_path, tables={"tree": TREE}, lookback="1h")
    command.well("init")
    put(databases, (1, None), (2, 1), (3, 4), (4, 3), (5, 5))
    synced(command)
    databases.execute(1, "ALTER TABLE tree ADD FOREIGN KEY (area, boss) REFERENCES tree (area, id)")
    databases.execute("control", "INSERT INTO tree (id, modify_date) VALUES (9, '2024-01-01')")
    databases.execute("control", "UPDATE tree SET boss = 9, modify_date = %s WHERE id = 2", [ago(50)])
    synced(command)
    (entry,) = command.well("quarantine", "list", "--json").json["entries"]
    assert entry["reasons"][0].startswith("the station refuses the row, it refers to a row that is not there yet: ")
    assert {report["status"] for report in synced(command)} == {"nothing to do"}
    put(databases, (9, None), by=2_000)
    synced(command)
    assert databases.query(1, "SELECT boss FROM tree WHERE id = 2") == [(9,)]
    assert command.ids("quarantine", "list") == []

    databases.execute(1, "SET foreign_key_checks = 0")
    databases.execute(1, "UPDATE tree SET boss = NULL")
    databases.execute(1, "DELETE FROM tree WHERE id > 1")
    command.well("reseed", "station-1", "--yes")
    assert tree(databases, 1) == tree(databases, "control")


def test_a_lost_station_gets_circles_over_two_tables_back(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table that refers to the others comes first, and pages are small. What the station does not take holds up
    its own circle only, and goes in with the next reseed."""
    databases = mariadb_databases
    command = customers(databases, tmp_path)
    for number in range(1, 6):
        add(databases, number)
    databases.execute(1, "UPDATE addresses SET city = 'nowhere' WHERE id = 5")
    synced(command)
    for table, bound in BOUND.items():
        databases.execute(1, f"ALTER TABLE {table} ADD FOREIGN KEY ({bound}")
    connection = databases.connect(1)
    cursor = connection.cursor()
    cursor.execute("SET foreign_key_checks = 0")
    for table in CUSTOMERS:
        cursor.execute(f"DELETE FROM {table}")
    cursor.execute("ALTER TABLE addresses ADD CONSTRAINT known CHECK (city <> 'nowhere')")
    connection.commit()

    def there() -> dict[str, list[int]]:
        return {t: [n for (n,) in databases.query(1, f"SELECT id FROM {t} ORDER BY id")] for t in CUSTOMERS}

    for module in ("reseed", "reseed_page", "base_pages"):
        monkeypatch.setattr(f"stationsync.recovery.{module}.PAGE", 2)
    command.well("reseed", "station-1", "--yes")
    assert there() == {table: [1, 2, 3, 4] for table in CUSTOMERS}
    kept = command.well("quarantine", "list", "--json").json["entries"]
    assert sorted((e["table"], e["key"][0]) for e in kept) == [("addresses", "5"), ("customers", "5"), ("orders", "5")]
    assert ids(databases) == {table: [1, 2, 3, 4, 5] for table in CUSTOMERS}

    databases.execute(1, "ALTER TABLE addresses DROP CONSTRAINT known")
    command.well("reseed", "station-1", "--yes")
    assert there() == {table: [1, 2, 3, 4, 5] for table in CUSTOMERS}
    assert command.ids("quarantine", "list") == []
    assert {report["status"] for report in synced(command)} == {"nothing to do"}


def test_a_circle_that_is_cut_off_before_its_commit_has_not_happened(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = mariadb_databases
    command = customers(databases, tmp_path)
    add(databases, 1)

    def cut(*_: Any) -> None:
        raise DatabaseBusy("here", "cut off")

    with monkeypatch.context() as patched:
        patched.setattr(references, "require", cut)
        command("sync", "station-1")
    assert ids(databases) == {key: [] for key in CUSTOMERS}
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_base_customers") == [(0,)]
    synced(command)
    assert ids(databases) == {key: [1] for key in CUSTOMERS}
    assert {report["status"] for report in synced(command)} == {"nothing to do"}
