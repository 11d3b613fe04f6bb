"""Control's table is lost, and comes back from the journal, the bookkeeping and the stations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.journals import records, replayed
from support.sample import row

BASE = "stationsync_base_kafka_test"


def a_fleet(databases: Databases, folder: Path, rows: int = 60, **options: Any) -> Command:
    """Two stations with these rows, the same at control, which has a column of its own; those of station n have the
    code Sn."""
    make_control(databases)
    options = {"deletes": "archive", "exclude": ["master_id", "note"], **options}
    command = Command(databases, folder, stations=2, **options)
    for n in (1, 2):
        databases.create_kafka_test(n)
        databases.put(n, [row(i, code=f"S{n}", at=ago(7200)) for i in range(1, rows + 1)])
    command.well("init")
    for n in (1, 2):
        command.well("sync", f"station-{n}")
    databases.execute("control", "UPDATE kafka_test SET note = 'of control'")
    return command


def make_control(databases: Databases) -> None:
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN note varchar(20)")


def lose(databases: Databases, *, books: bool = False) -> None:
    """Control's table is dropped, and made anew, empty."""
    databases.execute("control", "DROP TABLE kafka_test")
    make_control(databases)
    if books:
        for name in tables(databases):
            databases.execute("control", f"DROP TABLE {name}")


def tables(databases: Databases) -> list[str]:
    query = "SHOW TABLES" if databases.kind == "mariadb" else "SELECT name FROM sqlite_master WHERE type = 'table'"
    return [str(name) for (name,) in databases.query("control", query) if str(name).startswith("stationsync_")]


def give_back(command: Command, *args: object) -> str:
    return command.well("reseed-control", *args, "--yes").out


def settle(command: Command) -> None:
    """Sync and reconcile all: both sides are equal, and a second reconcile has nothing to do."""
    for name in ("station-1", "station-2"):
        command.well("sync", name)
        command.well("reconcile", name)
    for n in (1, 2):
        assert own(command.databases, "control", n) == own(command.databases, n, n)
        reports = command.well("reconcile", f"station-{n}", "--json").json["reports"]
        reports += command.well("sync", f"station-{n}", "--json").json["reports"]
        assert {one["status"] for one in reports} == {"nothing to do"}, reports


def own(databases: Databases, where: Any, station: int) -> list[Any]:
    return [values for values in databases.rows(where) if values[2] == f"S{station}"]


def text(databases: Databases, where: Any, number: int, code: str = "S1") -> Any:
    found = databases.query(where, "SELECT text FROM kafka_test WHERE id = %s AND code = %s", [number, code])
    return found[0][0] if found else None


def edit(command: Command, where: Any, number: int, to: str, age: float, code: str = "S1") -> None:
    Fleet(command.databases, stations=2).edit(where, number, code=code, text=to, at=ago(age))


def told(command: Command) -> dict[str, dict[str, Any]]:
    """What the journal's files come to."""
    return replayed(records(command.file.parent / "journal"))


def a_history(command: Command) -> None:
    """Edits of both sides, deletes, a row in quarantine, a conflict that control won and whose edit waits, and an edit
    of control's that no run has seen."""
    databases = command.databases
    edit(command, 1, 1, "of the station", 50)
    edit(command, "control", 2, "of control", 50)
    edit(command, "control", 3, "of control", 50, "S2")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 4")
    databases.put(1, [row(5_000, code="S1", at=ago(40))])
    databases.put(2, [row(5_000, code="S1", text="of a key that is not its own", at=ago(40))])
    for name in ("station-1", "station-2"):
        command.well("sync", name)
        command.well("reconcile", name)
    edit(command, 1, 6, "lost", 30)
    edit(command, "control", 6, "won, and waits", 20)
    command.well("pull", "station-1")
    edit(command, "control", 7, "seen by nobody", 10)


