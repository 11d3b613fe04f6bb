"""The key of a table that is synchronised already is changed in the topology: refused, with the way to do it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.sample import row

BASE = "stationsync_base_kafka_test"
NEW = ["id"]


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two rows at both sides; another key would do as well. One edit of control's waits in quarantine."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "CREATE UNIQUE INDEX by_id ON kafka_test (id)")
    command = Command(databases, tmp_path)
    command.well("init")
    databases.put(1, [row(1), row(2), row(3)])
    command.well("sync", "station-1")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    databases.execute("control", "UPDATE kafka_test SET text = 'late', modify_date = '2040-01-01' WHERE id = 3")
    command.well("sync", "station-1")
    assert len(command.ids("quarantine", "list")) == 1
    return command


@pytest.mark.parametrize("verb", [("pull", "station-1"), ("push", "station-1"), ("init",), ("init", "--dry-run")])
def test_every_command_names_both_keys_and_the_way_out(command: Command, verb: tuple[str, ...]) -> None:
    command.topology["tables"]["kafka_test"]["key"] = NEW
    before = snapshot(command.databases, "control", 1)
    done = command(*verb)
    assert done.code == 1
    told = done.out + done.err
    assert "[id]" in told
    assert "[id, code]" in told
    assert f"ALTER TABLE {BASE} RENAME TO" in told
    assert {"stationsync push STATION" in told, "stationsync init" in told} == {True}
    after = snapshot(command.databases, "control", 1)
    # How a run went is written down; nothing else is.
    for tables in (before, after):
        tables.pop("control.stationsync_state")
    assert after == before


def test_check_finds_it(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["key"] = NEW
    done = command("check")
    assert done.code == 1
    assert "its base was made for [id, code]" in done.out + done.err


def test_the_order_of_the_key_counts(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["key"] = ["code", "id"]
    done = command("pull", "station-1")
    assert done.code == 1
    assert "[code, id]" in done.out + done.err


def test_the_way_out_leads_to_two_equal_sides(command: Command) -> None:
    databases = command.databases
    (old,) = command.ids("quarantine", "list")
    if databases.kind == "sqlite":
        databases.execute("control", f"DROP INDEX {BASE}_owner")
    databases.execute("control", f"ALTER TABLE {BASE} RENAME TO old_{BASE}")
    command.topology["tables"]["kafka_test"]["key"] = NEW
    command.well("init")
    databases.execute("control", "UPDATE kafka_test SET text = 'edited', modify_date = '2041-01-01' WHERE id = 1")
    command.well("sync", "station-1")
    assert [values[:2] for values in databases.rows(1)] == [(1, "edited"), (2, "row 2")]

    # An entry of the old key stops nothing; tried again, it says what it is.
    command.well("sync", "station-1")
    done = command("quarantine", "retry", old)
    assert done.code == 1
    assert f"stationsync quarantine discard {old}" in done.out + done.err
    command.well("quarantine", "discard", old, "--yes")
    for report in command.well("sync", "station-1", "--json").json["reports"]:
        assert report["status"] == "nothing to do"
