"""kill -9 of a run at any moment, and lost connections: both sides always agree with the base, and the next run
finishes the work, with nothing doubled and nothing lost."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from support import kill_run
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.waiting import eventually

from stationsync.database.mariadb.packets import RowReader
from stationsync.errors import LeaseLost
from stationsync.keeping import books
from stationsync.model.changes import Report, Status
from stationsync.sync.send import _Sender

BASE = "stationsync_base_kafka_test"
COLUMNS = "id, text, code, create_date, modify_date"


class Site:
    """One station and control, and runs that are killed."""

    def __init__(self, databases: MariaDBDatabases, rows: int, page_rows: int) -> None:
        self.databases = databases
        self.rows = rows
        self.page_rows = page_rows
        databases.create_kafka_test(1)
        databases.create_kafka_test("control", control=True)
        self.fleet = Fleet(databases, page_rows=page_rows)
        self.fleet.init()
        # Ten thousand rows a second, so that runs are cut off in the middle of seconds too.
        databases.execute(
            1,
            "INSERT INTO kafka_test SELECT seq, CONCAT('행 🚉 ', seq), IF(seq % 2, 'A', 'B'), '2024-01-01',"
            f" '2024-01-01' + INTERVAL seq DIV 10000 SECOND FROM seq_1_to_{rows}",
        )

    def start(self, direction: str, at: list[Any] | None = None) -> kill_run.Run:
        urls = (self.databases.control_url, self.databases.station_url(1))
        return kill_run.start(*urls, direction=direction, at=at, page_rows=self.page_rows)

    def edit_everything(self, rows: int) -> None:
        sql = "UPDATE kafka_test SET text = CONCAT('edited ', id), modify_date = UTC_TIMESTAMP() WHERE id <= %s"
        self.databases.execute("control", sql, [rows])

    def fingerprint(self, where: Any, table: str = "kafka_test") -> tuple[Any, ...]:
        """Count and a checksum that sees swapped values too."""
        row = f"CONCAT_WS('#', {COLUMNS})"
        checksum = f"BIT_XOR(CAST(CONV(LEFT(MD5({row}), 16), 16, 10) AS UNSIGNED))"
        return self.databases.query(where, f"SELECT COUNT(*), {checksum} FROM {table}")[0]

    def require_sound(self, direction: str) -> None:
        """What must hold at any moment, whatever was killed."""
        query = self.databases.query
        assert query("control", f"SELECT COUNT(*) FROM {BASE} WHERE stationsync_station <> 'station-1'") == [(0,)]
        assert query("control", "SELECT COUNT(*) - COUNT(DISTINCT id, code) FROM kafka_test") == [(0,)]
        if direction == "up":
            assert self.fingerprint("control") == self.fingerprint("control", BASE)
            return
        # A row at the station is what the base says or what control says: never anything else.
        own = set(query(1, f"SELECT MD5(CONCAT_WS('#', {COLUMNS})) FROM kafka_test"))
        known = {
            row
            for table in ("kafka_test", BASE)
            for row in query("control", f"SELECT MD5(CONCAT_WS('#', {COLUMNS})) FROM {table}")
        }
        assert own <= known

    def finish(self, direction: str) -> Report:
        """The next run; the killed one's lease is free as soon as the server has noticed."""
        run = self.fleet.pull if direction == "up" else self.fleet.push

        def ended() -> Report | None:
            report = run()
            return None if report.status is Status.UNDER_WAY else report

        return eventually(ended, "the lease of a killed run is freed", pause=0.05)

    def require_finished(self) -> None:
        expected = self.fingerprint(1)
        assert expected[0] == self.rows
        assert self.fingerprint("control") == expected
        assert self.fingerprint("control", BASE) == expected
        self.fleet.require_nothing_to_do()


