"""Tables without transactions: refused at control before anything is written; told, and written with care, at a
station. And what is no table at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, Done, snapshot
from support.databases import MariaDBDatabases
from support.sample import row

LATER = "2030-01-01 00:00:00"


@pytest.fixture
def command(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> Command:
    mariadb_databases.create_kafka_test("control", control=True)
    mariadb_databases.create_kafka_test(1)
    command = Command(mariadb_databases, tmp_path, deletes="archive")
    command.topology["journal"] = {"url": str(tmp_path / "journal")}
    return command


def notes(done: Done, level: str) -> list[str]:
    found = (note for one in done.json["databases"] for note in one["notes"] if note["level"] == level)
    return [f"{note['place']}: {note['what']} {note['next_step']}" for note in found]


def texts(databases: MariaDBDatabases, where: Any) -> dict[int, str]:
    return dict(databases.query(where, "SELECT id, text FROM kafka_test"))


WRITERS = [
    ("init",), ("sync", "station-1"), ("pull", "station-1"), ("push", "station-1"), ("reconcile", "station-1"),
    ("backfill", "station-1", "--table", "kafka_test", "--all"), ("reseed", "station-1", "--yes"),
    ("trust", "station-1", "--yes"), ("trash", "restore", 1),
]  # fmt: skip


@pytest.mark.parametrize(("table", "engine"), [("kafka_test", "Aria"), ("stationsync_state", "MyISAM")])
def test_at_control_every_writer_refuses_before_it_writes(command: Command, table: str, engine: str) -> None:
    databases = command.databases
    databases.put(1, [row(n) for n in range(1, 4)])
    command.well("init")
    command.well("sync", "station-1")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    command.well("reconcile", "station-1")
    databases.execute("control", f"ALTER TABLE {table} ENGINE={engine}")
    databases.put(1, [row(9, at=LATER)])
    databases.execute("control", f"UPDATE kafka_test SET text = 'down', modify_date = '{LATER}' WHERE id = 1")

    def rows() -> dict[str, Any]:
        # A refused run is noted.
        return {k: v for k, v in snapshot(databases, "control", 1).items() if k != "control.stationsync_state"}

    before = rows()
    alter = f"ALTER TABLE {table} ENGINE=InnoDB;"
    assert any(alter in problem for problem in notes(command("check", "--json"), "problem"))
    for writer in WRITERS:
        done = command(*writer)
        assert done.code == 1, writer
        assert alter in done.out + done.err, writer
        after = rows()
        for known in ("control.stationsync_proof",):  # how a sweep ended is noted, too
            before.pop(known, None), after.pop(known, None)
        assert after == before, writer
    databases.execute("control", alter)
    command.well("sync", "station-1")
    assert texts(databases, "control") == texts(databases, 1) == {1: "down", 2: "row 2", 9: "row 9"}


def test_a_partitioned_table_of_an_engine_with_transactions_is_as_good_as_any(command: Command) -> None:
    databases = command.databases
    databases.execute("control", "ALTER TABLE kafka_test DROP PRIMARY KEY, MODIFY master_id bigint NULL")
    databases.execute("control", "ALTER TABLE kafka_test PARTITION BY KEY (id, code) PARTITIONS 3")
    databases.put(1, [row(1)])
    command.well("init")
    command.well("sync", "station-1")
    assert texts(databases, "control") == {1: "row 1"}


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_a_station_without_transactions_is_told_and_written_row_by_row(command: Command, engine: str) -> None:
    databases = command.databases
    databases.execute(1, f"ALTER TABLE kafka_test ENGINE={engine}")
    databases.put(1, [row(n) for n in range(1, 8)])
    databases.execute(
        1,
        "CREATE TRIGGER no BEFORE UPDATE ON kafka_test FOR EACH ROW BEGIN"
        " IF NEW.text = 'refused' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF; END",
    )
    command.well("init")
    checked = command.well("check", "--json")
    assert any(f"the engine {engine} of table kafka_test has no transactions" in w for w in notes(checked, "warning"))
    command.well("sync", "station-1")

    databases.execute(
        "control", f"UPDATE kafka_test SET text = IF(id = 4, 'refused', 'down'), modify_date = '{LATER}' WHERE id > 1"
    )
    databases.execute(1, "UPDATE kafka_test SET text = 'up', modify_date = '2029-01-01' WHERE id = 6")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 7")
    (pushed,) = command.well("push", "station-1", "--json").json["reports"]
    assert (pushed["quarantined"], pushed["missing"], pushed["changed"]) == (2, 1, 1)
    expected = {1: "row 1", 2: "down", 3: "down", 4: "row 4", 5: "down", 6: "down"}
    assert texts(databases, 1) == expected
    # The station's edit lost against a newer one, and is kept.
    assert len(command.ids("conflicts", "list")) == 1
    explained = command.well("explain", "station-1", "kafka_test", 2, "A").out
    assert "control's edit went to the station" in explained
    command("sync", "station-1")
    assert texts(databases, 1) == expected


@pytest.mark.parametrize(
    ("ddl", "kind"),
    [("CREATE VIEW kafka_test AS SELECT * FROM other", "view"), ("CREATE SEQUENCE kafka_test", "sequence")],
)
@pytest.mark.parametrize("where", ["control", 1])
def test_what_is_no_table_is_refused_as_what_it_is(command: Command, where: Any, ddl: str, kind: str) -> None:
    databases = command.databases
    databases.execute(where, "RENAME TABLE kafka_test TO other")
    databases.execute(where, ddl)
    told = f"kafka_test is a {kind}, not a table"
    assert any(told in problem for problem in notes(command("check", "--json"), "problem"))
    done = command("init")
    assert (done.code, told in done.err) == ((1, True) if where == "control" else (0, False))
    done = command("sync", "station-1")
    assert (done.code, told in done.err) == (1, True)


@pytest.mark.parametrize("explicit", [False, True])
def test_system_versioned_tables_are_read_as_they_are_now(command: Command, explicit: bool) -> None:
    databases = command.databases
    period = (
        "ADD COLUMN a timestamp(6) GENERATED ALWAYS AS ROW START, ADD COLUMN b timestamp(6) GENERATED ALWAYS AS"
        " ROW END, ADD PERIOD FOR SYSTEM_TIME(a, b), "
    )
    for where in ("control", 1):
        databases.execute(where, f"ALTER TABLE kafka_test {period if explicit else ''}ADD SYSTEM VERSIONING")
    databases.put(1, [row(n) for n in range(1, 5)])
    command.well("init")
    assert notes(command.well("check", "--json"), "problem") == []
    command.well("sync", "station-1")
    databases.execute(1, f"UPDATE kafka_test SET text = 'up', modify_date = '{LATER}' WHERE id = 1")
    databases.execute("control", f"UPDATE kafka_test SET text = 'down', modify_date = '{LATER}' WHERE id = 2")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    command.well("sync", "station-1")
    command.well("reconcile", "station-1")
    assert texts(databases, 1) == texts(databases, "control") == {1: "up", 2: "down", 4: "row 4"}
    assert {r["status"] for r in command.well("sync", "station-1", "--json").json["reports"]} == {"nothing to do"}


LIMITS = {
    "key over the limit": ("code varchar(1000) NOT NULL, UNIQUE (code)", "code", "the key (code) is too long"),
    "key of text": ("code text NOT NULL, UNIQUE (code)", "code", "the key (code) is too long"),
    "key of a beginning": ("code varchar(2000) NOT NULL, UNIQUE (code(9))", "code", "the key (code) is too long"),
    "row over the limit": (
        "id int PRIMARY KEY, a varchar(16300), b varchar(60)", "id", "its columns are too many or too wide",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIMITS)
def test_what_is_beyond_the_server_s_limits_is_told_by_check_first_and_stops_no_other_table(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, kind: str
) -> None:
    databases = mariadb_databases
    columns, key, told = LIMITS[kind]
    for where in ("control", 1):
        databases.execute(where, f"CREATE TABLE big ({columns}, m datetime) DEFAULT CHARSET=utf8mb4")
        databases.create_kafka_test(where, control=where == "control")
    command = Command(databases, tmp_path)
    command.topology["tables"] = {"big": {"key": [key], "modified": "m"}, **command.topology["tables"]}
    databases.put(1, [row(1)])
    before = snapshot(databases, "control", 1)
    assert any(p.startswith(f"control/big: {told}") for p in notes(command("check", "--json"), "problem"))
    assert snapshot(databases, "control", 1) == before
    for _ in range(2):
        done = command("init")
        assert done.code == 1
        assert f"control/big: {told}" in done.err
    assert command("sync", "station-1", "--table", "big").code == 1
    command.well("sync", "station-1", "--table", "kafka_test")
    assert databases.count("control") == 1
