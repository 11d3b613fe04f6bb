"""Names of columns and tables as the server takes them: without case for columns, and of any characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, Done
from support.databases import Databases

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
