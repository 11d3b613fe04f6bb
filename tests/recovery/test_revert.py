"""Taking back what runs changed: both sides get the rows as they were, and rows that changed since are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.journal.format import Decided
from stationsync.model.changes import Direction
from stationsync.recovery import revert
from stationsync.recovery.revert import Undo, _wrote
from stationsync.sync import push, runs, send


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Three stations with ten rows each, the same at control; deletes are archived."""
    databases.create_kafka_test("control", control=True)
    command = Command(databases, tmp_path, stations=3, deletes="archive")
    for n in (1, 2, 3):
        databases.create_kafka_test(n)
    command.well("init")
    for n in (1, 2, 3):
        databases.put(n, [row(i, code=f"S{n}") for i in range(1, 11)])
        command.well("sync", f"station-{n}")
    return command


def text(databases: Databases, where: Any, number: int, code: str) -> Any:
    return databases.query(where, "SELECT text FROM kafka_test WHERE id = %s AND code = %s", [number, code])[0][0]


def run_of(command: Command, station: int, direction: str) -> str:
    """Of a sync of this station."""
    reports = command.well("sync", f"station-{station}", "--json").json["reports"]
    return next(str(report["run"]) for report in reports if report["direction"] == direction)


def require_equal(command: Command) -> None:
    for n in (1, 2, 3):
        ours = command.databases.rows(n)
        control = [values for values in command.databases.rows("control") if values[2] == f"S{n}"]
        assert control == ours
        for report in command.well("sync", f"station-{n}", "--json").json["reports"]:
            assert report["status"] == "nothing to do", report


def mass_change(command: Command, stations: tuple[int, ...] = (1, 2, 3)) -> list[str]:
    """Somebody at control sets every row to the same text, and it goes down everywhere."""
    sql = "UPDATE kafka_test SET text = 'oops', modify_date = %s"
    command.databases.execute("control", sql, [ago(30)])
    return [run_of(command, n, "down") for n in stations]


def test_a_mass_change_is_taken_back_at_all_stations_but_for_rows_that_changed_since(command: Command) -> None:
    databases = command.databases
    before = {where: databases.rows(where) for where in (1, 2, 3)}
    runs = mass_change(command)
    assert {values[1] for where in (1, 2, 3) for values in databases.rows(where)} == {"oops"}
    fleet = Fleet(databases, stations=3)
    fleet.edit(1, 3, code="S1", text="new at the station", at=ago(20))
    fleet.edit("control", 4, code="S2", text="new at control", at=ago(20))
    fleet.edit(3, 5, code="S3", text="not seen yet", at=ago(10))
    for n in (1, 2):
        command.well("sync", f"station-{n}")
    everything = snapshot(databases, "control", 1, 2, 3)

    plan = command.well("revert", *runs, "--dry-run")
    assert snapshot(databases, "control", 1, 2, 3) == everything
    assert plan.out.endswith("Nothing was changed.\n")
    assert "station-1/kafka_test at control: rows to update 9" in plan.out
    assert "station-1/kafka_test at station-1: rows to update 9" in plan.out
    assert "text oops → row 1" in plan.out

    done = command.well("revert", *runs, "--yes")
    assert "station-2/kafka_test: 9 rows taken back, 9 of them sent to the station; run " in done.out
    assert 'left alone, 1: control has changed it since: ["3","S1"]' in done.out
    assert 'left alone, 1: control has changed it since: ["4","S2"]' in done.out
    assert 'left alone, 1: the station has changed it since: ["5","S3"]' in done.out
    for n, changed in ((1, 3), (2, 4), (3, 5)):
        now = databases.rows(n)
        assert [values for values in now if values[0] != changed] == [
            values for values in before[n] if values[0] != changed
        ]
    assert text(databases, 1, 3, "S1") == "new at the station"
    assert text(databases, 2, 4, "S2") == "new at control"
    command.well("sync", "station-3")
    assert text(databases, 3, 5, "S3") == text(databases, "control", 5, "S3") == "not seen yet"
    require_equal(command)
    assert "nothing to take back" in command.well("revert", *runs, "--yes").out


