"""`stationsync quarantine` and `stationsync conflicts`: rows that did not go through, and what a person does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.sample import row

NO_CAPITALS = """
name: kafka_test
expectations:
  - type: expect_column_values_to_match_regex
    description: has capital letters
    kwargs: {column: text, regex: '^[^A-Z]*$'}
"""


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """One station with three good rows at both sides; control's table refuses the text BAD, and so does the station's
    for the text WORSE."""
    for where, word in (("control", "BAD"), (1, "WORSE")):
        databases.create_kafka_test(where, control=where == "control")  # type: ignore[arg-type]
        _refuse(databases, where, word)
    command = Command(databases, tmp_path)
    command.well("init")
    databases.put(1, [row(n) for n in (1, 2, 3)])
    command.well("sync", "station-1")
    return command


def _refuse(databases: Databases, where: Any, word: str) -> None:
    if databases.kind == "mariadb":
        databases.execute(where, f"ALTER TABLE kafka_test ADD CONSTRAINT no_word CHECK (text <> '{word}')")
        return
    for when in ("INSERT", "UPDATE"):
        databases.execute(
            where, f"CREATE TRIGGER no_word_{when} BEFORE {when} ON kafka_test WHEN NEW.text = '{word}'"
            " BEGIN SELECT RAISE(ABORT, 'CONSTRAINT no_word'); END"
        )  # fmt: skip


def _allow(databases: Databases, where: Any) -> None:
    if databases.kind == "mariadb":
        databases.execute(where, "ALTER TABLE kafka_test DROP CONSTRAINT no_word")
        return
    for when in ("INSERT", "UPDATE"):
        databases.execute(where, f"DROP TRIGGER no_word_{when}")


def _edit(databases: Databases, where: Any, number: int, text: str) -> None:
    now = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))
    sql = "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id = %s"
    databases.execute(where, sql, [text, now, number])


def _texts(databases: Databases, where: Any) -> list[object]:
    return [text for _, text, *_ in databases.rows(where)]


def _up(command: Command) -> int:
    """A row of the station's that control refuses; its entry's number."""
    _edit(command.databases, 1, 2, "BAD")
    (report,) = command.well("pull", "station-1", "--json").json["reports"]
    assert report["quarantined"] == 1
    (number,) = command.ids("quarantine", "list")
    return number


def _down(command: Command) -> int:
    """An edit of control's that the station refuses; its entry's number."""
    _edit(command.databases, "control", 3, "WORSE")
    (report,) = command.well("push", "station-1", "--json").json["reports"]
    assert report["quarantined"] == 1
    (number,) = command.ids("quarantine", "list")
    return number


def test_an_empty_quarantine_says_so(command: Command) -> None:
    assert "Nothing is in quarantine." in command.well("quarantine", "list").out
    assert command.well("quarantine", "list", "--json").json == {"ok": True, "total": 0, "entries": []}
    assert "There were no conflicts." in command.well("conflicts", "list").out


def test_a_row_is_listed_with_its_reason_and_shown_whole(command: Command) -> None:
    number = _up(command)
    (entry,) = command.well("quarantine", "list", "station-1", "--table", "kafka_test", "--json").json["entries"]
    assert (entry["station"], entry["direction"], entry["key"], entry["state"]) == (
        "station-1",
        "up",
        ["2", "A"],
        "open",
    )
    assert "control refuses the row" in entry["reasons"][0]
    assert "no_word" in entry["reasons"][0]
    assert "no_word" in command.well("quarantine", "list").out

    shown = command.well("quarantine", "show", number, "--json").json["entry"]
    assert shown["row"]["text"] == "BAD"
    assert '"BAD"' in command.well("quarantine", "show", number).out


def test_a_retry_while_nothing_was_mended_keeps_the_entry(command: Command) -> None:
    number = _up(command)
    done = command("quarantine", "retry", number, "--json")
    assert (done.code, done.json["entries"]) == (0, [{"id": number, "state": "open"}])
    assert f"{number}: still open" in command.well("quarantine", "retry", number).out


def test_a_row_goes_up_when_it_is_tried_again_after_control_was_mended(command: Command) -> None:
    number = _up(command)
    _allow(command.databases, "control")
    assert command.well("quarantine", "retry", number, "--json").json["entries"] == [
        {"id": number, "state": "released"}
    ]
    assert _texts(command.databases, "control") == ["row 1", "BAD", "row 3"]
    assert command.ids("quarantine", "list") == []
    assert command.ids("quarantine", "list", "--all") == [number]


def test_a_row_goes_up_when_its_rule_was_mended(command: Command, tmp_path: Path) -> None:
    rules = tmp_path / "kafka_test.yaml"
    rules.write_text(NO_CAPITALS, encoding="utf-8")
    command.topology["tables"]["kafka_test"]["expectations"] = "kafka_test"
    command.environment["STATIONSYNC_EXPECTATIONS"] = str(tmp_path)
    _edit(command.databases, 1, 2, "Capital")
    command.well("pull", "station-1")
    (entry,) = command.well("quarantine", "list", "--json").json["entries"]
    assert "has capital letters" in entry["reasons"][0]

    rules.write_text(NO_CAPITALS.replace("A-Z", "Q"), encoding="utf-8")
    done = command.well("quarantine", "retry", "--all").out
    assert "1 of 1 released" in done
    assert _texts(command.databases, "control")[1] == "Capital"


def test_a_mended_row_releases_itself(command: Command) -> None:
    _up(command)
    _edit(command.databases, 1, 2, "good")
    command.well("sync", "station-1")
    assert command.ids("quarantine", "list") == []
    assert _texts(command.databases, "control")[1] == "good"


def test_an_edit_goes_down_when_it_is_tried_again_after_the_station_was_mended(command: Command) -> None:
    number = _down(command)
    assert _texts(command.databases, 1)[2] == "row 3"
    _allow(command.databases, 1)
    # Not by itself: the station refused this very version.
    command.well("push", "station-1")
    assert _texts(command.databases, 1)[2] == "row 3"

    done = command.well("quarantine", "retry", "--station", "station-1", "--json").json
    assert done["entries"] == [{"id": number, "state": "released"}]
    assert _texts(command.databases, 1)[2] == "WORSE"
    reports = command.well("sync", "station-1", "--json").json["reports"]
    assert {report["status"] for report in reports} == {"nothing to do"}


def test_an_edit_that_is_refused_again_is_open_again(command: Command) -> None:
    number = _down(command)
    done = command.well("quarantine", "retry", number, "--json").json
    assert done["entries"] == [{"id": number, "state": "open"}]
    (entry,) = command.well("quarantine", "list", "--json").json["entries"]
    assert entry["times"] == 2
    assert _texts(command.databases, 1)[2] == "row 3"


def test_an_off_line_station_leaves_the_entries_as_they_were(command: Command) -> None:
    number = _down(command)
    before = snapshot(command.databases, "control")
    off = "mysql+pymysql://root@127.0.0.1:1/x" if command.databases.kind == "mariadb" else "sqlite:////nowhere/x.db"
    command.topology["stations"]["station-1"]["url"] = off
    done = command("quarantine", "retry", number, "--json")
    assert done.code == 3
    assert done.json["entries"] == [{"id": number, "state": "open"}]
    assert done.json["errors"][0]["error"]["kind"] == "StationOffline"
    assert snapshot(command.databases, "control") == before


def test_a_discarded_row_is_not_reported_again(command: Command) -> None:
    number = _up(command)
    done = command("quarantine", "discard", number, answer="n\n")
    assert done.code == 1
    assert command.ids("quarantine", "list") == [number]

    assert command("quarantine", "discard", number, answer="y\n").code == 0
    assert command.ids("quarantine", "list") == []
    (report,) = command.well("pull", "station-1", "--json").json["reports"]
    assert report["quarantined"] == 0
    (entry,) = command.well("quarantine", "list", "--all", "--json").json["entries"]
    assert entry["state"] == "discarded"


def test_a_discarded_edit_is_not_sent_again(command: Command) -> None:
    number = _down(command)
    assert command.well("quarantine", "discard", number, "--yes", "--json").json == {"ok": True, "discarded": 1}
    _allow(command.databases, 1)
    command.well("sync", "station-1")
    assert _texts(command.databases, 1)[2] == "row 3"
    # Whoever changes his mind tries it again by its number.
    command.well("quarantine", "retry", number)
    assert _texts(command.databases, 1)[2] == "WORSE"


@pytest.mark.parametrize(
    "args",
    [
        ("show", "999"),
        ("retry", "999"),
        ("discard", "999", "--yes"),
        ("retry",),
        ("retry", "--table", "kafka_test"),
        ("retry", "1", "--all"),
        ("list", "nix"),
        ("show", "x"),
    ],
)
def test_a_wrong_line_ends_with_2_and_changes_nothing(command: Command, args: tuple[str, ...]) -> None:
    before = snapshot(command.databases, "control", 1)
    done = command("quarantine", *args)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert snapshot(command.databases, "control", 1) == before


def test_status_counts_what_waits(command: Command) -> None:
    _up(command)
    _edit(command.databases, "control", 1, "to go down")
    (one,) = command.well("status", "station-1", "--json").json["tables"]
    assert (one["quarantined"], one["waiting"], one["conflicts"]) == (1, 1, 0)
    assert one["up"]["status"] == "done"
    assert one["up"]["up_to"]
    command.well("push", "station-1")
    (one,) = command.well("status", "--json").json["tables"]
    assert one["waiting"] == 0


def test_a_conflict_is_shown_with_both_versions(command: Command) -> None:
    databases = command.databases
    _edit(databases, 1, 1, "역의 것")
    databases.execute("control", "UPDATE kafka_test SET text = 'control''s', modify_date = '2020-01-01' WHERE id = 1")
    command.well("sync", "station-1")

    (one,) = command.well("conflicts", "list", "station-1", "--json").json["conflicts"]
    assert (one["winner"], one["loser"], one["policy"], one["key"]) == ("station", "control", "newest", ["1", "A"])
    assert one["columns"] == ["text", "modify_date"]
    versions = ("station_row", "control_row", "base_row", "result_row")
    assert [one[version]["text"] for version in versions] == ["역의 것", "control's", "row 1", "역의 것"]
    assert command.well("conflicts", "show", one["id"], "--json").json["conflict"] == one

    told = command.well("conflicts", "show", one["id"]).out
    assert "winner: station; lost: control, in text, modify_date" in told
    assert "the station's version is newer" in told
    assert "역의 것" in command.well("conflicts", "show", one["id"]).out
    assert "newest" in command.well("conflicts", "list").out
    assert command("conflicts", "show", one["id"] + 1).code == 2
