"""Key columns that may be NULL: at control, as in the sample of the old set-up; and at a station."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, Done
from support.databases import Databases, Where
from support.sample import row

LATER = "2030-01-01 00:00:00"
AUTO = {"mariadb": "bigint NOT NULL AUTO_INCREMENT PRIMARY KEY", "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT"}
COLUMNS = "text varchar(100) DEFAULT NULL, code varchar(100) {code}, create_date datetime, modify_date datetime"


def create(databases: Databases, where: Where, *, own_key: str = "", code: str = "NOT NULL", unique: str) -> None:
    """`id` may be NULL, as in the guide of the old set-up."""
    first = f"{own_key} {AUTO[databases.kind]}, " if own_key else ""
    columns = COLUMNS.format(code=code)
    databases.execute(where, f"CREATE TABLE kafka_test ({first}id bigint DEFAULT NULL, {columns}, UNIQUE ({unique}))")


def command_of(databases: Databases, folder: Path, **options: Any) -> Command:
    command = Command(databases, folder, **options)
    command.topology["journal"] = {"url": str(folder / "journal")}
    return command


@pytest.fixture
def sample(databases: Databases, tmp_path: Path) -> Command:
    """Control as in the guide, with rows of its own that have no key."""
    create(databases, "control", own_key="master_id", unique="id, code")
    databases.create_kafka_test(1)
    databases.put("control", OWN)
    return command_of(databases, tmp_path, deletes="archive")


OWN = [row(1, text=f"own {n}") | {"id": None} for n in range(3)]


def own_rows(databases: Databases) -> list[tuple[Any, ...]]:
    return databases.query("control", "SELECT master_id, text, code FROM kafka_test WHERE id IS NULL ORDER BY 1")


def texts(databases: Databases, where: Where) -> dict[Any, str]:
    query = "SELECT id, code, text FROM kafka_test WHERE id IS NOT NULL AND code IS NOT NULL"
    return {(int(number), code): text for number, code, text in databases.query(where, query)}


def notes(done: Done, level: str) -> list[str]:
    found = (note for one in done.json["databases"] for note in one["notes"] if note["level"] == level)
    return [f"{note['place']}: {note['what']} {note['next_step']}" for note in found]


def states(done: Done) -> set[str]:
    return {report["status"] for report in done.json["reports"]}


def test_the_sample_of_the_old_set_up_runs_as_it_is(sample: Command) -> None:
    databases = sample.databases
    databases.put(1, [row(n) for n in range(1, 6)])
    databases.put("control", [row(1), row(2, text="control's", at=LATER)])  # an older set-up brought them
    before = own_rows(databases)

    made = sample.well("init", "--json").json
    assert [(one["equal"], one["different"]) for one in made["adopted"]] == [(1, 1)]
    assert made["only_at_control"] == {"kafka_test": 0}
    assert sample.well("init", "--json").json["adopted"] == []
    checked = sample.well("check", "--json")
    (about,) = [note for note in notes(checked, "warning") if "NULL" in note]
    assert about.startswith("control/kafka_test: key column id may be NULL: rows with NULL in the key (3 now) belong")
    if databases.kind == "mariadb":
        assert "ALTER TABLE kafka_test MODIFY id bigint(20) NOT NULL;" in about

    sample.well("sync", "station-1")
    databases.execute("control", f"UPDATE kafka_test SET text = 'down', modify_date = '{LATER}' WHERE id = 3")
    databases.execute(1, f"UPDATE kafka_test SET text = 'up', modify_date = '{LATER}' WHERE id = 4")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 5")
    sample.well("sync", "station-1")
    sample.well("reconcile", "station-1")
    expected = {(1, "A"): "row 1", (2, "A"): "control's", (3, "A"): "down", (4, "A"): "up"}
    assert texts(databases, 1) == texts(databases, "control") == expected
    assert states(sample.well("sync", "station-1", "--json")) == {"nothing to do"}
    (done,) = sample.well("reconcile", "station-1", "--json").json["reports"]
    assert (done["rows"], done["exceptions"]) == (4, {})
    assert "down" in sample.well("explain", "station-1", "kafka_test", 3, "A").out

    # What goes back: from the trash, of a restored station, from the journal, by a backfill.
    (number,) = sample.ids("trash", "list")
    sample.well("trash", "restore", number)
    databases.execute(1, "DELETE FROM kafka_test")
    sample("sync", "station-1")  # whether it is refused is not the question here
    sample.well("reseed", "station-1", "--yes")
    databases.execute("control", "DELETE FROM kafka_test WHERE id IS NOT NULL")
    sample("reconcile", "station-1")
    sample.well("backfill", "station-1", "--table", "kafka_test", "--all")
    sample("journal", "replay", "station-1", "--table", "kafka_test", "--yes")
    sample.well("sync", "station-1")
    assert texts(databases, 1).items() >= expected.items()
    assert own_rows(databases) == before
    assert sample.well("status", "--json").json["tables"][0]["without_key"] == 0


@pytest.mark.parametrize(
    ("code", "unique", "rows"),
    [("NOT NULL", "id, code", [(None, "A")]), ("DEFAULT NULL", "code, id", [(None, "A"), (9, None), (None, None)])],
)
def test_rows_of_a_station_without_a_key_are_counted_and_the_rest_goes_on(
    databases: Databases, tmp_path: Path, code: str, unique: str, rows: list[tuple[Any, Any]]
) -> None:
    create(databases, "control", own_key="master_id", code=code, unique=unique)
    create(databases, 1, own_key="own", code=code, unique=unique)
    command = command_of(databases, tmp_path, exclude=["master_id", "own"], deletes="archive", page_rows=3)
    without = [row(7, text="no key") | {"id": number, "code": letter} for number, letter in rows * 2]
    databases.put(1, [*without, *(row(n) for n in range(1, 9))])
    command.well("init")

    def unkeyed() -> int:
        condition = "id IS NULL OR code IS NULL"
        return int(databases.query(1, f"SELECT COUNT(*) FROM kafka_test WHERE {condition}")[0][0])

    (done,) = [r for r in command.well("sync", "station-1", "--json").json["reports"] if r["direction"] == "up"]
    assert (done["applied"], done["quarantined"], done["without_key"]) == (8, 0, len(without))
    assert databases.count("control") == 8
    assert states(command.well("sync", "station-1", "--json")) == {"nothing to do"}
    (status,) = command.well("status", "--json").json["tables"]
    assert (status["without_key"], status["state"]) == (len(without), "ok")
    assert f"{len(without)} rows of the station have NULL in the key" in command.well("status").out
    told = [note for note in notes(command.well("check", "--json"), "warning") if note.startswith("station-1")]
    assert any(f"({len(without)} now) are not carried" in note for note in told)
    (swept,) = command.well("reconcile", "station-1", "--json").json["reports"]
    assert (swept["found"], swept["rows"], swept["exceptions"]) == (dict.fromkeys(swept["found"], 0), 8, {})
    assert swept["without_key"] == len(without)

    # A row is given a key, one loses it: a new row, and a delete.
    one, other = databases.query(1, "SELECT MIN(own), MAX(own) FROM kafka_test WHERE id IS NULL")[0]
    databases.execute(1, f"UPDATE kafka_test SET id = 77, code = 'A', modify_date = '{LATER}' WHERE own = {one}")
    databases.execute(1, f"UPDATE kafka_test SET id = 78, code = 'A' WHERE own = {other}")
    databases.execute(1, "UPDATE kafka_test SET id = NULL WHERE id = 8")
    command.well("sync", "station-1")
    assert (77, "A") in texts(databases, "control")
    command.well("reconcile", "station-1")
    assert texts(databases, "control") == texts(databases, 1)
    assert {(77, "A"), (78, "A")} <= set(texts(databases, 1))
    assert (8, "A") not in texts(databases, "control")
    assert len(command.ids("trash", "list")) == 1

    # No route writes to those that have none.
    left = unkeyed()
    assert left == len(without) - 1
    command.well("backfill", "station-1", "--table", "kafka_test", "--all")
    command.well("backfill", "station-1", "--table", "kafka_test", "--from-key", 1)
    databases.execute("control", f"UPDATE kafka_test SET text = 'down', modify_date = '{LATER}' WHERE id = 1")
    command.well("sync", "station-1")
    databases.execute(1, "DELETE FROM kafka_test WHERE id IS NOT NULL AND code IS NOT NULL")
    command("sync", "station-1")
    command.well("reseed", "station-1", "--yes")
    assert texts(databases, 1) == texts(databases, "control")
    assert texts(databases, 1)[(1, "A")] == "down"
    assert unkeyed() == left
    assert states(command.well("sync", "station-1", "--json")) == {"nothing to do"}


def test_a_key_without_a_unique_index_is_refused_where_it_lacks(databases: Databases, tmp_path: Path) -> None:
    create(databases, "control", own_key="master_id", unique="id, code, text")
    databases.create_kafka_test(1)
    command = command_of(databases, tmp_path)
    refused = command("init")
    assert refused.code == 1
    assert "control/kafka_test: the key (id, code) is not unique." in refused.err
    assert "the station" not in refused.err
    done = command("check", "--json")
    assert done.code == 1
    assert any(n.startswith("control/kafka_test: the key (id, code) is not unique.") for n in notes(done, "problem"))
    assert not any("station-1" in n for n in notes(done, "problem"))
