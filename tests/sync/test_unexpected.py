"""An exception that nobody foresaw ends its own station and table only: named, in the books, an incident."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.command import Command, Done
from support.databases import Databases
from support.fleet import KAFKA_TEST
from support.sample import row

from stationsync.database.mariadb.dialect import MariaDB
from stationsync.database.sqlite.dialect import SQLite

SECRET = "mysql://root:pa55-9f3e@station-1/x"
TABLES = ("broken", "kafka_test")


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two tables, both initialised, with three rows each."""
    for table in TABLES:
        databases.create_kafka_test("control", control=True, table=table)
        databases.create_kafka_test(1, table=table)
    command = Command(databases, tmp_path, tables=dict.fromkeys(TABLES, KAFKA_TEST))
    command.well("init")
    for table in TABLES:
        databases.put(1, [row(n) for n in (1, 2, 3)], table=table)
    return command


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can look at the table `broken` any more."""
    for dialect in (MariaDB, SQLite):
        whole: Any = dialect.reflect

        def reflect(self: Any, conn: Any, table: str, whole: Any = whole) -> Any:
            if table == "broken":
                raise RuntimeError(f"cannot connect to {SECRET}\x1b[31m")
            return whole(self, conn, table)

        monkeypatch.setattr(dialect, "reflect", reflect)


def reports(done: Done) -> list[tuple[str, str, str]]:
    return [(one["table"], one["direction"], one["status"]) for one in done.json["reports"]]


def test_the_other_tables_are_run_and_each_is_told(command: Command, broken: None) -> None:
    done = command("sync", "station-1", "--json")
    assert done.code == 1
    assert reports(done) == [
        ("broken", "up", "failed"),
        ("broken", "down", "failed"),
        ("kafka_test", "up", "done"),
        ("kafka_test", "down", "nothing to do"),
    ]
    error = done.json["reports"][0]["error"]
    assert (error["kind"], error["place"]) == ("Unexpected", "station-1/broken")
    assert error["what"].startswith("unexpected RuntimeError in ")
    assert error["next_step"]
    assert command.databases.count("control") == 3

    (up, _) = command.well("status", "--json").json["tables"]
    assert (up["table"], up["state"]) == ("broken", "failed")
    (incident,) = command.well("incidents", "--json").json["incidents"]
    assert (incident["kind"], incident["station"], incident["table"]) == ("failed", "station-1", "broken")
    assert "RuntimeError" in incident["what"]
    assert "stationsync sync station-1 --table broken" in incident["next_step"]


# Each goes through the tables of a station.
COMMANDS = (
    "pull station-1",
    "push station-1",
    "reconcile station-1",
    "reconcile station-1 --dry-run",
    "backfill station-1 --all",
    "sync station-1 --dry-run",
    "reseed station-1 --yes",
    "trust station-1 --yes",
    "reseed-control station-1 --yes",
    "trust-control station-1 --yes",
)


def test_every_command_goes_on_with_the_other_tables(command: Command, broken: None) -> None:
    for line in COMMANDS:
        done = command(*line.split(), "--json")
        assert done.code == 1, line
        every = [*done.json["reports"], *done.json.get("plan", [])]
        ways = {one["table"]: one["status"] for one in every}
        assert ways["broken"] == "failed", line
        assert ways["kafka_test"] in ("done", "nothing to do"), line
        assert {one["error"]["place"] for one in every if one["table"] == "broken"} == {"station-1/broken"}, line


def test_check_and_init_look_at_the_other_tables(command: Command, broken: None) -> None:
    done = command("check", "--json")
    assert done.code == 1
    found = str(done.json)
    assert "station-1/broken" in found
    assert "no index" not in found or "kafka_test" in found

    command.databases.execute("control", "DROP TABLE stationsync_base_kafka_test")
    done = command("init", "--json")
    assert done.code == 1
    assert done.json["tables"] == ["stationsync_base_kafka_test"]
    assert [one["error"]["place"] for one in done.json["errors"]] == ["control/broken"]


def test_no_word_of_it_is_told_but_the_log_has_the_traceback(
    command: Command, broken: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "stationsync")
    for line in ("sync station-1", "reconcile station-1 --json", "check", "init", "status", "incidents"):
        done = command(*line.split())
        assert "pa55" not in done.out + done.err, line
        assert "\x1b" not in done.out + done.err, line
    assert "pa55" not in str(command.databases.query("control", "SELECT message FROM stationsync_state"))
    assert any(record.exc_info and "RuntimeError" in record.getMessage() for record in caplog.records)
    assert r"\x1b[31m" in caplog.text
    assert "\x1b" not in caplog.text
