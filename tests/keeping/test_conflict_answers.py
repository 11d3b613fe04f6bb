"""Conflicts get an answer: `conflicts done`, by number or by many; the list and the alert follow it, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases
from support.sample import row


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Three rows, of which 1 and 2 were changed at both sides: control wins row 1, the station row 2."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.put(1, [row(number) for number in (1, 2, 3)])
    command = Command(databases, tmp_path)
    command.well("init")
    command.well("sync", "station-1")
    for number, (early, late) in {1: (1, "control"), 2: ("control", 1)}.items():
        _edit(databases, early, number, f"'early | {number}'", "2026-06-01 00:00:00")  # type: ignore[arg-type]
        _edit(databases, late, number, "'늦은 값 that is rather long indeed'", "2026-06-02 00:00:00")  # type: ignore[arg-type]
    command.well("sync", "station-1")
    return command


def _edit(databases: Databases, where: Any, number: int, text: str, at: str) -> None:
    databases.execute(where, f"UPDATE kafka_test SET text = {text}, modify_date = '{at}' WHERE id = {number}")


def _listed(command: Command, *args: object) -> dict[int, tuple[str, str]]:
    found = command.well("conflicts", "list", *args, "--json").json["conflicts"]
    return {one["id"]: (one["loser"], one["state"]) for one in found}


def _told(command: Command) -> list[str]:
    return [one["kind"] for one in command("incidents", "--json").json["incidents"]]


def test_an_answer_by_number(command: Command) -> None:
    first = _listed(command)
    assert set(first.values()) == {("station", "open"), ("control", "open")}
    shown = command.well("conflicts", "list").out
    assert "early | 1" in shown
    assert "늦은 값 that is rather" in shown
    assert "indeed" not in shown
    assert "conflicts" in _told(command)
    newest, oldest = first
    done = command.well("conflicts", "done", newest, newest)
    assert "1 answered" in done.out
    # Open ones come first; what was answered is still there, with both versions.
    assert list(_listed(command)) == [oldest, newest]
    assert list(_listed(command, "--open")) == [oldest]
    one = command.well("conflicts", "show", newest, "--json").json["conflict"]
    assert (one["state"], one["station_row"] is None) == ("done", False)
    assert one["answered_at"]
    assert "conflicts" in _told(command)
    before = _listed(command)
    refused = command("conflicts", "done", oldest, 4711)
    assert (refused.code, _listed(command)) == (2, before)
    assert "4711" in refused.err
    assert command.well("conflicts", "done", oldest, newest, "--json").json["answered"] == 1
    assert "conflicts" not in _told(command)
    assert [one["conflicts"] for one in command.well("status", "--json").json["tables"]] == [0]
    assert command.well("sync", "station-1").out.count("nothing to do") == 2


def test_many_at_once(command: Command) -> None:
    for args in ((), ("--table", "kafka_test"), (1, "--station", "station-1"), ("--station", "station-7")):
        refused = command("conflicts", "done", *args)
        assert refused.code == 2, refused
    assert command("conflicts", "done", "--since", "never").code == 2
    assert command("conflicts", "done", "--where-loser", "nobody").code == 2
    assert command.well("conflicts", "done", "--since", "2999-01-01", "--json").json["answered"] == 0
    assert command.well("conflicts", "done", "--where-loser", "station", "--json").json["answered"] == 1
    assert set(_listed(command, "--where-loser", "station").values()) == {("station", "done")}
    assert set(_listed(command, "--open").values()) == {("control", "open")}
    assert command.well("conflicts", "done", "--station", "station-1", "--since", "1h", "--json").json["answered"] == 1
    assert _listed(command, "--open") == {}


def test_books_of_an_older_version_are_told(command: Command, databases: Databases) -> None:
    for column in ("answer", "answered_at"):
        databases.execute("control", f"ALTER TABLE stationsync_conflict DROP COLUMN {column}")
    for args in (("conflicts", "list"), ("conflicts", "done", "1"), ("status",)):
        told = command(*args)
        assert told.code == 1
        assert "stationsync init" in told.err
    assert "nothing to do" in command.well("sync", "station-1").out  # runs go on
    assert "stationsync_conflict.answer added" in command.well("init").out
    assert len(_listed(command)) == 2
