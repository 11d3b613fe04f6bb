"""Faults that a second reading of sweeps and deletes found: each as the story in which it was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases, SQLiteDatabases, Where
from support.deleting import delete, flagged, ids, items, small
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row
from support.sweeps import ROWS, a_fleet, found, require_proved, sweep

from stationsync.errors import BrakePulled
from stationsync.keeping import trash
from stationsync.model.changes import Status
from stationsync.reconcile import deletes
from stationsync.reconcile.reconcile import reconcile
from stationsync.reconcile.scan import ComparisonSteps
from stationsync.sync import runs

pytest_plugins = ["support.deleting"]


# --- what is allowed once


def test_what_was_allowed_on_one_side_allows_nothing_on_the_other(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive", control_deletes="send")
    delete(fleet, 1, "id <= 180")
    with pytest.raises(BrakePulled):
        sweep(fleet)
    delete(fleet, "control", "id BETWEEN 200 AND 280")
    report = sweep(fleet, allow_deletes=True)
    assert report.counts.deleted == 180
    assert ids(fleet, 1) == set(range(181, ROWS + 1))
    assert "81 more rows are gone since" in report.warnings[0]


def test_nothing_is_allowed_that_was_not_refused_before(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    delete(fleet, 1, "id <= 180")
    with pytest.raises(BrakePulled):
        sweep(fleet, allow_deletes=True)
    assert len(ids(fleet, "control")) == ROWS
    assert sweep(fleet, allow_deletes=True).counts.deleted == 180
    # The same command once more, out of the shell's history or from a schedule.
    delete(fleet, 1, "id <= 290")
    with pytest.raises(BrakePulled):
        sweep(fleet, allow_deletes=True)


def test_an_emptied_control_empties_no_station_however_small(databases: Databases) -> None:
    fleet = small(databases, 5)
    fleet.options(control_deletes="send")
    delete(fleet, "control", "1 = 1")
    with pytest.raises(BrakePulled, match="control has none of 5 rows known any more"):
        sweep(fleet)
    assert len(ids(fleet, 1)) == 5
    assert sweep(fleet, allow_deletes=True).counts.deleted == 5
    assert ids(fleet, 1) == set()


# --- sweeps that were cut off


def cut_off(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, ranges: int = 3) -> None:
    (pair,) = fleet.pairs()
    calls: list[Any] = []

    def some(scanner: Any, scan: Any) -> Any:
        if len(calls) == ranges:
            raise KeyboardInterrupt
        calls.append(scan.place)
        with monkeypatch.context() as patch:
            patch.setattr("stationsync.reconcile.scan._STRETCH_SECONDS", 0)
            return scanner.stretch(scan)

    with pytest.raises(KeyboardInterrupt):
        reconcile(pair, runs.plain_steps(), ComparisonSteps(compare=some))


def test_a_sweep_begins_anew_where_the_ranges_are_cut_otherwise_by_now(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 5")
    cut_off(fleet, monkeypatch)
    if databases.kind == "mariadb":
        databases.execute(1, "DROP INDEX id ON kafka_test")
        databases.execute(1, "ALTER TABLE kafka_test ADD UNIQUE (code, id)")
    else:
        for statement in (
            "CREATE TABLE other AS SELECT * FROM kafka_test", "DROP TABLE kafka_test",
            "CREATE TABLE kafka_test (id INTEGER PRIMARY KEY, text varchar(100), code varchar(100) NOT NULL,"
            " create_date datetime NOT NULL, modify_date datetime NOT NULL, UNIQUE (code, id))",
            "INSERT INTO kafka_test SELECT * FROM other",
        ):  # fmt: skip
            databases.execute(1, statement)
    assert found(sweep(fleet)) == {"changed": 1}
    require_proved(fleet)


# --- the trash


def test_a_flagged_row_that_control_deleted_since_comes_back_whole(flagging: Fleet) -> None:
    before = flagging.databases.rows("control")
    delete(flagging, 1, "id = 5")
    sweep(flagging)
    delete(flagging, "control", "id = 5")
    (pair,), (item,) = flagging.pairs(), items(flagging)
    trash.restore(pair.control, pair, item)
    assert flagging.databases.rows("control") == before
    assert flagged(flagging) == set()


def test_a_row_that_the_station_deletes_while_it_is_brought_back_is_in_the_trash(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = a_fleet(databases)
    delete(fleet, "control", "id IN (8, 9)")
    real = deletes.bring_back

    def deleted_before(*args: Any) -> Any:
        delete(fleet, 1, "id = 9")
        return real(*args)

    monkeypatch.setattr(deletes, "bring_back", deleted_before)
    sweep(fleet)
    assert 8 in ids(fleet, "control")
    assert [(item.key_text, item.reason) for item in items(fleet)] == [('["9","S1"]', "both sides deleted the row")]
    require_proved(fleet, rows=ROWS - 1)


def test_a_geometry_of_control_s_own_comes_back_from_the_trash(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_fleet(mariadb_databases, deletes="archive", exclude=["master_id", "place"])
    mariadb_databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN place POINT")
    mariadb_databases.execute("control", "UPDATE kafka_test SET place = POINT(-1.5, 2.25) WHERE id = 5")
    query = "SELECT id, ST_AsText(place) FROM kafka_test WHERE id IN (5, 6) ORDER BY id"
    before = mariadb_databases.query("control", query)
    delete(fleet, 1, "id IN (5, 6)")
    assert sweep(fleet).counts.deleted == 2
    (pair,) = fleet.pairs()
    for item in items(fleet):
        trash.restore(pair.control, pair, item)
    assert mariadb_databases.query("control", query) == before == [(5, "POINT(-1.5 2.25)"), (6, None)]


def test_a_row_that_is_back_unreadable_is_not_a_deleted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = a_fleet(SQLiteDatabases(tmp_path), deletes="archive")
    delete(fleet, 1, "id = 3")
    real = deletes.follow_station

    def back(*args: Any) -> Any:
        fleet.databases.put(1, [row(3, "S1", text="back", at=ago(5))])
        fleet.databases.execute(1, "UPDATE kafka_test SET text = x'00ff' WHERE id = 3")
        return real(*args)

    monkeypatch.setattr(deletes, "follow_station", back)
    assert sweep(fleet).counts.deleted == 0
    assert 3 in ids(fleet, "control")
    fleet.sync()
    entries = "SELECT key_text FROM stationsync_quarantine WHERE state = 'open'"
    assert fleet.databases.query("control", entries) == [('["3","S1"]',)]


# --- stamps and keys that the two sides print otherwise


def test_an_edit_that_keeps_its_stamp_is_not_older_where_control_has_finer_stamps(
    mariadb_databases: MariaDBDatabases,
) -> None:
    fleet = a_fleet(mariadb_databases)
    mariadb_databases.execute("control", "ALTER TABLE kafka_test MODIFY modify_date DATETIME(6) NOT NULL")
    mariadb_databases.execute(
        "control", "ALTER TABLE stationsync_base_kafka_test MODIFY modify_date DATETIME(6) NOT NULL"
    )
    fleet.options(direction="up")
    fleet.sync()
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id <= 40")
    assert found(sweep(fleet)) == {"changed": 40}


@pytest.mark.parametrize("stamp", [None, "0000-00-00 00:00:00"])
def test_edits_that_took_the_stamp_away_are_no_restore(stamp: str | None, databases: Databases) -> None:
    for where in ("control", 1):
        databases.execute(where, "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v INTEGER, m DATETIME NULL)")
    databases.put(1, [{"id": i, "v": i, "m": ago(7200)} for i in range(1, 101)], table="t")
    fleet = Fleet(databases, tables={"t": {"key": ["id"], "modified": "m", "zero_dates": "carry"}})
    fleet.init()
    fleet.sync()
    zero = "SET STATEMENT sql_mode = '' FOR " if databases.kind == "mariadb" else ""
    databases.execute(1, f"{zero}UPDATE t SET v = -v, m = %s WHERE id <= 40", [stamp])
    assert found(sweep(fleet)) == {"changed": 40}
    assert databases.query("control", "SELECT COUNT(*) FROM t WHERE v < 0") == [(40,)]
    assert sweep(fleet).status is Status.NOTHING


@pytest.mark.some(0, 2)
@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ("DECIMAL(10,2)", "DECIMAL(14,4)"),
        ("INT(6) ZEROFILL", "BIGINT UNSIGNED"),
        ("DATETIME", "DATETIME(3)"),
        ("CHAR(20)", "VARCHAR(40)"),
        ("VARBINARY(8)", "VARBINARY(20)"),
        ("TIMESTAMP", "TIMESTAMP(3)"),
        ("BIT(8)", "BIT(20)"),
    ],
)
def test_a_key_that_control_prints_otherwise_is_the_same_key(
    own: str, theirs: str, mariadb_databases: MariaDBDatabases
) -> None:
    databases = mariadb_databases
    values = {"DATETIME": "'2020-01-01' + INTERVAL {} SECOND", "TIMESTAMP": "'2020-01-01' + INTERVAL {} SECOND"}
    value = values.get(own, "{}")
    for where, kind in (("control", theirs), (1, own)):
        ddl = f"CREATE TABLE t (k {kind} NOT NULL PRIMARY KEY, v INT, m DATETIME NOT NULL, INDEX (m, k))"
        databases.execute(
            where,
            ddl.replace("NOT NULL PRIMARY", "NOT NULL DEFAULT '2000-01-01' PRIMARY") if "TIMESTAMP" in kind else ddl,
        )
    for n in range(1, 201):
        databases.execute(1, f"INSERT INTO t VALUES ({value.format(n)}, {n}, '2024-01-01')")
    table = {"key": ["k"], "modified": "m", "direction": "up", "deletes": "archive", "sweep_rows": 200}
    fleet = Fleet(databases, tables={"t": table})
    fleet.init()
    fleet.sync()
    assert found(sweep(fleet)) == {}
    databases.execute(1, "UPDATE t SET v = -v WHERE v <= 5")
    databases.execute(1, "DELETE FROM t WHERE v IN (11, 12)")
    report = sweep(fleet)
    assert found(report) == {"changed": 5, "gone": 2}
    assert report.counts.deleted == 2
    assert json_of(report)["exceptions"] == {}
    assert databases.count("control", "t") == 198
    assert sweep(fleet).status is Status.NOTHING


# --- foreign keys that delete on their own


def a_family(databases: MariaDBDatabases, **options: Any) -> Fleet:
    """Parents and their children, at both sides: ON DELETE CASCADE."""
    for where in ("control", 1):
        databases.execute(where, "CREATE TABLE p (id INT PRIMARY KEY, v INT, m DATETIME NOT NULL)")
        reference = "FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE"
        databases.execute(where, f"CREATE TABLE k (id INT PRIMARY KEY, p INT, v INT, m DATETIME NOT NULL, {reference})")
    databases.put(1, [{"id": i, "v": i, "m": ago(7200)} for i in (1, 2)], table="p")
    databases.put(1, [{"id": i, "p": i, "v": i, "m": ago(7200)} for i in (1, 2)], table="k")
    table = {"key": ["id"], "modified": "m", **options}
    fleet = Fleet(databases, tables={"p": table, "k": table})
    fleet.init()
    for pair in fleet.pairs():
        runs.pull(pair, runs.plain_steps())
    return fleet


def sweep_all(fleet: Fleet) -> None:
    for pair in fleet.pairs():
        reconcile(pair, runs.plain_steps())


def kept_somewhere(databases: MariaDBDatabases, value: str) -> bool:
    columns = {"stationsync_trash": "row_json", "stationsync_quarantine": "row_json"}
    columns["stationsync_conflict"] = "CONCAT_WS('', station_row, control_row)"
    texts = [text for t, c in columns.items() for (text,) in databases.query("control", f"SELECT {c} FROM {t}")]
    rows = [row for where in ("control", 1) for row in databases.query(where, "SELECT v FROM k")]
    return any(f'"{value}"' in text for text in texts) or (int(value),) in rows


def test_a_child_that_control_edited_is_not_lost_with_its_parent(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_family(mariadb_databases, deletes="archive")
    mariadb_databases.execute("control", "UPDATE k SET v = 99 WHERE id = 1")
    mariadb_databases.execute(1, "DELETE FROM p WHERE id = 1")
    sweep_all(fleet)
    assert kept_somewhere(mariadb_databases, "99")


def test_a_child_that_the_station_edited_is_not_lost_with_its_parent(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_family(mariadb_databases, control_deletes="send", max_deletes="1")
    mariadb_databases.execute(1, "UPDATE k SET v = 99 WHERE id = 1")
    mariadb_databases.execute("control", "DELETE FROM p WHERE id = 1")
    sweep_all(fleet)
    assert kept_somewhere(mariadb_databases, "99")


def test_a_parent_goes_when_its_children_are_gone(mariadb_databases: MariaDBDatabases) -> None:
    """One sweep later than they, and nobody has to do anything."""
    fleet = a_family(mariadb_databases, deletes="archive")
    mariadb_databases.execute(1, "DELETE FROM p WHERE id = 1")
    sweep_all(fleet)
    reasons = [text for (text,) in mariadb_databases.query("control", "SELECT reasons FROM stationsync_quarantine")]
    assert len(reasons) == 1
    assert "rows of k refer to it" in reasons[0]
    sweep_all(fleet)
    for table in ("p", "k"):
        assert mariadb_databases.query("control", f"SELECT id FROM {table}") == [(2,)]
    states = "SELECT state FROM stationsync_quarantine"
    assert mariadb_databases.query("control", states) == [("released",)]
    kept = mariadb_databases.query("control", "SELECT table_name FROM stationsync_trash ORDER BY table_name")
    assert kept == [("k",), ("p",)]


def a_tree(databases: MariaDBDatabases, rule: str, **options: Any) -> Fleet:
    """Rows of one table that refer to others of it: a chain of 30 whose head has the lowest number, a row to itself, a
    circle of three, and a branch of which control's own row holds on to a leaf."""
    for where in ("control", 1):
        own = f"FOREIGN KEY (boss) REFERENCES t (id) {rule}"
        databases.execute(where, f"CREATE TABLE t (id INT PRIMARY KEY, boss INT, m DATETIME NOT NULL, {own})")
        databases.execute(
            where, f"CREATE TABLE note (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id) {rule})"
        )
    rows = [(1, None), *((n, n - 1) for n in range(2, 31)), (40, 40), (51, None), (52, 51), (53, 52)]
    rows += [(61, None), (62, 61), (63, 62), (64, 62), (70, None)]
    databases.put(1, [{"id": n, "boss": boss, "m": ago(7200)} for n, boss in rows], table="t")
    databases.execute(1, "UPDATE t SET boss = 53 WHERE id = 51")
    fleet = Fleet(databases, tables={"t": {"key": ["id"], "modified": "m", **options}})
    fleet.init()
    fleet.sync()
    return fleet


