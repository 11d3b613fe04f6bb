"""The first hour: from an empty folder and two databases to equal tables, by the commands that README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support.command import PROGRAM, Done, _here
from support.databases import Databases, MariaDBDatabases
from support.paths import ROOT
from support.waiting import PATIENCE

ORDERS = """CREATE TABLE `orders` (
  `site` char(4) NOT NULL, `year` smallint NOT NULL, `no` int unsigned NOT NULL,
  `customer` varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL, `note` text NULL,
  `state` enum('new','100% paid','it''s sent') NOT NULL DEFAULT 'new', `doc` json NULL, `amount` decimal(12,2) NOT NULL,
  `total` decimal(13,2) GENERATED ALWAYS AS (`amount` * 1.1) STORED,
  `created_at` datetime NOT NULL DEFAULT current_timestamp(),
  `updated_at` datetime(3) NOT NULL DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
  PRIMARY KEY (`site`, `year`, `no`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""
# Of the old kind, and with names that have to be quoted.
PRICES = """CREATE TABLE `Price List 2` (
  `Id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, `Shop Code` varchar(10) NOT NULL, `key` varchar(30) NULL,
  `select` double NULL, `ModifyDate` timestamp NOT NULL DEFAULT current_timestamp(), `메모: #1` varchar(20) NULL,
  UNIQUE KEY (`Id`, `Shop Code`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""
COLUMNS = "site, year, no, customer, note, state, doc, amount, created_at, updated_at"


def commands() -> list[str]:
    """The block of README's first section, as it is to be typed."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Your own first table\n.*?```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


class Site:
    """A person's empty folder and shell, with users of their own in both databases."""

    def __init__(self, databases: MariaDBDatabases, folder: Path) -> None:
        self.databases = databases
        self.folder = folder
        self.environment = {
            "CONTROL_PASSWORD": "of control'$",
            "STATION_1_PASSWORD": "of 1",
            "STATION_2_PASSWORD": "of 2",
        }
        self.users = {
            "control": ("control", [f"ALL PRIVILEGES ON `{databases.name('control')}`.*"]),
            **{f"station-{n}": (n, self._rights(n)) for n in (1, 2)},
        }
        for name, (where, grants) in self.users.items():
            secret = self.environment[f"{name.upper().replace('-', '_')}_PASSWORD"]
            databases.server(where).create_user(self.user(name), secret, grants)

    def _rights(self, number: int) -> list[str]:
        database = self.databases.name(number)
        return [f"SELECT, UPDATE, CREATE TEMPORARY TABLES ON `{database}`.*", "PROCESS ON *.*"]

    def user(self, name: str) -> str:
        return f"{name}_{self.databases.name('control')[-12:]}"

    def url(self, name: str) -> str:
        where = self.users[name][0]
        return self.databases.server(where).url(self.databases.name(where), self.user(name))

    def type(self, line: str) -> str:
        """A line of a shell; the README's addresses are those of our own servers."""
        for name in self.users:
            line = re.sub(rf"mysql\+pymysql://stationsync@{name}\.local/\w+", shlex.quote(self.url(name)), line)
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return self._well(Done(done.returncode, done.stdout, done.stderr))

    def well(self, *args: str) -> str:
        """The same in this process, which is quicker."""
        return self._well(
            _here([*args], {**self.environment, "STATIONSYNC_TOPOLOGY": f"{self.folder}/stations.yaml"}, "")
        )

    def _well(self, done: Done) -> str:
        said = done.out + done.err
        assert done.code == 0, said
        for secret in self.environment.values():
            assert secret not in said
        return said

    def close(self) -> None:
        for name, (where, _) in self.users.items():
            self.databases.server(where).execute(f"DROP USER '{self.user(name)}'@'%'")


def put(databases: Databases, station: int, rows: int) -> None:
    site = f"S{station}"
    for no in range(rows):
        values = (site, 2026, no, f"김철수 {no}", "메모 😀" if no % 2 else None, f'{{"상태": [{no}, "é"]}}', no + 0.5)
        sql = "INSERT INTO orders (site, year, no, customer, note, doc, amount) VALUES (%s, %s, %s, %s, %s, %s, %s)"
        databases.execute(station, sql, values)


def test_five_commands_as_readme_says_them(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    for number in (1, 2):
        databases.execute(number, ORDERS)
        put(databases, number, 30)
        databases.execute(number, PRICES)
        databases.execute(
            number, "INSERT INTO `Price List 2` (`Shop Code`, `key`, `select`) VALUES (%s, 'a', 1.5)", [f"s{number}"]
        )
    folder = tmp_path / "fleet of mine"
    folder.mkdir()
    site = Site(databases, folder)
    try:
        lines = commands()
        assert len(lines) == 5
        said = [site.type(line) for line in lines]
        assert "equal up to" in said[-1]
        assert "30 rows" in said[-1]
        _equal(databases, 1)
        _both_ways(site)
        _second_station_and_table(site)
        _nothing_secret(site)
    finally:
        site.close()


def _equal(databases: Databases, station: int) -> None:
    where = f"WHERE site = 'S{station}' ORDER BY site, year, no"
    own = databases.query(station, f"SELECT {COLUMNS} FROM orders {where}")
    assert own == databases.query("control", f"SELECT {COLUMNS} FROM orders {where}")
    assert own


def _both_ways(site: Site) -> None:
    databases = site.databases
    databases.execute("control", "UPDATE orders SET customer = '이영희' WHERE site = 'S1' AND no = 7")
    databases.execute(1, "UPDATE orders SET state = 'it''s sent', doc = '[1]' WHERE no = 8")
    assert "applied 1" in site.well("sync", "station-1")
    _equal(databases, 1)
    assert site.well("sync", "station-1").count("nothing to do") == 2
    (name,) = databases.query(1, "SELECT customer FROM orders WHERE no = 7")
    assert name == ("이영희",)


def _second_station_and_table(site: Site) -> None:
    databases = site.databases
    station = ("station-2", site.url("station-2"), "--password", "env:STATION_2_PASSWORD")
    assert "missing" not in site.well("add-station", *station)
    told = site.well("add-table", "Price List 2", "--from", "station-2", "--create", "--yes")
    assert "key: [Id, Shop Code]" in told
    assert "modified: ModifyDate" in told
    assert "have it as well, since they name no tables of their own: station-1" in told
    site.well("init")
    site.well("check")
    for number in (1, 2):
        site.well("sync", f"station-{number}")
        _equal(databases, number)
        said = site.well("reconcile", f"station-{number}")
        assert said.count("equal up to") == 2, said
    names = "`Id`, `Shop Code`, `key`, `select`, `ModifyDate`, `메모: #1`"
    found = databases.query("control", f"SELECT {names} FROM `Price List 2` ORDER BY 2")
    assert found == [row for n in (1, 2) for row in databases.query(n, f"SELECT {names} FROM `Price List 2`")]


def _nothing_secret(site: Site) -> None:
    files = [path for path in site.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"stations.yaml", "stationsync.env", "example.yaml", "orders.yaml"}
    for path in files:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in site.environment.values()), path
        assert not path.name.startswith("."), path
    assert (site.folder / "stationsync.env").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("number", [1, 2])
def test_a_table_of_the_old_set_up(databases: Databases, tmp_path: Path, number: int) -> None:
    """Control has the table, with rows of before; or makes it (`number` 2)."""
    databases.create_kafka_test(1)
    row = {
        "id": 1,
        "text": "a",
        "code": "A",
        "create_date": "2026-01-01 00:00:00",
        "modify_date": "2026-01-02 00:00:00",
    }
    databases.put(1, [row, {**row, "id": 2}])
    if number == 1:
        databases.create_kafka_test("control", control=True)
        databases.put("control", [row])
    folder = tmp_path / "fleet"
    file = folder / "stations.yaml"

    def well(*args: object) -> str:
        done = _here([*map(str, args)], {"STATIONSYNC_TOPOLOGY": str(file)}, "")
        assert done.code == 0, done
        return done.out

    well("new", folder, "--control", databases.control_url)
    well("add-station", "station-1", databases.station_url(1))
    told = well("add-table", "kafka_test", "--from", "station-1", "--create", "--yes")
    assert "key: [id, code]" in told
    assert "exclude: [master_id]" in told
    assert "created: create_date" in told
    assert ("was created" in told) == (number == 2)
    well("init")
    assert "equal up to" in well("reconcile", "station-1")
    assert databases.rows(1) == databases.rows("control")
    assert len(databases.rows(1)) == 2
    assert "nothing to do" in well("sync", "station-1")
    assert "problem" not in well("check")
