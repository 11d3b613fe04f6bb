"""Faults of the environment stop or delay a run, and blame no row; the next run goes on where it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymysql
import pytest
from support.databases import MariaDBDatabases
from support.faults import USER, Site, dying
from support.fleet import Fleet
from support.waiting import wait_until

from cli.sandbox.servers import MariaDBServer
from stationsync.errors import DatabaseBusy, LeaseLost, StationOffline, StationSyncError
from stationsync.model.changes import Chunk, Status
from stationsync.session import extract
from stationsync.sync import merge, push
from stationsync.sync.send import _Sender

pytest_plugins = ["support.faults"]

Run = Callable[..., Any]
# Once, without the retries that a run has: a story need not wait for them.
ONCE: dict[str, dict[str, Run]] = {
    "up": {"extract": lambda s, r, a: extract.read_page(s, r.start, a), "merge": merge.merge_chunk},
    "down": {"push": push.push_page},
}


def run(site: Site, direction: str, **steps: Run) -> Any:
    """One run whose steps are not tried again."""
    return (site.fleet.pull if direction == "up" else site.fleet.push)(**{**ONCE[direction], **steps})


def prepared(site: Site, direction: str) -> None:
    if direction == "down":
        site.fleet.pull()
        site.edit_everything()


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("which", ["control", "station"])
def test_a_server_that_is_read_only_for_a_while(which: str, direction: str, site: Site) -> None:
    prepared(site, direction)
    server = site.control if which == "control" else site.station
    server.execute("SET GLOBAL read_only = 1")
    if (which, direction) == ("station", "up"):
        assert run(site, "up").counts.applied == site.rows  # nothing is written there
    else:
        with pytest.raises(DatabaseBusy, match="read-only"):
            run(site, direction)
        site.require_nobody_blamed()
    server.execute("SET GLOBAL read_only = 0")
    report = run(site, direction)
    assert report.counts.applied + report.counts.settled in (0, site.rows)
    site.require_finished()


def test_a_deadlock_at_control_is_tried_again_in_the_same_run(site: Site) -> None:
    site.fleet.pull()
    site.databases.execute(1, "UPDATE kafka_test SET text = 'ours', modify_date = UTC_TIMESTAMP()")
    site.databases.execute("control", "CREATE TABLE heavy (n INT)")
    other = site.databases.connect("control")
    cursor = other.cursor()
    # The server gives up the lighter transaction: not this one.
    cursor.execute(f"INSERT INTO heavy VALUES {', '.join(f'({n})' for n in range(5_000))}")
    cursor.execute("SELECT id FROM kafka_test WHERE id = 60 FOR UPDATE")
    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(site.fleet.pull)
        waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        # innodb_trx is made anew only after it was left alone for 0.1 s.
        wait_until(lambda: site.control.query(waiting) != [(0,)] or pulling.done(), "a wait for a lock", pause=0.15)
        assert not pulling.done()
        cursor.execute("SELECT id FROM kafka_test WHERE id IN (1, 2, 3) FOR UPDATE")
        other.commit()
        report = pulling.result()
    assert (report.status, report.counts.applied) == (Status.DONE, site.rows)
    status = site.control.query("SHOW ENGINE INNODB STATUS")[0][2]
    assert "LATEST DETECTED DEADLOCK" in status
    site.require_finished()


def test_a_row_that_the_stations_application_keeps_locked(site: Site) -> None:
    prepared(site, "down")
    application = site.databases.connect(1)
    application.cursor().execute("SELECT id FROM kafka_test WHERE id = 7 FOR UPDATE")
    counts = run(site, "down").counts
    assert (counts.applied, counts.locked) == (site.rows - 1, 1)
    site.require_nobody_blamed()
    application.rollback()
    assert run(site, "down").counts.applied == 1
    site.require_finished()


@pytest.mark.parametrize("which", ["control", "station"])
def test_a_server_with_too_many_connections(which: str, site: Site) -> None:
    server = site.control if which == "control" else site.station
    server.execute("SET GLOBAL max_connections = 10")
    taken: list[Any] = []
    with contextlib.suppress(pymysql.err.OperationalError):
        while True:
            taken.append(pymysql.connect(host=server.host, port=server.port, user=USER))
    with pytest.raises(DatabaseBusy, match="Too many connections"):
        run(site, "up")
    for connection in taken:
        connection.close()
    wait_until(lambda: len(server.query("SHOW PROCESSLIST")) < 5, "free connections")
    assert run(site, "up").counts.applied == site.rows
    site.require_finished()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_station_that_is_off_line(direction: str, site: Site) -> None:
    prepared(site, direction)
    site.station.kill()
    with pytest.raises(StationOffline, match=r"station-1.*does not answer") as offline:
        run(site, direction)
    assert offline.value.exit_code == 3
    assert site.state(direction)[0] == Status.OFFLINE
    site.station.start()
    assert run(site, direction).counts.applied == site.rows
    assert site.state(direction) == (Status.DONE, "")
    site.require_finished()


def test_a_station_that_goes_off_line_in_the_middle_of_a_pull(site: Site) -> None:
    pages: list[int] = []

    def page(session: Any, reading: Any, after: Any) -> Chunk:
        if len(pages) == 2:
            site.station.kill()
        chunk = extract.read_page(session, reading.start, after)
        pages.append(len(chunk))
        return chunk

    with pytest.raises(StationOffline):
        run(site, "up", extract=page)
    done = site.databases.count("control")
    assert done == 200
    site.station.start()
    report = run(site, "up")
    assert (report.counts.applied, report.counts.read) == (site.rows - done, site.rows - done)
    site.require_finished()


def test_a_station_that_goes_off_line_before_a_push_commits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(site, "down")
    killed = dying(monkeypatch, _Sender, "altered", 2, site.station.kill)
    with pytest.raises(StationOffline):
        run(site, "down")
    assert killed
    site.station.start()
    monkeypatch.undo()
    report = run(site, "down")
    assert report.counts.applied + report.counts.settled == site.rows - 100
    site.require_finished()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_station_that_is_back_in_a_moment_delays_a_run_only(
    direction: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retries of the steps carry a run over a restart."""
    prepared(site, direction)

    def restart() -> None:
        site.station.kill()
        site.station.start()

    where: tuple[Any, str] = (extract, "position") if direction == "up" else (_Sender, "write_all")
    restarted = dying(monkeypatch, *where, 3, restart)
    report = site.fleet.pull() if direction == "up" else site.fleet.push()
    assert (report.status, report.counts.applied) == (Status.DONE, site.rows)
    assert restarted
    site.require_finished()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_control_that_dies_in_the_middle(direction: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(site, direction)
    killed = dying(monkeypatch, merge.books, "write_mark", 3, site.control.kill)
    with pytest.raises(LeaseLost, match="control"):
        run(site, direction)
    assert killed
    with pytest.raises(LeaseLost, match="control"):
        run(site, direction)
    site.control.start()
    monkeypatch.undo()
    assert run(site, direction).status is Status.DONE
    site.require_finished()


def test_a_control_whose_disk_is_full() -> None:
    """All tables in one file that may not grow."""
    options = ["--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M"]
    with MariaDBServer(options=options) as control, MariaDBServer() as station:
        site = Site(control, station, rows=5_000)
        site.databases.execute("control", "CREATE TABLE filler (t LONGTEXT)")
        with contextlib.suppress(pymysql.err.OperationalError):
            while True:
                site.databases.execute("control", "INSERT INTO filler VALUES (REPEAT('x', 200000))")
        with pytest.raises(StationSyncError) as full:
            run(site, "up")
        assert isinstance(full.value, DatabaseBusy), full.value
        assert "full" in full.value.what
        site.require_nobody_blamed()
        # A second disk: in a full one, MariaDB cannot even drop a table.
        control.stop()
        control._options += ("--innodb-data-file-path=ibdata1:12M;ibdata2:40M",)
        control.start()
        assert run(site, "up").status is Status.DONE
        site.require_finished()


def test_a_run_that_is_stopped_is_no_lost_connection(mariadb_databases: MariaDBDatabases) -> None:
    """What clearing up meets on a connection that was left in the middle of an answer is not what ended the run."""
    (pair,) = Fleet(mariadb_databases).pairs()

    def inside_a_transaction() -> None:
        with pair.control.connect() as conn, conn.begin():
            driver: Any = conn.connection.dbapi_connection
            driver._force_close()
            raise KeyboardInterrupt

    def in_clearing_up() -> None:
        with pair.control.errors():
            try:
                raise KeyboardInterrupt
            finally:
                raise pymysql.err.InterfaceError(0, "")

    for stopped in (inside_a_transaction, in_clearing_up):
        with pytest.raises(KeyboardInterrupt):
            stopped()
