"""New rows on the short way: straight into control and the base, every second page on a connection of its own. Whatever
is in the way, the tables are as the merge would have made them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.databases import MariaDBDatabases
from support.fleet import Fleet

from stationsync.errors import LeaseLost
from stationsync.model.changes import Status
from stationsync.session import lease
from stationsync.sync import straight

BASE = "stationsync_base_kafka_test"
COLUMNS = "id, text, code, create_date, modify_date"
PAGE, ROWS = 6_000, 30_000


@pytest.fixture
def site(mariadb_databases: MariaDBDatabases) -> Fleet:
    """A station with five pages of rows, and an empty control."""
    databases = mariadb_databases
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, page_rows=PAGE)
    fleet.init()
    databases.execute(
        1,
        "INSERT INTO kafka_test SELECT seq, CONCAT('행 ', seq, IF(seq % 5, '', '\t\\\\ \n')), 'A', '2024-01-01',"
        f" '2024-01-01' + INTERVAL seq DIV 100 SECOND FROM seq_1_to_{ROWS}",
    )
    databases.execute(1, "UPDATE kafka_test SET text = NULL WHERE id % 7 = 0")
    return fleet


class Loads:
    """How often pages were loaded on the short way, by thread; how it went on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by: list[str] = []
        self.refused = 0
        self.before: dict[int, Any] = {}
        real = straight.load

        def load(*args: Any, **kwargs: Any) -> None:
            self.by.append(threading.current_thread().name)
            try:
                if action := self.before.get(len(self.by)):
                    action()
                real(*args, **kwargs)
            except Exception:
                self.refused += 1
                raise

        monkeypatch.setattr(straight, "load", load)

    @property
    def beside(self) -> int:
        return sum(name.startswith("load-beside") for name in self.by)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(monkeypatch)


def content(databases: MariaDBDatabases, where: Any, table: str = "kafka_test") -> list[tuple[Any, ...]]:
    return databases.query(where, f"SELECT {COLUMNS} FROM {table} ORDER BY id, code")


def require_equal(fleet: Fleet, databases: MariaDBDatabases, *, without: int = 0) -> None:
    own = [row for row in content(databases, 1) if row[0] != without]
    assert content(databases, "control") == own
    assert content(databases, "control", BASE) == own
    assert databases.query(
        "control", f"SELECT DISTINCT stationsync_station, stationsync_pending FROM {BASE}"
    ) == [("station-1", 0)]  # fmt: skip
    fleet.require_nothing_to_do()


