"""What docs/OPERATIONS.md says of lost bookkeeping and restored databases, on both kinds of databases."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, Row
from support.sample import row

OLD = "2024-03-01 00:00:00"
OPTIONS = {"deletes": "archive", "control_deletes": "send", "max_deletes": "100"}


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    for number, code in ((1, "A"), (2, "B")):
        databases.create_kafka_test(number)
        databases.put(number, [row(n, code) for n in range(1, 31)])
    command = Command(databases, tmp_path, stations=2, **OPTIONS)
    command.well("init")
    sync(command)
    return command


def sync(command: Command, *, reconcile: bool = False) -> None:
    for name in ("station-1", "station-2"):
        command.well("sync", name)
        if reconcile:
            command.well("reconcile", name)


def now() -> str:
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))


def edit(databases: Databases, where: Any, number: int, text: str, at: str = "") -> None:
    sql = "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id = %s AND code = 'A'"
    databases.execute(where, sql, [text, at or now(), number])


def delete(databases: Databases, where: Any, number: int) -> None:
    databases.execute(where, "DELETE FROM kafka_test WHERE id = %s AND code = 'A'", [number])


def texts(databases: Databases, where: Any, code: str = "A") -> dict[int, str]:
    return {number: text for number, text, of, *_ in databases.rows(where) if of == code}


def tables(databases: Databases) -> list[str]:
    query = "SHOW TABLES" if databases.kind == "mariadb" else "SELECT name FROM sqlite_master WHERE type = 'table'"
    return [str(name) for (name,) in databases.query("control", query) if not str(name).startswith("sqlite_")]


def drop_books(databases: Databases) -> None:
    for name in tables(databases):
        if name.startswith("stationsync_"):
            databases.execute("control", f"DROP TABLE {name}")


def require_settled(command: Command) -> None:
    """Both sides are equal, and a second round has nothing to do."""
    databases = command.databases
    for number, code in ((1, "A"), (2, "B")):
        assert texts(databases, "control", code) == texts(databases, number, code)
        reports = command.well("sync", f"station-{number}", "--json").json["reports"]
        assert {report["status"] for report in reports} == {"nothing to do"}
        told = command.well("reconcile", f"station-{number}", "--dry-run").out
        assert "nothing differs" in told, told


Backup = dict[str, tuple[list[str], list[Row]]]


def backup(databases: Databases) -> Backup:
    """Every table of control with its rows, as a dump has them."""
    found: Backup = {}
    for name in tables(databases):
        query = f"SHOW COLUMNS FROM {name}" if databases.kind == "mariadb" else f"PRAGMA table_info({name})"
        columns = [str(c[0 if databases.kind == "mariadb" else 1]) for c in databases.query("control", query)]
        found[name] = columns, databases.query("control", f"SELECT * FROM {name}")
    return found


def restore(databases: Databases, kept: Backup) -> None:
    for name, (columns, rows) in kept.items():
        databases.execute("control", f"DELETE FROM {name}")
        databases.put("control", [dict(zip(columns, one, strict=True)) for one in rows], name)


def test_lost_bookkeeping_is_rebuilt_by_init_and_reconcile(command: Command) -> None:
    databases = command.databases
    edit(databases, "control", 1, "edited at control")  # waits to go down
    edit(databases, 1, 2, "edited at the station")  # waits to go up
    edit(databases, "control", 3, "control's")  # both: the newest wins
    edit(databases, 1, 3, "of the station", OLD)
    delete(databases, "control", 4)  # these two wait for a reconcile
    delete(databases, 1, 5)
    databases.put(1, [row(31)])
    drop_books(databases)

    refused = command("sync", "station-1")
    assert refused.code == 1
    assert "stationsync init" in refused.out + refused.err
    told = command.well("init").out
    assert "1 rows that no station has: they stay, and have no owner" in told
    sync(command, reconcile=True)

    at_control, at_station = texts(databases, "control"), texts(databases, 1)
    for found in (at_control, at_station):
        assert [found[n] for n in (1, 2, 3)] == ["edited at control", "edited at the station", "control's"]
        assert found[31] == "row 31"
    assert "of the station" in str(databases.query("control", "SELECT station_row FROM stationsync_conflict"))
    # Who deleted was known by the books alone. Nothing is deleted on a guess: the one comes back, the other stays.
    assert at_control[4] == at_station[4] == "row 4"
    assert at_control[5] == "row 5"
    assert 5 not in at_station
    delete(databases, "control", 5)  # what a person does who knows better
    require_settled(command)


def test_a_control_restored_from_an_older_backup_catches_up(command: Command) -> None:
    databases = command.databases
    kept = backup(databases)
    edit(databases, "control", 1, "edited at control")
    edit(databases, 1, 2, "edited at the station")
    delete(databases, 1, 3)
    delete(databases, "control", 4)
    databases.put(1, [row(31, at=now())])
    sync(command, reconcile=True)
    newest = texts(databases, 1)
    edit(databases, "control", 6, "never pushed")
    edit(databases, 1, 7, "after the disaster")

    restore(databases, kept)
    assert texts(databases, "control") != newest
    sync(command, reconcile=True)

    assert texts(databases, 1) == {**newest, 7: "after the disaster"}
    assert texts(databases, "control")[1] == "edited at control", "the station had it"
    assert texts(databases, "control")[6] == "row 6", "what control alone had since its backup is gone"
    require_settled(command)


def test_control_s_tables_restored_without_the_books(command: Command) -> None:
    """Rows that are older than the base look edited: without the books, the newest version wins again."""
    databases = command.databases
    kept = {name: rows for name, rows in backup(databases).items() if name == "kafka_test"}
    edit(databases, 1, 1, "newer than the backup")
    databases.put(1, [row(31, at=now())])
    sync(command)
    restore(databases, kept)
    drop_books(databases)

    command.well("init")
    sync(command, reconcile=True)

    assert texts(databases, "control")[1] == texts(databases, 1)[1] == "newer than the backup"
    assert texts(databases, "control")[31] == "row 31"
    require_settled(command)


def test_a_lost_control_is_filled_by_its_stations(command: Command) -> None:
    databases = command.databases
    edit(databases, "control", 1, "went down before")
    sync(command)
    drop_books(databases)
    databases.execute("control", "DROP TABLE kafka_test")

    databases.create_kafka_test("control", control=True)  # the tables as they were, empty
    command.well("init")
    sync(command, reconcile=True)

    assert texts(databases, "control")[1] == "went down before"
    assert databases.count("control") == 60
    require_settled(command)


def test_an_upgrade_is_init_once_more(command: Command) -> None:
    """What an older version had not made yet is made; what is there is left as it is."""
    databases = command.databases
    edit(databases, 1, 1, "edited meanwhile")
    for table in ("stationsync_incident", "stationsync_proof"):
        databases.execute("control", f"DROP TABLE {table}")
    databases.execute("control", "ALTER TABLE stationsync_state DROP COLUMN skew")
    before = databases.query("control", "SELECT station, direction, watermark FROM stationsync_state")

    refused = command("check")
    assert refused.code == 1
    assert "stationsync init" in refused.out
    plan = command.well("init", "--dry-run").out
    assert "stationsync_proof would be created" in plan
    assert "stationsync_proof" not in tables(databases)
    made = command.well("init", "--json").json
    assert made["tables"] == ["stationsync_incident", "stationsync_proof"]
    assert made["columns"] == ["stationsync_state.skew"]
    assert databases.query("control", "SELECT station, direction, watermark FROM stationsync_state") == before
    sync(command, reconcile=True)
    assert texts(databases, "control")[1] == "edited meanwhile"
    require_settled(command)
    again = command.well("init", "--json").json
    assert (again["tables"], again["columns"], again["adopted"]) == ([], [], [])
