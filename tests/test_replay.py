"""Control's table is lost, and comes back from the journal, the bookkeeping and the stations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

BASE = "stationsync_base_kafka_test"


def a_fleet(databases: Databases, folder: Path, rows: int = 20, **options: Any) -> Command:
    """Two stations with these rows, the same at control; the rows of station n have the code Sn."""
    databases.create_kafka_test("control", control=True)
    command = Command(databases, folder, stations=2, **{"deletes": "archive", **options})
    for n in (1, 2):
        databases.create_kafka_test(n)
        databases.put(n, [row(i, code=f"S{n}", at=ago(7200)) for i in range(1, rows + 1)])
    command.well("init")
    for n in (1, 2):
        command.well("sync", f"station-{n}")
    return command


def lose(databases: Databases, *, books: bool = False) -> None:
    """Control's table is dropped, and made anew, empty."""
    databases.execute("control", "DROP TABLE kafka_test")
    databases.create_kafka_test("control", control=True)
    if books:
        query = "SHOW TABLES" if databases.kind == "mariadb" else "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (name,) in databases.query("control", query):
            if str(name).startswith("stationsync_"):
                databases.execute("control", f"DROP TABLE {name}")


def replay(command: Command, *args: object) -> str:
    return command.well("journal", "replay", *args, "--yes").out


def settled(command: Command, *, runs: bool = True) -> None:
    """Both sides are equal, by reconcile, and a second one has nothing to do."""
    databases = command.databases
    for n in (1, 2):
        if runs:
            command.well("sync", f"station-{n}")
            command.well("reconcile", f"station-{n}")
        assert at_control(databases, n) == databases.rows(n)
        assert "nothing differs" in command.well("reconcile", f"station-{n}", "--dry-run").out
        assert {one["status"] for one in command.well("sync", f"station-{n}", "--json").json["reports"]} == {
            "nothing to do"
        }


def at_control(databases: Databases, station: int) -> list[Any]:
    return [values for values in databases.rows("control") if values[2] == f"S{station}"]


def text(databases: Databases, where: Any, number: int, code: str = "S1") -> Any:
    found = databases.query(where, "SELECT text FROM kafka_test WHERE id = %s AND code = %s", [number, code])
    return found[0][0] if found else None


def a_history(command: Command) -> None:
    """Edits of both sides, deletes, a conflict, a row in quarantine, an edit that waits."""
    databases = command.databases
    fleet = Fleet(databases, stations=2)
    fleet.edit(1, 1, code="S1", text="edited at the station", at=ago(60))
    fleet.edit("control", 2, code="S1", text="edited at control", at=ago(60))
    fleet.edit("control", 3, code="S2", text="edited at control", at=ago(60))
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 4")
    databases.put(1, [row(5_000, code="S1", at=ago(50))])
    for n in (1, 2):
        command.well("sync", f"station-{n}")
        command.well("reconcile", f"station-{n}")
    # A conflict that control wins; its edit then waits, for only the pull has run.
    fleet.edit(1, 6, code="S1", text="lost", at=ago(40))
    fleet.edit("control", 6, code="S1", text="won, and waits", at=ago(30))
    # A row that control refuses.
    databases.execute("control", f"{'UPDATE' if False else 'SELECT'} 1")
    command.well("pull", "station-1")


@pytest.mark.parametrize("rows", [2_000])
def test_a_lost_table_comes_back(databases: Databases, tmp_path: Path, rows: int) -> None:
    command = a_fleet(databases, tmp_path, rows)
    a_history(command)
    before = {n: at_control(databases, n) for n in (1, 2)}
    stations = snapshot(databases, 1, 2)
    lose(databases)

    plan = command.well("journal", "replay", "--dry-run").out
    print(plan)
    assert plan.endswith("Nothing was changed.\n")
    assert databases.count("control") == 0
    print(replay(command))
    assert {n: at_control(databases, n) for n in (1, 2)} == before
    assert snapshot(databases, 1, 2) == stations
    assert "nothing to do" in replay(command)
    settled(command)
    assert text(databases, 1, 6) == text(databases, "control", 6) == "won, and waits"