UP = [
    *((step, when, 2) for step in ("extract", "validate", "merge") for when in ("before", "after")),
    ("watermark", "before", 1), ("watermark", "before", 3), ("watermark", "after", 2),
    ("sorting", "before", 1), ("sorting", "after", 4), ("result", "before", 1), ("result", "after", 1),
]  # fmt: skip
DOWN = [
    *(("push", when, count) for when in ("before", "after") for count in (1, 3)),
    ("sending", "before", 2), ("sending", "after", 2), ("base", "before", 1), ("base", "after", 2),
    ("watermark", "before", 2), ("watermark", "after", 1), ("result", "before", 1),
]  # fmt: skip


def killed_at(site: Site, at: tuple[str, str, int]) -> None:
    """A pull that is killed there, and what the next one makes of it."""
    run = site.start("up", list(at))
    run.end()
    assert run.was_killed
    site.require_sound("up")
    assert site.finish("up").counts.quarantined == 0
    site.require_finished()


@pytest.mark.parametrize("at", UP, ids=lambda at: "-".join(map(str, at)))
def test_a_pull_killed_at_a_step(at: tuple[str, str, int], mariadb_databases: MariaDBDatabases) -> None:
    site = Site(mariadb_databases, rows=450, page_rows=100)
    killed_at(site, at)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_pull_killed_between_the_halves_of_a_chunk_that_control_refuses(
    pieces: int, mariadb_databases: MariaDBDatabases
) -> None:
    """Control refuses one row of a hundred, so they go in piece by piece; the kill comes behind some of the pieces."""
    site = Site(mariadb_databases, rows=100, page_rows=100)
    mariadb_databases.execute("control", "ALTER TABLE kafka_test ADD CONSTRAINT fits CHECK (text <> 'bad')")
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = 'bad' WHERE id = 10")
    run = site.start("up", ["watermark", "before", pieces + 1])
    run.end()
    assert run.was_killed
    there = mariadb_databases.count("control")
    assert 0 < there < 99
    assert site.finish("up").counts.applied == 99 - there
    assert mariadb_databases.query("control", "SELECT COUNT(*), SUM(id = 10) FROM kafka_test") == [(99, 0)]
    assert site.fleet.pull().status is Status.NOTHING


@pytest.mark.parametrize("at", DOWN, ids=lambda at: "-".join(map(str, at)))
def test_a_push_killed_at_a_step(at: tuple[str, str, int], mariadb_databases: MariaDBDatabases) -> None:
    site = Site(mariadb_databases, rows=450, page_rows=100)
    site.fleet.pull()
    site.edit_everything(420)
    run = site.start("down", list(at))
    run.end()
    assert run.was_killed
    site.require_sound("down")
    assert site.finish("down").counts.quarantined == 0
    site.require_finished()
    assert mariadb_databases.query(1, "SELECT COUNT(*) FROM kafka_test WHERE text LIKE 'edited %%'") == [(420,)]


def kill_at_random(site: Site, direction: str, kills: int, seed: int, longest: float) -> None:
    chance = random.Random(seed)
    cut_off = 0
    for _ in range(kills):
        run = site.start(direction)
        run.wait_until_it_begins()
        time.sleep(chance.uniform(0.02, longest))
        run.kill()
        report = run.end()
        site.require_sound(direction)
        cut_off += run.was_killed
        if report:
            assert report["status"] in (Status.DONE, Status.NOTHING, Status.UNDER_WAY)
    assert cut_off, "no run was cut off: nothing was tried here"


def test_a_pull_of_80_000_rows_killed_again_and_again(mariadb_databases: MariaDBDatabases) -> None:
    site = Site(mariadb_databases, rows=80_000, page_rows=2_800)
    kill_at_random(site, "up", kills=7, seed=2, longest=0.6)
    site.finish("up")
    site.require_finished()
    # An AUTO_INCREMENT of control burns nothing when rows are edited, killed or not.
    (highest,) = mariadb_databases.query("control", "SELECT MAX(master_id) FROM kafka_test")
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = 'again', modify_date = UTC_TIMESTAMP() WHERE id < 9000")
    kill_at_random(site, "up", kills=2, seed=3, longest=0.5)
    site.finish("up")
    site.require_finished()
    assert mariadb_databases.query("control", "SELECT MAX(master_id) FROM kafka_test") == [highest]


