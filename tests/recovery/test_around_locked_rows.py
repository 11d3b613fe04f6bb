"""What a person starts to mend a side goes around rows that an application keeps locked: it names them, and the same
command does just the rest once they are free. A run of all tests has each command in one of the two ways around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, Done
from support.databases import MariaDBDatabases, Where
from support.locks import brief, locking
from support.sample import row

ROWS = 40
# Two of them; in the middle of all that a command writes.
LOCKED = "SELECT id FROM kafka_test WHERE id IN (17, 18) FOR UPDATE"
KEYS = [["17", "A"], ["18", "A"]]


@pytest.fixture(params=["skip locked", "halving"])
def command(
    request: pytest.FixtureRequest,
    mariadb_databases: MariaDBDatabases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """A station and control with the same rows."""
    brief(monkeypatch, skips_locked=request.param == "skip locked")
    mariadb_databases.create_kafka_test(1)
    mariadb_databases.create_kafka_test("control", control=True)
    command = Command(mariadb_databases, tmp_path, deletes="archive")
    mariadb_databases.put(1, [row(n, text="first") for n in range(1, ROWS + 1)])
    command.well("init")
    command.well("sync", "station-1")
    return command


def lock(command: Command, where: Where, sql: str = LOCKED) -> Any:
    assert isinstance(command.databases, MariaDBDatabases)
    return locking(command.databases, where, sql)


def texts(command: Command, where: Where) -> dict[int, str]:
    return dict(command.databases.query(where, "SELECT id, text FROM kafka_test"))


def edit(command: Command, where: Where, text: str) -> None:
    command.databases.execute(where, f"UPDATE kafka_test SET text = '{text}', modify_date = UTC_TIMESTAMP()")


def put_back(command: Command, where: Where) -> None:
    """All have seen the second version; this side has the first one again, as an older backup has it."""
    edit(command, 1, "second")
    command.well("sync", "station-1")
    command.databases.execute(where, "UPDATE kafka_test SET text = 'first', modify_date = '2000-01-01'")


def the_report(done: Done) -> dict[str, Any]:
    assert done.code == 0, done
    (report,) = done.json["reports"]
    assert isinstance(report, dict)
    return report


def require_named(report: dict[str, Any], again: str) -> None:
    assert (report["locked"], report["locked_keys"]) == (2, KEYS), report
    (note,) = (warning for warning in report["warnings"] if "locked" in warning)
    assert '["17", "A"], ["18", "A"]' in note
    assert note.endswith(again)


def settled(command: Command, text: str) -> None:
    """Both sides are equal, and stay so."""
    command.well("sync", "station-1")
    command.well("reconcile", "station-1")
    for run in ("sync", "reconcile"):
        reports = command.well(run, "station-1", "--json").json["reports"]
        assert {one["status"] for one in reports} == {"nothing to do"}, reports
    for where in (1, "control"):
        assert texts(command, where) == dict.fromkeys(range(1, ROWS + 1), text)


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("where", [1, "control"])
def test_reseed(command: Command, where: Where) -> None:
    put_back(command, 1)
    assert "stationsync reseed station-1" in command("sync", "station-1").err
    application = lock(command, where)
    (plan,) = command.well("reseed", "station-1", "--dry-run", "--json").json["plan"]
    assert plan["found"]["rewrite"] == ROWS
    first = the_report(command("reseed", "station-1", "--yes", "--json"))
    require_named(first, "stationsync reseed station-1 --table kafka_test")
    assert first["applied"] == ROWS - 2
    assert {n for n, text in texts(command, 1).items() if text == "first"} == {17, 18}
    application.rollback()
    second = the_report(command("reseed", "station-1", "--yes", "--json"))
    assert (second["applied"], second["unchanged"], second["locked"]) == (2, ROWS - 2, 0)
    settled(command, "second")


@pytest.mark.some(1, 2)
def test_a_row_that_is_locked_and_needs_nothing_is_not_told(command: Command) -> None:
    """A reseed goes over all rows that are known."""
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id > 20")
    application = lock(command, 1)
    report = the_report(command("reseed", "station-1", "--yes", "--json"))
    assert (report["applied"], report["locked"], report["warnings"]) == (20, 0, [])
    application.rollback()
    settled(command, "first")


@pytest.mark.some(0, 2)
def test_what_was_edited_under_the_lock_is_an_edit(command: Command) -> None:
    put_back(command, 1)
    theirs = "UPDATE kafka_test SET text = 'theirs', modify_date = UTC_TIMESTAMP() + INTERVAL 1 MINUTE WHERE id = 17"
    application = lock(command, 1, theirs)
    assert the_report(command("reseed", "station-1", "--yes", "--json"))["locked"] == 1
    application.commit()
    the_report(command("reseed", "station-1", "--yes", "--json"))
    command.well("sync", "station-1")
    assert texts(command, 1)[17] == texts(command, "control")[17] == "theirs"
    kept = command.well("conflicts", "list", "--json").json["conflicts"]
    assert "second" in [one["control_row"]["text"] for one in kept if one["key"] == ["17", "A"]]


@pytest.mark.some(1, 2)
def test_reseed_control(command: Command) -> None:
    put_back(command, "control")
    application = lock(command, "control")
    first = the_report(command("reseed-control", "station-1", "--yes", "--json"))
    require_named(first, "stationsync reseed-control station-1 --table kafka_test")
    application.rollback()
    second = the_report(command("reseed-control", "station-1", "--yes", "--json"))
    assert (first["applied"], second["applied"], second["locked"]) == (ROWS - 2, 2, 0)
    settled(command, "second")


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("verb", ["trust", "trust-control"])
def test_who_is_trusted_waits_for_nobody(command: Command, verb: str) -> None:
    """Nothing is written to either table."""
    put_back(command, 1 if verb == "trust" else "control")
    application = lock(command, "control")
    report = the_report(command(verb, "station-1", "--yes", "--json"))
    assert (report["locked"], report["kept"]) == (0, ROWS)
    application.rollback()
    settled(command, "first")


@pytest.mark.some(1, 2)
def test_rows_that_control_lacks(command: Command) -> None:
    """Of a row that control lacks, an application has only the place: it inserts the row itself."""
    command.databases.execute("control", "DELETE FROM kafka_test WHERE id IN (1, 2, 3, 4, 5, 10, 11, 17, 18)")
    rows = "(17, 'theirs', 'A', NOW(), NOW()), (18, 'theirs', 'A', NOW(), NOW())"
    application = lock(
        command, "control", f"INSERT INTO kafka_test (id, text, code, create_date, modify_date) VALUES {rows}"
    )
    first = the_report(command("reseed-control", "station-1", "--yes", "--json"))
    require_named(first, "stationsync reseed-control station-1 --table kafka_test")
    application.rollback()
    second = the_report(command("reseed-control", "station-1", "--yes", "--json"))
    assert (first["applied"], second["applied"], second["locked"]) == (7, 2, 0)
    settled(command, "first")


@pytest.mark.some(0, 2)
def test_past_rows_that_control_has(command: Command) -> None:
    """And that are locked: there is nothing to be done with them."""
    command.databases.execute("control", "DELETE FROM kafka_test WHERE id BETWEEN 30 AND 38")
    application = lock(command, "control")
    report = the_report(command("reseed-control", "station-1", "--yes", "--json"))
    assert (report["applied"], report["locked"], report["warnings"]) == (9, 0, [])
    application.rollback()
    settled(command, "first")


@pytest.mark.some(1, 2)
def test_revert(command: Command) -> None:
    edit(command, "control", "mistake")
    (pushed,) = command.well("push", "station-1", "--json").json["reports"]
    application = lock(command, "control")
    first = the_report(command("revert", pushed["run"], "--yes", "--json"))
    assert (first["applied"], first["locked"], first["locked_keys"]) == (ROWS - 2, 2, KEYS)
    assert [one["keys"] for one in first["left"] if "locked" in one["why"]] == [['["17","A"]', '["18","A"]']]
    application.rollback()
    second = the_report(command("revert", pushed["run"], "--yes", "--json"))
    assert (second["applied"], second["locked"]) == (2, 0)
    settled(command, "first")


@pytest.mark.some(0, 2)
def test_a_revert_past_rows_that_the_station_has_locked(command: Command) -> None:
    edit(command, "control", "mistake")
    (pushed,) = command.well("push", "station-1", "--json").json["reports"]
    application = lock(command, 1)
    report = the_report(command("revert", pushed["run"], "--yes", "--json"))
    assert (report["applied"], report["sent"], report["locked"]) == (ROWS, ROWS - 2, 2)
    assert [note for note in report["warnings"] if "stationsync push station-1 --table kafka_test" in note]
    application.rollback()
    settled(command, "first")


@pytest.mark.some(1, 2)
def test_trash_restore(command: Command) -> None:
    """Flagged rows stand at control, and may be locked there."""
    command.topology["tables"]["kafka_test"] |= {
        "deletes": "flag",
        "flag_column": "gone",
        "exclude": ["master_id", "gone"],
    }
    command.databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN gone datetime")
    command.well("init")
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id BETWEEN 14 AND 18")
    command.well("reconcile", "station-1")
    items = {int(one["key"][0]): one["id"] for one in command.well("trash", "list", "--json").json["items"]}
    application = lock(command, "control")
    done = command.well("trash", "restore", *items.values(), "--json").json
    assert sorted(done["locked"]) == sorted([items[17], items[18]])
    assert sorted(done["restored"]) == sorted(items[n] for n in (14, 15, 16))
    application.rollback()
    assert command.well("trash", "restore", *done["locked"], "--json").json["restored"] == done["locked"]
    flagged = command.databases.query("control", "SELECT COUNT(*) FROM kafka_test WHERE gone IS NOT NULL")
    assert flagged == [(0,)]
