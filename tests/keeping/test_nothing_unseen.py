"""Nothing is replaced unseen, route by route: what somebody wrote is at both sides in the end, or was replaced by
somebody who had seen it, or is kept where `conflicts list` (or the trash) shows it. See
`stationsync/keeping/replaced.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago, before_settle
from support.reports import json_of
from support.sample import row
from support.sweeps import settled, sweep

from stationsync.errors import Refused
from stationsync.keeping import trash
from stationsync.recovery import backfill, reseed, reseed_control
from stationsync.recovery.backfill_range import BackfillRange
from stationsync.sync import runs

MINUTE = 60


class Cut(BaseException):
    """The run ends here."""


def a_fleet(databases: Databases, rows: int = 60, stations: int = 1, **options: Any) -> Fleet:
    """Rows of two hours ago, synchronised. What is stamped some minutes ago is read."""
    databases.create_kafka_test("control", control=True)
    for number in range(1, stations + 1):
        databases.create_kafka_test(number)
    databases.put(1, [row(n, at=ago(120 * MINUTE)) for n in range(1, rows + 1)])
    fleet = Fleet(databases, stations, **{"lookback": "1h", **options})
    fleet.init()
    fleet.sync()
    return fleet


def texts(fleet: Fleet, where: Any) -> dict[int, str]:
    return {int(id): text for id, text in fleet.databases.query(where, "SELECT id, text FROM kafka_test")}


def lost(fleet: Fleet) -> list[tuple[int, str, str]]:
    """(id, who lost, the text that is kept) of each conflict, the oldest first."""
    query = "SELECT loser, station_row, control_row FROM stationsync_conflict ORDER BY id"
    found = []
    for loser, station, control in fleet.databases.query("control", query):
        version: Mapping[str, Any] = json.loads(control if loser == "control" else station)
        found.append((int(version["id"]), str(loser), str(version["text"])))
    return found


# --- control was restored to some minutes ago


def restored_control(databases: Databases, rows: int = 15) -> Fleet:
    """The station edited rows, which were synchronised; control's table has them again as they were before."""
    fleet = a_fleet(databases)
    for id in range(1, rows + 1):
        fleet.edit(1, id, at=ago(12 * MINUTE), text=f"before {id}")
    fleet.sync()
    before = databases.rows("control")
    for id in range(1, rows + 1):
        fleet.edit(1, id, at=ago(4 * MINUTE), text=f"after {id}")
    fleet.sync()
    for id, text, code, _, modified in before[:rows]:
        fleet.edit("control", id, code, at=modified, text=text)
    fleet.options(lookback="1m")
    return fleet


@pytest.mark.parametrize("route", ["reconcile", "push"])
def test_what_a_restored_control_sends_down_replaces_nothing_unseen(databases: Databases, route: str) -> None:
    fleet = restored_control(databases)
    if route == "push":  # that looks so far back
        fleet.options(lookback="1h")
        assert fleet.push().counts.conflicts == 15
    else:
        fleet.require_nothing_to_do()
        assert sweep(fleet).counts.conflicts == 15
    assert lost(fleet) == [(id, "station", f"after {id}") for id in range(1, 16)]
    assert texts(fleet, 1)[3] == texts(fleet, "control")[3] == "before 3"
    settled(fleet)
    assert len(lost(fleet)) == 15