def test_a_mass_change_is_taken_back_by_its_time(command: Command) -> None:
    before = {where: command.databases.rows(where) for where in (1, 2, 3)}
    mass_change(command)
    plan = command.well("revert", "--since", "1h", "--direction", "down", "--station", "station-2", "--dry-run").out
    assert ("station-1" in plan, "station-2/kafka_test at control: rows to update 10" in plan) == (False, True)
    assert "nothing" in command.well("revert", "--since", "1h", "--until", "30m", "--yes").out.lower()
    done = command.well("revert", "--since", "1h", "--direction", "down", "--yes").out
    assert done.count("10 rows taken back, 10 of them sent to the station") == 3
    assert {where: command.databases.rows(where) for where in (1, 2, 3)} == before
    require_equal(command)
    # What came up at first was inserted, and is its stations' to delete.
    again = command.well("revert", "--since", "1h", "--direction", "up", "--yes").out
    assert again.count("the run inserted it") == 3
    require_equal(command)


def test_rows_that_the_journal_lost_are_told(command: Command) -> None:
    (run,) = mass_change(command, (1,))
    lost = "UPDATE stationsync_journal SET file = NULL, lost = 'the disk was full' WHERE run = %s"
    command.databases.execute("control", lost, [run])
    done = command("revert", run, "--dry-run")
    assert "the journal has a gap: 10 rows that were changed then are not in it, and stay as they are" in done.out


def test_what_came_up_is_taken_back_at_the_station_too(command: Command) -> None:
    databases = command.databases
    databases.execute(1, "UPDATE kafka_test SET text = 'oops', modify_date = %s WHERE id <= 4", [ago(30)])
    databases.put(1, [row(20, code="S1", at=ago(30))])
    run = run_of(command, 1, "up")
    done = command.well("revert", run[:8], "--yes")
    assert "4 rows taken back, 4 of them sent" in done.out
    assert 'left alone, 1: the run inserted it: its station has it, and may delete it: ["20","S1"]' in done.out
    assert [text(databases, where, 1, "S1") for where in (1, "control")] == ["row 1", "row 1"]
    require_equal(command)


def test_a_revert_can_be_taken_back(command: Command) -> None:
    databases = command.databases
    (run,) = mass_change(command, (1,))
    (first,) = command.well("revert", run, "--yes", "--json").json["reports"]
    assert (first["applied"], first["sent"], text(databases, 1, 1, "S1")) == (10, 10, "row 1")
    (second,) = command.well("revert", first["run"], "--yes", "--json").json["reports"]
    assert (second["applied"], text(databases, 1, 1, "S1"), text(databases, "control", 1, "S1")) == (10, "oops", "oops")
    for n in (2, 3):
        command.well("sync", f"station-{n}")
    require_equal(command)


def test_several_changes_of_one_run_after_another_go_back_to_the_first(command: Command) -> None:
    databases = command.databases
    fleet = Fleet(databases, stations=3)
    runs = []
    for number, word in enumerate(("one", "two", "three")):
        fleet.edit("control", 1, code="S1", text=word, at=ago(30 - number))
        runs.append(run_of(command, 1, "down"))
    command.well("revert", *runs, "--yes")
    assert text(databases, 1, 1, "S1") == "row 1"
    require_equal(command)


def test_deleted_rows_are_left_to_the_trash(command: Command) -> None:
    databases = command.databases
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert report["deleted"] == 1
    out = command.well("revert", report["run"], "--yes").out
    assert "the run deleted it: see stationsync trash list" in out
    assert out.endswith("Nothing was changed.\n")


def test_an_off_line_station_stops_no_other(command: Command) -> None:
    runs = mass_change(command)
    good = command.topology["stations"]["station-2"]["url"]
    command.topology["stations"]["station-2"]["url"] = (
        "sqlite:////nowhere/at-all.db" if command.databases.kind == "sqlite" else "mysql+pymysql://u@127.0.0.1:1/none"
    )
    done = command("revert", *runs, "--yes")
    assert done.code == 3
    assert [text(command.databases, n, 1, f"S{n}") for n in (1, 2, 3)] == ["row 1", "oops", "row 1"]
    command.topology["stations"]["station-2"]["url"] = good
    command.well("revert", *runs, "--yes")
    require_equal(command)


