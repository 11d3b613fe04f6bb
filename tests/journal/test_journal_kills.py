"""kill -9 at any moment around a file of the journal: after the next run it tells exactly what the databases hold, no
file is without its commit, and no commit without its file."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from support import kill_run
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.journals import files, records, require_told, staged
from support.waiting import eventually

from stationsync.model.changes import Report, Status

UP = [
    ("writing", "before", 1), ("writing", "after", 3), ("naming", "before", 3), ("naming", "after", 1),
    ("naming", "after", 3), ("placing", "before", 1), ("placing", "before", 3), ("placing", "after", 3),
]  # fmt: skip
DOWN = [("base", "before", 2), ("naming", "after", 2), ("placing", "before", 2), ("placing", "after", 1)]


class Site:
    """One station of some rows, control, and runs that are killed."""

    def __init__(self, databases: MariaDBDatabases, folder: Path, rows: int, page_rows: int) -> None:
        self.databases = databases
        self.folder = folder / "journal"
        self.page_rows = page_rows
        databases.create_kafka_test(1)
        databases.create_kafka_test("control", control=True)
        self.fleet = Fleet(databases, page_rows=page_rows, journal=self.folder)
        self.fleet.init()
        databases.execute(
            1,
            "INSERT INTO kafka_test SELECT seq, CONCAT('행 🚉 ', seq), IF(seq % 2, 'A', 'B'), '2024-01-01',"
            f" '2024-01-01' + INTERVAL seq DIV 100 SECOND FROM seq_1_to_{rows}",
        )

    def edit(self, where: Any, text: str) -> None:
        sql = f"UPDATE kafka_test SET text = CONCAT('{text} ', id), modify_date = UTC_TIMESTAMP()"
        self.databases.execute(where, sql)

    def start(self, direction: str, at: tuple[str, str, int] | None = None) -> kill_run.Run:
        urls = (self.databases.control_url, self.databases.station_url(1))
        wanted = list(at) if at else None
        return kill_run.start(*urls, direction=direction, at=wanted, page_rows=self.page_rows, journal=str(self.folder))

    def finish(self, direction: str) -> Report:
        """The next run; the killed one's lease is free as soon as the server has noticed."""
        run = self.fleet.pull if direction == "up" else self.fleet.push

        def ended() -> Report | None:
            report = run()
            return None if report.status is Status.UNDER_WAY else report

        return eventually(ended, "the lease of a killed run is freed", pause=0.05)

    def kill(self, direction: str, at: tuple[str, str, int]) -> None:
        run = self.start(direction, at)
        run.end()
        assert run.was_killed


@pytest.mark.parametrize("at", UP, ids=lambda at: "-".join(map(str, at)))
def test_a_pull_killed_around_its_file(
    at: tuple[str, str, int], mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    site = Site(mariadb_databases, tmp_path, rows=450, page_rows=100)
    site.kill("up", at)
    if at[:2] in (("naming", "after"), ("placing", "before")):
        assert staged(site.folder), "nothing was left behind: nothing was tried here"
    site.finish("up")
    require_told(site.fleet, site.folder)
    site.edit(1, "edited")
    site.kill("up", at)
    site.finish("up")
    require_told(site.fleet, site.folder)
    site.fleet.require_nothing_to_do()


@pytest.mark.parametrize("at", DOWN, ids=lambda at: "-".join(map(str, at)))
def test_a_push_killed_around_its_file(
    at: tuple[str, str, int], mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    site = Site(mariadb_databases, tmp_path, rows=450, page_rows=100)
    site.fleet.pull()
    before = {r["key"]: r["after"] for r in records(site.folder)}
    site.edit("control", "edited")
    site.kill("down", at)
    site.finish("down")
    require_told(site.fleet, site.folder)
    told = [r for r in records(site.folder) if r["direction"] == "down"]
    assert sorted(r["key"] for r in told) == sorted(before), "each row once, also those that were settled afterwards"
    assert all(r["before"] == before[r["key"]] for r in told)
    if at[0] == "base":
        assert {r["decision"] for r in told} == {"updated", "settled"}
    site.fleet.require_nothing_to_do()


def test_a_push_that_was_cut_off_is_told_by_the_pull_behind_it(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    site = Site(mariadb_databases, tmp_path, rows=50, page_rows=100)
    site.fleet.pull()
    before = {r["key"]: r["after"] for r in records(site.folder)}
    site.edit("control", "edited")
    site.kill("down", ("base", "before", 1))
    site.finish("up")
    settled = [r for r in records(site.folder) if r["decision"] == "settled"]
    assert {r["key"]: r["before"] for r in settled} == before
    require_told(site.fleet, site.folder)


def test_runs_killed_again_and_again(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    site = Site(mariadb_databases, tmp_path, rows=60_000, page_rows=3_000)
    chance = random.Random(5)
    cut_off = 0
    for _ in range(5):
        run = site.start("up")
        run.wait_until_it_begins()
        time.sleep(chance.uniform(0.05, 0.7))
        run.kill()
        run.end()
        cut_off += run.was_killed
    assert cut_off, "no run was cut off: nothing was tried here"
    site.finish("up")
    require_told(site.fleet, site.folder)
    assert len(records(site.folder)) == 60_000
    assert len(files(site.folder)) == 20
