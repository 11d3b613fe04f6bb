"""Nothing is replaced unseen: the rule itself, and keeping a version. The routes have their own tests: see the table of
invariants in docs/ARCHITECTURE.md."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from support.databases import Databases
from support.fleet import Fleet

from stationsync.keeping import replaced
from stationsync.keeping.replaced import Replaced, unseen
from stationsync.pairing.decide import is_older
from stationsync.session.lease import lease

AT, BEFORE, AFTER = "2024-01-01 12:00:00", "2024-01-01 11:00:00", "2024-01-01 13:00:00"


def version(text: str, at: str | None = AT) -> dict[str, Any]:
    return {"id": "1", "text": text, "m": at}


@pytest.mark.parametrize(
    ("new", "what", "known", "expected"),
    [
        (version("new", AFTER), version("old"), version("old"), False),  # on top of what its side had
        (version("new"), version("old"), version("old"), False),  # in the same second
        (version("old"), version("old"), None, False),  # nothing is replaced
        (version("new", AFTER), version("theirs"), version("old"), True),  # both sides wrote
        (version("new", AFTER), version("old"), None, True),  # nothing is known
        (version("new", BEFORE), version("old"), version("old"), True),  # a restored copy, or a clock set back
        (version("new", None), version("old"), version("old"), True),
        (version("new"), version("old", None), version("old", None), False),
        (version("new", None), version("old", None), version("old", None), False),
    ],
)
def test_who_has_seen_what_he_replaces(new: Any, what: Any, known: Any, expected: bool) -> None:
    assert unseen(new, what, known, "m") is expected


def test_which_clock_stamped_the_base_is_not_known() -> None:
    """The station is ten minutes behind: what it stamped at 12:00 was written at 12:10."""
    assert is_older("2024-01-01 12:05:00", AT, timedelta(minutes=-10))
    assert not is_older("2024-01-01 12:11:00", AT, timedelta(minutes=-10))
    assert is_older("2024-01-01 11:55:00", AT, timedelta(minutes=10))
    assert not is_older(AT, "0000-00-00 00:00:00")
    assert is_older("0000-00-00 00:00:00", AT)
    assert not is_older("9999-12-31 23:59:59", "9999-12-31 23:59:59", timedelta(days=1))


def test_a_version_is_kept_once_by_whoever_meets_it_again(databases: Databases) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases)
    fleet.init()
    (pair,) = fleet.pairs()

    def row(loser: str, station: str, control: str, result: str) -> Replaced:
        return Replaced('["1"]', loser, "why", version(station), version(control), None, version(result))

    with lease(pair) as session:
        assert session is not None
        session.open()
        with session.control.begin():
            assert replaced.keep(session, [row("station", "a", "b", "b")]) == 1
            again = row("station", "a", "c", "c")
            assert replaced.keep(session, [again], once=True) == 0
            assert replaced.keep(session, [row("control", "a", "b", "a")], once=True) == 1
            assert replaced.keep(session, [row("station", "x", "b", "b")] * 2, once=True) == 1
            assert replaced.keep(session, [row("both", "p", "q", "r")]) == 1
            assert (
                replaced.keep(session, [row("station", "p", "-", "-"), row("control", "-", "q", "-")], once=True) == 0
            )
            assert replaced.keep(session, [again]) == 1
    found = databases.query("control", "SELECT loser, policy, columns FROM stationsync_conflict ORDER BY id")
    assert [loser for loser, _, _ in found] == ["station", "control", "station", "both", "station"]
    assert {policy for _, policy, _ in found} == {"newest"}
    assert {tuple(json.loads(columns)) for _, _, columns in found} == {("text",)}


def test_a_version_that_is_kept_in_some_columns_is_not_kept_in_the_others(databases: Databases) -> None:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases)
    fleet.init()
    (pair,) = fleet.pairs()
    first, second = ({"id": "1", "text": text, "note": note, "m": AT} for text, note in (("c1", "c2"), ("s", "s")))

    def row(loser: str, *columns: str) -> Replaced:
        return Replaced('["1"]', loser, "why", second, first, None, second, columns)

    with lease(pair) as session:
        assert session is not None
        session.open()
        with session.control.begin():
            assert replaced.keep(session, [row("both", "text")]) == 1
            assert replaced.keep(session, [row("control", "text")], once=True) == 0
            assert replaced.keep(session, [row("control", "text", "note")], once=True) == 1
            assert replaced.keep(session, [row("control", "note")] * 2, once=True) == 0
            assert replaced.keep(session, [row("both", "text", "m"), row("control", "m")], once=True) == 1
    found = databases.query("control", "SELECT columns FROM stationsync_conflict ORDER BY id")
    assert [json.loads(columns) for (columns,) in found] == [["text"], ["text", "note"], ["text", "m"]]
