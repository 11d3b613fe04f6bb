"""A station under another name: its rows, books and journal go over, and the next run has nothing to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases
from support.sample import row

NEW = "harbour-1"


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two stations; the first has sent 30 rows, one of which control refuses."""
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    command = Command(databases, tmp_path, stations=2, deletes="archive")
    command.topology["journal"] = str(tmp_path / "journal")
    databases.put(1, [row(number) for number in range(1, 31)])
    databases.put(2, [row(100, code="B")])
    command.well("init")
    command.well("sync", "station-1")
    command.well("sync", "station-2")
    return command


def change_name(command: Command, old: str = "station-1", new: str = NEW) -> None:
    command.topology["stations"] = {
        new if name == old else name: station for name, station in command.topology["stations"].items()
    }


def owners(databases: Databases) -> dict[str, int]:
    sql = "SELECT stationsync_station, COUNT(*) FROM stationsync_base_kafka_test GROUP BY stationsync_station"
    return {str(name): int(number) for name, number in databases.query("control", sql)}


def nothing_to_do(command: Command, station: str) -> None:
    reports = command.well("sync", station, "--json").json["reports"]
    assert [report["status"] for report in reports] == ["nothing to do", "nothing to do"], reports
    assert command.well("reconcile", station, "--json").json["reports"][0]["applied"] == 0


@pytest.mark.parametrize("before", [True, False])
def test_all_goes_over_whether_the_file_was_changed_before_or_after(command: Command, before: bool) -> None:
    databases = command.databases
    rows = databases.rows("control")
    if before:
        change_name(command)
    told = command.well("rename", "station-1", NEW, "--dry-run").out
    assert f"kafka_test: 30 rows of station-1 will be {NEW}'s" in told
    assert "Nothing was changed." in told
    assert owners(databases) == {"station-1": 30, "station-2": 1}

    done = command.well("rename", "station-1", NEW, "--yes", "--json").json
    assert done["rows"] == {"kafka_test": 30}
    if not before:
        change_name(command)
    assert owners(databases) == {NEW: 30, "station-2": 1}
    nothing_to_do(command, NEW)
    nothing_to_do(command, "station-2")
    assert databases.rows("control") == rows
    assert {chunk["station"] for chunk in command.well("journal", "list", NEW, "--json").json["chunks"]} == {NEW}

    # Both ways go on.
    databases.execute(1, "UPDATE kafka_test SET text = 'up', modify_date = '2030-01-01 00:00:00' WHERE id = 1")
    databases.execute(
        "control", "UPDATE kafka_test SET text = 'down', modify_date = '2030-01-01 00:00:00' WHERE id = 2"
    )
    command.well("sync", NEW)
    assert [databases.query(where, "SELECT text FROM kafka_test WHERE id IN (1, 2) ORDER BY id")
            for where in (1, "control")] == [[("up",), ("down",)]] * 2  # fmt: skip


def test_a_station_is_not_called_control(command: Command) -> None:
    refused = command("rename", "station-1", "control", "--yes")
    assert refused.code == 2
    assert "no station may have that name" in refused.err


def test_a_new_name_for_a_known_table_is_refused_until_it_is_renamed(command: Command) -> None:
    databases, before = command.databases, command.databases.rows("control")
    change_name(command)
    for words in (["check"], ["sync", NEW], ["pull", NEW], ["push", NEW], ["reconcile", NEW]):
        done = command(*words)
        said = done.out + done.err
        assert (done.code, "control knows as station-1's" in said) == (1, True), (words, done)
        assert f"stationsync rename station-1 {NEW}" in said
    assert databases.rows("control") == before
    assert owners(databases) == {"station-1": 30, "station-2": 1}
    assert command.well("quarantine", "list", "--json").json["total"] == 0
    assert command.well("sync", "station-2").code == 0
    command.well("rename", "station-1", NEW, "--yes")
    command.well("check")
    nothing_to_do(command, NEW)


def test_init_refuses_a_new_name_for_a_known_table_though_there_is_nothing_to_adopt(command: Command) -> None:
    databases = command.databases
    assert command.well("init", "--json").json["adopted"] == []
    change_name(command)
    for words in (["init", "--dry-run", "--json"], ["init", "--json"]):
        done = command(*words)
        (refused,) = (one["error"] for one in done.json["errors"])
        assert (done.code, refused["place"]) == (1, f"{NEW}/kafka_test"), words
        assert "control knows as station-1's" in refused["what"]
        assert f"stationsync rename station-1 {NEW}" in refused["next_step"]
    assert owners(databases) == {"station-1": 30, "station-2": 1}
    command.well("rename", "station-1", NEW, "--yes")
    command.well("init")

    # A station that is new is none of those that are known, whatever else is wrong with it.
    databases.create_kafka_test(3)
    command.topology["stations"]["station-3"] = {"url": databases.url(3)}
    command.well("init")
    databases.execute(3, "ALTER TABLE kafka_test RENAME TO away")
    command.well("init")


