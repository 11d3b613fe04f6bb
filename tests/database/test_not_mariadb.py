"""A server that is not MariaDB is refused at the door, not somewhere in the middle of a run."""

from __future__ import annotations

import pytest
from support.databases import MariaDBDatabases
from support.fleet import Fleet

from stationsync.database.mariadb.dialect import BufferConnection
from stationsync.errors import SetUpError


def test_another_kind_of_server_is_refused_by_its_version(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb_databases.create_kafka_test(1)
    mariadb_databases.create_kafka_test("control", control=True)
    fleet = Fleet(mariadb_databases)
    monkeypatch.setattr(BufferConnection, "get_server_info", lambda self: "8.0.36")

    with pytest.raises(SetUpError, match=r"not MariaDB, but 8\.0\.36.*MariaDB 10\.4"):
        fleet.init()
    assert mariadb_databases.query("control", "SHOW TABLES LIKE 'stationsync%'") == []
