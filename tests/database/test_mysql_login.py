"""MySQL's usual login, which a server that has not the user's hash in memory wants the password for."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.another_server import of_side
from support.command import Command
from support.databases import MariaDBDatabases

from cli.sandbox.files import is_mysql

PROGRAM = of_side("station")
pytestmark = pytest.mark.skipif(PROGRAM is None or not is_mysql(PROGRAM), reason="of MySQL at the station")


def test_a_password_is_sent_only_to_a_server_that_has_proved_who_it_is(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    mariadb_databases.create_kafka_test("control", control=True)
    mariadb_databases.create_kafka_test(1)
    server, name = mariadb_databases.server(1), mariadb_databases.name(1)
    server.create_user(f"u_{name}", "secret 한국", [f"ALL ON `{name}`.*"])
    command = Command(mariadb_databases, tmp_path)
    command.environment["STATION_PASSWORD"] = "secret 한국"
    station = {"url": server.url(name, f"u_{name}"), "password": "${STATION_PASSWORD}"}
    command.topology["stations"]["station-1"] = station
    done = command("check", "station-1")
    assert (done.code, "verify: ca" in done.out, "secret" in done.out) == (1, True, False)

    tls = {"ca": str(server.folder / "data/ca.pem"), "verify": "ca"}
    command.topology["stations"]["station-1"] = station | {"tls": tls}
    command.well("init")
    command.well("sync", "station-1")
    # By now it has the hash in memory, which proves nothing but harms nobody.
    command.topology["stations"]["station-1"] = station
    command.well("sync", "station-1")
