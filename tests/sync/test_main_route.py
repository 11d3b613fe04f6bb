"""One row up, one edit down, through every layer of the engine."""

from __future__ import annotations

from support.databases import Databases
from support.fleet import Fleet
from support.sample import row

from stationsync.model.changes import Status


def test_a_row_goes_up_an_edit_comes_down_and_then_there_is_nothing_to_do(databases: Databases) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases)
    fleet.init()
    databases.put(1, [row(1, text="한국어 🚉"), row(2)])

    up = fleet.pull()
    assert (up.status, up.counts.applied, up.counts.read) == (Status.DONE, 2, 2)
    assert databases.rows("control") == databases.rows(1)
    fleet.require_equal()
    fleet.require_nothing_to_do()

    fleet.edit("control", 1, text="edited")
    down = fleet.push()
    assert (down.status, down.counts.applied) == (Status.DONE, 1)
    assert databases.rows(1)[0][1] == "edited"
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_an_edit_at_the_station_goes_up(databases: Databases) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases)
    fleet.init()
    databases.put(1, [row(n) for n in range(1, 21)])
    fleet.sync()
    fleet.edit(1, 3, text=None)

    up = fleet.pull()
    assert (up.counts.applied, up.counts.unchanged) == (1, 0)
    assert databases.rows("control")[2][1] is None
    fleet.require_equal()
    fleet.require_nothing_to_do()
