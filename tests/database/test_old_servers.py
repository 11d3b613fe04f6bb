"""A server that is too old is refused at the door, not somewhere in the middle of a run."""

from __future__ import annotations

import pytest
from support.databases import MariaDBDatabases
from support.fleet import Fleet

from stationsync.database.mariadb.dialect import BufferConnection
from stationsync.errors import SetUpError


def test_a_server_without_a_collation_of_bytes_is_refused_by_its_version(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb_databases.create_kafka_test(1)
    mariadb_databases.create_kafka_test("control", control=True)
    fleet = Fleet(mariadb_databases)
    monkeypatch.setattr(BufferConnection, "get_server_info", lambda self: "5.7.44-log")

    with pytest.raises(SetUpError, match=r"the server is MySQL 5\.7\.44-log.*MySQL 8\.0\.17"):
        fleet.init()
    assert mariadb_databases.query("control", "SHOW TABLES LIKE 'stationsync%'") == []
