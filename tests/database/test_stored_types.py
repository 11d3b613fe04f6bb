"""SQLite stores any type in any column: such a value stops its row, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.databases import SQLiteDatabases
from support.fleet import Fleet
from support.sample import row

from stationsync.errors import BatchRefused, SchemaRefused
from stationsync.pairing.pair import control_of
from stationsync.recovery.quarantine import find, retry


@pytest.fixture
def databases(tmp_path: Path) -> SQLiteDatabases:
    """Ten rows at the station; the text of number 4 is a blob, the photo of number 7 a text, that of 8 a number."""
    databases = SQLiteDatabases(tmp_path)
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    for where in (1, "control"):
        databases.execute(where, "ALTER TABLE kafka_test ADD COLUMN photo blob")  # type: ignore[arg-type]
    databases.put(1, [row(n) for n in range(1, 11)])
    databases.execute(1, "UPDATE kafka_test SET text = x'6f6464ff' WHERE id = 4")
    databases.execute(1, "UPDATE kafka_test SET photo = 'no blob' WHERE id = 7")
    databases.execute(1, "UPDATE kafka_test SET photo = 17 WHERE id = 8")
    return databases


def made(databases: SQLiteDatabases, **options: Any) -> Fleet:
    fleet = Fleet(databases, **options)
    fleet.init()
    return fleet


@pytest.mark.parametrize("page_rows", [1, 4, 100])
def test_the_row_is_kept_with_the_reason_and_all_others_arrive(databases: SQLiteDatabases, page_rows: int) -> None:
    fleet = made(databases, page_rows=page_rows, max_bad="100%")
    up = fleet.pull()
    assert (up.counts.read, up.counts.applied, up.counts.quarantined) == (10, 7, 3)
    assert [values[0] for values in databases.rows("control")] == [1, 2, 3, 5, 6, 9, 10]
    entries, _ = find(control_of(fleet.topology))
    told = {int(json.loads(entry.key_text)[0]): (entry.reasons, entry.row) for entry in entries}
    assert told.keys() == {4, 7, 8}
    reasons, kept = told[4]
    assert "column text: the value is stored as blob, but the column is declared varchar(100)" in reasons[0]
    assert "SELECT typeof(text)" in reasons[0]
    assert kept["text"] == "x'6f6464ff'"
    assert "stored as text" in told[7][0][0]
    assert told[7][1]["photo"] == {"hex": b"no blob".hex()}
    assert "stored as integer" in told[8][0][0]
    fleet.require_nothing_to_do()

    # Tried again without being mended, by key, it stays.
    pairs = {(pair.name, pair.table): pair for pair in fleet.pairs()}
    tried = retry(control_of(fleet.topology), lambda *of: pairs[of], entries)
    assert (set(tried.states.values()), tried.errors) == ({"open"}, ())

    fleet.edit(1, 4, text="mended")
    fleet.edit(1, 7, photo=b"a blob")
    fleet.edit(1, 8, photo=None)
    up = fleet.pull()
    assert (up.counts.applied, up.counts.released) == (3, 3)
    fleet.require_equal(columns="id, text, code, create_date, modify_date, photo")
    fleet.require_nothing_to_do()


def test_they_count_as_bad_rows(databases: SQLiteDatabases) -> None:
    fleet = made(databases, max_bad=2)
    with pytest.raises(BatchRefused, match=r"3 of 10 rows.*3 times a value that cannot be carried as it is"):
        fleet.pull()
    assert databases.rows("control") == []


def test_a_row_without_a_readable_key_is_refused_by_name(databases: SQLiteDatabases) -> None:
    databases.execute(1, "UPDATE kafka_test SET code = x'41ff' WHERE id = 2")
    with pytest.raises(SchemaRefused, match=r"column code: the value is stored as blob.*SELECT typeof\(code\)"):
        made(databases).pull()
