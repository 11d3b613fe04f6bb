"""The journal of what goes down, of deletes, reseeds and adopted rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import Command
from support.databases import Databases
from support.inject import ago, before_send
from support.journals import Site, records, replayed, require_told, row
from support.sweeps import sweep

from stationsync.errors import NotInitialised
from stationsync.model.changes import Report
from stationsync.pairing.pair import control_of
from stationsync.recovery import reseed
from stationsync.setup.adopt import adopt


@pytest.fixture
def site(databases: Databases, tmp_path: Path) -> Site:
    """Four rows, the same at both sides."""
    return a_site(databases, tmp_path)


def a_site(databases: Databases, folder: Path, **options: object) -> Site:
    site = Site(databases, folder, **options)
    databases.put(1, [row(n, modify_date=ago(7200)) for n in range(1, 5)])
    site.fleet.sync()
    return site


def test_an_edit_that_went_down_with_what_the_station_had(site: Site) -> None:
    site.fleet.edit("control", 2, text="control's", at=ago(5))
    run = site.fleet.push()
    (down,) = site.since(run)
    assert (down["direction"], down["decision"], down["before"]["text"], down["after"]["text"]) == (
        "down", "updated", "first", "control's",
    )  # fmt: skip
    assert down["window_to"] == run.up_to
    site.require_told()


def test_the_same_edit_at_both_sides_is_settled(site: Site) -> None:
    stamp = ago(5)
    for where in (1, "control"):
        site.fleet.edit(where, 2, text="the same", at=stamp)
    run = site.fleet.push()
    (down,) = site.since(run)
    assert (down["decision"], down["before"]["text"], down["after"]["text"]) == ("settled", "first", "the same")
    site.require_told()


def test_an_edit_that_cannot_go_down_is_quarantined(site: Site) -> None:
    site.databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
    site.fleet.edit("control", 2, text="too late", at=ago(5))
    (down,) = site.since(site.fleet.push())
    assert (down["direction"], down["decision"], down["came"]["text"]) == ("down", "quarantined", "too late")
    assert "no longer has this row" in down["reason"]


def test_a_push_that_meets_a_newer_row_tells_both_in_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.fleet.edit("control", 2, text="control's", at=ago(20))
    before_send(monkeypatch, lambda: site.fleet.edit(1, 2, text="station's", at=ago(5)))
    run = site.fleet.push()
    (told,) = site.since(run)
    assert (told["direction"], told["decision"], told["loser"]) == ("up", "updated", "control")
    assert (told["before"]["text"], told["after"]["text"]) == ("control's", "station's")
    site.require_told()


@pytest.mark.parametrize("policy", ["archive", "flag"])
def test_deletes_of_the_station(databases: Databases, tmp_path: Path, policy: str) -> None:
    options = {"flag_column": "gone", "exclude": ["master_id", "gone"]} if policy == "flag" else {}
    site = a_site(databases, tmp_path)
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN gone INTEGER")
    site.fleet.options(deletes=policy, **options)
    site.fleet.init()
    databases.execute(1, "DELETE FROM kafka_test WHERE id IN (1, 2)")
    site.fleet.edit("control", 2, text="edited", at=ago(5))
    run = sweep(site.fleet)
    one, two = sorted(site.since(run), key=lambda record: record["key"])
    assert (one["direction"], one["decision"], one["before"]["text"]) == (
        "up", "flagged" if policy == "flag" else "deleted", "first",
    )  # fmt: skip
    assert (one["after"] is None) == (policy == "archive")
    assert (two["decision"], two["loser"], two["after"]["text"]) == ("kept", "station", "edited")
    assert "control had edited it" in two["reason"]
    require_told_but_for(site, edited={2})


def require_told_but_for(site: Site, edited: set[int]) -> None:
    """Control alone has these rows, in a version that never travelled."""
    ours = {int(r["id"]): r["text"] for r in replayed(records(site.folder)).values() if int(r["id"]) not in edited}
    found = site.databases.query("control", "SELECT id, text FROM kafka_test")
    assert ours == {id: text for id, text in found if id not in edited}


def test_where_the_station_s_delete_wins_the_edit_is_told(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path, deletes="archive", conflicts="station")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
    site.fleet.edit("control", 2, text="edited", at=ago(5))
    (gone,) = site.since(sweep(site.fleet))
    assert (gone["decision"], gone["loser"], gone["before"]["text"]) == ("deleted", "control", "edited")
    site.require_told()


def test_a_row_that_both_sides_deleted(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path, deletes="archive")
    for where in (1, "control"):
        databases.execute(where, "DELETE FROM kafka_test WHERE id = 2")
    (gone,) = site.since(sweep(site.fleet))
    assert (gone["decision"], gone["after"], gone["before"]["text"]) == ("settled", None, "first")
    site.require_told()


def test_a_row_that_vanished_from_control_comes_back(site: Site) -> None:
    site.databases.execute("control", "DELETE FROM kafka_test WHERE id = 2")
    forgotten, back = site.since(sweep(site.fleet))
    assert (forgotten["decision"], forgotten["before"]["text"], forgotten["after"]) == ("settled", "first", None)
    assert (back["direction"], back["decision"], back["before"], back["after"]["text"]) == (
        "up", "inserted", None, "first",
    )  # fmt: skip
    site.require_told()


def test_a_row_that_control_lost_and_whose_new_version_it_refuses(databases: Databases, tmp_path: Path) -> None:
    """What the journal comes to has the row no more: the old version was replaced at the station."""
    command = Command(databases, tmp_path)
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "CREATE UNIQUE INDEX text ON kafka_test (text)")
    databases.put(1, [row(1, "kept"), row(2, "old")])
    command.well("init")
    command.well("sync", "station-1")
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 2")
    databases.execute(1, "UPDATE kafka_test SET text = 'kept' WHERE id = 2")
    command.well("reconcile", "station-1")
    told = [(r["decision"], r["before"] and r["before"]["text"]) for r in records(tmp_path / "journal")]
    assert ("settled", "old") in told

    plan = command.well("reseed-control", "--yes", "--json").json
    assert [one["rows"] for one in plan["plan"]] == [0]
    assert databases.query("control", "SELECT id, text FROM kafka_test") == [(1, "kept")]
    (held,) = command.well("quarantine", "list", "--json").json["entries"]
    assert held["key"] == ["2", "A"]
    page = " ".join(command.well("explain", "station-1", "kafka_test", 2, "A").out.split())
    assert "control had the row no more; the station's version is merged anew" in page
    assert f"stationsync quarantine retry {held['id']}" in page
    assert command.well("revert", "--since", "1h", "--dry-run", "--json").json["ok"]

    databases.execute("control", "UPDATE kafka_test SET text = 'another' WHERE id = 1")
    command.well("quarantine", "retry", "--all")
    assert databases.query("control", "SELECT id, text FROM kafka_test") == [(1, "another"), (2, "kept")]


def test_deletes_of_control_go_down(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path, control_deletes="send")
    databases.execute("control", "DELETE FROM kafka_test WHERE id IN (1, 2)")
    site.fleet.edit(1, 2, text="changed since", at=ago(5))
    run = sweep(site.fleet)
    told = {(r["key"], r["direction"]): r for r in site.since(run)}
    deleted, kept = told['["1","A"]', "down"], told['["2","A"]', "down"]
    assert (deleted["decision"], deleted["before"]["text"], deleted["after"]) == ("deleted", "first", None)
    assert (kept["decision"], kept["loser"]) == ("kept", "control")
    assert told['["2","A"]', "up"]["after"]["text"] == "changed since"
    site.require_told()


def test_rows_that_are_given_back_to_a_lost_station(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path)
    site.fleet.edit(1, 3, text="second", at=ago(5))
    site.fleet.sync()
    databases.execute(1, "DELETE FROM kafka_test WHERE id IN (1, 2)")
    databases.execute(1, f"UPDATE kafka_test SET text = 'old', modify_date = '{ago(7000)}' WHERE id = 3")
    done = reseed.reseed(site.fleet.pairs())["kafka_test"]
    assert isinstance(done, Report)
    told = {r["key"]: r for r in site.since(done)}
    assert {key: (r["direction"], r["decision"], r["rule"]) for key, r in told.items()} == {
        '["1","A"]': ("down", "inserted", "reseed"),
        '["2","A"]': ("down", "inserted", "reseed"),
        '["3","A"]': ("down", "updated", "reseed"),
    }
    three = told['["3","A"]']
    assert (three["before"]["text"], three["after"]["text"], three["loser"]) == ("old", "second", "station")
    site.require_told()


def test_adopted_rows_are_settled(databases: Databases, tmp_path: Path) -> None:
    site = Site(databases, tmp_path)
    for where in (1, "control"):
        databases.put(where, [row(1), row(2)])
    databases.put(1, [row(3)])
    adopt(control_of(site.fleet.topology), site.fleet.pairs())
    assert site.told("decision", "before", "after.id") == [("settled", None, "1"), ("settled", None, "2")]
    site.fleet.sync()
    require_told(site.fleet, site.folder)


def test_a_sweep_that_leaves_a_gap_says_so(databases: Databases, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    site = a_site(databases, tmp_path, journal={"url": str(folder), "required": False})
    shutil.rmtree(folder)
    folder.write_text("a file in the way")
    databases.execute(1, "UPDATE kafka_test SET text = 'unstamped' WHERE id = 2")
    done = sweep(site.fleet)
    assert done.counts.applied == 1
    assert [warning for warning in done.warnings if "gap" in warning]


def test_an_installation_without_the_journal_s_tables_is_told_to_init(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path)
    for table in ("stationsync_journal", "stationsync_journal_file"):
        databases.execute("control", f"DROP TABLE {table}")
    site.fleet.edit(1, 2, text="edited")
    with pytest.raises(NotInitialised, match="stationsync init"):
        site.fleet.pull()
    site.fleet.init()
    assert site.fleet.pull().counts.applied == 1
