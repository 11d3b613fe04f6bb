"""`where:`: only the rows that a station's filter lets through are synchronised; what becomes of those that leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row
from support.sweeps import found, sweep

from stationsync.errors import BrakePulled, SchemaRefused
from stationsync.model.changes import Counts, Status
from stationsync.sync import runs

WHERE = "text NOT LIKE 'draft%' AND state = 'on'"
TEXTS = "SELECT id, text FROM kafka_test ORDER BY id"


def a_fleet(databases: Databases, **options: Any) -> Fleet:
    """The station has a column of its own, `state`. Rows 1 to 4 go through, 5 and 6 do not."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.execute(1, "ALTER TABLE kafka_test ADD state VARCHAR(10) DEFAULT 'on'")
    databases.put(1, [row(n, at=ago(7200)) for n in range(1, 5)])
    databases.put(1, [row(5, text="draft of 5", at=ago(7200)), {**row(6, at=ago(7200)), "state": "off"}])
    fleet = Fleet(databases, **{"where": WHERE, **options})
    fleet.init()
    fleet.sync()
    return fleet


def texts(fleet: Fleet, where: Any = "control") -> dict[int, str]:
    return dict(fleet.databases.query(where, TEXTS))


def test_only_what_the_filter_lets_through_comes(databases: Databases) -> None:
    fleet = a_fleet(databases)
    assert list(texts(fleet)) == [1, 2, 3, 4]
    fleet.require_nothing_to_do()
    report = sweep(fleet)
    assert (report.status, found(report), json_of(report)["rows"]) == (Status.NOTHING, {}, 4)

    fleet.edit(1, 5, text="ready")
    assert fleet.pull().counts.applied == 1
    assert texts(fleet)[5] == "ready"
    fleet.edit("control", 5, text="seen")
    assert fleet.push().counts.applied == 1
    assert texts(fleet, 1)[5] == "seen"
    fleet.require_nothing_to_do()


def test_a_row_that_leaves_stays_at_control_as_it_was_and_its_edits_no_longer_travel(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    fleet.edit(1, 1, text="draft again")
    report = fleet.pull()
    assert (report.status, report.counts.outside, report.counts.applied) == (Status.DONE, 1, 0)
    assert texts(fleet) == {n: f"row {n}" for n in range(1, 5)}
    fleet.edit("control", 1, text="control's own")
    fleet.require_nothing_to_do()
    report = sweep(fleet)
    assert (report.status, found(report), json_of(report)["rows"]) == (Status.NOTHING, {}, 3)
    assert (texts(fleet)[1], texts(fleet, 1)[1]) == ("control's own", "draft again")


def test_an_edit_that_waits_when_its_row_leaves_is_control_s_alone(databases: Databases) -> None:
    fleet = a_fleet(databases)
    fleet.edit("control", 2, text="waits")
    fleet.edit(1, 2, text="draft meanwhile")
    fleet.push()
    fleet.sync()
    fleet.require_nothing_to_do()
    assert (texts(fleet)[2], texts(fleet, 1)[2]) == ("waits", "draft meanwhile")
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(0,)]


@pytest.mark.parametrize("edited", ["nowhere", "station", "control", "both"])
def test_a_row_that_comes_back_is_compared_with_what_it_was(databases: Databases, edited: str) -> None:
    fleet = a_fleet(databases)
    # By a column that is not synchronised: nothing else tells it.
    databases.execute(1, f"UPDATE kafka_test SET state = 'off', modify_date = '{ago(600)}' WHERE id = 3")
    fleet.pull()
    databases.execute(1, f"UPDATE kafka_test SET state = 'on', modify_date = '{ago(300)}' WHERE id = 3")
    if edited in ("station", "both"):
        fleet.edit(1, 3, text="of the station", at=ago(200))
    if edited in ("control", "both"):
        fleet.edit("control", 3, text="of control", at=ago(100))
    fleet.sync()
    expected = {"nowhere": "row 3", "station": "of the station"}.get(edited, "of control")
    assert texts(fleet)[3] == texts(fleet, 1)[3] == expected
    kept = databases.query("control", "SELECT loser FROM stationsync_conflict")
    assert kept == ([] if edited in ("nowhere", "station") else [("station",)])
    fleet.require_nothing_to_do()
    assert found(sweep(fleet)) == {}


