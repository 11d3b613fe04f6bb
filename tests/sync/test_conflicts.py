"""Both sides write: no edit is lost, the two sides never end up swapped or different, and who wins is no chance."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases, Where
from support.fleet import Fleet
from support.inject import ago, before_merge, before_send, before_settle
from support.sample import row

from cli.sandbox.servers import MariaDBServer
from stationsync.model.changes import Counts, Policy, Status

LOST = "SELECT loser, columns, station_row, control_row, result_row, clock_offset FROM stationsync_conflict ORDER BY id"


@pytest.fixture
def fleet(databases: Databases) -> Fleet:
    return one_row_at_both_sides(databases)


def one_row_at_both_sides(databases: Databases) -> Fleet:
    """Row 1 ("row 1") and its neighbour 2, equal at both sides."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases)
    fleet.init()
    databases.put(1, [row(1), row(2)])
    fleet.sync()
    return fleet


def text_at(fleet: Fleet, where: Where, id: int = 1) -> Any:
    return next(values[1] for values in fleet.databases.rows(where) if values[0] == id)


def conflicts(fleet: Fleet) -> list[dict[str, Any]]:
    names = ("loser", "columns", "station", "control", "result", "clock_offset")
    found = [dict(zip(names, row, strict=True)) for row in fleet.databases.query("control", LOST)]
    return [{n: json.loads(v) if n in names[1:5] else v for n, v in one.items()} for one in found]


def require_settled(fleet: Fleet, text: str | None) -> None:
    """Row 1 is the same everywhere, and there is nothing left to do."""
    fleet.require_nothing_to_do()
    fleet.require_equal()
    assert (text_at(fleet, 1), text_at(fleet, "control")) == (text, text)
    assert (text_at(fleet, 1, 2), text_at(fleet, "control", 2)) == ("row 2", "row 2")


# --- writes between the steps of a run


def test_of_two_edits_at_control_between_two_runs_the_last_goes_down(fleet: Fleet) -> None:
    fleet.edit("control", 1, text="first", at=ago(10))
    fleet.edit("control", 1, text="second", at=ago(5))
    assert fleet.push().counts == Counts(read=1, applied=1)
    require_settled(fleet, "second")
    assert conflicts(fleet) == []


def test_an_edit_at_control_after_each_push_goes_down_with_the_next(fleet: Fleet) -> None:
    for text in ("first", "second", None, "first"):
        fleet.edit("control", 1, text=text)
        assert fleet.push().counts == Counts(read=1, applied=1)
        require_settled(fleet, text)


def test_a_station_edit_between_read_and_merge_comes_with_the_next_run(fleet: Fleet) -> None:
    fleet.edit(1, 1, text="read", at=ago(10))
    fleet.pull(**before_merge(lambda: fleet.edit(1, 1, text="not read yet", at=ago(10))))
    assert text_at(fleet, "control") == "read"
    assert fleet.pull().counts.applied == 1
    require_settled(fleet, "not read yet")
    assert conflicts(fleet) == []


def test_a_station_edit_between_read_and_merge_does_not_let_control_s_edit_overwrite_it(fleet: Fleet) -> None:
    fleet.edit("control", 1, text="control", at=ago(20))
    fleet.pull(**before_merge(lambda: fleet.edit(1, 1, text="station", at=ago(10))))
    fleet.push()
    fleet.sync()
    require_settled(fleet, "station")
    assert [one["control"]["text"] for one in conflicts(fleet)] == ["control"]


@pytest.mark.parametrize(("seconds", "winner"), [(5, "control"), (15, "station")])
def test_a_control_edit_between_read_and_merge_is_decided_not_overwritten(
    fleet: Fleet, seconds: int, winner: str
) -> None:
    fleet.edit(1, 1, text="station", at=ago(10))
    up = fleet.pull(**before_merge(lambda: fleet.edit("control", 1, text="control", at=ago(seconds))))
    assert up.counts.conflicts == 1
    fleet.push()
    require_settled(fleet, winner)
    assert [(one["station"]["text"], one["control"]["text"]) for one in conflicts(fleet)] == [("station", "control")]


