"""A row that refers to another one may come first: it waits, and goes in by itself when the other one is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, MariaDBDatabases, Where
from support.inject import ago

from stationsync.model.changes import Status
from stationsync.pairing.pair import pairs
from stationsync.sync import runs
from stationsync.topology.topology_file import from_mapping
from stationsync.writing import waiting

TABLE = {"modified": "modify_date", "key": ["id"]}
NO_PARENT = "NEW.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM parent WHERE code = NEW.parent)"


def create(databases: Databases, where: Where, *, bound: bool) -> None:
    """parent and child; `bound`: the database holds them to it (SQLite only where it is told, so by triggers)."""
    code = "varchar(20) COLLATE utf8mb4_general_ci" if databases.kind == "mariadb" else "varchar(20) COLLATE NOCASE"
    stamp = "modify_date datetime NOT NULL"
    databases.execute(where, f"CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, code {code} UNIQUE, {stamp})")
    reference = ", FOREIGN KEY (parent) REFERENCES parent (code)" if bound else ""
    databases.execute(where, f"CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent {code}, {stamp}{reference})")
    for event in ("INSERT", "UPDATE") if bound and databases.kind == "sqlite" else ():
        refuse = "SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed')"
        databases.execute(
            where, f"CREATE TRIGGER bound_{event} BEFORE {event} ON child WHEN {NO_PARENT} BEGIN {refuse}; END"
        )


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """The child stands before its parent in the topology."""
    create(databases, 1, bound=False)
    create(databases, "control", bound=True)
    command = Command(databases, tmp_path, tables={"child": TABLE, "parent": TABLE})
    command.well("init")
    return command


def put(databases: Databases, table: str, *rows: tuple[int, str | None]) -> None:
    name = "code" if table == "parent" else "parent"
    # Old children: no run reads them a second time because of their date.
    stamp = ago(5) if table == "parent" else "2024-01-01 00:00:00"
    databases.put(1, [{"id": number, name: code, "modify_date": stamp} for number, code in rows], table)


def synced(command: Command, table: str = "child") -> list[dict[str, Any]]:
    return list(command.well("sync", "station-1", "--table", table, "--json").json["reports"])


def children(databases: Databases) -> list[int]:
    return [number for (number,) in databases.query("control", "SELECT id FROM child ORDER BY id")]


def test_a_child_that_comes_before_its_parent_arrives_with_the_same_sync(command: Command) -> None:
    databases = command.databases
    put(databases, "parent", (1, "one"), (2, "two"))
    # 'ONE' refers to 'one': so says the column's collation.
    put(databases, "child", *((n, ("ONE", "two", None)[n % 3]) for n in range(30)))
    first = synced(command)
    assert children(databases) == [n for n in range(30) if n % 3 == 2]
    assert first[0]["quarantined"] == 20
    entries = command.well("quarantine", "list", "--json").json["entries"]
    assert len(entries) == 20
    assert {entry["reasons"][0][:66] for entry in entries} == {
        "control refuses the row, it refers to a row that is not there yet:"
    }

    # The whole station, as a schedule does it: the children go in behind their parents.
    reports = command.well("sync", "station-1", "--json").json["reports"]
    assert [(r["table"], r["applied"]) for r in reports if r["applied"]] == [("parent", 2), ("child", 20)]
    assert reports[-1]["released"] == 20
    assert children(databases) == list(range(30))
    assert command.ids("quarantine", "list") == []
    for report in command.well("sync", "station-1", "--json").json["reports"]:
        assert report["status"] == "nothing to do"


def test_while_the_parent_does_not_come_there_is_nothing_to_do(command: Command) -> None:
    databases = command.databases
    put(databases, "child", (1, "late"), (2, "never"))
    command.well("sync", "station-1")
    for _ in range(2):
        assert {report["status"] for report in synced(command)} == {"nothing to do"}
    assert len(command.ids("quarantine", "list")) == 2

    # It costs the station nothing.
    def not_asked(*_: Any) -> None:
        raise AssertionError("the station was asked")

    (pair,) = pairs(from_mapping(command.topology), "station-1", "child")
    report = runs.pull(pair, replace(runs.plain_steps(), extract_keys=not_asked))
    assert report.status is Status.NOTHING

    put(databases, "parent", (1, "late"))
    synced(command, "parent")
    up, _ = synced(command)
    assert (up["applied"], up["released"], up["quarantined"]) == (1, 1, 0)
    (entry,) = command.well("quarantine", "list", "--json").json["entries"]
    assert (json.dumps(entry["key"]), entry["times"]) == ('["2"]', 1)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}


def test_an_edit_that_refers_to_a_new_parent_waits_as_well(command: Command) -> None:
    databases = command.databases
    put(databases, "parent", (1, "one"))
    put(databases, "child", (1, None))
    command.well("sync", "station-1")
    put(databases, "parent", (2, "two"))
    databases.execute(1, "UPDATE child SET parent = 'two', modify_date = %s WHERE id = 1", [ago(100)])
    command.topology["tables"]["child"]["lookback"] = "1h"
    synced(command)
    command.topology["tables"]["child"]["lookback"] = "0s"
    assert databases.query("control", "SELECT parent FROM child") == [(None,)]
    synced(command, "parent")
    synced(command)
    assert databases.query("control", "SELECT parent FROM child") == [("two",)]
    assert command.ids("quarantine", "list") == []


def test_only_so_many_are_tried_at_once_and_none_is_forgotten(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "AT_MOST", 7)
    databases = command.databases
    put(databases, "child", *((n, "one") for n in range(16)))
    synced(command)
    put(databases, "parent", (1, "one"))
    synced(command, "parent")
    assert [synced(command)[0]["released"] for _ in range(2)] == [16, 0]
    assert children(databases) == list(range(16))


def test_a_parent_that_we_may_not_read_is_no_obstacle(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    create(databases, 1, bound=False)
    create(databases, "control", bound=True)
    command = Command(databases, tmp_path, tables={"child": TABLE})
    command.well("init")
    server, name = databases.server("control"), databases.name("control")
    user = name[-12:]
    tables = [table for (table,) in databases.query("control", "SHOW TABLES") if table != "parent"]
    grants = [f"SELECT, INSERT, UPDATE, DELETE ON `{name}`.`{table}`" for table in tables]
    server.create_user(user, "", [*grants, f"CREATE TEMPORARY TABLES ON `{name}`.*"])
    command.topology["control"]["url"] = server.url(name, user)

    put(databases, "child", (1, "one"), (2, "never"))
    synced(command)
    databases.execute("control", "INSERT INTO parent VALUES (1, 'one', '2024-01-01')")
    up, _ = synced(command)
    assert (up["applied"], up["released"]) == (1, 1)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}