@pytest.mark.parametrize("deletes", ["restore", "send"])
def test_a_lost_table_comes_back(databases: Databases, tmp_path: Path, deletes: str) -> None:
    command = a_fleet(databases, tmp_path, 2_000 if deletes == "send" else 60, control_deletes=deletes)
    a_history(command)
    before = databases.rows("control")
    stations = snapshot(databases, 1, 2)
    lose(databases)

    for name in ("station-1", "station-2"):
        for run in ("pull", "push", "sync", "reconcile"):
            refused = command(run, name)
            assert refused.code == 1
            assert f"stationsync reseed-control {name} --table kafka_test" in " ".join(refused.err.split())
    assert "failed" in command.well("status").out
    assert snapshot(databases, 1, 2) == stations

    everything = snapshot(databases, "control", 1, 2)
    plan = command.well("reseed-control", "--dry-run").out
    assert snapshot(databases, "control", 1, 2) == everything
    assert plan.endswith("Nothing was changed.\n")
    assert f"  missing at control, to be inserted: {len(own(databases, 1, 1)):,} (" in plan
    assert "1 of them with an edit of control's that had not gone down" in plan

    assert "  inserted: " in give_back(command)
    # But for the edit that no run had seen: only control's table had it.
    assert databases.rows("control") == [
        (*values[:1], "row 7", *values[2:4], values[3]) if values[0] == 7 and values[2] == "S1" else values
        for values in before
    ]
    assert snapshot(databases, 1, 2) == stations, "a station is not written, nor asked"
    assert len(told(command)) == len(before)
    assert {name for (name,) in databases.query("control", "SELECT note FROM kafka_test")} == {None}
    again = give_back(command)
    assert again.count("nothing to do") == 2
    assert again.endswith("Nothing was changed.\n")

    settle(command)
    assert text(databases, 1, 6) == "won, and waits"
    assert text(databases, "control", 4) is None
    assert "station-1 owns this key" in command.well("quarantine", "list", "--json").out


@pytest.mark.parametrize("deletes", ["archive", "ignore"])
def test_the_bookkeeping_was_lost_with_it(databases: Databases, tmp_path: Path, deletes: str) -> None:
    """The journal's files tell what both sides had, so nobody has to guess who edited or deleted what."""
    command = a_fleet(databases, tmp_path, deletes=deletes)
    a_history(command)
    before = databases.rows("control")
    lose(databases, books=True)
    assert command("sync", "station-1").code == command("reseed-control", "--yes").code == 1
    edit(command, 1, 8, "while control was lost", 5)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 9")

    command.well("init")
    done = give_back(command)
    assert "files of the journal that control's books do not name were read too" in done
    gone = [(4, "S1"), (7, "S1")]
    assert [v for v in databases.rows("control") if (v[0], v[2]) not in gone] == [
        v for v in before if (v[0], v[2]) not in gone
    ]
    if deletes == "archive":
        settle(command)
        assert text(databases, "control", 9) is None
    else:
        for name in ("station-1", "station-2"):
            command.well("sync", name)
            command.well("reconcile", name)
    assert text(databases, 1, 6) == "won, and waits"
    assert text(databases, "control", 8) == "while control was lost"
    assert command.well("conflicts", "list", "--json").json["total"] == 0
    assert "nothing to do" in give_back(command, "station-1")


@pytest.mark.parametrize("books", [False, True])
def test_a_journal_that_covers_a_part(databases: Databases, tmp_path: Path, books: bool) -> None:
    """What it does not tell comes back from the base; where that is lost too, from the stations."""
    command = a_fleet(databases, tmp_path)
    shutil.rmtree(tmp_path / "journal")
    databases.execute("control", "DELETE FROM stationsync_journal")
    databases.execute("control", "DELETE FROM stationsync_journal_file")
    a_history(command)
    before = databases.count("control")

    lose(databases, books=books)
    command.well("init")
    plan = command.well("reseed-control", "--dry-run", "--json").json["plan"]
    give_back(command)
    assert sum(one["rows"] for one in plan) == databases.count("control")
    assert 0 < databases.count("control") < before if books else databases.count("control") == before
    settle(command)
    assert databases.count("control") == before
    assert text(databases, 1, 6) == "won, and waits"


def test_a_range_says_which_rows_and_never_what_they_are(databases: Databases, tmp_path: Path) -> None:
    command = a_fleet(databases, tmp_path)
    first = command.well("journal", "list", "station-1", "--json").json["chunks"][0]
    for number in (1, 2, 3):
        edit(command, 1, number, "newer", 50)
    run = command.well("sync", "station-1", "--json").json["reports"][0]["run"]
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 4")
    command.well("reconcile", "station-1")
    edit(command, "control", 5, "edited here", 10)

    # Of an old range over newer rows nothing comes of it.
    told_before = snapshot(databases, "control", 1)
    done = give_back(command, "station-1", "--missing", "--run", first["run"])
    assert "nothing to do" in done
    assert 'left alone, 1: control has it otherwise, and it is not overwritten: ["5","S1"]' in done
    assert "nothing to do" in give_back(command, "station-1", "--run", first["run"])
    assert snapshot(databases, "control", 1) == told_before

    databases.execute("control", "DELETE FROM kafka_test WHERE code = 'S1' AND id IN (1, 2, 4, 10)")
    assert "  inserted: 2 (" in give_back(command, "--run", run)
    assert [text(databases, "control", n) for n in (1, 2, 10)] == ["newer", "newer", None]
    done = command.well("journal", "replay", "station-1", "--run", first["run"], "--yes").out
    assert '  inserted: 1 (["10", "S1"])' in done
    assert [text(databases, "control", n) for n in (4, 5, 10)] == [None, "edited here", "row 10"]
    settle(command)