def test_columns_that_control_may_not_edit_are_named(command: Command) -> None:
    databases = command.databases
    command.topology["tables"]["kafka_test"]["editable"] = ["text"]
    databases.execute(
        1, "UPDATE kafka_test SET text = 'a', create_date = %s, modify_date = %s WHERE id = 1", [ago(9)] * 2
    )
    run = run_of(command, 1, "up")
    assert "control may not edit these columns: create_date" in command.well("revert", run, "--yes").out
    assert text(databases, "control", 1, "S1") == "a"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "name the runs to take back, or the time, and not both"),
        (("abc", "--since", "1h"), "name the runs to take back, or the time, and not both"),
        (("abc", "--direction", "down"), "name the runs to take back, or the time, and not both"),
        (("--since", "never"), "never is no moment"),
        (("",), "3 runs in the journal begin so"),
    ],
)
def test_a_line_that_does_not_say_which_changes_nothing(command: Command, args: tuple[str, ...], said: str) -> None:
    before = snapshot(command.databases, "control", 1)
    done = command("revert", *args)
    assert (done.code, said in " ".join(done.err.split())) == (2, True), done.err
    assert snapshot(command.databases, "control", 1) == before


def test_an_unknown_run_is_said_to_be_unknown(command: Command) -> None:
    done = command("revert", "nobody")
    assert done.code == 2
    assert "the journal has no such run. Nothing was changed. List them with: stationsync journal list" in " ".join(
        done.err.split()
    )


@pytest.mark.parametrize(
    ("undo", "why"),
    [
        (Undo({"a": "1"}, {"a": "2"}), None),
        (Undo(None, {"a": "2"}), "inserted"),
        (Undo({"a": "1"}, None), "deleted"),
        (Undo({"a": "1"}, {"a": "2", "b": None}), "other columns"),
    ],
)
def test_what_can_be_taken_back(undo: Undo, why: str | None) -> None:
    assert (undo.why_not is None) if why is None else why in (undo.why_not or "")


@pytest.mark.parametrize(
    ("decision", "direction", "wrote"),
    [
        (Decided.UPDATED, Direction.UP, True),
        (Decided.SETTLED, Direction.UP, False),
        (Decided.SETTLED, Direction.DOWN, True),
        (Decided.KEPT, Direction.UP, False),
        (Decided.QUARANTINED, Direction.DOWN, False),
    ],
)
def test_which_records_are_writes(decision: Decided, direction: Direction, wrote: bool) -> None:
    record = {"decision": str(decision), "direction": str(direction), "after": {"a": "1"}, "before": {"a": "0"}}
    assert _wrote(record) is wrote


# --- cut off


class Cut(BaseException):
    """The run ends here, as a kill -9 would end it."""


def _cut(*args: Any, **kwargs: Any) -> Any:
    raise Cut


POINTS = {
    "before control's commit": (revert.Reverting, "_let_push_look"),
    "before the push": (revert.runs, "push_edits"),
    "before the station's commit": (send._Sender, "write_all"),
    "between the station's commit and control's": (push, "_settle"),
    "after all": (runs.books, "write_result"),
}


@pytest.mark.parametrize(
    ("point", "then"),
    [
        ("before control's commit", "sync"),
        ("before the push", "sync"),
        ("before the station's commit", "reconcile"),
        ("between the station's commit and control's", "sync"),
        ("between the station's commit and control's", "reconcile"),
        ("between the station's commit and control's", "push"),
        ("between the station's commit and control's", "revert"),
        ("after all", "sync"),
    ],
)
def test_a_revert_that_is_cut_off_goes_on_by_itself(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, then: str
) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path)
    command.well("init")
    databases.put(1, [row(i, at=ago(86_400)) for i in range(1, 61)])
    command.well("sync", "station-1")
    (run,) = mass_change(command, (1,))
    command.well("sync", "station-1")  # the newest rows of the station are remembered

    with monkeypatch.context() as cut:
        place, name = POINTS[point]
        cut.setattr(place, name, _cut)
        with pytest.raises(Cut):
            command("revert", run, "--yes")
    if then == "revert":  # what waits is no run's any more, and goes down with the next push
        command("revert", run, "--yes")
    else:
        command.well(then, "station-1")
    command.well("sync", "station-1")
    if point != "before control's commit":
        assert text(databases, 1, 7, "A") == text(databases, "control", 7, "A") == "row 7"
    assert databases.rows(1) == databases.rows("control")
    for verb in ("sync", "reconcile"):
        for report in command.well(verb, "station-1", "--json").json["reports"]:
            assert report["status"] == "nothing to do", report
    # Whoever takes back a run has seen what it wrote.
    assert databases.count("control", "stationsync_conflict") == 0
