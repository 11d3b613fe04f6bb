"""Dry runs: a plan of what a run would do, that nothing follows from, and that the run itself then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import Command, Done, snapshot
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.model.plan import KINDS, SAMPLES, Gathering, Sample, Share, edited

SUITE = """
name: no_minus
expectations:
  - type: expect_column_values_to_not_match_regex
    description: begins with a minus
    kwargs: {column: text, regex: '^-'}
"""


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two stations with six rows of the first at both sides, and one of the second."""
    for where in (1, 2):
        databases.create_kafka_test(where)
    databases.create_kafka_test("control", control=True)
    (tmp_path / "no_minus.yaml").write_text(SUITE)
    command = Command(databases, tmp_path, stations=2, expectations="no_minus")
    command.environment["STATIONSYNC_EXPECTATIONS"] = str(tmp_path)
    command.well("init")
    databases.put(1, [row(n) for n in range(1, 7)])
    databases.put(2, [row(50)])
    for station in ("station-1", "station-2"):
        command.well("sync", station)
    return command


def shares(done: Done) -> dict[str, dict[str, Any]]:
    """Of all reports: side → its share."""
    found = [share for report in done.json["reports"] for share in report["plan"]]
    assert all(report["dry_run"] for report in done.json["reports"])
    assert len({share["at"] for share in found}) == len(found)
    return {share["at"]: share for share in found}


def counts(share: dict[str, Any]) -> dict[str, int]:
    return {kind: share[kind] for kind in KINDS if share[kind]}


def change_both_sides(databases: Databases) -> None:
    """Two new rows, an edit, a bad row, a key of another station, and an edit that both made; at control an edit, and
    one of a row that the station lost."""
    fleet = Fleet(databases)
    databases.put(
        1, [row(7, at=ago(30)), row(8, at=ago(30)), row(9, text="-", at=ago(30)), row(50, text="not yours", at=ago(30))]
    )
    fleet.edit(1, 1, text="edited", at=ago(30))
    fleet.edit(1, 2, text="the station's", at=ago(40))
    fleet.edit("control", 2, text="control's", at=ago(20))
    fleet.edit("control", 3, text="down", at=ago(20))
    fleet.edit("control", 4, text="nobody there", at=ago(20))
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 4")


def test_a_plan_says_what_the_sync_then_does_and_changes_nothing(command: Command) -> None:
    databases = command.databases
    change_both_sides(databases)
    before = snapshot(databases, "control", 1, 2)

    done = command.well("sync", "station-1", "--dry-run", "--json")
    assert snapshot(databases, "control", 1, 2) == before
    found = shares(done)
    assert counts(found["control"]) == {"inserts": 2, "updates": 1, "conflicts": 1, "quarantined": 1 + 1}
    assert counts(found["station-1"]) == {"updates": 1, "quarantined": 1}
    assert found["control"]["samples"]["updates"][0]["key"] == ["1", "A"]
    assert "text row 1 → edited" in found["control"]["samples"]["updates"][0]["what"]
    assert "text row 3 → down" in found["station-1"]["samples"]["updates"][0]["what"]
    assert "station loses" in found["control"]["samples"]["conflicts"][0]["what"]
    bad, foreign = (one["what"] for one in found["control"]["samples"]["quarantined"])
    assert "begins with a minus" in bad
    assert "station-2 owns this key" in foreign

    up, down = command.well("sync", "station-1", "--json").json["reports"]
    assert up["applied"] == found["control"]["inserts"] + found["control"]["updates"]
    assert (up["conflicts"], up["quarantined"]) == (1, 2)
    # Control won the conflict: its version goes down as well.
    assert (down["applied"], down["quarantined"]) == (1 + 1, 1)

    again = command.well("sync", "station-1", "--dry-run")
    assert again.out.endswith("Nothing was changed.\n")
    assert "nothing to do" in again.out


def test_a_plan_burns_no_numbers_of_control_s_own_key(command: Command) -> None:
    databases = command.databases
    databases.put(1, [row(n, at=ago(30)) for n in range(10, 20)])
    sql = "SHOW CREATE TABLE kafka_test" if databases.kind == "mariadb" else "SELECT * FROM sqlite_sequence"
    before = databases.query("control", sql)
    command.well("pull", "station-1", "--dry-run")
    assert databases.query("control", sql) == before


def test_a_person_reads_the_counts_and_some_rows(command: Command) -> None:
    databases = command.databases
    databases.put(1, [row(n, at=ago(30)) for n in range(10, 20)])
    Fleet(databases).edit("control", 3, text="한국어", at=ago(20))

    out = command.well("sync", "station-1", "--dry-run").out.splitlines()
    assert out[0] == "station-1/kafka_test at control: rows to insert 10"
    assert out[1] == "  rows to insert (10, A)"
    assert out[1 + SAMPLES] == f"  rows to insert … and {10 - SAMPLES} more"
    assert out[2 + SAMPLES] == "station-1/kafka_test at station-1: rows to update 1"
    assert "text row 3 → 한국어" in out[3 + SAMPLES]
    assert out[-1] == "Nothing was changed."


