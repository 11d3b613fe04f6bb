"""Names of columns and tables as the server takes them: without case for columns, and of any characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, Done
from support.databases import Databases, MariaDBDatabases

from cli.sandbox.servers import MariaDBServer

LATER, LAST = "2030-01-01 00:00:00", "2031-01-01 00:00:00"


def notes(done: Done, level: str) -> list[str]:
    found = (note for one in done.json["databases"] for note in one["notes"] if note["level"] == level)
    return [f"{note['place']}: {note['what']} {note['next_step']}" for note in found]


def states(command: Command, verb: str = "sync") -> set[str]:
    return {report["status"] for report in command.well(verb, "station-1", "--json").json["reports"]}


def test_a_column_is_the_same_however_each_side_and_the_topology_spell_it(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = "{0} varchar(20), {1} varchar(20), {2} datetime NOT NULL, {3} varchar(20), {4} int"
    own = columns.format("ITEM", "Own", "Changed", "X", "S")
    databases.execute(1, f"CREATE TABLE t (Id int PRIMARY KEY, {own})")
    databases.execute(
        "control", "CREATE TABLE t (iD int PRIMARY KEY, gone datetime, Extra int, "
        + columns.format("item", "theirs", "CHANGED", "x", "s") + ")",
    )  # fmt: skip
    rules = tmp_path / "t.yaml"
    rules.write_text(
        "name: t\nexpectations:\n  - type: expect_column_values_to_not_be_in_set\n"
        "    kwargs: {column: Item, value_set: [bad], row_condition: {type: comparison, column: {name: S},"
        ' operator: ">=", parameter: 0}}\n'
    )
    monkeypatch.setenv("STATIONSYNC_EXPECTATIONS", str(tmp_path))
    table: dict[str, Any] = {
        "key": ["ID"], "modified": "changed", "exclude": ["EXTRA", "GONE", "X"], "rename": {"OWN": "Theirs"},
        "expectations": "t", "deletes": "flag", "flag_column": "Gone", "editable": ["ITEM"],
    }  # fmt: skip
    command = Command(databases, tmp_path, tables={"t": table})
    put = "INSERT INTO t (id, item, own, changed, x, s) VALUES "
    databases.execute(1, put + f"(1, 'a', 'o', '{LATER}', 'x', 1), (2, 'bad', 'o', '{LATER}', 'x', 1)")
    databases.execute("control", f"INSERT INTO t (id, item, theirs, changed, s) VALUES (1, 'a', 'o', '{LATER}', 1)")
    assert [one["equal"] for one in command.well("init", "--json").json["adopted"]] == [1]
    assert notes(command.well("check", "--json"), "problem") == []
    assert not any("not synchronised" in note for note in notes(command.well("check", "--json"), "warning"))
    command.well("sync", "station-1")
    assert databases.query("control", "SELECT id, item, theirs, x FROM t") == [(1, "a", "o", None)]
    assert len(command.ids("quarantine", "list")) == 1

    databases.execute("control", f"UPDATE t SET item = 'down', changed = '{LAST}'")
    command.well("sync", "station-1")
    assert databases.query(1, "SELECT item, own, x FROM t WHERE id = 1") == [("down", "o", "x")]
    databases.execute(1, f"UPDATE t SET item = 'good', own = 'new', changed = '{LAST}' WHERE id = 2")
    command.well("sync", "station-1")
    assert databases.query("control", "SELECT item, theirs FROM t WHERE id = 2") == [("good", "new")]
    databases.execute(1, "DELETE FROM t WHERE id = 1")
    command.well("reconcile", "station-1")
    assert databases.query("control", "SELECT id FROM t WHERE gone IS NOT NULL") == [(1,)]
    assert states(command) == states(command, "reconcile") == {"nothing to do"}
    assert "good" in command.well("explain", "station-1", "t", 2).out
    command.well("trash", "restore", *command.ids("trash", "list"))
    assert databases.query("control", "SELECT id FROM t WHERE gone IS NOT NULL") == []

    # A name that is spelled anew is no other column.
    if databases.kind == "mariadb":
        databases.execute("control", "ALTER TABLE t CHANGE item Item varchar(20)")
        databases.execute(1, "ALTER TABLE t CHANGE ITEM item varchar(20)")
        databases.execute(1, f"UPDATE t SET item = 'again', changed = '{LAST}' WHERE id = 2")
        command.well("init")
        command.well("sync", "station-1")
        assert databases.query("control", "SELECT item FROM t WHERE id = 2") == [("again",)]


# As our own temporary tables and queries call their columns; and what has to be quoted.
COLUMNS = [
    "n0", "o0", "k0", "seq", "flags", "place", "pending", "station", "action", "digest", "modified", "lacking",
    "select", "a b", "a.b-c", "50%", "%(x)s", ":x", "it's", 'say "x"', "a`b", "ö한글", "c" * 64,
]  # fmt: skip
TABLES = ["order", 'a b.c-d 50% o\'r "x" :y', "한글", "t" * 64, "T" * 47 + "x"]


@pytest.mark.parametrize("name", TABLES)
def test_any_name_of_a_table_and_of_columns_goes_all_ways(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, name: str
) -> None:
    databases = mariadb_databases
    quoted = ["`" + column.replace("`", "``") + "`" for column in COLUMNS]
    columns = ", ".join(f"{column} varchar(20)" for column in quoted)
    for where in ("control", 1):
        whole = f"`n1` int, `k 1%` int, {columns}, `m:1` datetime, PRIMARY KEY (`n1`, `k 1%`)"
        databases.execute(where, f"CREATE TABLE `{name}` ({whole})")  # type: ignore[arg-type]
    table = {"key": ["n1", "k 1%"], "modified": "m:1", "deletes": "archive"}
    command = Command(databases, tmp_path, tables={name: table})
    command.topology["journal"] = {"url": str(tmp_path / "journal")}
    for n in (1, 2, 3):
        values = ", ".join(f"'{n} {i}'" for i in range(len(COLUMNS)))
        databases.execute(1, f"INSERT INTO `{name}` VALUES ({n}, {n}, {values}, '{LATER}')")

    def rows(where: Any) -> list[Any]:
        return databases.query(where, f"SELECT * FROM `{name}` ORDER BY 1")

    command.well("init")
    assert notes(command.well("check", "--json"), "problem") == []
    command.well("sync", "station-1")
    for column in ("`n0`", "`a``b`"):
        databases.execute("control", f"UPDATE `{name}` SET {column} = 'down', `m:1` = '{LAST}' WHERE n1 = 1")
        databases.execute(1, f"UPDATE `{name}` SET {column} = 'up', `m:1` = '{LAST}' WHERE n1 = 2")
        command.well("sync", "station-1")
        assert rows("control") == rows(1)
    databases.execute(1, f"DELETE FROM `{name}` WHERE n1 = 3")
    command.well("reconcile", "station-1")
    assert rows("control") == rows(1)
    assert states(command) == states(command, "reconcile") == {"nothing to do"}
    assert "down" in command.well("explain", "station-1", name, 1, 1).out
    assert command.well("status", "--json").json["tables"][0]["waiting"] == 0
    databases.execute(1, f"DELETE FROM `{name}` WHERE n1 = 2")
    command.well("reseed", "station-1", "--yes")
    command.well("backfill", "station-1", "--table", name, "--all")
    assert len(rows(1)) == 2
    assert rows("control") == rows(1)
    command.well("trash", "restore", *command.ids("trash", "list"))
    assert len(rows("control")) == 3


def test_two_long_names_that_begin_alike_have_bases_of_their_own(databases: Databases, tmp_path: Path) -> None:
    names = ["t" * 60 + end for end in ("a", "b")]
    for name in names:
        for where in ("control", 1):
            databases.execute(where, f"CREATE TABLE {name} (id int PRIMARY KEY, m datetime, v varchar(9))")  # type: ignore[arg-type]
        databases.execute(1, f"INSERT INTO {name} VALUES (1, '{LATER}', '{name[-1]}')")
    command = Command(databases, tmp_path, tables={name: {"key": ["id"], "modified": "m"} for name in names})
    command.well("init")
    command.well("sync", "station-1")
    assert [databases.query("control", f"SELECT v FROM {name}") for name in names] == [[("a",)], [("b",)]]


GENERATED = "m datetime AS (GREATEST(made, changed)) STORED, made datetime, changed datetime"


@pytest.mark.parametrize("side", ["control", "station-1"])
def test_a_generated_modified_column_is_refused_for_what_it_is_or_read_only(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, side: str
) -> None:
    databases = mariadb_databases
    for where, name in (("control", "control"), (1, "station-1")):
        columns = GENERATED if name == side else "m datetime, made datetime, changed datetime"
        databases.execute(where, f"CREATE TABLE t (id int PRIMARY KEY, {columns}, v int)")  # type: ignore[arg-type]
    command = Command(databases, tmp_path, tables={"t": {"key": ["id"], "modified": "m"}})
    owner = "control" if side == "control" else "the station"
    told = f"the modified column m is generated at {owner}, where it could not be written"
    command("init")
    assert any(told in problem for problem in notes(command("check", "--json"), "problem"))
    if side == "control":
        return
    command.topology["tables"]["t"]["direction"] = "up"
    command.well("init")
    for number in (1, 2):
        databases.execute(1, f"INSERT INTO t (id, made, changed, v) VALUES ({number}, '{LATER}', '{LATER}', 1)")
    command.well("sync", "station-1")
    databases.execute(1, f"UPDATE t SET changed = '{LAST}', v = 2 WHERE id = 1")
    command.well("sync", "station-1")
    everything = "SELECT id, m, made, changed, v FROM t ORDER BY id"
    assert databases.query("control", everything) == databases.query(1, everything)
    assert states(command, "reconcile") == {"nothing to do"}
    databases.execute(1, "DELETE FROM t WHERE id = 2")
    command.well("reseed", "station-1", "--yes")
    assert databases.query("control", everything) == databases.query(1, everything)
    assert states(command) == {"nothing to do"}


def test_a_column_that_is_called_as_our_own_is_refused_by_name(databases: Databases, tmp_path: Path) -> None:
    for where in ("control", 1):
        databases.execute(where, "CREATE TABLE t (id int PRIMARY KEY, m datetime, Stationsync_pending int)")  # type: ignore[arg-type]
    command = Command(databases, tmp_path, tables={"t": {"key": ["id"], "modified": "m"}})
    done = command("init")
    assert (done.code, "column Stationsync_pending: names that begin with stationsync_" in done.err) == (1, True)
    command.topology["tables"]["t"]["exclude"] = ["stationsync_pending"]
    command.well("init")
    assert states(command) == {"nothing to do"}


def test_a_server_that_keeps_names_of_tables_in_lower_case(tmp_path: Path) -> None:
    with MariaDBServer(options=["--lower-case-table-names=1"]) as server:
        databases = MariaDBDatabases(server, server)
        for where in ("control", 1):
            databases.execute(where, "CREATE TABLE Item (id int PRIMARY KEY, m datetime, v int)")  # type: ignore[arg-type]
        databases.execute(1, f"INSERT INTO item VALUES (1, '{LATER}', 1)")
        command = Command(databases, tmp_path, tables={"ITEM": {"key": ["id"], "modified": "m"}})
        command.well("init")
        assert command.well("init", "--json").json["tables"] == []
        assert command.well("check").code == 0
        command.well("sync", "station-1")
        databases.execute("control", f"UPDATE item SET v = 2, m = '{LAST}'")
        assert command.well("status", "--json").json["tables"][0]["waiting"] == 1
        command.well("sync", "station-1")
        assert databases.query(1, "SELECT v FROM item") == [(2,)]
        assert states(command) == states(command, "reconcile") == {"nothing to do"}