def cut(databases: MariaDBDatabases, where: Where, what: str) -> None:
    connection = databases.connect(where)
    cursor = connection.cursor()
    cursor.execute("SET SESSION foreign_key_checks = 0")
    cursor.execute(f"DELETE FROM t WHERE {what}")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("rule", ["", "ON DELETE CASCADE", "ON DELETE SET NULL"])
@pytest.mark.parametrize("side", [1, "control"])
def test_rows_that_refer_to_each_other_go_with_one_reconcile(
    mariadb_databases: MariaDBDatabases, rule: str, side: Where
) -> None:
    """A tree as a whole, whatever its order, and circles; what another row still refers to stays, and what is above."""
    databases, other = mariadb_databases, "control" if side == 1 else 1
    fleet = a_tree(databases, rule, deletes="archive", control_deletes="send", max_deletes="100%")
    databases.execute(other, "INSERT INTO note VALUES (1, 63)")
    cut(databases, side, "id < 70")
    (pair,) = fleet.pairs()
    report = reconcile(pair, runs.plain_steps())
    assert databases.query(other, "SELECT id FROM t ORDER BY id") == [(61,), (62,), (63,), (70,)]
    # Nothing went along, and nothing was emptied.
    assert databases.query(other, "SELECT boss FROM t WHERE id = 63") == [(62,)]
    assert databases.query(other, "SELECT t FROM note") == [(63,)]
    assert (report.counts.deleted, report.counts.quarantined) == (35, 3)
    reasons = databases.query("control", "SELECT key_text, reasons FROM stationsync_quarantine ORDER BY key_text")
    assert [key for key, _ in reasons] == ['["61"]', '["62"]', '["63"]']
    assert "note" in reasons[2][1]

    databases.execute(other, "DELETE FROM note")
    assert reconcile(pair, runs.plain_steps()).counts.deleted == 3
    assert databases.query(other, "SELECT id FROM t") == [(70,)] == databases.query(side, "SELECT id FROM t")
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_trash") == [(38,)]
    assert databases.query("control", "SELECT DISTINCT state FROM stationsync_quarantine") == [("released",)]
    assert reconcile(pair, runs.plain_steps()).status is Status.NOTHING


def test_a_row_that_control_edited_keeps_what_it_refers_to(mariadb_databases: MariaDBDatabases) -> None:
    """With the checks off the server would let its parent go."""
    databases = mariadb_databases
    fleet = a_tree(databases, "", deletes="archive", max_deletes="100%")
    databases.execute("control", f"UPDATE t SET boss = 53, m = '{ago(10)}' WHERE id = 30")
    cut(databases, 1, "id < 60")
    (pair,) = fleet.pairs()
    reconcile(pair, runs.plain_steps())
    left = databases.query("control", "SELECT id FROM t WHERE id < 60 ORDER BY id")
    assert left == [(30,), (51,), (52,), (53,)]
