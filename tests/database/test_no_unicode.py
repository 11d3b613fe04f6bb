"""Text that is no UTF-8 is kept aside with its bytes, by its key, up and down, and stops nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, MariaDBDatabases, Where
from support.fleet import KAFKA_TEST
from support.sample import row

BAD = "41EDA08042"  # A, half a surrogate, B
LATE = "2031-01-01 00:00:00"


def put_bytes(databases: Databases, where: Where, number: int, column: str = "text", content: str = BAD) -> None:
    """Bytes into a text column, which each kind of database takes without a word."""
    value = f"UNHEX('{content}')" if databases.kind == "mariadb" else f"CAST(x'{content}' AS TEXT)"
    databases.execute(where, f"UPDATE kafka_test SET `{column}` = {value}, modify_date = '{LATE}' WHERE id = {number}")


def mend(databases: Databases, where: Where, number: int) -> None:
    databases.execute(where, f"UPDATE kafka_test SET text = 'mended', modify_date = '{LATE}' WHERE id = {number}")


def texts(databases: Databases, where: Where) -> dict[int, str]:
    kind = "BINARY" if databases.kind == "mariadb" else "BLOB"
    return {
        int(n): str(text) for n, text in databases.query(where, f"SELECT id, HEX(CAST(text AS {kind})) FROM kafka_test")
    }


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    for table in ("kafka_test", "other"):
        databases.create_kafka_test("control", control=True, table=table)
        databases.create_kafka_test(1, table=table)
        databases.put(1, [row(n) for n in (1, 2, 3, 4)], table=table)
    command = Command(databases, tmp_path, tables={"kafka_test": KAFKA_TEST, "other": KAFKA_TEST}, max_bad="100%")
    command.well("init")
    return command


def entries(command: Command) -> list[dict[str, Any]]:
    found = command.well("quarantine", "list", "--json").json["entries"]
    return sorted(found, key=lambda one: str(one["key"]))


def test_such_a_row_is_kept_aside_going_up_and_comes_when_it_is_mended(command: Command) -> None:
    databases = command.databases
    put_bytes(databases, 1, 2)
    put_bytes(databases, 1, 3, "code")
    done = command.well("sync", "station-1", "--json").json["reports"]
    ways = {(one["table"], one["direction"]): (one["applied"], one["quarantined"]) for one in done}
    assert ways[("kafka_test", "up")] == (2, 2)
    assert ways[("other", "up")] == (4, 0)
    assert texts(databases, "control").keys() == {1, 4}

    by_text, by_key = entries(command)
    assert by_key["key"] == ["3", {"hex": BAD.lower(), "charset": "utf8mb4"}]
    for one in (by_text, by_key):
        assert f"its text is not UTF-8: 0x{BAD}" in one["reasons"][0]
        shown = command.well("quarantine", "show", one["id"])
        assert BAD.lower() in shown.out
        assert "\U0010ffff" not in shown.out
        key = json.dumps(one["key"])
        explained = command.well("explain", "station-1", "kafka_test", key)
        assert BAD.lower() in explained.out
        assert "\U0010ffff" not in explained.out + command.well("explain", "station-1", "kafka_test", key, "--json").out
    assert [one["kind"] for one in command.well("incidents", "--json").json["incidents"]] == ["quarantine"]

    # Neither a difference for ever nor equal; and nothing to do for a run.
    for _ in range(2):
        swept = command.well("reconcile", "station-1", "--table", "kafka_test", "--json").json["reports"][0]
        assert (swept["exceptions"], swept["rows"]) == ({"quarantined": 2}, 2)
    assert {one["status"] for one in command.well("sync", "station-1", "--json").json["reports"]} == {"nothing to do"}

    mend(databases, 1, 2)
    databases.execute(1, f"UPDATE kafka_test SET code = 'B', modify_date = '{LATE}' WHERE id = 3")
    command.well("sync", "station-1")
    command.well("reconcile", "station-1")
    assert entries(command) == []
    assert texts(databases, "control") == texts(databases, 1)


def test_an_edit_that_makes_it_so_replaces_nothing(command: Command) -> None:
    databases = command.databases
    command.well("sync", "station-1")
    before = texts(databases, 1)
    put_bytes(databases, 1, 2)
    # Without a stamp, the sweep finds it.
    databases.execute(1, "UPDATE kafka_test SET modify_date = '2025-01-01 00:00:00' WHERE id = 2")
    swept = command.well("reconcile", "station-1", "--table", "kafka_test", "--json").json["reports"][0]
    assert swept["exceptions"] == {"quarantined": 1}
    assert texts(databases, "control") == before
    (entry,) = entries(command)
    assert command("quarantine", "retry", entry["id"]).code == 0
    assert [one["id"] for one in entries(command)] == [entry["id"]]


def test_an_edit_of_control_s_that_is_so_does_not_go_down_until_it_is_mended(command: Command) -> None:
    databases = command.databases
    command.well("sync", "station-1")
    before = texts(databases, 1)
    put_bytes(databases, "control", 2)
    done = {one["direction"]: one for one in command.well("sync", "station-1", "--json").json["reports"][:2]}
    assert (done["down"]["applied"], done["down"]["quarantined"]) == (0, 1)
    assert texts(databases, 1) == before
    (entry,) = entries(command)
    assert (entry["direction"], f"0x{BAD}" in entry["reasons"][0]) == ("down", True)
    assert {one["status"] for one in command.well("sync", "station-1", "--json").json["reports"]} == {"nothing to do"}
    swept = command.well("reconcile", "station-1", "--table", "kafka_test", "--json").json["reports"][0]
    assert swept["exceptions"] == {"waiting": 1}
    command.well("explain", "station-1", "kafka_test", "2", "A")

    mend(databases, "control", 2)
    command.well("sync", "station-1")
    assert entries(command) == []
    assert texts(databases, 1)[2] == b"mended".hex().upper()


def test_every_kind_of_column_and_name_with_such_bytes_ends_its_own_row_or_table(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    databases = mariadb_databases
    for where in (1, "control"):
        databases.create_kafka_test(where, control=where == "control")
        for add in ("three varchar(20) CHARACTER SET utf8mb3", "doc longtext", "tag varchar(20) CHARACTER SET ascii"):
            databases.execute(where, f"ALTER TABLE kafka_test ADD COLUMN {add}")
        # A label with half a surrogate: its table is refused by name until the column is left out.
        databases.create_kafka_test(where, control=where == "control", table="labels")
        databases.execute(where, f"ALTER TABLE labels ADD COLUMN kind enum(x'{BAD}', 'b') CHARACTER SET utf8mb4")
    databases.put(1, [row(n) for n in (1, 2, 3, 4, 5)])
    command = Command(databases, tmp_path, tables=dict.fromkeys(("labels", "kafka_test"), KAFKA_TEST), max_bad="100%")
    for number, column in enumerate(("three", "doc", "tag"), 1):
        content = "C3A9" if column == "tag" else BAD
        databases.execute(1, f"UPDATE kafka_test SET {column} = UNHEX('{content}') WHERE id = {number}")
    command("init")
    done = command("sync", "station-1", "--json")
    told = {(one["table"], one["direction"]): one for one in done.json["reports"]}
    assert (done.code, told[("labels", "up")]["status"]) == (1, "failed")
    assert "column kind" in told[("labels", "up")]["message"]
    # Between two columns of ascii, bytes travel.
    assert told[("kafka_test", "up")]["applied"] == 3
    assert databases.query("control", "SELECT id, HEX(tag) FROM kafka_test ORDER BY id") == [
        (3, "C3A9"),
        (4, None),
        (5, None),
    ]
    assert {one["key"][0] for one in entries(command)} == {"1", "2"}


def hexes(databases: MariaDBDatabases, where: Any) -> dict[int, str]:
    found = databases.query(where, "SELECT id, HEX(CAST(text AS BINARY)) FROM kafka_test ORDER BY id")
    return {int(number): str(text) for number, text in found}


def test_bytes_go_by_every_other_way_too(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    """Adopted, in conflict, in the trash, given back by a reseed, explained, and read again."""
    databases = mariadb_databases
    for where in (1, "control"):
        databases.create_kafka_test(where, control=where == "control")
        databases.execute(where, "ALTER TABLE kafka_test MODIFY text varchar(100) CHARACTER SET euckr")
        databases.put(where, [row(n) for n in (1, 2, 3, 4, 5)])
        databases.execute(where, "UPDATE kafka_test SET text = UNHEX('C9A1') WHERE id < 4")
    journal = {"url": str(tmp_path / "journal")}
    command = Command(databases, tmp_path, deletes="archive", conflicts="control")
    command.topology["journal"] = journal
    assert command.well("init", "--json").json["adopted"][0]["equal"] == 5
    command.well("sync", "station-1")
    assert command.well("reconcile", "station-1", "--json").json["reports"][0]["exceptions"] == {}

    # Both edit the row: both versions are kept as what they are, and control's bytes go down.
    for where, code in ((1, "C9A2"), ("control", "C9A3")):
        databases.execute(where, f"UPDATE kafka_test SET text = UNHEX('{code}'), modify_date = '{LATE}' WHERE id = 1")
    command.well("sync", "station-1")
    (conflict,) = command.well("conflicts", "list", "--json").json["conflicts"]
    sides = [conflict[f"{side}_row"]["text"] for side in ("station", "control", "base")]
    assert sides == [{"hex": code, "charset": "euckr"} for code in ("c9a2", "c9a3", "c9a1")]
    assert hexes(databases, 1) == hexes(databases, "control")
    assert hexes(databases, 1)[1] == "C9A3"
    for line in ("explain station-1 kafka_test 1 A", "conflicts show 1", "journal show", "journal show --json"):
        shown = command.well(*line.split()).out
        assert "\U0010ffff" not in shown, line
        assert "c9a3" in shown.lower(), line

    # Deleted at the station, and brought back.
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
    command.well("reconcile", "station-1")
    (item,) = command.ids("trash", "list")
    command.well("trash", "restore", item)
    assert hexes(databases, "control")[2] == "C9A1"
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 2")

    # An older station gets them back, and a range read again changes nothing.
    databases.execute(1, "UPDATE kafka_test SET text = 'old', modify_date = '2001-01-01 00:00:00' WHERE id = 3")
    command.well("reseed", "station-1", "--yes")
    assert hexes(databases, 1) == hexes(databases, "control")
    command.well("backfill", "station-1", "--all")
    command.well("sync", "station-1")
    assert hexes(databases, 1) == hexes(databases, "control")
    assert hexes(databases, 1)[3] == "C9A1"
    assert entries(command) == []


def test_rules_see_such_text_as_far_as_it_can_be_read(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = mariadb_databases
    suite = {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "text", "regex": "^a.+b$"}}
    (tmp_path / "readable.yaml").write_text(json.dumps({"name": "readable", "expectations": [suite]}))
    monkeypatch.setenv("STATIONSYNC_EXPECTATIONS", str(tmp_path))
    for where in (1, "control"):
        databases.create_kafka_test(where, control=where == "control")
        databases.execute(where, "ALTER TABLE kafka_test MODIFY text varchar(100) CHARACTER SET euckr")
    databases.put(1, [row(1), row(2)])
    for number, code in ((1, "61C9A162"), (2, "C9A1C9A1C9A1C9A1C9A1C9A1")):
        databases.execute(1, f"UPDATE kafka_test SET text = UNHEX('{code}') WHERE id = {number}")
    command = Command(databases, tmp_path, expectations="readable", max_bad="100%")
    command.well("init")
    command.well("sync", "station-1")
    assert hexes(databases, "control") == {1: "61C9A162"}
    (entry,) = entries(command)
    assert (entry["key"], "0xC9A1C9A1" in entry["reasons"][0]) == (["2", "A"], True)
