"""Long values and wide tables: what was edited travels, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import MariaDBDatabases

from cli.sandbox.servers import MariaDBServer

MB = 1024 * 1024
DOC = """CREATE TABLE doc ({own} id bigint NOT NULL, name varchar(50), body longtext, pic longblob,
    modify_date datetime NOT NULL, UNIQUE KEY (id), KEY (modify_date, id)) DEFAULT CHARSET=utf8mb4"""
OWN = "own bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
OPTIONS = {"key": ["id"], "modified": "modify_date", "exclude": ["own"], "deletes": "archive"}
NOW = "modify_date = UTC_TIMESTAMP()"
DIGESTS = "id, name, SHA2(body, 256), SHA2(pic, 256), LENGTH(pic)"


def filled(databases: MariaDBDatabases, folder: Path, size: int) -> Command:
    """Three rows with two values of `size` bytes."""
    databases.execute(1, DOC.format(own=""))
    databases.execute("control", DOC.format(own=OWN))
    values = f"REPEAT('한a', {size // 4}), REPEAT(x'00ff275c', {size // 4}), '2024-01-01'"
    for n in (1, 2, 3):
        databases.execute(1, f"INSERT INTO doc VALUES ({n}, 'n', {values})")
    command = Command(databases, folder, tables={"doc": OPTIONS})
    command.topology["journal"] = "off"
    command.well("init")
    sync(command)
    require_equal(databases)
    return command


def sync(command: Command) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = command.well("sync", "station-1", "--json").json["reports"]
    return reports


def require_equal(databases: MariaDBDatabases) -> None:
    found = databases.query(1, f"SELECT {DIGESTS} FROM doc ORDER BY id")
    assert found
    assert databases.query("control", f"SELECT {DIGESTS} FROM doc ORDER BY id") == found
    quarantine = databases.query("control", "SELECT reasons FROM stationsync_quarantine WHERE state = 'open'")
    assert quarantine == []


def edits(command: Command) -> None:
    """Short edits beside long values, of both sides, in conflict, and of a long value itself; a delete."""
    databases = command.databases
    assert isinstance(databases, MariaDBDatabases)
    databases.execute(1, f"UPDATE doc SET name = 'up', {NOW} WHERE id = 1")
    databases.execute("control", f"UPDATE doc SET name = 'down', {NOW} WHERE id = 2")
    up, down = sync(command)
    assert (up["applied"], down["applied"]) == (1, 1)
    require_equal(databases)
    databases.execute(1, f"UPDATE doc SET name = 'theirs', {NOW} WHERE id = 3")
    databases.execute("control", f"UPDATE doc SET name = 'ours', {NOW} + INTERVAL 5 SECOND WHERE id = 3")
    # Another row of the same part, with another column: neither brings the other's values along.
    databases.execute("control", f"UPDATE doc SET pic = x'00275c', {NOW} WHERE id = 2")
    up, down = sync(command)
    assert (up["conflicts"], down["applied"]) == (1, 2)
    require_equal(databases)
    for report in sync(command):
        assert report["status"] == "nothing to do", report
    databases.execute(1, "DELETE FROM doc WHERE id = 1")
    (report,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert report["deleted"] == 1
    require_equal(databases)


def test_a_short_edit_beside_long_values(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    """With the server's usual packets, of 16 MB; two such values would not go through together."""
    command = filled(mariadb_databases, tmp_path, 6 * MB)
    edits(command)
    long = "body = CONCAT('new', body), pic = CONCAT(x'5c', pic, pic)"
    mariadb_databases.execute("control", f"UPDATE doc SET {long}, {NOW} WHERE id = 3")
    _, down = sync(command)
    assert (down["applied"], down["quarantined"]) == (1, 0)
    require_equal(mariadb_databases)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDBServer, MariaDBServer]]:
    with MariaDBServer() as control, MariaDBServer() as station:
        yield control, station


@pytest.mark.parametrize("small", ["control", "station"])
def test_small_packets_at_one_side(small: str, servers: tuple[MariaDBServer, MariaDBServer], tmp_path: Path) -> None:
    databases = MariaDBDatabases(*servers)
    server = databases.server("control" if small == "control" else 1)
    command = filled(databases, tmp_path, 2 * MB)
    server.execute(f"SET GLOBAL max_allowed_packet = {MB}")
    try:
        edits(command)
        if small == "control":  # a new row too
            values = f"REPEAT('한a', {MB}), REPEAT(x'00ff275c', {MB}), UTC_TIMESTAMP()"
            databases.execute(1, f"INSERT INTO doc VALUES (9, 'n', {values})")
            assert sync(command)[0]["applied"] == 1
            require_equal(databases)
    finally:
        server.execute(f"SET GLOBAL max_allowed_packet = {16 * MB}")
        databases.close()


@pytest.mark.parametrize("kind", ["decimal(20,2)", "char(2)"])
def test_an_edit_of_very_many_columns(kind: str, mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    number = 600 if kind != "char(2)" else 150
    columns = ", ".join(f"c{n} {kind}" for n in range(number))
    for where, own in ((1, ""), ("control", OWN)):
        ddl = f"CREATE TABLE wide ({own} id int NOT NULL, {columns}, modify_date datetime NOT NULL, UNIQUE KEY (id))"
        mariadb_databases.execute(where, ddl)  # type: ignore[arg-type]
    command = Command(mariadb_databases, tmp_path, tables={"wide": OPTIONS})
    command.topology["journal"] = "off"
    command.well("init")
    for n in (1, 2, 3):
        mariadb_databases.execute(1, f"INSERT INTO wide (id, c1, modify_date) VALUES ({n}, 7, '2024-01-01')")
    sync(command)
    for where, value in ((1, 1), ("control", 2)):
        every = ", ".join(f"c{n} = {value}" for n in range(number))
        mariadb_databases.execute(where, f"UPDATE wide SET {every}, {NOW} WHERE id = {value}")  # type: ignore[arg-type]
    up, down = sync(command)
    assert (up["applied"], down["applied"]) == (1, 1), (up, down)
    rest = f"SELECT id, c0, c1, c{number - 1} FROM wide ORDER BY id"
    assert mariadb_databases.query(1, rest) == mariadb_databases.query("control", rest)
    for report in sync(command):
        assert report["status"] == "nothing to do", report
