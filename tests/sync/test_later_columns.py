"""A column that is synchronised later: nobody knows who is right, so it is adopted, as rows are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.databases import Databases, Where
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.sweeps import sweep

from stationsync.errors import SchemaRefused
from stationsync.recovery import reseed
from stationsync.sync import adopt_columns

ROWS = 20
# What each side has of rows 1 to 20, once the column is at both; the rest is NULL.
CONTROL = {n: f"control {n}" for n in range(1, 9)} | {9: "same", 10: "same"}
STATION = {n: f"station {n}" for n in range(5, 9)} | {9: "same", 10: "same"} | {n: f"station {n}" for n in (11, 12)}
# Equal stamps: of two values control's wins.
EXPECTED = STATION | CONTROL


def a_fleet(databases: Databases, **options: Any) -> Fleet:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(n, at=ago(7200 + n)) for n in range(1, ROWS + 1)])
    fleet = Fleet(databases, page_rows=7, **options)
    fleet.init()
    fleet.sync()
    return fleet


def add(databases: Databases, where: Where, name: str = "note", kind: str = "VARCHAR(40) NULL") -> None:
    databases.execute(where, f"ALTER TABLE kafka_test ADD COLUMN {name} {kind}")


def fill(databases: Databases, where: Where, values: Mapping[int, Any], name: str = "note") -> None:
    """By hand: no stamp is touched."""
    for number, value in values.items():
        databases.execute(where, f"UPDATE kafka_test SET {name} = %s WHERE id = %s", [value, number])


def notes(databases: Databases, where: Where, name: str = "note") -> dict[int, Any]:
    query = f"SELECT id, {name} FROM kafka_test WHERE {name} IS NOT NULL"
    return {int(number): value for number, value in databases.query(where, query)}


def lost(databases: Databases) -> dict[int, tuple[str, str | None, str | None]]:
    """Of each conflict: who lost, and the notes of both sides."""
    query = "SELECT loser, station_row, control_row FROM stationsync_conflict"
    found = {}
    for loser, station, control in databases.query("control", query):
        s, c = json.loads(station), json.loads(control)
        found[int(s["id"])] = (loser, s["note"], c["note"])
    assert len(found) == databases.count("control", "stationsync_conflict")
    return found


def control_first(fleet: Fleet) -> str:
    databases = fleet.databases
    add(databases, "control")
    fill(databases, "control", CONTROL)
    fleet.init()
    fleet.sync()
    fleet.require_nothing_to_do()
    add(databases, 1)
    fill(databases, 1, STATION)
    return "note"


def station_first(fleet: Fleet) -> str:
    databases = fleet.databases
    add(databases, 1)
    fill(databases, 1, STATION)
    fleet.sync()
    add(databases, "control")
    fill(databases, "control", CONTROL)
    fleet.init()
    return "note"


def filled_by_an_older_init(fleet: Fleet) -> str:
    """Books of an older version: `init` gave the base control's values, and nothing tells what it is about."""
    name = control_first(fleet)
    databases = fleet.databases
    base = "stationsync_base_kafka_test"
    databases.execute("control", "DELETE FROM stationsync_schema WHERE side = 'base'")
    for number, note in CONTROL.items():
        databases.execute("control", f"UPDATE {base} SET note = %s WHERE id = %s", [note, number])
    return name


def taken_out_of_exclude(fleet: Fleet) -> str:
    """It had been synchronised before, with other values."""
    databases = fleet.databases
    for where in (1, "control"):
        add(databases, where)
    fill(databases, 1, dict.fromkeys(range(1, ROWS + 1), "long ago"))
    fleet.init()
    fleet.sync()
    assert sweep(fleet).counts.applied in (0, ROWS)
    fleet.options(exclude=["master_id", "note"])
    fleet.sync()
    for where, values in ((1, STATION), ("control", CONTROL)):
        databases.execute(where, "UPDATE kafka_test SET note = NULL")
        fill(databases, where, values)
    fleet.sync()
    fleet.options(exclude=["master_id"])
    return "note"


def renamed(fleet: Fleet) -> str:
    databases = fleet.databases
    add(databases, "control")
    add(databases, 1, "memo")
    fill(databases, "control", CONTROL)
    fill(databases, 1, STATION, "memo")
    fleet.init()
    fleet.sync()
    fleet.options(rename={"memo": "note"})
    return "memo"


def dropped_and_added_again(fleet: Fleet) -> str:
    databases = fleet.databases
    for where in (1, "control"):
        add(databases, where)
    fleet.init()
    fleet.sync()
    fill(databases, 1, STATION)
    sweep(fleet)
    assert notes(databases, "control") == STATION
    databases.execute("control", "ALTER TABLE kafka_test DROP COLUMN note")
    with pytest.raises(SchemaRefused, match="was synchronised and is gone"):
        fleet.pull()
    add(databases, "control")
    fill(databases, "control", CONTROL)
    return "note"


WAYS = [control_first, station_first, filled_by_an_older_init, taken_out_of_exclude, renamed, dropped_and_added_again]