def test_a_first_load_takes_the_short_way_on_two_connections(
    site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:
    report = site.pull()
    assert (report.status, report.counts.read, report.counts.applied, report.chunks) == (Status.DONE, ROWS, ROWS, 6)
    assert (len(loads.by), loads.beside, loads.refused) == (5, 2, 0)
    require_equal(site, mariadb_databases)


@pytest.mark.parametrize("known", [1, 100, 3_001, 7_777, 29_999])
def test_a_row_that_control_has_already(
    known: int, site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:
    """Whether a look finds it, or the server only: it is merged, with the version that was there kept."""
    sql = f"INSERT INTO kafka_test ({COLUMNS}) VALUES (%s, 'ours', 'a', '2023-01-01', '2023-01-01')"
    mariadb_databases.execute("control", sql, [known])
    report = site.pull()
    assert (report.counts.applied, report.counts.conflicts) == (ROWS, 1)
    own = content(mariadb_databases, 1)
    there = [(*row[:2], row[2].upper(), *row[3:]) for row in content(mariadb_databases, "control")]
    assert there == own
    assert mariadb_databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(1,)]
    assert loads.by
    site.require_nothing_to_do()


@pytest.mark.parametrize("bad", [10, 8_000, 17_000])
def test_a_row_that_control_refuses_is_found_among_the_others(
    bad: int, site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:
    mariadb_databases.execute("control", "ALTER TABLE kafka_test ADD CONSTRAINT fits CHECK (text <> 'bad')")
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = 'bad' WHERE id = %s", [bad])
    report = site.pull()
    assert (report.counts.applied, report.counts.quarantined) == (ROWS - 1, 1)
    assert loads.refused == 1
    require_equal(site, mariadb_databases, without=bad)
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = 'good', modify_date = NOW() WHERE id = %s", [bad])
    assert site.pull().counts.released == 1
    require_equal(site, mariadb_databases)


def test_triggers_are_left_to_the_merge(site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads) -> None:
    trigger = "CREATE TRIGGER loud BEFORE INSERT ON kafka_test FOR EACH ROW SET NEW.text = UPPER(NEW.text)"
    mariadb_databases.execute("control", trigger)
    site.pull()
    assert not loads.by
    assert content(mariadb_databases, "control", BASE) == content(mariadb_databases, 1)


def test_a_row_that_was_written_between_two_pages_has_its_newest_version(
    site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:
    """It stands in both: in one as it was, in the other as it is. They are merged in their order."""

    def write() -> None:
        mariadb_databases.execute(
            1, "UPDATE kafka_test SET text = 'new', modify_date = '2024-01-01 00:10:00' WHERE id = 7"
        )

    mariadb_databases.execute(1, "UPDATE kafka_test SET modify_date = '2024-01-01 00:01:30' WHERE id > 6100")
    loads.before[1] = write
    first = site.pull()
    assert first.counts.quarantined == 0
    assert mariadb_databases.query("control", "SELECT text FROM kafka_test WHERE id = 7") == [("new",)]
    require_equal(site, mariadb_databases)


def kill(databases: MariaDBDatabases, site: Fleet, kind: str = "") -> None:
    """KILL the connection that has the run's lease, or the second one."""
    [pair] = site.pairs(1)
    name = f"{databases.name('control')}:{lease.lease_name(pair, kind)}"
    lock = "stationsync:" + hashlib.sha256(name.encode()).hexdigest()[:40]
    [(number,)] = databases.query("control", f"SELECT IS_USED_LOCK('{lock}')")
    databases.execute("control", f"KILL CONNECTION {number}")


def test_the_second_connection_is_killed_and_the_run_goes_on(
    site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:

    def lose() -> None:
        if threading.current_thread().name.startswith("load-beside"):
            kill(mariadb_databases, site, "second")

    loads.before |= {1: lose, 2: lose}
    report = site.pull()
    assert (report.counts.applied, report.counts.quarantined) == (ROWS, 0)
    assert loads.refused == 1
    require_equal(site, mariadb_databases)


def test_the_lease_is_lost_while_the_second_connection_loads(
    site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:
    def lose() -> None:
        if threading.current_thread().name.startswith("load-beside"):
            kill(mariadb_databases, site)

    loads.before |= {1: lose, 2: lose, 3: lose}
    with pytest.raises(LeaseLost):
        site.pull()
    # Whole pages, in both tables.
    assert content(mariadb_databases, "control") == content(mariadb_databases, "control", BASE)
    report = site.pull()
    assert report.counts.quarantined == 0
    require_equal(site, mariadb_databases)


@contextmanager
def held(fleet: Fleet) -> Iterator[None]:
    """The lock of a second connection, whose run has died."""
    [pair] = fleet.pairs(1)
    with pair.control.connect() as conn:
        with conn.begin():
            assert pair.control.dialect.try_lease(conn, lease.lease_name(pair, "second"))
        yield


def test_nobody_gets_the_lease_while_a_second_connection_is_left(
    site: Fleet, mariadb_databases: MariaDBDatabases
) -> None:
    with held(site):
        assert site.pull().status is Status.UNDER_WAY
        assert lease.is_any_held(site.pairs(1))
    assert mariadb_databases.count("control") == 0
    site.pull()
    require_equal(site, mariadb_databases)


def test_rows_that_follow_known_ones_are_no_reason_to_load_in_vain(
    site: Fleet, mariadb_databases: MariaDBDatabases, loads: Loads
) -> None:
    """The next run reads rows of the lookback again, before many new ones: the look finds that, and no number of
    control's AUTO_INCREMENT is burnt."""
    site.pull()
    loads.by.clear()
    mariadb_databases.execute(1, "UPDATE kafka_test SET modify_date = NOW() WHERE id <= 20")
    site.pull()
    (before,) = mariadb_databases.query("control", "SELECT MAX(master_id) FROM kafka_test")[0]
    mariadb_databases.execute(
        1, f"INSERT INTO kafka_test SELECT {ROWS} + seq, 'new', 'A', NOW(), NOW() FROM seq_1_to_5500"
    )
    report = site.pull()
    assert report.counts.applied == 5_500
    require_equal(site, mariadb_databases)
    assert before >= ROWS


def test_the_journal_has_each_row_once_whichever_connection_it_came_by(
    mariadb_databases: MariaDBDatabases, site: Fleet, tmp_path: Path, loads: Loads
) -> None:
    fleet = Fleet(mariadb_databases, page_rows=PAGE, journal=tmp_path)
    fleet.pull()
    assert loads.beside
    files = sorted(tmp_path.glob("table=*/**/*.parquet"))
    told = [row for file in files for row in pq.read_table(file, columns=["decision", "after"]).to_pylist()]
    assert {row["decision"] for row in told} == {"inserted"}
    assert sorted(int(row["after"]["id"]) for row in told) == list(range(1, ROWS + 1))
    chunks = mariadb_databases.query("control", "SELECT COUNT(*), SUM(row_count) FROM stationsync_journal")
    assert chunks == [(5, ROWS)]
