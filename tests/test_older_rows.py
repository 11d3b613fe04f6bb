"""A station row that is older than known: decided as any other, and what it replaces at control is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

OLDER = "older at the station than known"


def a_fleet(databases: Databases, rows: int = 60, **options: Any) -> Fleet:
    """Rows of some hours ago, one a second."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    fleet = Fleet(databases, **options)
    fleet.init()
    databases.put(1, [row(n, at=ago(7200 - n)) for n in range(1, rows + 1)])
    fleet.sync()
    return fleet


def kept(databases: Databases) -> list[tuple[str, str, str, Any]]:
    """Number, loser and reason of each conflict, and the text that control had."""
    found = databases.query(
        "control", "SELECT key_text, loser, reason, control_row FROM stationsync_conflict ORDER BY id"
    )
    return [(json.loads(key)[0], loser, reason, json.loads(text)["text"]) for key, loser, reason, text in found]


@pytest.mark.parametrize("route", ["pull", "reconcile"])
def test_what_it_replaces_is_kept(databases: Databases, tmp_path: Path, route: str) -> None:
    fleet = a_fleet(databases)
    # Within what a pull reads again, or not.
    back = ago(20) if route == "pull" else ago(90_000)
    fleet.edit(1, 30, text="new", at=ago(5))
    fleet.sync()
    fleet.edit(1, 30, text="restored", at=back)
    if route == "pull":
        fleet.pull()
    else:
        fleet.require_nothing_to_do()
        plan = Command(databases, tmp_path).well("reconcile", "station-1", "--dry-run")
        assert OLDER in plan.out
        Command(databases, tmp_path).well("reconcile", "station-1")
    assert kept(databases) == [("30", "control", OLDER, "new")]
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 30") == [("restored",)]
    fleet.require_nothing_to_do()
    fleet.require_equal()
    Command(databases, tmp_path).well("reconcile", "station-1")
    assert len(kept(databases)) == 1


def test_where_columns_are_merged_the_whole_replaced_row_is_kept(databases: Databases) -> None:
    fleet = a_fleet(databases, conflicts="merge")
    fleet.edit(1, 30, text="new", at=ago(5))
    fleet.sync()
    fleet.edit(1, 30, text="restored", at=ago(20))
    fleet.edit("control", 30, create_date="2020-02-02 00:00:00", at=ago(2))
    fleet.sync()
    ((number, loser, reason, text),) = kept(databases)
    assert (number, loser, text) == ("30", "both", "new")
    assert reason.startswith(OLDER)
    assert databases.query(1, "SELECT text, create_date FROM kafka_test WHERE id = 30")[0][0] == "restored"
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_where_control_had_edited_it_the_policy_decides_as_usual(databases: Databases) -> None:
    fleet = a_fleet(databases, conflicts="station")
    fleet.edit(1, 30, text="new", at=ago(5))
    fleet.sync()
    fleet.edit(1, 30, text="restored", at=ago(20))
    fleet.edit("control", 30, text="edited", at=ago(2))
    fleet.sync()
    ((number, loser, reason, text),) = kept(databases)
    assert (number, loser, text) == ("30", "control", "edited")
    assert reason == f"{OLDER}; the policy of this table is: station"
    fleet.require_nothing_to_do()


def test_a_second_is_a_difference(databases: Databases) -> None:
    fleet = a_fleet(databases)
    then, before = ago(5), ago(6)
    fleet.edit(1, 31, text="new", at=then)
    fleet.sync()
    fleet.edit(1, 31, text="a second less", at=before)
    fleet.pull()
    assert kept(databases) == [("31", "control", OLDER, "new")]
