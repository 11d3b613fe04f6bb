"""Which values an answer to a conflict changes, or why none may: the rule alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from stationsync.errors import UsageError
from stationsync.health.conflict_list import Conflict
from stationsync.model.schema import Column, TableShape
from stationsync.model.wire import Family
from stationsync.pairing.fit import Fit, Synced
from stationsync.recovery.take_rule import (
    TakeOrder,
    TakeRefusal,
    reason,
    repeated,
    typed_values,
    unanswerable,
    what_lost,
)

COLUMNS = (
    Column("id", "bigint", Family.INTEGER, nullable=False),
    Column("Name", "varchar(20)", Family.TEXT, charset="utf8mb4"),
    Column("n", "int", Family.INTEGER),
    Column("fixed", "int", Family.INTEGER),
    Column("b", "varbinary(9)", Family.BINARY),
    Column("bits", "bit(9)", Family.BIT),
    Column("y", "year", Family.YEAR),
    Column("f", "double", Family.FLOAT),
    Column("made", "datetime", Family.DATETIME),
    Column("m", "datetime", Family.DATETIME),
)
SHAPE = TableShape("t", COLUMNS)
SYNCED = tuple(Synced(c.name, c, c, c.name not in ("id", "fixed")) for c in COLUMNS)
FIT = Fit("s/t", SHAPE, SHAPE, ("id",), "m", SYNCED, created="made")
OLD, S, C = ({"id": 1, "Name": word, "n": 1, "m": at} for word, at in (("old", "0"), ("s", "1"), ("c", "2")))


def conflict(number: int = 3, **given: Any) -> Conflict:
    """The station lost, unless it is said otherwise."""
    values: dict[str, Any] = {
        "key": ["1"], "policy": "newest", "winner": "control", "loser": "station", "reason": "", "clock_offset": 0,
        "columns": ["Name", "m"], "station_row": S, "control_row": C, "base_row": OLD, "result_row": C,
    }  # fmt: skip
    return Conflict(number, datetime(2026, 1, 1), "s", "t", **(values | given))


def both(station: Any, control: Any, result: Any) -> Conflict:
    rows = {"station_row": C | station, "control_row": C | control, "result_row": C | result}
    return conflict(loser="both", columns=["Name", "n"], **rows)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (conflict(), {"Name": "s"}),
        (conflict(loser="control", result_row=S), {"Name": "c"}),
        # What lost is only what lost: the rest of a mixture stays.
        (conflict(columns=["Name"], station_row=S | {"n": 5}), {"Name": "s"}),
        (conflict(columns=["name"], station_row={"name": "s"}), {"Name": "s"}),
        # As the driver had it, and as it is printed.
        (both({"Name": "x"}, {"n": 7}, {"Name": "x", "n": "7"}), {"Name": "c", "n": 1}),
        (both({"Name": None}, {}, {}), {"Name": None}),
    ],
)
def test_the_values_that_lost(one: Conflict, expected: dict[str, Any]) -> None:
    assert what_lost(one, FIT) == expected


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (conflict(station_row=None), "what lost is a delete at s"),
        (conflict(loser="control", control_row=None), "what lost is a delete at control"),
        (conflict(columns=["m"]), "nothing but its stamp lost"),
        (conflict(columns=[]), "nothing but its stamp lost"),
        (conflict(columns=["gone"], station_row={"gone": 1}), "column gone, in which it lost"),
        (conflict(columns=["fixed"], station_row={"fixed": 1}), "control may not edit these columns: fixed"),
        (conflict(columns=["id"], station_row={"id": 2}), "control may not edit these columns: id"),
        (conflict(columns=["made", "Name"], station_row=S | {"made": "3"}), "it is another row that had this key"),
        (both({"n": 5}, {"n": 6}, {"n": 7}), "both sides lost in column n, with different values"),
    ],
)
def test_what_lost_cannot_be_taken(one: Conflict, why: str) -> None:
    found = what_lost(one, FIT)
    assert isinstance(found, TakeRefusal)
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (conflict(), None),
        (conflict(answer="done", answered_at=datetime(2026, 1, 2)), "it was answered already: done, 2026-01-02"),
        (conflict(key=["1", "2"]), "it is of another key than [id]"),
        (conflict(result_row=None), "no side was left with the row"),
        (conflict(result_row={"n": 1}), "its record lacks the key column id"),
    ],
)
def test_a_conflict_that_cannot_be_answered(one: Conflict, why: str | None) -> None:
    found = unanswerable(one, FIT)
    assert (found and found.why.startswith(str(why))) == (why and True)


def test_conflicts_of_one_row() -> None:
    found = repeated([conflict(3), conflict(4, key=["2"]), conflict(5)])
    assert found.keys() == {3, 5}
    assert found[3].why == "conflicts 3, 5 are about the same row"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"NAME": "x=y"}, {"Name": "x=y"}),
        ({"Name": None}, {"Name": None}),
        ({"Name": '{"hex":"00"}'}, {"Name": '{"hex":"00"}'}),
        ({"n": "007"}, {"n": "7"}),
        ({"b": '{"hex":"00ff"}'}, {"b": b"\x00\xff"}),
        ({"b": "é"}, {"b": "é".encode()}),
        ({"bits": "257"}, {"bits": b"\x01\x01"}),
        ({"y": "0000"}, {"y": "0000"}),
        ({"f": "1e3"}, {"f": "1e3"}),
    ],
)
def test_values_as_they_are_typed(given: dict[str, str | None], expected: dict[str, Any]) -> None:
    assert typed_values(TakeOrder(given), FIT) == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"fixd": "x"}, "did you mean fixed?"),
        ({"id": "1"}, "part of the key"),
        ({"m": "2026-01-01"}, "stamped with the time of the answer"),
        ({"made": "2026-01-01"}, "a row keeps for life"),
        ({"fixed": "1"}, "control may not edit column fixed"),
        ({"n": "x"}, "x is no value of column n, which is int"),
        ({"n": "1", "N": "2"}, "column n is given twice"),
        ({"bits": "512"}, "512 is no value of column bits"),
        ({"f": "nan"}, "nan is no value of column f"),
        ({"f": "x"}, "x is no value of column f"),
    ],
)
def test_values_that_are_none(given: dict[str, str | None], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        typed_values(TakeOrder(given), FIT)
    assert why in caught.value.what


@pytest.mark.parametrize(
    ("one", "order", "said"),
    [
        (conflict(), TakeOrder(), "a person took the station's version, which had lost in conflict 3"),
        (conflict(loser="control"), TakeOrder(), "a person took control's version, which had lost in conflict 3"),
        (conflict(loser="both"), TakeOrder(), "a person took what lost in conflict 3"),
        (conflict(), TakeOrder({"n": "1"}), "a person answered conflict 3 with another n"),
    ],
)
def test_the_reason_for_the_journal(one: Conflict, order: TakeOrder, said: str) -> None:
    assert reason(one, order) == said
