"""Tables of many kinds: what is proposed for them works at once, with `check`, `init`, `sync` and `reconcile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Done
from support.databases import MariaDBDatabases
from support.own_fleet import OwnFleet

NOW = "datetime NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp()"
EVERY_TYPE = f"""CREATE TABLE every_type (
  id uuid NOT NULL PRIMARY KEY, a tinyint(1) NOT NULL, b bigint unsigned zerofill, c decimal(38,10), d float,
  e double, f bit(9), g date, h datetime(6), i time(2), j year, k char(5) CHARACTER SET latin1,
  l varchar(9) CHARACTER SET euckr,
  m tinytext,
  n longtext COLLATE utf8mb4_bin, o binary(3), p varbinary(4), q blob, r set('x','y%','ㄱ'), s inet6, t json,
  u timestamp NOT NULL DEFAULT current_timestamp(), v timestamp NULL, w varchar(20) COMPRESSED,
  x varchar(5) CHARACTER SET utf8mb3, `y:%s` int NULL DEFAULT 7, z int INVISIBLE DEFAULT 3,
  updated_at {NOW}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""
# What is made at the station, rows, the key, what stamps it, and what is told.
TABLES: dict[str, tuple[str, list[str], str, str, str]] = {
    "every_type": (
        EVERY_TYPE,
        [
            "(id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t) VALUES (uuid(), 1, 18446744073709551615,"
            " 1.5, 0.1, 1e300, b'101', '2020-02-29', '1000-01-01 00:00:00.5', '-99:00:00', 2024, 'é', '한글', 'm', 'n',"
            " x'00ff', x'00', x'ff', 'x,y%', '::1', '{\"a\": \"한\"}')",
            "(id, a) VALUES (uuid(), 0)",
        ],
        "[id]",
        "updated_at",
        "",
    ),
    "counted": (
        f"CREATE TABLE counted (id int AUTO_INCREMENT PRIMARY KEY, mail varchar(50) UNIQUE, lastUpdated {NOW})",
        ["(mail) VALUES ('a'), ('b')"],
        "[id]",
        "lastUpdated",
        "counts up by itself",
    ),
    "counted_with_code": (
        "CREATE TABLE counted_with_code (id int AUTO_INCREMENT PRIMARY KEY, shop_code char(2) NOT NULL,"
        " code char(2) NOT NULL, upd_dt datetime NOT NULL, reg_dt datetime NOT NULL)",
        [
            "(shop_code, code, upd_dt, reg_dt) VALUES ('S1', 'a', '2026-01-02', '2026-01-01'),"
            " ('S1', 'b', '2026-01-01', '2025-01-01')",
        ],
        "[id, shop_code]",
        "upd_dt",
        "'S1' in all rows seen",
    ),
    "null_stamps": (
        "CREATE TABLE null_stamps (id int, site int, created_at datetime NOT NULL, updated_at datetime NULL,"
        " PRIMARY KEY (id, site))",
        ["VALUES (1, 1, '2026-01-01', NULL), (2, 1, '2026-01-01', '2026-01-02')"],
        "[id, site]",
        "[updated_at, created_at]",
        "which created_at stamps",
    ),
    "not_created": (
        f"CREATE TABLE not_created (id int, site int, created_at datetime NOT NULL, updated_at {NOW},"
        " PRIMARY KEY (id, site))",
        ["VALUES (1, 1, '2030-01-01', '2026-01-01')"],
        "[id, site]",
        "updated_at",
        "no created: created_at is later than updated_at in 1 rows",
    ),
    "empty": (
        f"CREATE TABLE empty (a varchar(700), b varchar(60), 수정일시 {NOW}, PRIMARY KEY (a, b))",
        [],
        "[a, b]",
        "수정일시",
        "",
    ),
    "MyIsam": (
        f"CREATE TABLE MyIsam (Id int, Mtime {NOW}, PRIMARY KEY (ID)) ENGINE=MyISAM",
        ["(id) VALUES (7)"],
        "[Id]",
        "Mtime",
        "no transactions",
    ),
    "nullable": (
        f"CREATE TABLE nullable (a int NULL UNIQUE, updated {NOW})",
        ["(a) VALUES (1), (NULL)"],
        "[a]",
        "updated",
        "may be NULL",
    ),
    "a-b.c": (
        f"CREATE TABLE `a-b.c` (`select` int PRIMARY KEY, `a b` text, `update_time` {NOW})",
        ["(`select`, `a b`) VALUES (1, '%s :x')"],
        "[select]",
        "update_time",
        "",
    ),
    "versioned": (
        f"CREATE TABLE versioned (id int PRIMARY KEY, t int, updated_at {NOW}) WITH SYSTEM VERSIONING",
        ["(id) VALUES (1)"],
        "[id]",
        "updated_at",
        "",
    ),
}


@pytest.fixture
def fleet(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> OwnFleet:
    return OwnFleet.made(mariadb_databases, tmp_path / "fleet")


def test_each_kind_of_table(fleet: OwnFleet) -> None:
    databases = fleet.databases
    for name, (ddl, rows, key, modified, told) in TABLES.items():
        databases.execute(1, ddl)
        for row in rows:
            databases.execute(1, f"INSERT INTO `{name}` {row}")
        done = fleet.well("add-table", name, "--from", "station-1", "--create", "--yes")
        assert f"key: {key} " in done.out, done.out
        assert f"modified: {modified} " in done.out, done.out
        assert told in done.out, done.out
    assert "problem" not in fleet.well("check").out
    fleet.well("init")
    done = fleet.well("sync", "station-1")
    assert "quarantined" not in done.out, done.out
    for name in TABLES:
        _same_rows(fleet, name)
    fleet.well("reconcile", "station-1")
    _edited_at_control(fleet)
    assert "quarantined" not in fleet.well("sync", "station-1").out
    for name in TABLES:
        _same_rows(fleet, name)
    assert fleet.well("sync", "station-1").out.count("nothing to do") == 2 * len(TABLES)


def _same_rows(fleet: OwnFleet, name: str) -> None:
    shown = fleet.databases.query(1, f"SHOW COLUMNS FROM `{name}`")
    names = ", ".join(f"`{column[0]}`" for column in shown)
    where = "WHERE a IS NOT NULL" if name == "nullable" else ""
    found = [
        fleet.databases.query(place, f"SELECT {names} FROM `{name}` {where} ORDER BY 1") for place in (1, "control")
    ]
    assert found[0] == found[1], name


def _edited_at_control(fleet: OwnFleet) -> None:
    fleet.databases.execute("control", "UPDATE every_type SET t = '[]', v = '2026-01-01 00:00:00' WHERE a = 1")
    fleet.databases.execute("control", "UPDATE `a-b.c` SET `a b` = 'edited'")
    with pytest.raises(Exception, match="CONSTRAINT"):  # as at the station
        fleet.databases.execute("control", "UPDATE every_type SET t = 'no json'")


def test_what_a_person_says_counts(fleet: OwnFleet) -> None:
    databases = fleet.databases
    columns = f"id int PRIMARY KEY, n int UNIQUE, p point, at datetime NOT NULL, made date, x int, updated_at {NOW}"
    databases.execute(1, f"CREATE TABLE t ({columns})")
    said = "--key n --modified at --created none --modified-zone +09:00 --exclude p --exclude X --create --no-suite"
    fleet.well("add-table", "t", "--from", "station-1", *said.split(), "--control-table", "T of control")
    text = (fleet.folder / "stations.yaml").read_text(encoding="utf-8")
    wanted = ["key: [n]", "modified: at", 'modified_zone: "+09:00"', "control_table: T of control"]
    assert "exclude: [master_id, p, x]" in text
    assert [line for line in wanted if line not in text] == []
    assert "created:" not in text
    assert "expectations:" not in text
    assert not (fleet.folder / "expectations/t.yaml").exists()
    made = [row[0] for row in databases.query("control", "SHOW COLUMNS FROM `T of control`")]
    assert made == ["master_id", "id", "n", "at", "made", "updated_at"]
    fleet.well("init")
    fleet.well("sync", "station-1")


def test_what_is_there_is_used_as_it_is(fleet: OwnFleet) -> None:
    """A suite of a person's own, a table of control's, stations that name their tables; and a dry run."""
    databases = fleet.databases
    databases.execute(1, f"CREATE TABLE t (id int PRIMARY KEY, v int, updated_at {NOW})")
    databases.execute(
        "control",
        f"CREATE TABLE t (own int AUTO_INCREMENT PRIMARY KEY, ID int, V int, mine int, UPDATED_AT {NOW}, UNIQUE (ID))",
    )
    databases.execute("control", "INSERT INTO t (ID, V, mine) VALUES (1, 1, 5)")
    databases.execute(1, "INSERT INTO t (id, v) VALUES (1, 2), (3, 3)")
    file, suite = fleet.folder / "stations.yaml", fleet.folder / "expectations/t.yaml"
    suite.write_text(
        "name: t\nexpectations:\n- {type: expect_column_values_to_not_be_null, kwargs: {column: v}}\n", encoding="utf-8"
    )
    file.chmod(0o640)
    before = fleet.state()
    told = fleet.well("add-table", "t", "--from", "station-1", "--create", "--dry-run")
    assert fleet.state() == before
    assert "Nothing was changed" in told.out
    said = _json(fleet("add-table", "t", "--from", "station-1", "--create", "--yes", "--json"))
    assert said["control"] == {"table": "t", "created": False, "statements": []}
    assert said["entry"]["exclude"] == ["own", "mine"]
    assert said["rules"] == 0
    assert suite.read_text(encoding="utf-8").startswith("name: t\nexpectations:\n-")
    assert file.stat().st_mode & 0o777 == 0o640
    fleet.well("init")
    fleet.well("sync", "station-1")
    assert databases.query("control", "SELECT ID, V, mine FROM t ORDER BY 1")[1][:2] == (3, 3)
    assert len(databases.query("control", "SELECT 1 FROM stationsync_conflict")) <= 1
    fleet.well("add-station", "station-2", databases.station_url(2), "--table", "t")
    databases.execute(2, f"CREATE TABLE u (id int PRIMARY KEY, updated_at {NOW})")
    fleet.well("add-table", "u", "--from", "station-2", "--create", "--yes")
    assert "tables: [t, u]" in file.read_text(encoding="utf-8")


def _json(done: Done) -> dict[str, Any]:
    assert done.code == 0, done
    return done.json