def test_a_push_alone_names_the_conflict_that_the_merge_would_decide(command: Command) -> None:
    databases = command.databases
    change_both_sides(databases)
    before = snapshot(databases, "control", 1, 2)
    found = shares(command.well("push", "station-1", "--dry-run", "--json"))
    assert snapshot(databases, "control", 1, 2) == before
    assert counts(found["control"]) == {"conflicts": 1}
    assert counts(found["station-1"]) == {"updates": 1, "quarantined": 1}


def test_a_plan_for_an_off_line_station_is_no_plan(command: Command, tmp_path: Path) -> None:
    command.topology["stations"]["station-1"]["url"] = (
        f"sqlite:///{tmp_path}/nowhere/x.db"
        if command.databases.kind == "sqlite"
        else "mysql+pymysql://u@127.0.0.1:1/none"
    )
    done = command("sync", "station-1", "--dry-run", "--json")
    assert done.code == 3
    assert "plan" not in done.json["reports"][0]


# --- the value


KIND = st.sampled_from(sorted(KINDS))
ROWS = st.lists(st.tuples(KIND, st.text(max_size=9), st.text(max_size=9)), max_size=40)


@given(ROWS)
def test_a_plan_is_what_its_parts_are_together_and_survives_json(rows: list[tuple[str, str, str]]) -> None:
    gathering = Gathering()
    for kind, key, what in rows:
        gathering.add(Share("s", "t", "control", samples={kind: (Sample((key,), what),)}, **{kind: 1}))  # type: ignore[arg-type]
    (share,) = gathering.shares or (Share("s", "t", "control"),)
    for kind in KINDS:
        mine = [Sample((key,), what) for k, key, what in rows if k == kind]
        assert getattr(share, kind) == len(mine)
        assert share.samples.get(kind, ()) == tuple(mine[:SAMPLES])
    assert json.loads(json.dumps(share.as_dict()))["samples"].keys() == {kind for kind, *_ in rows}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": "1", "b": None}, {"a": "2", "b": None}, "a 1 → 2"),
        ({"a": None}, {"a": ""}, "a NULL → "),
        ({"a": b"\x00"}, {"a": b"\xff"}, "a 0x00 → 0xff"),
        ({"a": "x"}, {"a": "y" * 50}, f"a x → {'y' * 40}…"),
        ({"a": "x\ny"}, {"a": "x"}, "a x y → x"),
        ({str(n): "1" for n in range(9)}, {str(n): "2" for n in range(9)}, "and 3 more columns"),
    ],
)
def test_an_edit_in_words(before: dict[str, Any], after: dict[str, Any], said: str) -> None:
    assert said in edited(before, after)


# --- other plans


def test_the_plan_of_a_reconcile_is_what_it_then_does(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    command = Command(databases, tmp_path, deletes="archive")
    command.well("init")
    databases.put(1, [row(n) for n in range(1, 31)])
    command.well("sync", "station-1")
    databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 3")
    databases.execute(1, "DELETE FROM kafka_test WHERE id IN (4, 5)")
    databases.put(1, [row(40)])  # older than the watermark
    databases.execute("control", "DELETE FROM kafka_test WHERE id IN (6, 7, 8)")
    databases.execute("control", "UPDATE kafka_test SET text = 'down' WHERE id = 9")
    before = snapshot(databases, "control", 1)

    found = shares(command.well("reconcile", "station-1", "--dry-run", "--json"))
    assert snapshot(databases, "control", 1) == before
    assert counts(found["control"]) == {"inserts": 1 + 3, "updates": 1, "deletes": 2}
    assert counts(found["station-1"]) == {"updates": 1}
    assert (
        "rows to delete (4, A): the station has deleted it" in command.well("reconcile", "station-1", "--dry-run").out
    )

    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert (report["applied"], report["deleted"]) == (4 + 1 + 1, 2)
    assert "plan" not in report
    assert shares(command.well("reconcile", "station-1", "--dry-run", "--json")) == {}


def test_the_plan_of_init_names_the_rows_that_would_be_decided(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.put("control", [row(1), row(2, text="control's")])
    databases.put(1, [row(1), row(2, text="station's")])
    command = Command(databases, tmp_path)
    (share,) = command.well("init", "--dry-run", "--json").json["plan"]
    assert (share["at"], counts(share)) == ("control", {"conflicts": 1})
    assert "station-1/kafka_test at control: conflicts 1" in command.well("init", "--dry-run").out
    assert "plan" not in command.well("init", "--json").json
