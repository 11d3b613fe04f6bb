"""`stationsync init`: the bookkeeping tables, and adopting rows that an older set-up has put into control."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.sample import row

from stationsync.pairing.pair import pairs
from stationsync.session.lease import lease
from stationsync.store.bookkeeping import metadata
from stationsync.topology.topology_file import from_mapping

BASE = "stationsync_base_kafka_test"


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    return Command(databases, tmp_path, stations=2)


def owners(databases: Databases) -> list[tuple[object, ...]]:
    return databases.query("control", f"SELECT id, code, stationsync_station FROM {BASE} ORDER BY id, code")


def test_a_fresh_control_gets_the_bookkeeping_tables_and_a_second_time_nothing(command: Command) -> None:
    first = command.well("init", "--json").json
    assert first["tables"] == [*sorted(metadata.tables), BASE]
    again = command.well("init", "--json").json
    assert (again["tables"], again["columns"], again["adopted"]) == ([], [], [])


def test_rows_that_are_equal_on_both_sides_become_base_of_their_own_station(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(n) for n in range(1, 31)] + [row(n, "B") for n in range(1, 11)])
    databases.put(1, [row(n) for n in range(1, 31)])
    databases.put(2, [row(n, "B") for n in range(1, 11)])
    before = databases.rows("control"), databases.rows(1), databases.rows(2)

    done = command.well("init", "--json").json

    assert [(one["station"], one["equal"], one["different"]) for one in done["adopted"]] == [
        ("station-1", 30, 0),
        ("station-2", 10, 0),
    ]
    assert done["only_at_control"] == {"kafka_test": 0}
    assert {(code, owner) for _, code, owner in owners(databases)} == {("A", "station-1"), ("B", "station-2")}
    assert (databases.rows("control"), databases.rows(1), databases.rows(2)) == before
    for name in ("station-1", "station-2"):
        reports = command.well("sync", name, "--json").json["reports"]
        assert {report["status"] for report in reports} == {"nothing to do"}


def test_rows_that_differ_follow_the_policy_and_both_versions_are_kept(command: Command) -> None:
    databases = command.databases
    old, new = "2024-01-01 00:00:00", "2024-06-01 00:00:00"
    databases.put("control", [row(1), row(2, text="control's", at=new), row(3, text="control's", at=old)])
    databases.put(1, [row(1), row(2, text="station's", at=old), row(3, text="station's", at=new)])

    (one, _) = command.well("init", "--json").json["adopted"]

    assert (one["equal"], one["different"], one["conflicts"]) == (1, 2, 2)
    assert [text for _, text, *_ in databases.rows("control")] == ["row 1", "control's", "station's"]
    assert [text for _, text, *_ in databases.rows(1)] == ["row 1", "station's", "station's"]
    versions = databases.query("control", "SELECT loser FROM stationsync_conflict ORDER BY key_text")
    assert versions == [("station",), ("control",)]
    # Where control won, the next push carries its version.
    command.well("sync", "station-1")
    assert [text for _, text, *_ in databases.rows(1)] == ["row 1", "control's", "station's"]


def test_a_row_belongs_to_the_station_that_has_it_equal_though_another_comes_first(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(7, text="of station 2")])
    databases.put(1, [row(7, text="of station 1", at="2025-01-01 00:00:00")])
    databases.put(2, [row(7, text="of station 2")])

    first, second = command.well("init", "--json").json["adopted"]

    assert (first["equal"], first["foreign"], second["equal"]) == (0, 1, 1)
    assert owners(databases) == [(7, "A", "station-2")]
    assert [text for _, text, *_ in databases.rows("control")] == ["of station 2"]


def test_rows_only_at_one_side_are_counted_and_left(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1), row(90), row(91)])
    databases.put(1, [row(1), row(2), row(3)])

    done = command.well("init", "--json").json
    assert (done["adopted"][0]["only_here"], done["only_at_control"]) == (2, {"kafka_test": 2})
    assert databases.count("control") == 3

    assert command.well("pull", "station-1", "--json").json["reports"][0]["applied"] == 2
    assert [number for number, *_ in databases.rows("control")] == [1, 2, 3, 90, 91]
    told = command.well("init").out
    assert "2 rows that no station has" in told


def test_a_dry_run_counts_and_writes_nothing(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1), row(2, text="control's"), row(3), row(9)])
    databases.put(1, [row(1), row(2, text="station's"), row(4)])
    databases.put(2, [row(3)])
    before = snapshot(databases, "control", 1, 2)

    told = command.well("init", "--dry-run")
    done = command.well("init", "--dry-run", "--json").json

    assert told.out.splitlines()[-1] == "Nothing was changed."
    first, second = done["adopted"]
    assert (first["equal"], first["different"], first["only_here"]) == (1, 1, 1)
    assert (second["equal"], done["only_at_control"]) == (1, {"kafka_test": 1})
    assert snapshot(databases, "control", 1, 2) == before

    real = command.well("init", "--json").json
    counted = ("equal", "different", "only_here", "foreign", "known")
    assert [[one[name] for name in counted] for one in real["adopted"]] == [
        [one[name] for name in counted] for one in done["adopted"]
    ]
    assert real["only_at_control"] == done["only_at_control"]


def test_adopting_again_changes_nothing(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1), row(2, text="control's"), row(9)])
    databases.put(1, [row(1), row(2, text="station's")])
    command.well("init")
    before = snapshot(databases, "control", 1, 2)

    done = command.well("init", "--json").json

    assert (done["adopted"][0]["known"], done["adopted"][0]["equal"], done["adopted"][0]["different"]) == (2, 0, 0)
    assert snapshot(databases, "control", 1, 2) == before


def test_adopting_an_edited_row_of_ours_leaves_it_to_the_pull(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1), row(9)])
    databases.put(1, [row(1)])
    command.well("init")
    databases.execute(1, "UPDATE kafka_test SET text = 'edited'")
    command.well("init")
    assert databases.query("control", f"SELECT text FROM {BASE}") == [("row 1",)]


def test_pages_of_one_second_are_adopted_whole(command: Command) -> None:
    databases = command.databases
    command.topology["tables"]["kafka_test"]["page_rows"] = 100
    databases.put("control", [row(n) for n in range(1, 351)])
    databases.put(1, [row(n, text="mine" if n % 50 == 0 else None) for n in range(1, 351)])

    (one, _) = command.well("init", "--json").json["adopted"]

    assert (one["equal"], one["different"]) == (343, 7)
    assert len(owners(databases)) == 350


def test_an_off_line_station_is_named_and_its_first_pull_adopts_its_rows(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1), row(2, "B")])
    databases.put(1, [row(1)])
    databases.put(2, [row(2, "B")])
    url = command.topology["stations"]["station-2"]["url"]
    off = "mysql+pymysql://root@127.0.0.1:1/x" if databases.kind == "mariadb" else "sqlite:////nowhere/x.db"
    command.topology["stations"]["station-2"]["url"] = off

    done = command("init", "--json")
    assert done.code == 0
    assert [found["error"]["kind"] for found in done.json["errors"]] == ["StationOffline"]
    assert "station-2" in done.json["errors"][0]["error"]["place"]
    assert owners(databases) == [(1, "A", "station-1")]
    assert "station-2: off-line; its first pull adopts its rows" in command.well("init").out

    command.topology["stations"]["station-2"]["url"] = url
    assert command.well("pull", "station-2", "--json").json["reports"][0]["settled"] == 1
    assert len(owners(databases)) == 2


def test_a_run_that_is_under_way_is_not_disturbed(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1)])
    databases.put(1, [row(1)])
    command.topology["stations"].pop("station-2")
    (pair,) = pairs(from_mapping(command.topology), "station-1")
    with lease(pair) as session:
        assert session
        done = command("init")
    assert done.code == 1
    assert "another run is under way" in done.err
    assert owners(databases) == []
    command.well("init")
    assert len(owners(databases)) == 1


def test_the_base_has_what_any_station_synchronises(command: Command) -> None:
    """Stations may leave out different columns of one control table."""
    databases = command.databases
    command.topology["stations"]["station-2"]["tables"] = {"kafka_test": {"exclude": ["master_id", "text"]}}
    databases.put(1, [row(1)])
    databases.put(2, [row(2, "B")])
    command.well("init")
    command.well("sync", "station-1")
    command.well("sync", "station-2")
    assert [(number, text) for number, text, *_ in databases.rows("control")] == [(1, "row 1"), (2, None)]


def test_a_station_that_does_not_fit_stops_none_of_the_others(command: Command) -> None:
    databases = command.databases
    databases.put("control", [row(1), row(2, "B")])
    databases.put(2, [row(2, "B")])
    databases.execute(1, "DROP TABLE kafka_test")
    done = command("init")
    assert done.code == 1
    assert "station-1: there is no table kafka_test." in done.err
    assert owners(databases) == [(2, "B", "station-2")]


def test_without_a_control_table_nothing_is_made(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path)
    before = snapshot(databases, "control", 1)
    done = command("init")
    assert done.code == 1
    assert "there is no table kafka_test" in done.err
    assert "Create it at control" in done.err
    assert snapshot(databases, "control", 1) == before
