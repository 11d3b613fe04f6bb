"""`stationsync explain`: one page that tells why a row looks as it does, seen on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.command import Command, Done, snapshot
from support.databases import Databases, MariaDBDatabases, SQLiteDatabases
from support.inject import ago
from support.sample import row

from stationsync.explain.explain import snapshot_of
from stationsync.journal import read as journal_rows
from stationsync.pairing.pair import pairs
from stationsync.session.lease import lease
from stationsync.topology.topology_file import load

PLACE = ("station-1", "kafka_test")
NO_DATE = "0000-00-00 00:00:00"


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    return a_fleet(databases, tmp_path)


def a_fleet(databases: Databases, folder: Path, **options: Any) -> Command:
    """Two stations with three rows each, the same at control; deletes are archived."""
    databases.create_kafka_test("control", control=True)
    command = Command(databases, folder, stations=2, **{"deletes": "archive", **options})
    for n in (1, 2):
        databases.create_kafka_test(n)
        databases.put(n, [row(i, code="AB"[n - 1]) for i in range(1, 4)])
    command.well("init")
    for n in (1, 2):
        command.well("sync", f"station-{n}")
    return command


def edit(command: Command, where: Any, at: str, number: int = 2, **values: str) -> None:
    values["modify_date"] = at
    sets = ", ".join(f"{name} = %s" for name in values)
    sql = f"UPDATE kafka_test SET {sets} WHERE id = %s AND code = 'A'"
    command.databases.execute(where, sql, [*values.values(), number])


def told(command: Command, number: int = 2) -> dict[str, Any]:
    return command.well("explain", *PLACE, number, "A", "--json").json


def whats(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["direction"], one["what"]) for one in found["passed"]]


def in_order(text: str, *parts: str) -> None:
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"not there, or not behind the ones before: {part}\n{text}"
        at = found + len(part)


def test_a_conflict_a_quarantine_and_a_control_edit_tell_the_story_in_order(command: Command) -> None:
    station, control = ago(40), ago(35)
    edit(command, 1, station, text="station's")
    edit(command, "control", control, text="control's")
    command.well("sync", "station-1")
    edit(command, 1, ago(30), create_date=NO_DATE, text="no date")
    command.well("sync", "station-1")
    refused = told(command)
    assert refused["standing"].startswith(
        "station-1 has changed `text` and `create_date`, and the new version cannot be"
    )
    assert "is a zero date" in refused["standing"]
    assert refused["next_steps"][-1].endswith("stationsync quarantine retry 1")
    edit(command, 1, ago(25), create_date="2024-01-01 00:00:00", text="mended")
    command.well("sync", "station-1")
    edit(command, "control", ago(20), text="by control")
    everything = snapshot(command.databases, "control", 1)
    waits = told(command)
    page = command.well("explain", *PLACE, 2, "A").out
    assert snapshot(command.databases, "control", 1) == everything

    assert whats(waits) == [
        ("up", "inserted"), ("up", "kept"), ("down", "updated"), ("up", "quarantined"), ("up", "updated"),
    ]  # fmt: skip
    assert [one["at"] for one in waits["passed"]] == sorted(one["at"] for one in waits["passed"])
    assert waits["differing"] == ["text", "modify_date"]
    assert {side: version["text"] for side, version in waits["now"].items()} == {
        "station": "mended", "control": "by control", "base": "mended",
    }  # fmt: skip
    in_order(
        page,
        '*  text         "mended"',
        "What passed, the oldest first",
        "inserted: the station's row came, new to control",
        'text "row 2"',
        "kept: both sides had changed the row; control won by rule newest",
        "what lost is kept: conflict 1",
        'control\'s: text "row 2" → "control\'s"',
        'the station\'s: text "row 2" → "station\'s"',
        "updated: the station got what was decided",
        'text "station\'s" → "control\'s"',
        "quarantined: the station's version could not be applied at control: create_date:",
        "(entry 1, released)",
        'what came: text "control\'s" → "no date"',
        "updated: the station's edit came; only the station had changed the row",
        "so it left the quarantine (entry 1)",
        'text "control\'s" → "mended"',
        "Who won and why:\n  Control has edited `text`, which waits to go down.\n",
        "stationsync sync station-1 --table kafka_test",
    )


def test_who_won_a_conflict_and_why(command: Command) -> None:
    station, control = ago(40), ago(35)
    edit(command, 1, station, text="station's")
    edit(command, "control", control, text="control's")
    command.well("sync", "station-1")
    found = told(command)
    since = found["passed"][-1]["at"][:19]
    assert found["standing"] == (
        f"Control's value of `text` stands at both sides since {since}: conflict by rule newest, control's stamp"
        f" {control} was later than the station's {station}; the loser is kept: stationsync conflicts show 1."
    )
    assert found["next_steps"] == []
    assert (found["passed"][1]["conflict"], found["passed"][1]["loser"]) == (1, "station")
    assert (found["set"]["text"]["by"], found["set"]["id"]["by"]) == ("control", "station")

    edit(command, 1, ago(20), text="station's once more")
    edit(command, "control", ago(25), text="control's once more")
    both = told(command)
    assert (
        "Both sides have changed the row since they last agreed, station-1 `text`, control `text`" in both["standing"]
    )
    command.well("sync", "station-1")
    then = told(command)
    assert then["standing"].startswith("The station's value of `text` stands at both sides since ")
    assert "the station's stamp" in then["standing"]
    assert "stationsync conflicts show 2" in then["standing"]
    edit(command, "control", ago(10), text="only control's")
    command.well("sync", "station-1")
    assert "Control's edit of `text` stands at both sides" in told(command)["standing"]


def test_a_row_that_was_deleted_and_restored(command: Command) -> None:
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    assert (
        "no longer has the row; control still does. A reconcile carries the delete over" in told(command, 3)["standing"]
    )
    command.well("reconcile", "station-1")
    gone = told(command, 3)
    assert whats(gone) == [("up", "inserted"), ("up", "deleted")]
    assert (gone["now"], gone["passed"][-1]["trash"]) == ({"station": None, "control": None, "base": None}, 1)
    assert "It is in the trash: stationsync trash show 1." in gone["standing"]
    assert 'it was: text "row 3"' in command.well("explain", *PLACE, 3, "A").out
    command.well("trash", "restore", 1)
    assert "Control alone has the row: station-1 deleted it, and a person restored it" in told(command, 3)["standing"]


def test_a_key_that_was_given_again(databases: Databases, tmp_path: Path) -> None:
    command = a_fleet(databases, tmp_path, created="create_date")
    edit(command, 1, ago(60), text="edited")
    command.well("sync", "station-1")
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
    command.databases.put(1, [row(2, text="another", at=ago(30))])
    command.well("sync", "station-1")
    found = told(command)
    said = "another row of the station came under this key, which was given again; the old row was put away; trash 1"
    assert found["passed"][-1]["says"] == said
    assert found["standing"].endswith(f": {said}.")
    assert {one["by"] for one in found["set"].values()} == {"station"}


def test_a_row_that_was_deleted_while_control_edited_it(command: Command) -> None:
    edit(command, "control", ago(20), 3, text="control's")
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    assert "with an edit of `text` that did not get there any more" in told(command, 3)["standing"]
    command.well("reconcile", "station-1")
    found = told(command, 3)
    assert whats(found)[-1] == ("up", "kept")
    assert "Control alone has the row: station-1 deleted it, while control had edited it." in found["standing"]
    assert "stationsync conflicts show 1" in found["standing"]


def test_what_a_reconcile_repaired_and_what_only_one_will_find(command: Command) -> None:
    # Behind a row that is new, an old stamp is behind all that was seen.
    command.databases.put(1, [row(8, at=ago(60))])
    command.well("sync", "station-1")
    edit(command, 1, "2024-01-02 00:00:00", text="late")
    late = told(command)
    assert "so only a reconcile finds it" in late["standing"]
    assert late["next_steps"] == ["The next reconcile does it; now: stationsync reconcile station-1 --table kafka_test"]
    command.well("sync", "station-1")
    assert "so only a reconcile finds it" in told(command)["standing"]
    command.well("reconcile", "station-1")
    found = told(command)
    assert "(read by a reconcile)" in found["passed"][-1]["says"]
    assert found["standing"].startswith("The station's edit of `text` stands at both sides")
    edit(command, "control", "2024-01-03 00:00:00", text="late at control")
    assert "which waits to go down; its `modify_date` (2024-01-03 00:00:00) is before" in told(command)["standing"]


def test_a_row_without_a_date(command: Command) -> None:
    command.databases.put(1, [row(9, at=NO_DATE)])
    never = told(command, 9)
    assert "it is not at control yet; its `modify_date` (0000-00-00 00:00:00) is no date" in never["standing"]
    command("reconcile", "station-1")
    found = told(command, 9)
    assert whats(found) == [("up", "quarantined")]
    assert (found["passed"][0]["quarantine"], found["standing"].count("is a zero date")) == (1, 2)
    command.well("quarantine", "discard", 1, "--yes")
    given_up = told(command, 9)
    assert whats(given_up) == [("up", "quarantined"), ("up", "discarded")]
    assert "a person discarded it" in given_up["standing"]


def test_a_run_that_was_taken_back(command: Command) -> None:
    edit(command, "control", ago(20), text="by mistake")
    reports = command.well("sync", "station-1", "--json").json["reports"]
    run = next(report["run"] for report in reports if report["direction"] == "down")
    command.well("revert", run, "--yes")
    found = told(command)
    assert whats(found) == [("up", "inserted"), ("down", "updated"), ("both", "updated"), ("down", "updated")]
    assert f"as it was before: revert takes back run {run[:8]}," in found["standing"]
    assert (found["now"]["station"]["text"], found["set"]["text"]["by"]) == ("row 2", "revert")


def test_rows_that_were_adopted_backfilled_and_reseeded(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(i) for i in range(1, 5)])
    databases.put("control", [row(1)])
    command = Command(databases, tmp_path)
    command.well("init")
    adopted = told(command, 1)
    assert adopted["standing"].startswith("The same row stands at both sides: both sides had the same row already")
    assert "it is not at control yet" in told(command, 2)["standing"]
    command.well("backfill", "station-1", "--table", "kafka_test", "--all")
    found = told(command, 2)
    assert "(read by a backfill)" in found["passed"][0]["says"]
    command.well("sync", "station-1")
    databases.execute(1, "DELETE FROM kafka_test WHERE id < 4")
    databases.execute(1, "UPDATE kafka_test SET text = 'restored', modify_date = '2023-01-01 00:00:00'")
    command.well("reseed", "station-1", "--yes")
    assert "the station had lost the row: reseed gave it control's" in told(command, 2)["standing"]
    old = told(command, 4)
    assert "had gone back in time: reseed gave it control's version" in old["standing"]
    assert old["passed"][-1]["conflict"] == 1


def test_a_row_that_control_got_back_and_a_journal_whose_files_were_merged(command: Command) -> None:
    edit(command, 1, ago(40), text="known")
    command.well("sync", "station-1")
    command.databases.execute("control", "DELETE FROM kafka_test WHERE id = 2 AND code = 'A'")
    assert "Control has lost the row. A reconcile brings it back from station-1" in told(command)["standing"]
    command.well("reseed-control", "station-1", "--yes")
    found = told(command)
    assert whats(found) == [("up", "inserted"), ("up", "updated"), ("up", "inserted")]
    assert "control had lost the row: reseed-control gave it what it had" in found["standing"]
    command.databases.execute("control", "UPDATE stationsync_journal_file SET day = '2020-01-01'")
    merged = command.well("journal", "prune", "--json").json["merged"]
    assert merged, "the test merges nothing"
    assert told(command)["passed"] == found["passed"]


def test_files_that_maintenance_merges_meanwhile_are_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = a_fleet(SQLiteDatabases(tmp_path), tmp_path)
    edit(command, 1, ago(40), text="known")
    command.well("sync", "station-1")
    command.databases.execute("control", "UPDATE stationsync_journal_file SET day = '2020-01-01'")
    records_of, merged = journal_rows.records_of, []

    def merge_first(*args: Any) -> Any:
        if not merged:
            merged.append(command.well("journal", "prune", "--json").json["merged"])
        return records_of(*args)

    monkeypatch.setattr(journal_rows, "records_of", merge_first)
    found = told(command)
    assert merged == [2]
    assert whats(found) == [("up", "inserted"), ("up", "updated")]
    assert found["journal"]["unreadable"] == []
    for path in (tmp_path / "journal").rglob("*.parquet"):
        path.unlink()
    assert "not read: journal " in command.well("explain", *PLACE, 2, "A").out


def test_a_key_in_which_case_does_not_count(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    for where in (1, "control"):
        key = "k varchar(10) COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY"
        mariadb_databases.execute(where, f"CREATE TABLE t ({key}, m datetime NOT NULL, KEY m (m, k))")
    command = Command(mariadb_databases, tmp_path, tables={"t": {"key": ["k"], "modified": "m"}})
    command.well("init")
    mariadb_databases.execute(1, "INSERT INTO t VALUES ('Ab', %s)", [ago(50)])
    command.well("sync", "station-1")
    found = command.well("explain", "station-1", "t", "aB", "--json").json
    assert (found["key"], whats(found)) == ('["Ab"]', [("up", "inserted")])


def test_a_row_of_another_station(command: Command) -> None:
    command.databases.execute(2, "UPDATE kafka_test SET code = 'A', modify_date = %s WHERE id = 2", [ago(5)])
    command.well("sync", "station-2")
    done = command.well("explain", "station-2", "kafka_test", 2, "A")
    in_order(
        done.out,
        "known as a row of station-1",
        "quarantined: the station's version could not be applied at control: station station-1 owns this key",
        "The key belongs to station-1: the row at control is that station's.",
        "stationsync quarantine show 1",
        "Its story: stationsync explain station-1 kafka_test 2 A",
    )


def test_a_station_that_is_off_line_and_what_holds_the_table_up(command: Command) -> None:
    databases = command.databases
    edit(command, "control", ago(5), text="waits")
    url = command.topology["stations"]["station-1"]["url"]
    gone = "sqlite:////nowhere/there.db" if databases.kind == "sqlite" else "mysql+pymysql://x@127.0.0.1:9/x"
    command.topology["stations"]["station-1"]["url"] = gone
    assert command("sync", "station-1").code == 3
    done = command.well("explain", *PLACE, 2, "A")
    in_order(
        done.out,
        "station-1 could not be asked",
        "The last pull, ",
        "did not reach station-1.",
        "control  ",
        "Control has edited `text`, which waits to go down; station-1 cannot be asked now.",
        "First: station-1 has to be within reach",
    )
    command.topology["stations"]["station-1"]["url"] = url
    command.well("pause", "station-1", "--reason", "a test")
    found = told(command)
    assert "a test" in found["paused"]
    assert found["next_steps"][0].endswith("to let it run: stationsync resume station-1")


def test_no_lease_is_needed_and_a_run_under_way_is_said(command: Command) -> None:
    command.well("status")
    (pair,) = pairs(load(command.file), *PLACE)
    with lease(pair) as session:
        assert session is not None
        assert (
            "A run of this table is under way: look again when it is done."
            in command.well("explain", *PLACE, 2, "A").out
        )
        assert told(command)["under_way"] is True
    assert told(command)["under_way"] is False


def test_control_is_read_at_one_moment_and_cannot_be_written(command: Command) -> None:
    command.well("status")
    (pair,) = pairs(load(command.file), *PLACE)
    rows = sa.select(sa.func.count()).select_from(sa.table("kafka_test"))
    with snapshot_of(pair.control) as conn:
        before = conn.scalar(rows)
        if command.databases.kind == "mariadb":  # SQLite's writers wait
            command.databases.execute("control", "DELETE FROM kafka_test WHERE id = 1")
            with pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
                conn.execute(sa.delete(sa.table("kafka_test")))
        assert conn.scalar(rows) == before == 6
    with pair.control.connect() as conn, conn.begin():
        assert conn.scalar(rows) == (4 if command.databases.kind == "mariadb" else 6)


def test_a_row_with_something_of_both_sides(databases: Databases, tmp_path: Path) -> None:
    command = a_fleet(databases, tmp_path, conflicts="merge")
    edit(command, 1, ago(40), text="station's")
    edit(command, "control", ago(35), create_date="2025-05-05 00:00:00")
    command.well("sync", "station-1")
    found = told(command)
    assert whats(found) == [("up", "inserted"), ("up", "combined"), ("down", "updated")]
    assert found["standing"].startswith("A row with `text` of the station and `create_date` of control stands at both")
    assert (found["set"]["text"]["by"], found["set"]["create_date"]["by"]) == ("station", "control")


def test_what_cannot_be_looked_up(tmp_path: Path) -> None:
    command = a_fleet(SQLiteDatabases(tmp_path), tmp_path)

    def refused(*args: object) -> str:
        done: Done = command("explain", *args)
        assert done.code == 2, done
        return done.err

    assert "no such station; did you mean station-2?" in refused("station-9", "kafka_test", 2, "A")
    assert "no such table at this station; did you mean kafka_test?" in refused("station-1", "kafka", 2, "A")
    assert "the key is [id, code], 2 values, and 1 came." in refused(*PLACE, 2)
    assert "x is no value of key column id, which is bigint." in refused(*PLACE, "x", "A")
    assert "null is no value of a key." in refused(*PLACE, "[2,null]")
    nobody = command.well("explain", *PLACE, 99, "A")
    assert 'Nobody has a row ["99","A"], and nothing is known of one' in nobody.out
    assert told(command, 99)["known"] is False
    assert command.well("explain", *PLACE, '["2","A"]', "--json").json["known"]
    assert command.well("explain", *PLACE, "02", "A", "--json").json["passed"], "as the database prints it"


def test_how_far_back_the_journal_goes_is_said(tmp_path: Path) -> None:
    databases = SQLiteDatabases(tmp_path)
    command = a_fleet(databases, tmp_path)
    edit(command, 1, ago(40), text="station's")
    edit(command, "control", ago(35), text="control's")
    command.well("sync", "station-1")
    old = "2020-01-01 00:00:00.000000"
    databases.execute("control", "DELETE FROM stationsync_journal")
    found = told(command)
    assert whats(found) == [(None, "conflict")]
    assert "conflict by rule newest, control's stamp" in found["standing"]
    assert "the journal has nothing of the table" in command.well("explain", *PLACE, 2, "A").out
    assert "What made it so is not known" in told(command, 1)["standing"]
    edit(command, 1, ago(30), 3, text="later")
    command.well("sync", "station-1")
    assert "What made it so is older than the journal, which begins at " in told(command, 1)["standing"]
    databases.execute("control", "UPDATE stationsync_journal SET file = NULL, lost = 'disk full', at = %s", [old])
    assert "2020-01-01 00:00:00  the journal has a gap" in command.well("explain", *PLACE, 3, "A").out


def test_long_values_are_cut_and_how_to_see_them_is_said(tmp_path: Path) -> None:
    command = a_fleet(SQLiteDatabases(tmp_path), tmp_path)
    long = "x" * 100
    edit(command, 1, ago(40), text=long)
    command.well("sync", "station-1")
    page = command.well("explain", *PLACE, 2, "A").out
    assert long not in page
    assert page.endswith("all of them: stationsync explain station-1 kafka_test 2 A --json\n")
    assert told(command)["now"]["control"]["text"] == long


@pytest.mark.parametrize("words", [["é\"'%", "00ff"], ["-7", "27"]])
def test_odd_keys(databases: Databases, tmp_path: Path, words: list[str]) -> None:
    text, digits = words
    kinds = ("varchar(20)", "varbinary(8)") if databases.kind == "mariadb" else ("text", "blob")
    for where in (1, "control"):
        columns = f"a {kinds[0]} NOT NULL, b {kinds[1]} NOT NULL, v int, changed datetime NOT NULL"
        databases.execute(where, f"CREATE TABLE odd ({columns}, PRIMARY KEY (a, b))")
        databases.execute(where, "CREATE INDEX odd_changed ON odd (changed, a, b)")
    command = Command(databases, tmp_path, tables={"odd": {"key": ["a", "b"], "modified": "changed"}})
    command.well("init")
    databases.execute(1, "INSERT INTO odd VALUES (%s, %s, 1, %s)", [text, bytes.fromhex(digits), ago(50)])
    command.well("sync", "station-1")
    key = f'{{"hex":"{digits}"}}'
    found = command.well("explain", "station-1", "odd", "--json", "--", text, key).json
    assert whats(found) == [("up", "inserted")]
    assert found["now"]["control"] == found["now"]["station"]
    assert command.well("explain", "station-1", "odd", "--json", found["key"]).json["passed"] == found["passed"]