def test_an_edit_of_control_s_goes_down_once_its_row_is_back_as_it_was(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET state = 'off' WHERE id = 3")
    assert found(sweep(fleet)) == {"outside": 1}
    fleet.edit("control", 3, text="meanwhile", at=ago(4000))
    fleet.require_nothing_to_do()
    databases.execute(1, "UPDATE kafka_test SET state = 'on' WHERE id = 3")
    sweep(fleet)
    assert texts(fleet, 1)[3] == texts(fleet)[3] == "meanwhile"
    assert found(sweep(fleet)) == {}
    fleet.require_nothing_to_do()


@pytest.mark.parametrize("deletes", ["ignore", "archive"])
def test_a_reconcile_knows_a_row_that_left_from_one_that_was_deleted(databases: Databases, deletes: str) -> None:
    fleet = a_fleet(databases, deletes=deletes)
    databases.execute(1, "UPDATE kafka_test SET state = 'off' WHERE id IN (1, 2)")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 4")
    report = sweep(fleet)
    assert found(report) == {"outside": 2, "gone": 1}
    assert list(texts(fleet)) == ([1, 2, 3, 4] if deletes == "ignore" else [1, 2, 3])
    assert report.counts.outside == 2
    assert found(sweep(fleet)) == ({"gone": 1} if deletes == "ignore" else {})
    # Deleted after it had left: control has it all the same.
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    sweep(fleet)
    assert 1 in texts(fleet)
    fleet.require_nothing_to_do()


@pytest.mark.parametrize("found_by", ["pull", "reconcile"])
def test_rows_that_leave_go_at_control_where_that_is_said(databases: Databases, found_by: str) -> None:
    fleet = a_fleet(databases, deletes="archive", leaving="delete")
    stamp = f", modify_date = '{ago(60)}'" if found_by == "pull" else ""
    databases.execute(1, f"UPDATE kafka_test SET state = 'off'{stamp} WHERE id = 1")
    if found_by == "pull":
        assert fleet.pull().counts.outside == 1
    report = sweep(fleet)
    assert (report.counts.deleted, found(report)) == (1, {"outside": 1})
    assert list(texts(fleet)) == [2, 3, 4]
    ((why,),) = databases.query("control", "SELECT reason FROM stationsync_trash")
    assert "its filter keeps it back" in why
    assert texts(fleet, 1)[1] == "row 1"
    assert found(sweep(fleet)) == {}
    # It comes back as a new one.
    databases.execute(1, "UPDATE kafka_test SET state = 'on' WHERE id = 1")
    sweep(fleet)
    assert texts(fleet)[1] == "row 1"
    fleet.require_nothing_to_do()


def test_an_edit_of_control_s_is_not_deleted_with_a_row_that_leaves(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive", leaving="delete")
    fleet.edit("control", 1, text="edited")
    databases.execute(1, "UPDATE kafka_test SET state = 'off' WHERE id = 1")
    assert sweep(fleet).counts.conflicts == 1
    assert texts(fleet)[1] == "edited"
    assert texts(fleet, 1)[1] == "row 1"


def test_the_brake_is_asked_before_many_rows_go(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive", leaving="delete", max_deletes="10% or 3")
    databases.execute(1, f"UPDATE kafka_test SET state = 'off', modify_date = '{ago(60)}' WHERE id < 5")
    assert fleet.pull().counts.outside == 4
    with pytest.raises(BrakePulled) as refused:
        sweep(fleet)
    assert "filter lets no row through" in refused.value.what
    assert list(texts(fleet)) == [1, 2, 3, 4]
    assert sweep(fleet, allow_deletes=True).counts.deleted == 4
    assert texts(fleet) == {}
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_trash") == [(4,)]


def test_a_row_in_quarantine_that_leaves_waits_no_more(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_fleet(mariadb_databases)
    mariadb_databases.execute("control", "ALTER TABLE kafka_test MODIFY text VARCHAR(20)")
    fleet.init()
    fleet.edit(1, 1, text="x" * 90)
    assert fleet.pull().counts.quarantined == 1
    fleet.edit(1, 1, text="draft")
    assert fleet.pull().counts.outside == 1
    assert mariadb_databases.query("control", "SELECT state FROM stationsync_quarantine") == [("released",)]


def test_a_filter_that_the_station_does_not_take_changes_nothing(databases: Databases) -> None:
    fleet = a_fleet(databases)
    fleet.options(where="nothing_of_this_name = 1")
    with pytest.raises(SchemaRefused) as refused:
        fleet.pull()
    assert "nothing_of_this_name" in refused.value.what
    assert "tables.kafka_test.where" in refused.value.next_step
    assert list(texts(fleet)) == [1, 2, 3, 4]


def test_a_changed_filter_is_told_before_it_is_taken(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases)
    command = Command(databases, tmp_path, where=WHERE)
    fleet.edit("control", 1, text="waits")
    for where, said in (("id > 2", (2, 2, 1)), (None, (2, 0, 0))):
        if where is None:
            del command.topology["tables"]["kafka_test"]["where"]
        else:
            command.topology["tables"]["kafka_test"]["where"] = where
        done = command("sync", "station-1")
        assert (done.code, "the filter of its rows was changed" in done.err) == (1, True)
        assert "stationsync init --dry-run" in done.err
        assert command("reconcile", "station-1").code == 1
        (told,) = command.well("init", "--dry-run", "--json").json["filters"]
        assert (told["comes"], told["leaves"], told["edits"]) == said
        assert command("sync", "station-1").code == 1
        assert f"{said[0]} rows come in" in command.well("init").out
        command.well("sync", "station-1")
        assert command.well("init", "--dry-run", "--json").json["filters"] == []
        command.well("reconcile", "station-1")
        if where is not None:
            # 1 and 2 have left, 5 and 6 came; the edit of 1 is control's alone.
            assert texts(fleet) == {1: "waits", 2: "row 2", 3: "row 3", 4: "row 4", 5: "draft of 5", 6: "row 6"}
            assert texts(fleet, 1)[1] == "row 1"
    assert texts(fleet) == texts(fleet, 1) == {
        1: "waits", 2: "row 2", 3: "row 3", 4: "row 4", 5: "draft of 5", 6: "row 6",
    }  # fmt: skip
    assert command.well("status", "station-1", "--json").json["tables"][0]["outside"] == 0


def test_many_rows_leave_only_where_somebody_allows_it(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases)
    databases.put(1, [row(n, at=ago(7000)) for n in range(10, 60)])
    fleet.sync()
    command = Command(databases, tmp_path, where="id < 3")
    done = command("init")
    assert (done.code, "52 of 54 rows would leave" in done.err, "--allow-leaving" in done.err) == (1, True, True)
    assert command("sync", "station-1").code == 1
    assert "52 leave" in command.well("init", "--dry-run").out
    command.well("init", "--allow-leaving")
    command.well("sync", "station-1")
    assert len(texts(fleet)) == 54
    assert command.well("status", "station-1", "--json").json["tables"][0]["outside"] == 52


def test_no_row_that_leaves_is_taken_for_a_table_that_was_put_back(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.put(1, [row(n, at=ago(7000 - n)) for n in range(10, 110)])
    fleet.sync()
    databases.execute(1, "UPDATE kafka_test SET state = 'off' WHERE id >= 10")
    fleet.require_nothing_to_do()
    assert sweep(fleet).counts == Counts(outside=100)
    fleet.require_nothing_to_do()
    assert found(sweep(fleet)) == {}


def test_check_tells_what_the_filter_costs_and_that_it_is_none(databases: Databases, tmp_path: Path) -> None:
    a_fleet(databases)
    command = Command(databases, tmp_path, where=WHERE)
    assert "no index serves the filter" in command.well("check").out
    command.topology["tables"]["kafka_test"]["where"] = "id > 2 AND text LIKE '%row%'"
    assert "no index serves" not in command.well("check").out
    command.topology["tables"]["kafka_test"]["where"] = "idd > 2"
    done = command("check")
    assert (done.code, "does not take the filter" in done.out, "idd" in done.out) == (1, True, True)


def test_explain_tells_of_a_row_that_left_and_of_one_that_never_came(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases)
    command = Command(databases, tmp_path, where=WHERE)
    fleet.edit(1, 1, text="draft")
    fleet.pull()
    assert "left the filter" in command.well("explain", "station-1", "kafka_test", 1, "A").out
    assert "keeps it back" in command.well("explain", "station-1", "kafka_test", 5, "A").out


def test_another_station_s_row_and_a_new_name_know_whose_a_row_is_that_left(
    databases: Databases, tmp_path: Path
) -> None:
    fleet = a_fleet(databases)
    fleet.edit(1, 1, text="draft")
    fleet.pull()
    databases.create_kafka_test(2)
    databases.put(2, [row(1, text="of another")])
    command = Command(databases, tmp_path, stations=2)
    command.topology["stations"]["station-1"]["tables"] = {"kafka_test": {"where": WHERE}}
    assert "quarantined 1" in command.well("sync", "station-2").out
    (held,) = command.well("quarantine", "list", "--json").json["entries"]
    assert "station-1 owns this key" in str(held)

    command.topology["stations"]["one"] = command.topology["stations"].pop("station-1")
    command.well("rename", "station-1", "one", "--yes")
    fleet.edit(1, 1, text="ready")
    command.well("sync", "one")
    assert texts(fleet)[1] == "ready"


def test_control_gets_back_what_had_left(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases)
    command = Command(databases, tmp_path, where=WHERE)
    fleet.edit(1, 1, text="draft")
    command.well("sync", "station-1")
    databases.execute("control", "DELETE FROM kafka_test")
    command.well("reseed-control", "station-1", "--table", "kafka_test", "--yes")
    assert texts(fleet) == {n: f"row {n}" for n in range(1, 5)}
    command.well("reconcile", "station-1")
    command.well("sync", "station-1")
    assert texts(fleet) == {n: f"row {n}" for n in range(1, 5)}
    assert command.well("reconcile", "station-1", "--json").json["reports"][0]["status"] == "nothing to do"


def test_a_dry_run_says_what_would_leave_and_marks_nothing(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases)
    command = Command(databases, tmp_path, where=WHERE)
    fleet.edit(1, 1, text="draft")
    for _ in range(2):
        assert command.well("pull", "station-1", "--dry-run", "--json").json["reports"][0]["outside"] == 1
    command.well("reconcile", "station-1", "--dry-run")
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_base_kafka_test WHERE stationsync_station"
                                      " = 'station-1'") == [(4,)]  # fmt: skip
    assert "left the filter 1" in command.well("pull", "station-1").out


def test_whatever_is_true_in_sql_goes_through(databases: Databases) -> None:
    fleet = a_fleet(databases, where="id & 6")  # 2, 4 and 6: none of them is 1
    assert list(texts(fleet)) == [2, 3, 4, 5, 6]
    assert found(sweep(fleet)) == {}


def test_a_row_that_is_read_again_as_it_was_lets_the_next_push_look(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET state = 'off' WHERE id = 3")
    sweep(fleet)
    fleet.edit("control", 3, text="meanwhile", at=ago(4000))  # long before the watermark of the push
    databases.execute(1, "UPDATE kafka_test SET state = 'on' WHERE id = 3")
    (pair,) = fleet.pairs()
    runs.pull_keys(pair, runs.plain_steps(), (("3", "A"),))
    assert texts(fleet, 1)[3] == "row 3"
    assert fleet.push().counts.applied == 1
    assert texts(fleet, 1)[3] == "meanwhile"