def test_a_control_edit_before_its_push_writes_goes_down_too(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.edit("control", 1, text="first", at=ago(10))
    before_send(monkeypatch, lambda: fleet.edit("control", 1, text="second", at=ago(10)))
    fleet.push()
    fleet.sync()
    require_settled(fleet, "second")


def test_a_control_edit_while_its_push_settles_goes_down_too(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stamp that no window would ever find: the row is remembered as pending."""
    fleet.edit("control", 1, text="first", at=ago(10))
    before_settle(monkeypatch, lambda: fleet.edit("control", 1, text="second", at="2020-01-01 00:00:00"))
    fleet.push()
    assert text_at(fleet, 1) == "first"
    assert fleet.push().counts.applied == 1
    require_settled(fleet, "second")


@pytest.mark.parametrize(("seconds", "winner"), [(15, "control"), (5, "station")])
def test_a_station_edit_before_the_push_writes_is_never_overwritten_but_decided(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, seconds: int, winner: str
) -> None:
    fleet.edit("control", 1, text="control", at=ago(10))
    before_send(monkeypatch, lambda: fleet.edit(1, 1, text="station", at=ago(seconds)))
    down = fleet.push()
    assert (down.counts.changed, down.counts.conflicts) == (1, 1)
    require_settled(fleet, winner)
    assert [(one["station"]["text"], one["control"]["text"]) for one in conflicts(fleet)] == [("station", "control")]


def test_a_station_edit_of_a_row_just_pushed_goes_up(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.edit("control", 1, text="control", at=ago(10))
    before_settle(monkeypatch, lambda: fleet.edit(1, 1, text="station", at=ago(5)))
    fleet.push()
    fleet.sync()
    require_settled(fleet, "station")
    assert conflicts(fleet) == []


def test_edits_at_both_sides_while_a_push_is_under_way_never_swap(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both() -> None:
        fleet.edit("control", 1, text="control again", at=ago(8))
        fleet.edit(1, 1, text="station", at=ago(6))

    fleet.edit("control", 1, text="control", at=ago(10))
    before_send(monkeypatch, both)
    fleet.push()
    require_settled(fleet, "station")
    assert "control again" in [one["control"]["text"] for one in conflicts(fleet)]


def test_a_control_edit_that_is_being_committed_while_the_merge_runs_is_seen(
    mariadb_databases: MariaDBDatabases,
) -> None:
    """The merge waits for control's row lock, and then decides by what was committed."""
    fleet = one_row_at_both_sides(mariadb_databases)
    fleet.edit(1, 1, text="station", at=ago(20))
    control = mariadb_databases.connect("control")
    control.cursor().execute("UPDATE kafka_test SET text = 'control', modify_date = %s WHERE id = 1", [ago(10)])
    pull = threading.Thread(target=fleet.pull)
    pull.start()
    waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    while pull.is_alive() and not mariadb_databases.query("control", waiting):
        time.sleep(0.15)
    control.commit()
    pull.join()
    fleet.push()
    require_settled(fleet, "control")
    assert [one["station"]["text"] for one in conflicts(fleet)] == ["station"]


# --- who wins


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("newer", ["station", "control"])
@pytest.mark.parametrize("policy", list(Policy))
def test_the_policy_decides_about_one_column_and_the_loser_is_kept(fleet: Fleet, policy: Policy, newer: str) -> None:
    fleet.options(conflicts=str(policy))
    stamps = {"station": ago(20), "control": ago(20), newer: ago(10)}
    fleet.edit(1, 1, text="station", at=stamps["station"])
    fleet.edit("control", 1, text="control", at=stamps["control"])
    winner = {Policy.STATION: "station", Policy.CONTROL: "control"}.get(policy, newer)

    up, down = fleet.sync()
    assert (up.counts.conflicts, down.counts.applied) == (1, int(winner == "control"))
    require_settled(fleet, winner)
    (one,) = conflicts(fleet)
    assert one["loser"] == ("both" if policy is Policy.MERGE else {"station": "control", "control": "station"}[winner])
    assert (one["station"]["text"], one["control"]["text"], one["result"]["text"]) == ("station", "control", winner)
    assert "text" in one["columns"]


@pytest.mark.parametrize("newer", [1, "control"])
def test_with_merge_edits_of_different_columns_both_survive(fleet: Fleet, newer: Where) -> None:
    fleet.options(conflicts="merge")
    other: Where = "control" if newer == 1 else 1
    fleet.edit(other, 1, at=ago(20), text="edited")
    fleet.edit(newer, 1, at=ago(10), create_date="1999-12-31 00:00:00")
    fleet.sync()
    require_settled(fleet, "edited")
    assert fleet.databases.rows(1)[0][3] == "1999-12-31 00:00:00"
    for one in conflicts(fleet):
        assert (one["result"]["text"], one["columns"]) == ("edited", ["modify_date"])


def test_a_tie_is_control_s(fleet: Fleet) -> None:
    stamp = ago(10)
    fleet.edit(1, 1, text="station", at=stamp)
    fleet.edit("control", 1, text="control", at=stamp)
    fleet.sync()
    require_settled(fleet, "control")
    assert [one["loser"] for one in conflicts(fleet)] == ["station"]


def test_the_same_edit_at_both_sides_is_no_conflict(fleet: Fleet) -> None:
    stamp = ago(10)
    for where in (1, "control"):
        fleet.edit(where, 1, text="agreed", at=stamp)
    up, down = fleet.sync()
    assert (up.counts, down.status) == (Counts(read=1, settled=1), Status.NOTHING)
    require_settled(fleet, "agreed")
    assert conflicts(fleet) == []


@pytest.fixture(scope="module")
def station_ahead() -> Iterator[MariaDBServer]:
    """A server whose wall clock is 10 minutes ahead: the engine cannot tell that from a clock that is wrong."""
    with MariaDBServer(timezone="+00:10") as server:
        yield server


@pytest.mark.parametrize(("control_later", "winner"), [(5, "control"), (-5, "station"), (0, "control")])
def test_clocks_ten_minutes_apart_resolve_alike_on_every_replay(
    mariadb_control: MariaDBServer, station_ahead: MariaDBServer, control_later: int, winner: str
) -> None:
    """Without correction the station, whose stamps are 10 minutes ahead, would always win."""
    databases = MariaDBDatabases(mariadb_control, station_ahead)
    fleet = one_row_at_both_sides(databases)
    outcomes = []
    edited = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=20)
    for number in range(3):
        fleet.edit(1, 1, text="station", at=edited + timedelta(minutes=10))
        fleet.edit("control", 1, text="control", at=edited + timedelta(seconds=control_later))
        fleet.sync()
        require_settled(fleet, winner)
        outcomes.append(conflicts(fleet)[-1])  # the row going back in time below is kept as one, too
        for where in (1, "control"):
            fleet.edit(where, 1, text="row 1", at=edited - timedelta(seconds=number + 1))
        fleet.sync()
    assert [one["result"]["text"] for one in outcomes] == [winner] * 3
    assert [one["clock_offset"] for one in outcomes] == [600] * 3
    databases.close()
