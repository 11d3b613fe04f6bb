"""`backfill` as a person types it: lines, the bar, JSON, exit codes, and what a refusal says."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from support.command import PROGRAM, Command, snapshot
from support.databases import Databases
from support.sample import row
from support.waiting import PATIENCE

import cli.recovery.backfill_bar as bar
from stationsync.recovery import backfill as engine


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """One station with 100 rows, a day apart, all at control but those of January's last days."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path)
    command.well("init")
    days = [f"2024-{month:02}-{day:02} 12:00:00" for month in range(1, 6) for day in range(1, 21)]
    databases.put(1, [row(number, at=day) for number, day in enumerate(days, 1)])
    command.well("sync", "station-1")
    for table in ("kafka_test", "stationsync_base_kafka_test"):
        databases.execute("control", f"DELETE FROM {table} WHERE id BETWEEN 11 AND 20")
    return command


def test_a_range_of_time_comes_up(command: Command) -> None:
    done = command.well(
        "backfill", "station-1", "--table", "kafka_test", "--since", "2024-01-05", "--until", "2024-02-03"
    )
    said = "of modified from 2024-01-05 00:00:00 until 2024-02-03 00:00:00 (read 18, applied 10, unchanged 8)"
    assert done.out == f"station-1/kafka_test backfill: done {said}\n"
    assert done.err == ""
    again = command.well("backfill", "station-1", "--since", "2024-01-05", "--until", "2024-02-03").out
    assert "backfill: nothing to do" in again
    assert command.databases.count("control") == 100


def test_json_is_one_object(command: Command) -> None:
    found = command.well("backfill", "station-1", "--table", "kafka_test", "--from-key", '[11, "A"]', "--json").json
    (report,) = found["reports"]
    assert (found["ok"], report["applied"], report["direction"]) == (True, 10, "up")
    assert report["backfill"] == {"asked": 'from key ["11","A"]', "rows": 90, "expected": 90, "resumed": False}


def test_a_dry_run_changes_nothing(command: Command) -> None:
    before = snapshot(command.databases, "control", 1)
    out = command.well("backfill", "station-1", "--all", "--dry-run").out
    assert "station-1/kafka_test at control: rows to insert 10" in out
    assert out.endswith("Nothing was changed.\n")
    assert snapshot(command.databases, "control", 1) == before


def test_one_that_was_cut_off_is_listed_and_goes_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MOST", 30)
    monkeypatch.setattr(engine, "_AGAIN", ())
    command.topology["tables"]["kafka_test"]["max_bad"] = 0
    command.topology["tables"]["kafka_test"]["expectations"] = "kafka_test"
    command.databases.execute(1, "UPDATE kafka_test SET text = NULL, code = '' WHERE id = 95")
    assert "No backfill is open." in command.well("backfill", "--list").out
    done = command("backfill", "station-1", "--table", "kafka_test", "--all")
    assert done.code == 1
    assert "more bad rows than `max_bad` allows" in done.err
    assert "It goes on where it stopped with: stationsync backfill station-1 --table kafka_test --all" in done.err

    (entry,) = command.well("backfill", "station-1", "--list", "--json").json["backfills"]
    assert (entry["state"], entry["rows"], entry["expected"], entry["counts"]["applied"]) == ("open", 90, 100, 10)
    assert "max_bad" in entry["message"]
    assert "all rows" in command.well("backfill", "--list").out

    command.topology["tables"]["kafka_test"]["max_bad"] = 50
    out = command.well("backfill", "station-1", "--table", "kafka_test", "--all").out
    assert "(read 10, unchanged 9, quarantined 1)" in out
    assert "taken up where it had stopped; 100 rows in all its runs" in out
    assert "No backfill is open." in command.well("backfill", "--list").out
    assert command.well("backfill", "--list", "--all", "--json").json["total"] == 1


def test_one_that_was_cut_off_can_be_given_up(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MOST", 30)
    monkeypatch.setattr(engine, "_AGAIN", ())
    command.topology["tables"]["kafka_test"].update(max_bad=0, expectations="kafka_test")
    command.databases.execute(1, "UPDATE kafka_test SET code = '' WHERE id = 95")
    assert command("backfill", "station-1", "--all").code == 1
    (number,) = command.ids("backfill", "--list")
    moved = "SELECT moved_at, given_up_at IS NULL FROM stationsync_backfill"
    ((before, open_),) = command.databases.query("control", moved)
    said = command.well("backfill", "--drop", number).out
    # `explain` takes what was written up to there for the backfill's.
    assert (open_, command.databases.query("control", moved)) == (1, [(before, 0)])
    assert said == "station-1/kafka_test backfill of all rows: given up after 90 rows\n"
    assert "No backfill is open." in command.well("backfill", "--list").out
    again = command("backfill", "--drop", number)
    assert (again.code, "Nothing was changed." in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("station-1",), "no range is named"),
        (("station-1", "--all", "--since", "2024-01-01"), "exclude each other"),
        (("station-1", "--since", "yesterday"), "--since is no date: 'yesterday'; write 2024-05-01"),
        (("station-1", "--from-key", "1"), "name it with --table"),
        (("--all",), "name a station"),
        (("nobody", "--all"), "nobody"),
        (("station-1", "--all", "--rate", "0"), "0.0 rows a second"),
        (("station-1", "--table", "kafka_test", "--to-key", "x"), "'x' is no value of key column id"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], what: str, command: Command) -> None:
    done = command("backfill", *arguments)
    assert (done.code, done.out) == (2, "")
    assert what in done.err


def test_an_off_line_station_is_exit_code_3(command: Command) -> None:
    url = {"mariadb": "mysql+pymysql://root@127.0.0.1:1/x", "sqlite": "sqlite:////nowhere/x.db"}
    command.topology["stations"]["station-1"]["url"] = url[command.databases.kind]
    done = command("backfill", "station-1", "--all", "--json")
    assert done.code == 3
    assert done.json["reports"][0]["status"] == "offline"


def test_an_older_installation_is_told_to_init(command: Command) -> None:
    command.databases.execute("control", "DROP TABLE stationsync_backfill")
    done = command("backfill", "station-1", "--list")
    assert done.code == 1
    assert "stationsync init" in done.err
    again = command("backfill", "station-1", "--all")
    assert (again.code, "stationsync init" in again.err) == (1, True)
    command.well("init")
    command.well("backfill", "station-1", "--all")


def test_without_a_terminal_there_is_a_line_now_and_then(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MOST", 50)
    monkeypatch.setattr(bar, "_EVERY", 0.0)
    done = command.well("backfill", "station-1", "--all", "--json")
    assert done.json["ok"]
    assert "station-1/kafka_test: 50 of 100 rows, 50%, " in done.err


def test_at_a_terminal_there_is_a_bar_and_the_result_is_apart(command: Command) -> None:
    command("check")  # writes the topology's file
    terminal, end = pty.openpty()
    environment = os.environ | {"STATIONSYNC_TOPOLOGY": str(command.file), "TERM": "xterm", "COLUMNS": "150"}
    arguments = [str(PROGRAM), "backfill", "station-1", "--all", "--json"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=end, env=environment, text=True)
    os.close(end)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
    out, _ = process.communicate(timeout=PATIENCE)
    os.close(terminal)
    assert process.returncode == 0
    assert out.startswith('{"station": "station-1"')
    assert "0 of 100 rows, 0%" in shown.decode()
    assert "━" in shown.decode()