def test_what_is_asked_for_must_be_there(databases: Databases, tmp_path: Path) -> None:
    command = a_fleet(databases, tmp_path)
    for args in (["station-9"], ["--table", "nothing"], ["--since", "yesterday"]):
        assert command("reseed-control", *args, "--yes").code == 2
    lose(databases)
    refused = command("reseed-control", answer="n\n")
    assert refused.code == 1
    assert "Write 120 rows into 2 tables of control?" in refused.err
    assert databases.count("control") == 0
    done = command.well("journal", "replay", "station-1", "--yes", "--json").json
    assert [one["applied"] for one in done["reports"]] == [60]
    assert databases.count("control") == 60


def test_what_a_replay_of_the_journal_was_is_a_reseed_of_control_for_missing_rows(
    databases: Databases, tmp_path: Path
) -> None:
    """The old name of the command: nothing is overwritten, however old it is."""
    command = a_fleet(databases, tmp_path)
    for number in (1, 2, 3):
        edit(command, 1, number, "newer", 50)
    command.well("sync", "station-1")
    databases.execute("control", "DELETE FROM kafka_test WHERE code = 'S1' AND id IN (3, 4)")
    old = "UPDATE kafka_test SET text = 'older', modify_date = '2001-01-01' WHERE code = 'S1' AND id = 2"
    databases.execute("control", old)
    for how in (("journal", "replay"), ("reseed-control", "--missing")):
        (plan, _) = command.well(*how, "--dry-run", "--json").json["plan"]
        assert (plan["rows"], plan["found"]) == (2, {"insert": 2, "rewrite": 0, "newer": 0})
        assert [(one["rows"], one["keys"]) for one in plan["left"]] == [(1, ['["2","S1"]'])]
    (done,) = command.well("journal", "replay", "--yes", "--json").json["reports"]
    assert (done["applied"], done["sources"]) == (2, {"journal": 0, "base": 2})
    assert [text(databases, "control", n) for n in (2, 3, 4)] == ["older", "newer", "row 4"]
    assert "nothing to do" in command.well("journal", "replay", "--yes").out
    assert "  rewritten: 1" in give_back(command)
    settle(command)


def test_each_row_comes_from_the_best_source_there_is(databases: Databases, tmp_path: Path) -> None:
    """A restored table: of older rows, the base has the newest of most; of those whose edit waited, the journal; of
    those that the bookkeeping lost too, the journal alone."""
    command = a_fleet(databases, tmp_path)
    a_history(command)
    edit(command, 1, 10, "of the station", 15)
    command.well("pull", "station-1")
    old = "UPDATE kafka_test SET text = 'old', modify_date = '2001-01-01' WHERE code = 'S1' AND id IN (1, 2, 6, 10)"
    databases.execute("control", old)
    databases.execute("control", "DELETE FROM kafka_test WHERE code = 'S1' AND id IN (20, 21)")
    databases.execute("control", f"DELETE FROM {BASE} WHERE code = 'S1' AND id = 21")
    everything = snapshot(databases, "control")
    (plan, other) = command.well("reseed-control", "--dry-run", "--json").json["plan"]
    assert snapshot(databases, "control") == everything
    assert (plan["found"], plan["edits"]) == ({"insert": 2, "rewrite": 4, "newer": 1}, 1)
    assert plan["sources"] == {"journal": 2, "base": 4}
    assert other["status"] == "nothing to do"
    done = give_back(command)
    assert "  of these from the journal: 2, from the bookkeeping: 4" in done
    assert [text(databases, "control", n) for n in (1, 6, 7, 10, 21)] == [
        "of the station", "won, and waits", "seen by nobody", "of the station", "row 21",
    ]  # fmt: skip
    kept = command.well("conflicts", "list", "--json").json["conflicts"]
    assert len([one for one in kept if one["control_row"] and one["control_row"]["text"] == "old"]) == 4
    settle(command)
    assert text(databases, 1, 6) == "won, and waits"
    assert text(databases, 1, 7) == "seen by nobody"


def test_a_journal_that_is_not_there_is_no_reason_to_wait(databases: Databases, tmp_path: Path) -> None:
    command = a_fleet(databases, tmp_path)
    a_history(command)
    before = databases.count("control")
    lose(databases)
    command.topology["journal"] = {"url": "nowhere://at/all", "required": False}
    (plan, _) = command.well("reseed-control", "--dry-run", "--json").json["plan"]
    assert [note for note in plan["warnings"] if "rows come from the bookkeeping alone" in note]
    assert command("reseed-control", "--yes", "--since", "2h").code == 1
    assert databases.count("control") == 0
    give_back(command)
    assert databases.count("control") == before
