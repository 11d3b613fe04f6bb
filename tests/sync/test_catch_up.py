"""A station that was off-line for a month catches up in chunks; the others are synchronised meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago

from stationsync.model.changes import Report, Status

MONTH = 60_000


def changes(databases: MariaDBDatabases) -> None:
    """What the station's application wrote meanwhile: half of it new rows, half edits of older ones."""
    when = f"'{ago(0)}' + INTERVAL seq DIV 1000 SECOND"
    new = f"SELECT seq + {MONTH}, 'new', 'S1', {when}, {when} FROM seq_1_to_{MONTH // 2}"
    databases.execute(1, f"INSERT INTO kafka_test (id, text, code, create_date, modify_date) {new}")
    edit = "SET text = CONCAT('edit ', id), modify_date"
    databases.execute(1, f"UPDATE kafka_test {edit} = '{ago(0)}' WHERE id <= {MONTH // 2}")


def test_a_month_of_changes_arrives_in_chunks_and_disturbs_nobody(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    for n in (1, 2):
        databases.create_kafka_test(n)
        databases.execute(n, f"INSERT INTO kafka_test VALUES (1000000, 'row', 'S{n}', '2020-01-01', '2020-01-01')")
    columns = "id, text, code, create_date, modify_date"
    old = f"SELECT seq, 'old', 'S1', '2020-01-01', '2020-01-01' FROM seq_1_to_{MONTH // 2}"
    databases.execute(1, f"INSERT INTO kafka_test ({columns}) {old}")
    fleet = Fleet(databases, 2, page_rows=2_000)
    fleet.init()
    for n in (1, 2):
        fleet.sync(n)
    changes(databases)

    live: list[Report] = []
    with ThreadPoolExecutor(1) as pool:
        catching_up = pool.submit(fleet.pull, 1)
        while not catching_up.done():
            number = len(live)
            fleet.edit(2, 1_000_000, "S2", text=f"edit {number}")
            live += fleet.sync(2)
            here = "SELECT text FROM kafka_test WHERE id = 1000000 AND code = 'S2'"
            assert databases.query("control", here) == [(f"edit {number}",)]
        report = catching_up.result()
    assert (report.status, report.counts.applied) == (Status.DONE, MONTH)
    assert report.chunks >= MONTH // 2_000
    assert len(live) > 2
    assert {one.status for one in live} <= {Status.DONE, Status.NOTHING}
    for n in (1, 2):
        fleet.require_equal(n)
    fleet.require_nothing_to_do((1, 2))