def test_one_database_is_not_two_stations_nor_control(command: Command) -> None:
    if command.databases.kind == "sqlite":
        return  # a file has one path, and the topology sees it
    for where, said in ((1, "control knows as station-1's"), ("control", "control's own table")):
        # The same database by another name of its host.
        url = command.databases.url(where).replace("127.0.0.1", "localhost")
        command.topology["stations"]["again"] = {"url": url}
        for words in (["check", "again"], ["sync", "again"], ["reconcile", "again"]):
            done = command(*words)
            assert (done.code, said in done.out + done.err) == (1, True), done


def test_a_station_made_from_the_image_of_another_is_a_station(command: Command) -> None:
    """Its server says the same of itself, and its table has other rows."""
    command.databases.execute("control", "DELETE FROM stationsync_state WHERE station = 'station-2'")
    command.databases.execute(
        "control",
        "UPDATE stationsync_state SET table_facts = (SELECT f FROM (SELECT table_facts AS f FROM stationsync_state"
        " WHERE station = 'station-1' AND direction = 'up') t) WHERE station = 'station-2'",
    )
    command.well("sync", "station-2")


def test_runs_that_began_under_the_new_name_are_made_good(command: Command) -> None:
    """As an older version let them: every row was quarantined, because the old name owned its key."""
    databases = command.databases
    change_name(command)
    quarantine_all(command)
    databases.put(1, [row(31, at="2030-01-01 00:00:00")])
    databases.execute(1, "UPDATE kafka_test SET text = 'meanwhile', modify_date = '2030-01-01 00:00:00' WHERE id = 5")
    done = command.well("rename", "station-1", NEW, "--yes", "--json").json
    assert done["released"] == 30
    assert command.well("quarantine", "list", "--json").json["total"] == 0
    command.well("sync", NEW)
    assert databases.rows("control") == sorted([*databases.rows(1), *databases.rows(2)])
    assert owners(databases) == {NEW: 31, "station-2": 1}
    nothing_to_do(command, NEW)


def quarantine_all(command: Command) -> None:
    """What `sync` of an older version left under the new name."""
    databases = command.databases
    for (number,) in databases.query("control", "SELECT id FROM kafka_test WHERE id <= 30"):
        databases.execute(
            "control",
            "INSERT INTO stationsync_quarantine (station, table_name, direction, key_hash, key_text, row_json, reasons,"
            f" state, times, first_at, last_at) VALUES ('{NEW}', 'kafka_test', 'up', 'hash-{number}',"
            f" '[\"{number}\", \"A\"]', '{{}}', '[\"station station-1 owns this key; its row was left as it is\"]',"
            " 'open', 1, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
        )


def test_entries_of_a_name_that_was_put_back_are_listed_retried_and_block_nobody(command: Command) -> None:
    quarantine_all(command)
    listed = command.well("quarantine", "list", NEW, "--json").json
    assert listed["total"] == 30
    done = command("quarantine", "retry", "--all", "--json")
    assert (done.code, done.json["errors"]) == (0, [])
    assert command.well("quarantine", "list", "--json").json["total"] == 0


def test_what_nobody_owns_any_more_is_named_with_the_way_on(command: Command) -> None:
    quarantine_all(command)
    command.databases.execute(
        "control", "UPDATE stationsync_quarantine SET key_text = '[\"999\", \"Z\"]' WHERE key_hash = 'hash-1'"
    )
    done = command("quarantine", "retry", "--all")
    assert done.code == 2
    assert "29 of 30 released" in done.out
    (entry,) = command.well("quarantine", "list", "--json").json["entries"]
    assert f"stationsync quarantine discard {entry['id']}" in done.err
    assert command.well("quarantine", "discard", str(entry["id"]), "--yes").out == "1 discarded\n"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("station-1", "station-2"), "two stations"),
        (("station-1", "station-1"), "both names are the same"),
        (("station-1", "Harbour 1"), "is no name"),
        (("nobody", NEW), "no such station"),
    ],
)
def test_what_is_no_renaming_is_refused(command: Command, names: tuple[str, str], said: str) -> None:
    before: list[Any] = command.databases.query("control", "SELECT * FROM stationsync_base_kafka_test ORDER BY id")
    done = command("rename", *names, "--yes")
    assert (done.code, said in done.err) == (2, True), done
    assert command.databases.query("control", "SELECT * FROM stationsync_base_kafka_test ORDER BY id") == before


def test_a_station_that_control_does_not_know_is_refused(command: Command) -> None:
    change_name(command, "station-2", NEW)
    done = command("rename", "nobody", NEW, "--yes")
    assert (done.code, "knows no station of this name" in done.err) == (1, True)
