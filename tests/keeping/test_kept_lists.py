"""Conflicts, quarantine and trash have the same words: lists with open entries first, and the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.inject import ago
from support.sample import row

LISTS = {"conflicts": "conflicts", "quarantine": "entries", "trash": "items"}


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two conflicts (rows 1 and 2), two rows in the trash (3 and 4), two in quarantine (5 and 6)."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.put(1, [row(number) for number in range(1, 8)])
    command = Command(databases, tmp_path, deletes="archive", expectations="words", max_bad=10)
    suite = tmp_path / "expectations" / "words.yaml"
    suite.parent.mkdir()
    rule = "{type: expect_column_values_to_not_match_regex, kwargs: {column: text, regex: BAD}}"
    suite.write_text(f"name: words\nexpectations: [{rule}]\n")
    command.well("init")
    command.well("sync", "station-1")
    for where in (1, "control"):
        change(databases, where, f"{where} wrote", (1, 2))
    change(databases, 1, "BAD", (5, 6))
    databases.execute(1, "DELETE FROM kafka_test WHERE id IN (3, 4)")
    command.well("sync", "station-1")
    command.well("reconcile", "station-1")
    return command


def change(databases: Databases, where: Any, text: str, numbers: tuple[int, int]) -> None:
    sql = "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id IN (%s, %s)"
    databases.execute(where, sql, [text, ago(10), *numbers])


def states(command: Command, group: str, *args: object) -> list[str]:
    found = command.well(group, "list", *args, "--json").json[LISTS[group]]
    return [str(one["state"]) for one in found]


def close_one(command: Command, group: str, verb: str) -> int:
    """The one that list has first."""
    number = command.ids(group, "list")[0]
    command.well(group, verb, number, *(["--yes"] if verb == "discard" else []))
    return number


@pytest.mark.parametrize(
    ("group", "verb", "is_open", "closed"),
    [
        ("conflicts", "done", "open", "done"),
        ("quarantine", "discard", "open", "discarded"),
        ("trash", "done", "kept", "done"),
        ("trash", "restore", "kept", "restored"),
    ],
)
def test_lists_have_open_ones_first_and_the_same_options(
    command: Command, group: str, verb: str, is_open: str, closed: str
) -> None:
    assert states(command, group) == [is_open, is_open]
    number = close_one(command, group, verb)
    assert states(command, group, "--all") == [is_open, closed]
    assert states(command, group, "--open") == [is_open]
    # What conflicts there were is history; what is in quarantine, or in the trash, is what is there.
    assert states(command, group) == ([is_open, closed] if group == "conflicts" else [is_open])
    assert command.ids(group, "list", "--all")[-1] == number
    everything = states(command, group, "--all")
    for args in (["station-1"], ["--station", "station-1"], ["--since", "1h"], ["--table", "kafka_test"]):
        assert states(command, group, *args, "--all") == everything, args
    assert states(command, group, "--since", "2999-01-01", "--all") == []
    for wrong in (["station-7"], ["--station", "station-7"], ["station-1", "--station", "station-2"], ["--since", "x"]):
        assert command(group, "list", *wrong).code == 2, wrong


@pytest.mark.parametrize(
    "by", [("--station", "station-1"), ("--since", "1h"), ("--since", "1h", "--table", "kafka_test")]
)
@pytest.mark.parametrize(("group", "verb"), [("conflicts", "done"), ("trash", "done"), ("quarantine", "discard")])
def test_many_at_once(command: Command, group: str, verb: str, by: tuple[str, ...]) -> None:
    yes = ["--yes"] if verb == "discard" else []
    before = snapshot(command.databases, "control", 1)
    for wrong in ([], ["--table", "kafka_test"], [1, *by], ["--station", "station-7"], [4711]):
        assert command(group, verb, *wrong, *yes).code == 2, wrong
    assert snapshot(command.databases, "control", 1) == before
    assert command.well(group, verb, "--since", "2999-01-01", *yes).out.startswith("0 ")
    assert command.well(group, verb, *by, *yes).out.startswith("2 ")
    assert states(command, group, "--open") == []
    assert len(states(command, group, "--all")) == 2


def test_what_was_looked_at_in_the_trash_can_be_restored(command: Command) -> None:
    number = close_one(command, "trash", "done")
    again = command.well("trash", "done", number, *command.ids("trash", "list")).out
    assert "1 answered; 1 were so already" in again
    assert "done" in command.well("trash", "show", number).out
    assert command.well("trash", "show", number, "--json").json["item"]["answered_at"]
    assert "The trash is empty." in command.well("trash", "list").out
    command.well("trash", "restore", number)
    assert states(command, "trash", "--all") == ["restored", "done"]
    assert command.databases.count("control") == 6


def test_quarantine_is_tried_again_since_a_moment(command: Command) -> None:
    change(command.databases, 1, "good", (5, 6))
    assert command.well("quarantine", "retry", "--since", "2999-01-01", "--json").json["entries"] == []
    done = command.well("quarantine", "retry", "--since", "1h", "--json").json["entries"]
    assert [one["state"] for one in done] == ["released", "released"]


def test_books_of_an_older_version_are_told(command: Command, databases: Databases) -> None:
    databases.execute("control", "ALTER TABLE stationsync_trash DROP COLUMN answered_at")
    told = command("trash", "list")
    assert (told.code, "stationsync init" in told.err) == (1, True)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 7")
    assert command.well("reconcile", "station-1", "--json").json["reports"][0]["deleted"] == 1  # runs go on
    assert "stationsync_trash.answered_at added" in command.well("init").out
    assert len(states(command, "trash")) == 3
