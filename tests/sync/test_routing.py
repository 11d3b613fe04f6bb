"""Each change goes where it belongs and nowhere else, and only as far as the table's options let it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases, Where
from support.fleet import KAFKA_TEST, Fleet
from support.inject import ago
from support.sample import row

from cli.sandbox.servers import MariaDBServer
from stationsync.model.changes import Counts, Status

ENTRIES = (
    "SELECT station, direction, key_text, reasons, row_json FROM stationsync_quarantine"
    " WHERE state = 'open' ORDER BY id"
)


def a_fleet(databases: Databases, stations: int = 1, **options: Any) -> Fleet:
    """Station n has the rows n1 and n2, as control has them."""
    databases.create_kafka_test("control", control=True)
    for n in range(1, stations + 1):
        databases.create_kafka_test(n)
        databases.put(n, [row(10 * n + i) for i in (1, 2)])
    fleet = Fleet(databases, stations, **options)
    fleet.init()
    for n in range(1, stations + 1):
        fleet.sync(n)
    return fleet


def everywhere(fleet: Fleet) -> dict[Where, list[tuple[Any, ...]]]:
    places: list[Where] = ["control", *range(1, fleet.stations + 1)]
    return {where: fleet.databases.rows(where) for where in places}


def entries(fleet: Fleet) -> list[tuple[Any, ...]]:
    """(station, direction, key, reasons, row) of what is in quarantine."""
    found = fleet.databases.query("control", ENTRIES)
    return [(*values[:2], *(json.loads(text) for text in values[2:])) for values in found]


# --- echoes


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[MariaDBServer]:
    """A station's server on which nothing but the run under test writes."""
    with MariaDBServer() as server:
        yield server


def written(server: MariaDBServer) -> dict[str, int]:
    """How many statements that write this server has had so far, those on temporary tables included."""
    kinds = ("insert", "insert_select", "update", "update_multi", "delete", "delete_multi", "replace", "load")
    status = dict(server.query("SHOW GLOBAL STATUS LIKE 'Com%'"))
    return {kind: int(status[f"Com_{kind}"]) for kind in (*kinds, "create_table", "create_temporary_table")}


def test_a_pulled_row_is_not_sent_back_and_an_edit_takes_one_update(
    mariadb_control: MariaDBServer, quiet_server: MariaDBServer
) -> None:
    databases = MariaDBDatabases(mariadb_control, quiet_server)
    fleet = a_fleet(databases)
    databases.put(1, [row(n, at=ago(5)) for n in range(100, 200)])
    fleet.edit(1, 11, text="edited")
    before = written(quiet_server)
    assert fleet.pull().counts.applied == 101
    assert fleet.push().status is Status.NOTHING
    fleet.require_nothing_to_do()
    assert written(quiet_server) == before

    for id in (100, 101):
        fleet.edit("control", id, text="down")
    fleet.push()
    assert written(quiet_server)["update_multi"] - before["update_multi"] == 1
    assert fleet.pull().counts.applied == 0
    fleet.require_nothing_to_do()
    fleet.require_equal()
    databases.close()


def test_an_edit_goes_to_its_own_station_only(databases: Databases) -> None:
    fleet = a_fleet(databases, stations=3)
    before = everywhere(fleet)
    fleet.edit("control", 21, text="for station 2")
    counts = [fleet.push(n).counts for n in (1, 2, 3)]
    assert counts == [Counts(), Counts(read=1, applied=1), Counts()]
    after = everywhere(fleet)
    assert (after[1], after[3]) == (before[1], before[3])
    assert after[2][0][:2] == (21, "for station 2")
    fleet.require_nothing_to_do((1, 2, 3))
    for n in (1, 2, 3):
        fleet.require_equal(n)