def require_adopted(fleet: Fleet, own: str = "note", expected: Mapping[int, Any] = EXPECTED) -> None:
    databases = fleet.databases
    assert notes(databases, "control") == notes(databases, 1, own) == expected
    assert lost(databases) == {n: ("station", f"station {n}", f"control {n}") for n in range(5, 9)}
    fleet.require_nothing_to_do()
    assert sweep(fleet).status == "nothing to do"
    fleet.require_equal()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_column_that_is_synchronised_later_is_adopted(databases: Databases, way: Callable[[Fleet], str]) -> None:
    fleet = a_fleet(databases)
    own = way(fleet)
    fleet.sync()
    require_adopted(fleet, own)


@pytest.mark.parametrize("then", ["reconcile", "push", "cut off"])
def test_whatever_comes_first_adopts_it(databases: Databases, then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = a_fleet(databases)
    control_first(fleet)
    if then == "reconcile":
        sweep(fleet)
        assert notes(databases, 1) == EXPECTED
    elif then == "push":
        fleet.push()
    else:
        with monkeypatch.context() as cut:
            cut.setattr(adopt_columns, "_remember", _die)
            with pytest.raises(KeyboardInterrupt):
                fleet.pull()
    fleet.sync()
    require_adopted(fleet)


def _die(*args: Any) -> None:
    raise KeyboardInterrupt


def test_an_edit_after_it_was_adopted_is_an_edit(databases: Databases) -> None:
    """NULL among the values: it is not adopted again."""
    fleet = a_fleet(databases)
    control_first(fleet)
    fleet.sync()
    fleet.edit(1, 1, note=None)
    fleet.edit("control", 11, note=None)
    fleet.sync()
    expected = {n: note for n, note in EXPECTED.items() if n not in (1, 11)}
    require_adopted(fleet, expected=expected)


@pytest.mark.parametrize(("policy", "winner", "loser"), [("newest", 5, "station"), ("station", 0, "control")])
def test_a_default_is_a_value_and_both_are_kept(databases: Databases, policy: str, winner: int, loser: str) -> None:
    fleet = a_fleet(databases, conflicts=policy)
    add(databases, "control", kind="INT NULL")
    fill(databases, "control", dict.fromkeys(range(1, ROWS + 1), 5))
    fleet.init()
    fleet.sync()
    add(databases, 1, kind="INT NOT NULL DEFAULT 0")
    fleet.sync()
    assert set(notes(databases, "control").values()) == set(notes(databases, 1).values()) == {winner}
    assert {one[0] for one in lost(databases).values()} == {loser}
    assert len(lost(databases)) == ROWS
    fleet.require_nothing_to_do()


def test_a_column_that_goes_one_way(databases: Databases) -> None:
    """Nothing goes up: control's values win, and what stood at the station is kept."""
    fleet = a_fleet(databases, direction="down")
    fleet.databases.execute("control", "DELETE FROM kafka_test")
    databases.execute(
        "control",
        "INSERT INTO kafka_test (id, text, code, create_date, modify_date) VALUES "
        + ", ".join(f"({n}, '{t}', '{c}', '{a}', '{b}')" for n, t, c, a, b in databases.rows(1)),
    )
    sweep(fleet)  # the base knows the rows
    control_first(fleet)
    fleet.sync()
    assert notes(databases, 1) == notes(databases, "control") == CONTROL
    assert lost(databases) == {
        n: ("station", note, CONTROL.get(n)) for n, note in STATION.items() if note != CONTROL.get(n)
    }


def test_a_reseed_right_after_it_keeps_what_it_replaces(databases: Databases) -> None:
    fleet = a_fleet(databases)
    control_first(fleet)
    reseed.reseed(fleet.pairs())
    fleet.sync()
    assert notes(databases, 1) == notes(databases, "control")
    kept = {note for one in lost(databases).values() for note in one}
    assert set(STATION.values()) - {"same"} <= kept | set(notes(databases, 1).values())


@pytest.mark.parametrize("then", ["sync", "reconcile"])
def test_the_column_that_tells_keys_given_twice_is_adopted_too(databases: Databases, then: str) -> None:
    """Not known yet is no other value: no row goes to the trash. Once it is known, another value is another row."""
    fleet = a_fleet(databases)
    add(databases, 1, "made", "VARCHAR(30) NULL")
    databases.execute(1, "UPDATE kafka_test SET made = 'then'")
    fleet.edit(1, 3, text="edited")
    add(databases, "control", "made", "VARCHAR(30) NULL")
    fleet.init()
    fleet.options(created="made")
    if then == "reconcile":
        sweep(fleet)
    fleet.sync()
    assert set(notes(databases, "control", "made").values()) == {"then"}
    assert databases.count("control", "stationsync_trash") == databases.count("control", "stationsync_conflict") == 0
    fleet.require_nothing_to_do()
    fleet.edit(1, 4, text="another row", made="now")
    fleet.sync()
    assert databases.query("control", "SELECT reason FROM stationsync_trash") == [("its key was given again",)]
