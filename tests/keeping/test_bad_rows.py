"""A bad row is kept aside with its reasons and everything else goes on; a fault of the environment blames no row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases, Where
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.errors import BatchRefused

ENTRIES = "SELECT direction, state, key_text, reasons, times FROM stationsync_quarantine ORDER BY id"
SUITE = """
name: no_minus
expectations:
  - type: expect_column_values_to_not_match_regex
    description: begins with a minus
    kwargs: {column: text, regex: '^-'}
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A suite with one rule, in the folder that the environment names."""
    (tmp_path / "no_minus.yaml").write_text(SUITE)
    monkeypatch.setenv("STATIONSYNC_EXPECTATIONS", str(tmp_path))
    return "no_minus"


def a_fleet(databases: Databases, **options: Any) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **options)
    fleet.init()
    return fleet


def text_column(databases: Databases, where: Where, kind: str) -> None:
    """Gives the column `text` another type."""
    databases.execute(where, f"ALTER TABLE kafka_test MODIFY `text` {kind}")


def limit_text(databases: Databases, where: Where, condition: str, name: str = "a_limit") -> None:
    """From here on the database refuses rows that break `condition` (about `text`), on both kinds."""
    if databases.kind == "mariadb":
        databases.execute(where, f"ALTER TABLE kafka_test ADD CONSTRAINT {name} CHECK ({condition})")
        return
    for event in ("INSERT", "UPDATE"):
        refuse = f"SELECT RAISE(ABORT, 'CONSTRAINT {name} failed') WHERE NOT ({condition.replace('text', 'NEW.text')})"
        databases.execute(where, f"CREATE TRIGGER {name}_{event} BEFORE {event} ON kafka_test BEGIN {refuse}; END")


def entries(fleet: Fleet, state: str = "open") -> dict[tuple[str, int], str]:
    """(direction, id) -> the reasons, of the entries in that state."""
    found = fleet.databases.query("control", ENTRIES)
    return {(way, int(json.loads(key)[0])): reasons for way, now, key, reasons, _ in found if now == state}


def numbers(fleet: Fleet, where: Where = "control") -> list[int]:
    return [values[0] for values in fleet.databases.rows(where)]


# --- on the way up


def test_of_1_200_rows_three_are_bad_and_1_197_arrive(mariadb_databases: MariaDBDatabases, suite: str) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases, expectations=suite)
    text_column(databases, 1, "varchar(300)")
    text_column(databases, "control", "varchar(100) CHARACTER SET utf8mb3")
    bad = {100: "long " * 30, 600: "emoji 🚉", 1_100: "-1"}
    databases.put(1, [row(n, text=bad.get(n)) for n in range(1, 1_201)])
    databases.put("control", [{**row(9_999), "master_id": 9_999}])

    fleet.init()
    up = fleet.pull()
    assert (up.counts.read, up.counts.applied, up.counts.quarantined) == (1_200, 1_197, 3)
    assert numbers(fleet) == [n for n in range(1, 1_201) if n not in bad] + [9_999]
    kept = entries(fleet)
    assert kept.keys() == {("up", n) for n in bad}
    assert "Data too long for column 'text'" in kept["up", 100]
    assert "Incorrect string value" in kept["up", 600]
    assert "begins with a minus" in kept["up", 1_100]
    fleet.require_nothing_to_do()

    for done, n in enumerate(bad, 1):
        fleet.edit(1, n, text=f"mended {n}")
        again = fleet.pull()
        assert (again.counts.applied, again.counts.released) == (1, 1)
        assert len(entries(fleet)) == 3 - done
    assert numbers(fleet, 1) == [n for n in numbers(fleet) if n != 9_999]
    assert entries(fleet, "released").keys() == {("up", n) for n in bad}
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_version_in_quarantine_is_kept_where_an_older_one_takes_its_place(databases: Databases) -> None:
    """A station that is restored has an older version of a row, which control refuses as well: the newer one stands
    nowhere but in quarantine."""
    fleet = a_fleet(databases)
    databases.put(1, [row(n) for n in range(1, 21)])
    fleet.sync()
    limit_text(databases, "control", "text NOT LIKE 'bad%'")
    fleet.edit(1, 5, text="bad and newer", at=ago(20))
    assert fleet.pull().counts.quarantined == 1
    fleet.edit(1, 5, text="bad and older", at=ago(40))
    counts = fleet.pull().counts
    assert (counts.quarantined, counts.conflicts) == (1, 1)
    ((reason, kept),) = databases.query("control", "SELECT reason, station_row FROM stationsync_conflict")
    assert (reason, json.loads(kept)["text"]) == ("older at the station than known", "bad and newer")
    fleet.require_nothing_to_do()


def test_a_row_that_control_refuses_is_found_among_good_ones(databases: Databases) -> None:
    """First, last and in the middle of a page; new rows and known ones alike."""
    fleet = a_fleet(databases, page_rows=50)
    databases.put(1, [row(n) for n in range(1, 121)])
    fleet.sync()
    limit_text(databases, "control", "text <> 'bad'")
    bad = (1, 50, 51, 119, 200)
    databases.put(1, [row(200, text="bad", at=ago(20)), row(201, at=ago(20))])
    databases.execute(1, "UPDATE kafka_test SET modify_date = %s, text = 'edited' WHERE id <= 120", [ago(20)])
    for n in bad:
        fleet.edit(1, n, text="bad", at=ago(20))

    up = fleet.pull()
    assert (up.counts.applied, up.counts.quarantined) == (117, 5)
    kept = entries(fleet)
    assert kept.keys() == {("up", n) for n in bad}
    assert all("control refuses the row" in reasons and "a_limit" in reasons for reasons in kept.values())
    known = {values[0]: values[1] for values in databases.rows("control")}
    assert {n: known.get(n) for n in bad} == {1: "row 1", 50: "row 50", 51: "row 51", 119: "row 119", 200: None}
    fleet.require_nothing_to_do()

    for n in bad:
        fleet.edit(1, n, text="mended")
    assert fleet.pull().counts.released == 5
    assert entries(fleet) == {}
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_row_that_breaks_another_unique_index_is_kept_with_the_database_s_words(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute("control", "CREATE UNIQUE INDEX only_once ON kafka_test (text)")
    databases.put(1, [row(1, text="same"), row(2, text="other"), row(3, text="same")])
    up = fleet.pull()
    assert (up.counts.applied, up.counts.quarantined) == (2, 1)
    ((way, reasons),) = entries(fleet).items()
    assert way == ("up", 3)
    assert "only_once" in reasons or "UNIQUE constraint failed: kafka_test.text" in reasons
    assert [values[:2] for values in databases.rows("control")] == [(1, "same"), (2, "other")]
    fleet.require_nothing_to_do()

    fleet.edit(1, 3, text="its own")
    assert fleet.pull().counts.released == 1
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_good_row_that_turns_bad_leaves_control_s_as_it_was(databases: Databases, suite: str) -> None:
    fleet = a_fleet(databases, expectations=suite)
    databases.put(1, [row(1), row(2)])
    fleet.sync()
    fleet.edit(1, 1, text="-1")
    fleet.edit(1, 2, text="good")
    assert fleet.pull().counts.quarantined == 1
    assert [values[1] for values in databases.rows("control")] == ["row 1", "good"]
    fleet.require_nothing_to_do()

    # An edit at control may not overwrite what control never saw.
    fleet.edit("control", 1, text="control's")
    fleet.push()
    assert [values[1] for values in databases.rows(1)] == ["-1", "good"]
    fleet.require_nothing_to_do()
    fleet.edit(1, 1, text="mended", at=ago(-1))
    fleet.sync()
    assert entries(fleet) == {}
    assert [values[1] for values in databases.rows("control")] == ["mended", "good"]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_more_than_max_bad_refuses_the_batch_and_nothing_is_written(databases: Databases, suite: str) -> None:
    fleet = a_fleet(databases, expectations=suite, max_bad="10% or 3")
    databases.put(1, [row(n, text="-1" if n <= 4 else None) for n in range(1, 31)])
    with pytest.raises(BatchRefused, match="4 of 30 rows"):
        fleet.pull()
    assert (numbers(fleet), entries(fleet)) == ([], {})
    marks = databases.query("control", "SELECT watermark, status FROM stationsync_state WHERE direction = 'up'")
    assert marks == [(None, "failed")]

    fleet.edit(1, 1, text="mended")
    up = fleet.pull()
    assert (up.counts.applied, up.counts.quarantined) == (27, 3)
    fleet.require_nothing_to_do()


# --- on the way down


def test_an_edit_that_the_station_refuses_is_kept_and_the_others_go_down(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.put(1, [row(n) for n in range(1, 41)])
    limit_text(databases, 1, "length(text) < 10")
    fleet.sync()
    for n in range(1, 41):
        fleet.edit("control", n, text="far too long" if n in (1, 20) else "edited", at=ago(10))
    down = fleet.push()
    assert (down.counts.applied, down.counts.quarantined) == (38, 2)
    kept = entries(fleet)
    assert kept.keys() == {("down", 1), ("down", 20)}
    assert all("the station refuses the row" in reasons and "a_limit" in reasons for reasons in kept.values())
    assert [values[0] for values in databases.rows(1) if values[1] != "edited"] == [1, 20]
    fleet.require_nothing_to_do()

    # One edit is mended, the other taken back: both entries are done with.
    fleet.edit("control", 1, text="mended")
    fleet.edit("control", 20, text="row 20", at="2024-01-01 00:00:00")
    down = fleet.push()
    assert (down.counts.applied, down.counts.released) == (1, 2)
    assert entries(fleet) == {}
    pending = "SELECT id FROM stationsync_base_kafka_test WHERE stationsync_pending <> 0"
    assert databases.query("control", pending) == []
    fleet.require_nothing_to_do()
    fleet.require_equal()


@pytest.mark.parametrize("why", ["refused", "gone"])
def test_an_edit_in_quarantine_ends_with_the_next_one_though_that_cannot_be_tried(
    databases: Databases, why: str
) -> None:
    """The station has changed the row meanwhile, to what control refuses: the newer edit waits, and nobody has refused
    it. An edit that was kept because its row was gone is not kept for that once the row is there again."""
    fleet = a_fleet(databases)
    databases.put(1, [row(1)])
    limit_text(databases, 1, "length(text) < 10")
    limit_text(databases, "control", "text <> 'bad'", "no_bad")
    fleet.sync()
    if why == "gone":
        databases.execute(1, "DELETE FROM kafka_test")
    fleet.edit("control", 1, text="edited" if why == "gone" else "far too long", at=ago(20))
    fleet.sync()
    assert entries(fleet).keys() == {("down", 1)}

    if why == "gone":
        databases.put(1, [row(1, text="bad", at=ago(15))])
    else:
        fleet.edit(1, 1, text="bad", at=ago(5))
        fleet.edit("control", 1, text="newer", at=ago(10))
    up, down = fleet.sync()
    assert (up.counts.quarantined, down.counts.released) == (1, 1)
    assert entries(fleet).keys() == {("up", 1)}
    fleet.require_nothing_to_do()

    fleet.edit(1, 1, text="mended", at=ago(15) if why == "refused" else ago(25))
    fleet.sync()
    assert entries(fleet) == {}
    assert databases.query("control", "SELECT text FROM kafka_test") == [("edited" if why == "gone" else "newer",)]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_an_edit_that_is_too_long_for_the_station_s_column(mariadb_databases: MariaDBDatabases) -> None:
    fleet = a_fleet(mariadb_databases)
    text_column(mariadb_databases, 1, "varchar(20) CHARACTER SET utf8mb3")
    mariadb_databases.put(1, [row(n) for n in (1, 2, 3)])
    fleet.sync()
    for n, text in ((1, "long " * 5), (2, "🚉"), (3, "good")):
        fleet.edit("control", n, text=text, at=ago(10))
    down = fleet.push()
    assert (down.counts.applied, down.counts.quarantined) == (1, 2)
    kept = entries(fleet)
    assert "Data too long for column 'text'" in kept["down", 1]
    assert "Incorrect string value" in kept["down", 2]
    assert [values[1] for values in mariadb_databases.rows(1)] == ["row 1", "row 2", "good"]
    fleet.require_nothing_to_do()

    # The station's own next edit decides anew; the entry of the edit that lost is done with.
    fleet.edit(1, 1, text="station's", at=ago(5))
    fleet.edit("control", 2, text="mended", at=ago(5))
    up, down = fleet.sync()
    assert (up.counts.conflicts, down.counts.applied, down.counts.released) == (1, 1, 2)
    fleet.require_nothing_to_do()
    fleet.require_equal()