def test_a_push_of_older_versions_that_is_cut_off_has_kept_them(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the station's commit: the next run finds both sides equal."""
    fleet = restored_control(databases, rows=3)

    def cut() -> None:
        raise Cut

    before_settle(monkeypatch, cut)
    with pytest.raises(Cut):
        sweep(fleet)
    assert texts(fleet, 1)[3] == "before 3"
    settled(fleet)
    assert sorted(lost(fleet)) == [(id, "station", f"after {id}") for id in (1, 2, 3)]


def test_an_edit_of_control_s_on_top_of_the_station_s_is_no_conflict(databases: Databases) -> None:
    fleet = a_fleet(databases, rows=5)
    fleet.edit(1, 1, at=ago(MINUTE), text="the station's")
    fleet.sync()
    fleet.edit("control", 1, text="control's")
    # Neither is one that leaves the stamp alone.
    databases.execute("control", "UPDATE kafka_test SET text = 'by hand' WHERE id = 2")
    settled(fleet)
    assert texts(fleet, 1) == texts(fleet, "control")
    assert (texts(fleet, 1)[1], texts(fleet, 1)[2]) == ("control's", "by hand")
    assert lost(fleet) == []


@pytest.mark.parametrize("policy", ["newest", "control"])
def test_what_lost_in_the_merge_is_not_kept_twice(databases: Databases, policy: str) -> None:
    """By the policy `control` its older version goes over the station's newer one."""
    fleet = a_fleet(databases, rows=5, conflicts=policy)
    fleet.edit(1, 1, at=ago(1 * MINUTE), text="the station's")
    fleet.edit("control", 1, at=ago(2 * MINUTE), text="control's")
    settled(fleet)
    assert lost(fleet) == [
        (1, "control", "control's") if policy == "newest" else (1, "station", "the station's"),
    ]


def test_a_trusted_control_keeps_once_what_it_sends_down(databases: Databases) -> None:
    fleet = restored_control(databases)
    (pair,) = fleet.pairs()
    reseed_control.trust(pair)
    settled(fleet)
    assert sorted(lost(fleet)) == [(id, "station", f"after {id}") for id in range(1, 16)]


# --- a station that is trusted


def restored_station(databases: Databases, **options: Any) -> Fleet:
    """Rows 1 to 30 are as they were; of these the application has edited two since, one of them control too."""
    fleet = a_fleet(databases, **options)
    before = databases.rows(1)
    for id in range(1, 31):
        fleet.edit(1, id, at=ago(4 * MINUTE), text=f"newer {id}")
    fleet.sync()
    for id, text, code, _, modified in before[:30]:
        fleet.edit(1, id, code, at=modified, text=text)
    fleet.edit(1, 7, at=ago(2 * MINUTE), text="edited since")
    fleet.edit(1, 8, at=ago(2 * MINUTE), text="edited at both sides")
    fleet.edit("control", 8, at=ago(3 * MINUTE), text="edited at control")
    return fleet


def test_what_a_trusted_station_replaces_at_control_is_kept(databases: Databases) -> None:
    fleet = restored_station(databases)
    (pair,) = fleet.pairs()
    report = reseed.trust(pair)
    assert report.counts.conflicts == json_of(report)["kept"] == 29
    assert reseed.trust(pair).counts.conflicts == 0  # as if it had been cut off, and was run again
    settled(fleet)
    expected = [(id, "control", f"newer {id}") for id in range(1, 31) if id != 8]
    assert sorted(lost(fleet)) == sorted([*expected, (8, "control", "edited at control")])
    assert texts(fleet, "control")[7] == "edited since"


def at_rest(fleet: Fleet) -> None:
    """Nothing more to do; control has the rows that the station lacks."""
    fleet.sync()
    sweep(fleet)
    fleet.require_nothing_to_do()


def lacking_station(databases: Databases, **options: Any) -> Fleet:
    """Of 60 rows the station's table has lost rows 31 to 55, whose keys no counter gives again, and is trusted."""
    fleet = a_fleet(databases, **options)
    databases.execute(1, "DELETE FROM kafka_test WHERE id BETWEEN 31 AND 55")
    reseed.trust(fleet.pairs()[0])
    fleet.sync()
    return fleet


@pytest.mark.parametrize("policy", ["merge", "station"])
def test_keys_of_rows_that_a_trusted_station_lacks_are_given_again(databases: Databases, policy: str) -> None:
    fleet = lacking_station(databases, conflicts=policy)
    sweep(fleet)
    fleet.edit("control", 33, at=ago(4 * MINUTE), text="edited at control")
    fleet.sync()  # it cannot go down, and waits
    databases.put(1, [row(id, text=f"another {id}", at=ago(2 * MINUTE)) for id in (31, 32, 33)])
    fleet.edit(1, 30, at=ago(2 * MINUTE), text="an edit")
    at_rest(fleet)
    kept = databases.query("control", "SELECT control_row, reason FROM stationsync_conflict")
    assert sorted(json.loads(row)["text"] for row, _ in kept) == ["edited at control", "row 31", "row 32"]
    assert all("when its table was taken as it is" in reason for _, reason in kept)
    fleet.edit(1, 31, at=ago(MINUTE), text="an edit of the new row")
    at_rest(fleet)
    assert len(lost(fleet)) == 3


def test_rows_that_are_put_back_as_they_were_are_edited_by_who_has_seen_them(databases: Databases) -> None:
    fleet = lacking_station(databases)
    columns = ("id", "text", "code", "create_date", "modify_date")
    known = databases.query("control", f"SELECT {', '.join(columns)} FROM kafka_test WHERE id BETWEEN 31 AND 33")
    databases.put(1, [dict(zip(columns, one, strict=True)) for one in known])
    backfill.backfill(fleet.pairs()[0], runs.plain_steps(), backfill.BackfillOrder(BackfillRange()))
    for id, *_ in known:
        fleet.edit(1, id, at=ago(MINUTE), text=f"an edit of {id}")
    at_rest(fleet)
    assert lost(fleet) == []


def test_nothing_goes_up_from_a_trusted_station_of_a_table_that_goes_down(databases: Databases) -> None:
    fleet = restored_station(databases, direction="down")
    (pair,) = fleet.pairs()
    assert reseed.trust(pair).counts.conflicts == 0


# --- a row out of the trash


def in_the_trash(fleet: Fleet) -> list[trash.Item]:
    (pair,) = fleet.pairs()
    return trash.find(pair.control, closed=True)[0]


def a_row_lives_again(databases: Databases, stations: int = 1) -> Fleet:
    """Row 5 was deleted and is in the trash. Its station, or station-2, has a new row of its key; control lacks it."""
    fleet = a_fleet(databases, rows=10, stations=stations, deletes="archive")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 5")
    sweep(fleet)
    databases.put(stations, [row(5, text="the new one", at=ago(MINUTE))])
    fleet.sync(stations)
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 5")
    return fleet


@pytest.mark.parametrize("owner", [1, 2])
def test_a_row_out_of_the_trash_replaces_none_that_lives(databases: Databases, owner: int) -> None:
    fleet = a_row_lives_again(databases, owner)
    (pair,), (item,) = fleet.pairs(), in_the_trash(fleet)
    with pytest.raises(Refused, match=f"lives again: station station-{owner}") as caught:
        trash.restore(pair.control, pair, item)
    assert f"stationsync reconcile station-{owner} --table kafka_test" in caught.value.next_step
    sweep(fleet, owner)
    assert texts(fleet, owner)[5] == texts(fleet, "control")[5] == "the new one"
    with pytest.raises(Refused, match="control has a row"):
        trash.restore(pair.control, pair, item)
    assert [one.state for one in in_the_trash(fleet)] == [trash.KEPT]


def test_of_two_rows_of_one_key_only_one_comes_out_of_the_trash(databases: Databases) -> None:
    fleet = a_row_lives_again(databases)
    sweep(fleet)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 5")
    sweep(fleet)
    (pair,), (newer, older) = fleet.pairs(), in_the_trash(fleet)
    trash.restore(pair.control, pair, older)
    for item in (newer, in_the_trash(fleet)[1]):
        with pytest.raises(Refused, match="control has a row"):
            trash.restore(pair.control, pair, item)
    assert texts(fleet, "control")[5] == "row 5"


@pytest.mark.parametrize("policy", ["newest", "control"])
def test_a_row_that_came_out_of_the_trash_before_its_key_lived_again(databases: Databases, policy: str) -> None:
    """The station's new row is not known yet when the old one comes back: both are kept, whoever wins."""
    fleet = a_fleet(databases, rows=10, deletes="archive", conflicts=policy)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 5")
    sweep(fleet)
    databases.put(1, [row(5, text="the new one", at=ago(MINUTE))])
    (pair,), (item,) = fleet.pairs(), in_the_trash(fleet)
    trash.restore(pair.control, pair, item)
    settled(fleet)
    assert lost(fleet) == [(5, "station", "the new one") if policy == "control" else (5, "control", "row 5")]
