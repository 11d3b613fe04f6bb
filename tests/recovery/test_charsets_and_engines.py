"""What brings rows back, or takes them back, between columns of two character sets, of one that has bytes without a
Unicode, and where the station has no transactions: byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.command import Command
from support.databases import MariaDBDatabases, Where
from support.inject import ago


class Case(NamedTuple):
    station: str
    control: str
    engine: str
    # In bytes of the station's character set, of keys and of values; then what control makes of one of them.
    texts: tuple[str, ...]
    edit: str


CASES = {
    "latin1, utf8mb4": Case("latin1", "utf8mb4", "InnoDB", ("61", "E9", "80DF", ""), "C3BC"),
    "euckr, utf8mb4": Case("euckr", "utf8mb4", "MyISAM", ("61", "B0A1", "C7D1B1DB", ""), "EAB080"),
    "cp932, utf8mb4": Case("cp932", "utf8mb4", "Aria", ("61", "93FA", "835C", ""), "E69CAC"),
    "euckr, euckr": Case("euckr", "euckr", "Aria", ("61", "C9A1", "FEA1", "C7D1"), "C9A2"),
    "cp932, cp932": Case("cp932", "cp932", "InnoDB", ("61", "8790", "81E0", "EDB3"), "8791"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def command(case: Case, mariadb_databases: MariaDBDatabases, tmp_path: Path) -> Command:
    """The key is nullable at the station."""
    databases = mariadb_databases
    sides: list[tuple[Where, str, str, str]] = [
        (1, case.station, case.engine, "NULL"),
        ("control", case.control, "InnoDB", "NOT NULL"),
    ]
    for where, charset, engine, null in sides:
        databases.execute(
            where,
            f"CREATE TABLE notes (code varchar(20) {null}, body varchar(40) NULL, n int, modify_date datetime NOT NULL,"
            f" UNIQUE (code)) CHARACTER SET {charset} COLLATE {charset}_bin ENGINE={engine}",
        )
    table = {"modified": "modify_date", "key": ["code"], "deletes": "archive"}
    command = Command(databases, tmp_path, tables={"notes": table}, lookback="1h")
    command.well("init")
    for number, text in enumerate(case.texts):
        databases.execute(1, f"INSERT INTO notes VALUES (X'61{text}', X'{text}', {number}, '{ago(400)}')")
    databases.execute(1, f"INSERT INTO notes VALUES (NULL, 'nobody', 9, '{ago(400)}')")
    command.well("sync", "station-1")
    return command


def rows(command: Command, where: Where, charset: str) -> list[Any]:
    """As bytes of one character set."""
    hexed = ", ".join(f"HEX(CONVERT({name} USING {charset}))" for name in ("code", "body"))
    sql = f"SELECT {hexed}, n, modify_date FROM notes WHERE code IS NOT NULL ORDER BY n"
    return command.databases.query(where, sql)


def require_equal(command: Command, case: Case, number: int = 4) -> list[Any]:
    via = case.control
    there, here = rows(command, 1, via), rows(command, "control", via)
    assert there == here
    assert len(here) == number
    assert command.ids("quarantine", "list") == []
    reports = command.well("sync", "station-1", "--json").json["reports"]
    assert {one["status"] for one in reports} == {"nothing to do"}, reports
    swept = command.well("reconcile", "station-1", "--json").json["reports"]
    assert {one["status"] for one in swept} == {"nothing to do"}, swept
    return here


@pytest.mark.some(1, 3)
def test_control_gets_its_rows_back(command: Command, case: Case) -> None:
    execute = command.databases.execute
    was = require_equal(command, case)
    execute("control", "DELETE FROM notes")
    command.well("reseed-control", "station-1", "--yes")
    assert require_equal(command, case) == was
    for lost in (("notes",), ("notes", "stationsync_base_notes")):
        for table in lost:
            execute("control", f"DELETE FROM {table}")
        command.well("reseed-control", "--yes")
        assert require_equal(command, case) == was

    # Out of the trash: the station does not get it back.
    execute(1, "DELETE FROM notes WHERE n = 2")
    command.well("reconcile", "station-1")
    assert len(rows(command, "control", case.control)) == 3
    (item,) = command.ids("trash", "list")
    command.well("trash", "restore", item)
    assert rows(command, "control", case.control) == was


@pytest.mark.some(0, 3)
def test_the_station_gets_its_rows_back(command: Command, case: Case) -> None:
    execute = command.databases.execute
    was = require_equal(command, case)
    execute(1, "DELETE FROM notes WHERE code IS NOT NULL")
    command.well("reseed", "station-1", "--yes")
    assert require_equal(command, case) == was


@pytest.mark.some(2, 3)
def test_an_edit_is_taken_back(command: Command, case: Case) -> None:
    """Of a row that control edited, and of one that the station did."""
    execute = command.databases.execute
    was = require_equal(command, case)
    execute("control", f"UPDATE notes SET body = X'{case.edit}', modify_date = %s WHERE n IN (1, 2)", [ago(50)])
    execute(1, f"UPDATE notes SET body = X'{case.texts[1]}', modify_date = %s WHERE n = 3", [ago(50)])
    reports = command.well("sync", "station-1", "--json").json["reports"]
    assert [one["applied"] for one in reports] == [1, 2]
    now = require_equal(command, case)
    assert now != was
    command.well("revert", *dict.fromkeys(one["run"] for one in reports), "--yes")
    assert require_equal(command, case) == was