# Pages that are large enough for the short way of new rows, every second one on a connection of its own.
TWO_CONNECTIONS = [
    *(("merge", when, count) for when in ("before", "after") for count in (1, 2)),
    *(("watermark", when, count) for when in ("before", "after") for count in (1, 2, 3)),
    ("loading", "after", 1), ("loading", "after", 2), ("loading", "after", 3), ("validate", "after", 3),
]  # fmt: skip


@pytest.mark.parametrize("at", TWO_CONNECTIONS, ids=lambda at: "-".join(map(str, at)))
def test_a_first_load_killed_at_a_step(at: tuple[str, str, int], mariadb_databases: MariaDBDatabases) -> None:
    site = Site(mariadb_databases, rows=24_000, page_rows=5_000)
    killed_at(site, at)


def test_a_first_load_on_two_connections_killed_again_and_again(mariadb_databases: MariaDBDatabases) -> None:
    site = Site(mariadb_databases, rows=150_000, page_rows=6_000)
    kill_at_random(site, "up", kills=8, seed=5, longest=0.7)
    site.finish("up")
    site.require_finished()


def test_a_push_of_20_000_rows_killed_again_and_again(mariadb_databases: MariaDBDatabases) -> None:
    site = Site(mariadb_databases, rows=25_000, page_rows=1_500)
    site.fleet.pull()
    site.edit_everything(20_000)
    kill_at_random(site, "down", kills=8, seed=4, longest=0.8)
    site.finish("down")
    site.require_finished()
    assert mariadb_databases.query(1, "SELECT COUNT(*) FROM kafka_test WHERE text LIKE 'edited %%'") == [(20_000,)]


def kill_connections(databases: MariaDBDatabases, where: Any) -> None:
    """KILL every connection to this database."""
    name = databases.name(where)
    found = databases.query(
        where, f"SELECT id FROM information_schema.processlist WHERE db = '{name}' AND id <> CONNECTION_ID()"
    )
    for (number,) in found:
        databases.execute(where, f"KILL CONNECTION {number}")


@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_control_session_killed_before_its_commit(
    direction: str, mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(mariadb_databases, rows=450, page_rows=100)
    if direction == "down":
        site.fleet.pull()
        site.edit_everything(450)
    calls = []

    def write_mark(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            kill_connections(mariadb_databases, "control")
        real(*args)

    real = books.write_mark
    monkeypatch.setattr(books, "write_mark", write_mark)
    run = site.fleet.pull if direction == "up" else site.fleet.push
    with pytest.raises(LeaseLost, match="control"):
        run()
    site.require_sound(direction)
    if direction == "up":
        assert mariadb_databases.count("control") == 200
    assert site.finish(direction).status is Status.DONE
    site.require_finished()


def test_the_stations_connection_killed_in_the_middle_of_a_page(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(mariadb_databases, rows=60_000, page_rows=40_000)
    calls = []

    def parsed(*args: Any) -> Any:
        columns = real(*args)
        calls.append(len(columns[0]))
        if len(calls) in (2, 5):
            kill_connections(mariadb_databases, 1)
        return columns

    real = RowReader._parsed
    monkeypatch.setattr(RowReader, "_parsed", parsed)
    report = site.fleet.pull()
    assert (report.status, report.counts.applied, report.counts.read) == (Status.DONE, 60_000, 60_000)
    assert sum(calls) > 60_000, "nothing was read twice"
    monkeypatch.setattr(RowReader, "_parsed", real)
    site.require_finished()


def test_the_stations_connection_killed_before_a_push_commits(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(mariadb_databases, rows=450, page_rows=100)
    site.fleet.pull()
    site.edit_everything(450)
    calls = []

    def altered(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            kill_connections(mariadb_databases, 1)
        return real(*args)

    real = _Sender.altered
    monkeypatch.setattr(_Sender, "altered", altered)
    report = site.fleet.push()
    assert (report.status, report.counts.applied) == (Status.DONE, 450)
    monkeypatch.undo()
    site.require_finished()