def test_pulling_again_burns_no_number_at_control(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.put(1, [row(n, at=ago(5)) for n in range(1_000, 11_000)])
    fleet.pull()
    before = next_number(databases), databases.query("control", "SELECT master_id, id FROM kafka_test ORDER BY id")
    for text in (None, None, "edited"):
        databases.execute("control", "DELETE FROM stationsync_state")
        if text:
            databases.execute(1, "UPDATE kafka_test SET text = %s, modify_date = %s", [text, ago(1)])
        assert fleet.pull().counts == Counts(read=10_002, **{"applied" if text else "unchanged": 10_002})
        found = databases.query("control", "SELECT master_id, id FROM kafka_test ORDER BY id")
        assert (next_number(databases), found) == before
    fleet.require_nothing_to_do()
    fleet.require_equal()


def next_number(databases: Databases) -> str:
    """Control's AUTO_INCREMENT."""
    if databases.kind == "sqlite":
        return str(databases.query("control", "SELECT seq FROM sqlite_sequence WHERE name = 'kafka_test'"))
    ddl = databases.query("control", "SHOW CREATE TABLE kafka_test")[0][1]
    return next(word for word in ddl.split() if word.startswith("AUTO_INCREMENT="))


# --- whose row it is


def test_a_key_that_another_station_owns_is_quarantined_with_the_owner_s_name(databases: Databases) -> None:
    fleet = a_fleet(databases, stations=2)
    databases.put(2, [row(11, text="mine too", at=ago(5)), row(23, at=ago(5))])
    before = everywhere(fleet)
    up = fleet.pull(2)
    assert (up.counts.applied, up.counts.quarantined) == (1, 1)
    ((station, direction, key, reasons, kept),) = entries(fleet)
    assert (station, direction, key, kept["text"]) == ("station-2", "up", ["11", "A"], "mine too")
    assert "station-1 owns this key" in reasons[0]

    after = everywhere(fleet)
    assert (after[1], after[2]) == (before[1], before[2])
    assert [values for values in after["control"] if values[0] != 23] == before["control"]
    fleet.require_nothing_to_do((1, 2))
    fleet.require_equal(1)

    fleet.edit("control", 11, text="for its owner")
    assert (fleet.push(2).status, fleet.push(1).counts.applied) == (Status.NOTHING, 1)
    assert databases.rows(1)[0][1] == "for its owner"
    assert databases.rows(2) == before[2]
    fleet.require_nothing_to_do((1, 2))


def test_an_edit_for_a_row_that_the_station_no_longer_has_is_recorded_and_nothing_recreated(
    databases: Databases,
) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 11")
    fleet.edit("control", 11, text="too late", at=ago(20))
    fleet.edit("control", 12, text="in time")
    down = fleet.push()
    assert (down.counts.missing, down.counts.applied, down.counts.quarantined) == (1, 1, 1)
    ((_, direction, key, reasons, kept),) = entries(fleet)
    assert (direction, key, kept["text"]) == ("down", ["11", "A"], "too late")
    assert "no longer has this row" in reasons[0]
    assert [values[:2] for values in databases.rows(1)] == [(12, "in time")]
    fleet.require_nothing_to_do()

    # Made anew at the station, the row is decided like any other, and the entry is done with.
    databases.put(1, [row(11, text="made anew", at=ago(10))])
    fleet.sync()
    fleet.require_equal()
    assert databases.rows(1)[0][1] == "made anew"
    assert entries(fleet) == []
    fleet.require_nothing_to_do()


# --- what travels


def test_control_s_own_columns_never_travel(databases: Databases) -> None:
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN note varchar(20) DEFAULT 'none yet'")
    databases.create_kafka_test(1)
    databases.execute(1, "ALTER TABLE kafka_test ADD COLUMN note varchar(20) DEFAULT 'the station''s'")
    fleet = Fleet(databases, exclude=["master_id", "note"])
    fleet.init()
    databases.put(1, [row(1), row(2)])
    fleet.sync()
    own = "SELECT id, master_id, note FROM kafka_test ORDER BY id"
    before = databases.query("control", own)
    assert [values[2] for values in before] == ["none yet"] * 2

    databases.execute("control", "UPDATE kafka_test SET note = 'control''s' WHERE id = 1")
    fleet.require_nothing_to_do()
    fleet.edit(1, 1, text="up", note="changed")
    fleet.edit("control", 2, text="down", note="changed")
    assert (fleet.pull().counts.applied, fleet.push().counts.applied) == (1, 1)
    assert databases.query("control", own) == [(*before[0][:2], "control's"), (*before[1][:2], "changed")]
    assert databases.query(1, "SELECT note FROM kafka_test ORDER BY id") == [("changed",), ("the station's",)]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_of_an_edit_only_the_editable_columns_go_down(databases: Databases) -> None:
    fleet = a_fleet(databases, editable=["text"])
    fleet.edit("control", 11, text="down", create_date="1999-01-01 00:00:00", at=ago(20))
    down = fleet.push()
    assert (down.counts.applied, down.counts.quarantined) == (1, 1)
    assert databases.rows(1)[0][1:4] == ("down", "A", "2024-01-01 00:00:00")
    ((_, direction, key, reasons, _),) = entries(fleet)
    assert (direction, key) == ("down", ["11", "A"])
    assert "may not edit these columns: create_date" in reasons[0]
    fleet.require_nothing_to_do()

    # The station's next edit is also the end of control's other value, which is kept as the loser.
    fleet.edit(1, 11, text="up", at=ago(10))
    up = fleet.pull()
    assert (up.counts.applied, up.counts.conflicts, fleet.push().counts.released) == (1, 1, 1)
    fleet.require_nothing_to_do()
    fleet.require_equal()
    assert entries(fleet) == []


@pytest.mark.parametrize("editable", [["text"], []])
def test_an_edit_of_fixed_columns_only_is_kept_but_touches_no_station(
    databases: Databases, editable: list[str]
) -> None:
    fleet = a_fleet(databases, editable=editable)
    before = databases.rows(1)
    fleet.edit("control", 11, create_date="1999-01-01 00:00:00")
    assert fleet.push().counts == Counts(read=1, quarantined=1)
    assert databases.rows(1) == before
    assert [entry[1] for entry in entries(fleet)] == ["down"]
    fleet.require_nothing_to_do()


def test_up_brings_everything_up_and_nothing_down(databases: Databases) -> None:
    fleet = a_fleet(databases, direction="up")
    fleet.edit("control", 11, text="control's", at=ago(5))
    fleet.edit("control", 12, text="stays", at=ago(5))
    before = databases.rows(1)
    assert fleet.push().counts == Counts()
    assert databases.rows(1) == before
    fleet.edit(1, 11, text="station's", at=ago(10))
    assert fleet.pull().counts.conflicts == 1
    assert [values[1] for values in databases.rows("control")] == ["station's", "stays"]
    fleet.require_nothing_to_do()


def test_down_takes_edits_down_and_undoes_the_station_s(databases: Databases) -> None:
    fleet = a_fleet(databases)
    fleet.options(direction="down")
    fleet.edit("control", 11, text="down")
    fleet.edit(1, 12, text="never goes up")
    databases.put(1, [row(13, at=ago(5))])
    up, down = fleet.sync()
    assert (up.counts.applied, up.counts.conflicts, down.counts.applied) == (0, 1, 2)
    assert [values[:2] for values in databases.rows(1)] == [(11, "down"), (12, "row 12"), (13, "row 13")]
    assert [values[:2] for values in databases.rows("control")] == [(11, "down"), (12, "row 12")]
    fleet.require_nothing_to_do()


def test_names_may_differ_between_the_sides(databases: Databases) -> None:
    databases.create_kafka_test("control", control=True, table="all_rows")
    databases.create_kafka_test(1, table="eigene")
    for old, new in (("text", "inhalt"), ("code", "kennung"), ("modify_date", "stand")):
        databases.execute(1, f"ALTER TABLE eigene RENAME COLUMN {old} TO {new}")
    names = {"inhalt": "text", "kennung": "code", "stand": "modify_date"}
    options = {**KAFKA_TEST, "control_table": "all_rows", "station_table": "eigene", "rename": names}
    fleet = Fleet(databases, tables={"rows": options})
    fleet.init()

    def require_same() -> None:
        fleet.require_nothing_to_do()
        found = databases.rows(1, "eigene", "id, inhalt, kennung, create_date, stand", "id")
        for table in ("all_rows", "stationsync_base_all_rows"):
            assert databases.rows("control", table) == found

    old = {"kennung": "A", "create_date": "2024-01-01 00:00:00", "stand": "2024-01-01 00:00:00"}
    databases.put(1, [{"id": n, "inhalt": f"row {n}", **old} for n in (1, 2, 3)], "eigene")
    assert fleet.pull().counts.applied == 3
    require_same()
    databases.execute("control", "UPDATE all_rows SET text = 'down', modify_date = %s WHERE id < 3", [ago(10)])
    databases.execute(1, "UPDATE eigene SET inhalt = 'up', stand = %s WHERE id > 1", [ago(5)])
    up, down = fleet.sync()
    assert (up.counts.applied, up.counts.conflicts, down.counts.applied) == (2, 1, 1)
    require_same()
    assert [values[1] for values in databases.rows("control", "all_rows")] == ["down", "up", "up"]


def test_a_station_may_have_options_of_its_own(databases: Databases) -> None:
    fleet = a_fleet(databases, stations=2, conflicts="control", overrides={2: {"conflicts": "station"}})
    for n in (1, 2):
        fleet.edit(n, 10 * n + 1, text="station", at=ago(10))
        fleet.edit("control", 10 * n + 1, text="control", at=ago(10))
        fleet.sync(n)
    assert [databases.rows(n)[0][1] for n in (1, 2)] == ["control", "station"]
    fleet.require_nothing_to_do((1, 2))
    for n in (1, 2):
        fleet.require_equal(n)
