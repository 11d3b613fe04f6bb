"""A backup of before an edit that is stamped no later than what it was made on: no stamp tells that it came back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago, before_settle
from support.sample import row
from support.sweeps import settled, sweep

from stationsync.model.changes import Status
from stationsync.recovery import reseed

KEPT = "the station has a version again that it had before this one: it may be out of a backup"


class Cut(BaseException):
    """The run ends here."""


def a_fleet(databases: Databases, **options: object) -> Fleet:
    """40 rows of two hours ago, of which the station has edited number 3 four minutes ago."""
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(n, at=ago(7200)) for n in range(1, 41)])
    fleet = Fleet(databases, **{"lookback": "1h", **options})
    fleet.init()
    fleet.sync()
    fleet.edit(1, 3, at=ago(240), text="the station's")
    fleet.sync()
    return fleet


def stamp_of(databases: Databases, id: int = 3) -> datetime:
    ((found,),) = databases.query(1, f"SELECT modify_date FROM kafka_test WHERE id = {id}")
    return found if isinstance(found, datetime) else datetime.fromisoformat(str(found))


def text_of(databases: Databases, where: object, id: int = 3) -> str:
    ((found,),) = databases.query(where, f"SELECT text FROM kafka_test WHERE id = {id}")  # type: ignore[arg-type]
    return str(found)


def kept(databases: Databases) -> list[tuple[str, str, str]]:
    """Loser, reason, and the text that it had, of each conflict; without those that a push of an older stamp keeps."""
    sql = "SELECT loser, reason, station_row, control_row FROM stationsync_conflict ORDER BY id"
    found = []
    for loser, reason, station, control in databases.query("control", sql):
        text = next(
            one for one in ("control's", "the station's") if one in (control if loser == "control" else station)
        )
        found.append((loser, reason, text))
    return [one for one in found if one[0] == "control"]


def put_back(fleet: Fleet, later: int) -> None:
    """Control edits the row, stamped so many seconds later than the station's version; the station gets that, and has
    its own version of before again, out of a backup."""
    was = stamp_of(fleet.databases)
    fleet.edit("control", 3, at=was + timedelta(seconds=later), text="control's")
    fleet.sync()
    assert sweep(fleet).status in (Status.DONE, Status.NOTHING)
    assert text_of(fleet.databases, 1) == "control's"
    fleet.require_nothing_to_do()
    fleet.edit(1, 3, at=was, text="the station's")


CASES = [
    *(("sync", later, policy) for policy in ("newest", "control", "station", "merge") for later in (-2, 0)),
    *((route, later, "newest") for route in ("reconcile", "trust") for later in (-100, -1, 0)),
]


@pytest.mark.parametrize(("route", "later", "policy"), CASES)
def test_what_it_replaces_at_control_is_kept(databases: Databases, route: str, later: int, policy: str) -> None:
    fleet = a_fleet(databases, conflicts=policy)
    put_back(fleet, later)
    if route == "reconcile":
        sweep(fleet)
    if route == "trust":
        reseed.trust(fleet.pairs()[0])
    settled(fleet)
    ((loser, reason, text),) = kept(databases)
    assert (loser, text) == ("control", "control's")
    assert reason == KEPT or route == "trust"
    assert text_of(databases, "control") == text_of(databases, 1) == "the station's"


@pytest.mark.parametrize("policy", ["newest", "control"])
@pytest.mark.parametrize("later", [-2, 0])
def test_a_reseed_loses_neither_version(databases: Databases, later: int, policy: str) -> None:
    fleet = a_fleet(databases, conflicts=policy)
    put_back(fleet, later)
    reseed.reseed(fleet.pairs())
    settled(fleet)
    there = {text_of(databases, "control"), *(text for _, _, text in kept(databases))}
    assert "control's" in there


def test_a_push_that_was_cut_off_is_remembered_too(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the station's commit: the next run finds both sides equal."""
    fleet = a_fleet(databases)
    was = stamp_of(databases)
    fleet.edit("control", 3, at=was - timedelta(seconds=2), text="control's")

    def cut() -> None:
        raise Cut

    before_settle(monkeypatch, cut)
    with pytest.raises(Cut):
        fleet.push()
    assert text_of(databases, 1) == "control's"
    fleet.sync()
    fleet.require_nothing_to_do()
    fleet.edit(1, 3, at=was, text="the station's")
    settled(fleet)
    assert kept(databases) == [("control", KEPT, "control's")]


def test_an_edit_of_the_station_s_by_hand_is_remembered_too(databases: Databases) -> None:
    """One that leaves the stamp as it is."""
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET text = %s WHERE id = 3", ["control's"])
    sweep(fleet)
    assert text_of(databases, "control") == "control's"
    databases.execute(1, "UPDATE kafka_test SET text = %s WHERE id = 3", ["the station's"])
    sweep(fleet)
    assert kept(databases) == [("control", KEPT, "control's")]
    settled(fleet)


def test_what_is_edited_on_top_is_no_conflict(databases: Databases) -> None:
    fleet = a_fleet(databases)
    was = stamp_of(databases)
    fleet.edit("control", 3, at=was, text="control's")
    databases.execute("control", "UPDATE kafka_test SET text = 'by hand' WHERE id = 4")
    settled(fleet)
    fleet.edit(1, 3, text="the station's")  # the same value, stamped now
    fleet.edit(1, 4, text="edited")
    settled(fleet)
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(0,)]
    assert (text_of(databases, "control"), text_of(databases, "control", 4)) == ("the station's", "edited")


def test_a_dry_run_tells_it(databases: Databases) -> None:
    fleet = a_fleet(databases)
    put_back(fleet, -2)
    before = len(databases.query("control", "SELECT id FROM stationsync_conflict"))
    report = sweep(fleet, dry_run=True)
    assert report.status is not Status.FAILED
    assert len(databases.query("control", "SELECT id FROM stationsync_conflict")) == before
    assert text_of(databases, "control") == "control's"
