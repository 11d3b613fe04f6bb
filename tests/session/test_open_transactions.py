"""A transaction that is open while a run reads, and commits later under an older stamp, is never passed over."""

from __future__ import annotations

import threading
import time
from typing import Any

from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.model.changes import Status

WATERMARK = "SELECT watermark FROM stationsync_state WHERE station = 'station-1' AND direction = 'up'"


def a_fleet(databases: MariaDBDatabases, **options: Any) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **options)
    fleet.init()
    return fleet


def watermark(fleet: Fleet) -> str:
    return str(fleet.databases.query("control", WATERMARK)[0][0])


def require_same(fleet: Fleet) -> None:
    fleet.require_nothing_to_do()
    fleet.require_equal()


def open_writer(databases: MariaDBDatabases, stamp: str) -> Any:
    """A station transaction that has written row 1 under `stamp`, and not committed."""
    connection = databases.connect(1)
    connection.cursor().execute("UPDATE kafka_test SET text = 'late', modify_date = %s WHERE id = 1", [stamp])
    return connection


def test_an_open_transaction_holds_the_watermark_back_so_that_its_late_commit_arrives(
    mariadb_databases: MariaDBDatabases,
) -> None:
    """No lookback here: only the bound by open transactions can bring it."""
    fleet = a_fleet(mariadb_databases, lookback="0s", settle="0s")
    mariadb_databases.put(1, [row(1), row(2)])
    fleet.sync()

    late = open_writer(mariadb_databases, ago(0))
    begun = ago(0)
    time.sleep(3.2)
    fleet.edit(1, 2, text="in time")
    assert fleet.pull().counts.applied == 1
    assert watermark(fleet) <= begun
    late.commit()

    up = fleet.pull()
    assert (up.status, up.counts.applied) == (Status.DONE, 1)
    assert [values[1] for values in mariadb_databases.rows("control")] == ["late", "in time"]
    require_same(fleet)
    assert watermark(fleet) > begun


def test_an_open_transaction_is_seen_although_a_monitor_never_stops_looking(
    mariadb_databases: MariaDBDatabases,
) -> None:
    """As long as somebody looks at innodb_trx every 0.1 s, the server does not renew it."""
    fleet = a_fleet(mariadb_databases, lookback="0s", settle="0s")
    mariadb_databases.put(1, [row(1)])
    fleet.sync()
    done = threading.Event()
    monitor = threading.Thread(target=_keep_looking, args=(mariadb_databases.connect(1), done))
    monitor.start()
    try:
        time.sleep(0.3)
        late = open_writer(mariadb_databases, ago(0))
        begun = ago(0)
        time.sleep(2.2)
        fleet.pull()
        assert watermark(fleet) <= begun
    finally:
        done.set()
        monitor.join()
    late.commit()
    assert fleet.pull().counts.applied == 1
    require_same(fleet)


def _keep_looking(connection: Any, done: threading.Event) -> None:
    cursor = connection.cursor()
    while not done.wait(0.02):
        cursor.execute("SELECT COUNT(*) FROM information_schema.innodb_trx")
        cursor.fetchall()


def test_without_the_right_to_see_transactions_the_lookback_brings_a_late_commit(
    mariadb_databases: MariaDBDatabases,
) -> None:
    user = f"u{mariadb_databases.name(1)[-12:]}"
    server = mariadb_databases.server(1)
    server.create_user(user, "", [f"SELECT, UPDATE, CREATE TEMPORARY TABLES ON `{mariadb_databases.name(1)}`.*"])
    fleet = a_fleet(mariadb_databases, urls={"station-1": server.url(mariadb_databases.name(1), user)}, settle="0s")
    mariadb_databases.put(1, [row(1), row(2)])
    fleet.sync()

    stamp = ago(10)
    late = open_writer(mariadb_databases, stamp)
    fleet.edit(1, 2, text="in time")
    assert fleet.pull().counts.applied == 1
    assert watermark(fleet) > stamp
    late.commit()

    assert fleet.pull().counts.applied == 1
    assert [values[1] for values in mariadb_databases.rows("control")] == ["late", "in time"]
    require_same(fleet)


def test_a_transaction_open_at_control_holds_the_push_back_alike(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_fleet(mariadb_databases, lookback="0s", settle="0s")
    mariadb_databases.put(1, [row(1), row(2)])
    fleet.sync()
    late = mariadb_databases.connect("control")
    late.cursor().execute("UPDATE kafka_test SET text = 'late', modify_date = %s WHERE id = 1", [ago(0)])
    time.sleep(3.2)
    fleet.edit("control", 2, text="in time")
    assert fleet.push().counts.applied == 1
    late.commit()
    assert fleet.push().counts.applied == 1
    assert [values[1] for values in mariadb_databases.rows(1)] == ["late", "in time"]
    require_same(fleet)
