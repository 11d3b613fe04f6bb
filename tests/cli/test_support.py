"""The tests' own databases: equal on both kinds, fresh for each test, gone afterwards."""

from __future__ import annotations

from support.databases import Databases, MariaDBDatabases
from support.sample import row

from cli.sandbox.servers import MariaDBServer


def test_a_station_and_control_have_the_sample_table(databases: Databases) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    for where in ("control", 1):
        databases.put(where, [row(2, text="둘 🚢"), row(1, text="100 %")])
        assert databases.rows(where) == [
            (1, "100 %", "A", "2024-01-01 00:00:00", "2024-01-01 00:00:00"),
            (2, "둘 🚢", "A", "2024-01-01 00:00:00", "2024-01-01 00:00:00"),
        ]
    assert databases.query("control", "SELECT master_id FROM kafka_test ORDER BY master_id") == [(1,), (2,)]


def test_stations_do_not_share_a_database(databases: Databases) -> None:
    assert databases.station_url(1) == databases.station_url(1) != databases.station_url(2)
    databases.create_kafka_test(1)
    databases.create_kafka_test(2)
    databases.put(1, [row(1)])
    assert (databases.count(1), databases.count(2)) == (1, 0)


def test_an_open_transaction_is_seen_by_nobody(databases: Databases) -> None:
    databases.create_kafka_test(1)
    databases.put(1, [row(1)])
    writer = databases.connect(1)
    writer.cursor().execute("UPDATE kafka_test SET text = 'open'")
    assert databases.query(1, "SELECT text FROM kafka_test WHERE id = %s", [1]) == [("row 1",)]
    writer.commit()
    assert databases.query(1, "SELECT text FROM kafka_test WHERE text LIKE 'o%%' AND id = %s", [1]) == [("open",)]


def test_cleaning_up_does_not_wait_for_a_forgotten_transaction(
    mariadb_control: MariaDBServer, mariadb_station: MariaDBServer
) -> None:
    databases = MariaDBDatabases(mariadb_control, mariadb_station)
    databases.create_kafka_test(1)
    forgotten = mariadb_station.connect(databases.name(1), autocommit=False)
    forgotten.query("INSERT INTO kafka_test (code, create_date, modify_date) VALUES ('A', NOW(), NOW())")
    name = databases.name(1)
    databases.close()
    assert (name,) not in mariadb_station.query("SHOW DATABASES")
