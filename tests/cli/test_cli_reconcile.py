"""`reconcile` and `trash` as a person types them: lines, JSON, exit codes, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.sample import row


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """One station with 100 rows, the same at control; deletes are archived."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path, deletes="archive")
    command.well("init")
    databases.put(1, [row(n) for n in range(1, 101)])
    command.well("sync", "station-1")
    return command


def test_reconcile_proves_and_status_shows_the_proof(command: Command) -> None:
    out = command.well("reconcile", "station-1").out
    assert "station-1/kafka_test reconcile: nothing to do (nothing differs)" in out
    assert "equal up to 20" in out
    assert "100 rows, checksum " in out
    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert (report["direction"], report["rows"], report["exceptions"]) == ("both", 100, {})
    assert f"100 rows, checksum {report['checksum']}" in command.well("status").out
    (table,) = command.well("status", "--json").json["tables"]
    assert (table["proof"]["rows"], table["proof"]["digest"]) == (100, report["checksum"])


def test_a_dry_run_names_what_it_would_do(command: Command) -> None:
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id = 7")
    command.databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 8")
    before = snapshot(command.databases, "control", 1)
    out = command.well("reconcile", "station-1", "--dry-run").out
    assert "(changed or new at the station 1, gone at the station 1)" in out
    assert '  gone at the station: ["7", "A"]' in out
    assert out.endswith("Nothing was changed.\n")
    assert snapshot(command.databases, "control", 1) == before


def test_a_refused_sweep_says_what_and_how_to_allow_it_once(command: Command) -> None:
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id <= 60")
    done = command("reconcile", "station-1")
    assert done.code == 1
    assert "60 of 100 rows known are gone at the station and would be deleted at control (limit 20)" in done.err
    assert "Nothing was changed." in done.err
    assert "stationsync reconcile station-1 --table kafka_test --allow-deletes" in done.err
    assert command.databases.count("control") == 100
    assert "deleted 60" in command.well("reconcile", "station-1", "--allow-deletes").out
    assert command.databases.count("control") == 40


def test_the_trash_lists_shows_and_gives_back(command: Command) -> None:
    assert "The trash is empty." in command.well("trash", "list").out
    before = command.databases.query("control", "SELECT * FROM kafka_test WHERE id = 7")
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id = 7")
    command.well("reconcile", "station-1")
    (number,) = command.ids("trash", "list")
    assert "the station deleted the row" in command.well("trash", "list", "station-1").out
    assert '"row 7"' in command.well("trash", "show", number).out
    restored = command.well("trash", "restore", number, "--json").json
    assert restored == {"ok": True, "restored": [number], "locked": [], "errors": []}
    assert command.databases.query("control", "SELECT * FROM kafka_test WHERE id = 7") == before
    again = command("trash", "restore", number)
    assert again.code == 1
    assert "control has a row" in again.err
    assert command("trash", "restore", 999).code == 2


def test_an_off_line_station_is_exit_code_3(command: Command) -> None:
    url = {"mariadb": "mysql+pymysql://root@127.0.0.1:1/x", "sqlite": "sqlite:////nowhere/x.db"}
    command.topology["stations"]["station-1"]["url"] = url[command.databases.kind]
    assert command("reconcile", "station-1").code == 3
