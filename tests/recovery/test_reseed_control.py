"""Control's table went back and its bookkeeping did not: `reseed-control` gives it what it had,
`trust-control` takes it as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.older_control import SEND, a_fleet, backup, put, put_back, swept, texts
from support.reports import json_of
from support.sample import row

from stationsync.errors import ControlWentBack, SchemaRefused
from stationsync.health.incident_book import look_at_station
from stationsync.model.changes import Report, Status
from stationsync.pairing.pair import control_of
from stationsync.recovery import reseed, reseed_control
from stationsync.store.pauses import pause

LOSERS = "SELECT key_text, policy, loser, station_row, control_row FROM stationsync_conflict ORDER BY id"


def restored(databases: Databases, **options: Any) -> Fleet:
    """Of 60 rows 41 were edited since the backup, one of them at control; 5 are new. After the restore, rows 7 and 50
    were edited at control, rows 8 and 51 at the station, and the station has a new row."""
    fleet = a_fleet(databases, **options)
    databases.execute("control", "UPDATE kafka_test SET master_id = master_id + 1000 WHERE id = 9")
    backup(databases)
    for number in range(1, 41):
        fleet.edit(1, number, text=f"edited {number}", at=ago(40))
    fleet.edit("control", 41, text="control's", at=ago(40))
    put(databases, 61, 65, ago(39))
    fleet.sync()
    fleet.require_nothing_to_do()
    put_back(databases)
    for number in (7, 50):
        fleet.edit("control", number, text="after the restore", at=ago(5))
    for number in (8, 51):
        fleet.edit(1, number, text="written meanwhile", at=ago(5))
    databases.put(1, [row(99, text="new", at=ago(5))])
    return fleet


def given_back(fleet: Fleet) -> dict[str, int]:
    return found(reseed_control.reseed(fleet.pairs()[0]))


def found(report: Report) -> dict[str, int]:
    return {kind: n for kind, n in json_of(report)["found"].items() if n}


def losers(fleet: Fleet) -> dict[tuple[str, str], tuple[str, str]]:
    """(key, loser): the station's version, control's."""
    rows = fleet.databases.query("control", LOSERS)
    kept = {(str(key), str(loser)): (str(station), str(control)) for key, _, loser, station, control in rows}
    assert len(kept) == len(rows)
    return kept


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("options", [{}, SEND, {"conflicts": "control"}, {"conflicts": "station"}], ids=str)
def test_control_gets_back_what_it_had_and_nothing_is_lost(databases: Databases, options: dict[str, str]) -> None:
    fleet = restored(databases, **options)
    with pytest.raises(ControlWentBack):
        fleet.pull()
    at_station = texts(databases, 1)
    (pair,) = fleet.pairs()
    before = snapshot(databases, "control", 1)
    planned = reseed_control.plan(pair)
    assert found(planned) == {"insert": 5, "rewrite": 40, "newer": 2}
    assert snapshot(databases, "control", 1) == before

    assert given_back(fleet) == {"insert": 5, "rewrite": 40, "newer": 2}
    assert texts(databases, 1) == at_station, "nothing is written at the station"
    control = texts(databases, "control")
    assert [control[n] for n in (1, 8, 41, 65)] == ["edited 1", "edited 8", "control's", "row 65"]
    assert control[7] == control[50] == "after the restore"
    assert databases.query("control", "SELECT master_id FROM kafka_test WHERE id = 9")[0][0] > 1000

    # What stood there instead is kept; so is what the edits since are to replace.
    kept = losers(fleet)
    assert len(kept) == 42
    assert '"row 1"' in kept['["1","A"]', "control"][1]
    assert '"edited 7"' in kept['["7","A"]', "station"][0]

    fleet.sync()
    control = texts(databases, "control")
    assert [control[n] for n in (7, 8, 50, 51, 99)] == [
        "after the restore", "written meanwhile", "after the restore", "written meanwhile", "new",
    ]  # fmt: skip
    assert texts(databases, 1) == control
    assert swept(fleet).status is Status.NOTHING
    fleet.require_nothing_to_do()
    fleet.require_equal()
    assert losers(fleet) == kept
    assert given_back(fleet) == {}


def test_an_edit_of_control_s_that_meets_one_of_the_station_s_is_an_ordinary_conflict(databases: Databases) -> None:
    fleet = restored(databases, conflicts="station")
    fleet.edit(1, 7, text="at both sides", at=ago(3))
    given_back(fleet)
    fleet.sync()
    assert texts(databases, 1)[7] == texts(databases, "control")[7] == "at both sides"
    assert any('"after the restore"' in control for _, control in losers(fleet).values())


def test_rows_that_the_station_deleted_meanwhile_go_by_the_next_reconcile(databases: Databases) -> None:
    fleet = restored(databases, deletes="archive")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    given_back(fleet)
    fleet.sync()
    swept(fleet)
    assert 3 not in texts(databases, "control")
    fleet.require_nothing_to_do()


@pytest.mark.parametrize("deletes", ["archive", "flag", "ignore"])
def test_rows_that_had_been_deleted_and_are_back_are_deleted_again(databases: Databases, deletes: str) -> None:
    """But for one that was written at control since, and one that the station has again."""
    flag = {"flag_column": "flag"} if deletes == "flag" else {}
    fleet = a_fleet(databases, deletes=deletes, max_deletes="100", **flag)
    fleet.edit(1, 1, text="before the backup", at=ago(50))
    fleet.sync()
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text="edited", at=ago(40))
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 50")
    fleet.sync()
    swept(fleet)
    put_back(databases)
    fleet.edit("control", 51, text="written since", at=ago(1))
    databases.put(1, [row(52, text="again", at=ago(1))])

    back = 0 if deletes == "ignore" else 9
    (pair,) = fleet.pairs()
    assert json_of(reseed_control.plan(pair))["returned"] == back
    assert json_of(reseed_control.reseed(pair))["returned"] == back
    assert json_of(reseed_control.plan(pair))["returned"] == 0
    fleet.sync()
    swept(fleet)
    fleet.require_nothing_to_do()
    control = texts(databases, "control")
    assert control[52] == "again"
    assert control[51] == "written since"
    if deletes == "flag":
        flagged = "SELECT id FROM kafka_test WHERE flag IS NOT NULL ORDER BY id"
        assert [number for (number,) in databases.query("control", flagged)] == list(range(53, 61))
    elif deletes == "archive":
        assert control.keys() == set(range(1, 53))


def test_an_emptied_table_is_filled_again(databases: Databases) -> None:
    fleet = a_fleet(databases, rows=1_200, **SEND)
    before = databases.rows("control")
    databases.execute("control", "DELETE FROM kafka_test")
    with pytest.raises(ControlWentBack):
        swept(fleet)
    assert given_back(fleet) == {"insert": 1_200}
    assert databases.rows("control") == before
    assert swept(fleet).status is Status.NOTHING
    fleet.require_nothing_to_do()


def test_unstamped_differences_are_the_backup_s_unless_they_are_known_to_be_edits(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute("control", "UPDATE kafka_test SET text = 'unstamped' WHERE id IN (1, 2)")
    databases.execute("control", "UPDATE stationsync_base_kafka_test SET stationsync_pending = 1 WHERE id = 2")
    assert given_back(fleet) == {"rewrite": 1, "newer": 1}
    assert [texts(databases, "control")[n] for n in (1, 2)] == ["row 1", "unstamped"]
    assert set(losers(fleet)) == {('["1","A"]', "control"), ('["2","A"]', "station")}


def test_what_control_refuses_is_kept_and_is_no_edit_of_control_s(databases: Databases) -> None:
    """A new unique index, say. Rows that only stand in each other's way go in one after the other."""
    fleet = a_fleet(databases)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text={3: "row 4"}.get(number, f"edited {number}"), at=ago(40))
    fleet.sync()
    put_back(databases)
    fleet.edit("control", 60, text="edited 5", at=ago(5))
    databases.execute("control", "CREATE UNIQUE INDEX one_text ON kafka_test (text)")

    report = reseed_control.reseed(fleet.pairs()[0])
    assert found(report) == {"rewrite": 9, "newer": 1}
    assert json_of(report)["refused"] == report.counts.quarantined == 1
    control = texts(databases, "control")
    assert [control[n] for n in (3, 4, 5, 60)] == ["row 4", "edited 4", "row 5", "edited 5"]
    entries = "SELECT key_text FROM stationsync_quarantine WHERE state = 'open'"
    assert databases.query("control", entries) == [('["5","A"]',)]
    for _ in range(2):
        fleet.sync()
        swept(fleet)
        assert texts(databases, 1)[5] == "edited 5", "control's old version is no edit"

    fleet.edit("control", 60, text="another", at=ago(0))
    swept(fleet)
    assert texts(databases, "control")[5] == "edited 5"
    assert databases.query("control", entries) == []
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_an_edit_that_waits_in_quarantine_is_kept(databases: Databases) -> None:
    """Its row is gone at the station. Quarantine forgets it once control has it no more."""
    fleet = a_fleet(databases)
    backup(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    fleet.edit("control", 1, text="nobody else has this", at=ago(40))
    for number in (2, 3, 4):
        fleet.edit(1, number, text="edited", at=ago(40))
    fleet.sync()
    entries = "SELECT COUNT(*) FROM stationsync_quarantine WHERE state = 'open'"
    assert databases.query("control", entries) == [(1,)]
    put_back(databases)
    given_back(fleet)
    fleet.sync()
    assert databases.query("control", entries) == [(0,)]
    assert "nobody else has this" in losers(fleet)['["1","A"]', "control"][1]
    fleet.require_nothing_to_do()


def test_a_control_that_is_trusted_sends_down_what_it_has(databases: Databases) -> None:
    fleet = restored(databases)
    with pytest.raises(ControlWentBack):
        fleet.push()
    (pair,) = fleet.pairs()
    assert found(reseed_control.trust(pair)) == {"insert": 5, "rewrite": 40, "newer": 2}
    kept = losers(fleet)
    assert {loser for _, loser in kept} == {"station"}
    assert '"edited 1"' in kept['["1","A"]', "station"][0]
    fleet.sync()
    at_station = texts(databases, 1)
    assert [at_station[n] for n in (1, 7, 8, 65)] == ["row 1", "after the restore", "written meanwhile", "row 65"]
    swept(fleet)
    assert texts(databases, "control")[65] == "row 65", "deletes do not travel: they come back"
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_trusted_control_s_deletes_are_the_reconcile_s(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, **SEND)
    databases.execute("control", "DELETE FROM kafka_test WHERE id > 35")
    with pytest.raises(ControlWentBack):
        swept(fleet)
    reseed_control.trust(fleet.pairs()[0])
    fleet.require_nothing_to_do()
    assert swept(fleet).counts.deleted == 25
    assert texts(databases, 1).keys() == set(range(1, 36))
    fleet.require_nothing_to_do()
    # It is trusted once: what goes back later is seen again.
    databases.execute("control", "DELETE FROM kafka_test")
    with pytest.raises(ControlWentBack):
        swept(fleet)


def test_no_reseed_of_a_station_from_an_older_control(databases: Databases) -> None:
    fleet = restored(databases)
    (pair,) = fleet.pairs()
    with pytest.raises(ControlWentBack):
        reseed.plan(pair)
    (result,) = reseed.reseed([pair]).values()
    assert isinstance(result, ControlWentBack)
    assert texts(databases, 1)[1] == "edited 1"


def test_a_reseed_of_control_that_was_cut_off_goes_on(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = a_fleet(databases, rows=1_200)
    backup(databases)
    databases.execute(1, "UPDATE kafka_test SET text = 'edited', modify_date = %s", [ago(40)])
    fleet.sync()
    put_back(databases)
    give, cuts = reseed_control.give, iter([False, True])

    def cut_off(*args: Any) -> Any:
        if next(cuts, False):
            raise SchemaRefused("control", "the process was killed")
        return give(*args)

    monkeypatch.setattr(reseed_control, "give", cut_off)
    with pytest.raises(SchemaRefused):
        given_back(fleet)
    monkeypatch.undo()
    with pytest.raises(ControlWentBack):
        fleet.sync()
    assert given_back(fleet) == {"rewrite": 700}
    assert len(losers(fleet)) == 1_200
    fleet.require_nothing_to_do()
    fleet.require_equal()


# --- told


def test_what_a_person_sees_and_types(databases: Databases, tmp_path: Path) -> None:
    fleet = restored(databases)
    command = Command(databases, tmp_path, exclude=["master_id", "flag"])
    done = command("sync", "station-1")
    assert done.code == 1
    assert done.err.count("stationsync reseed-control station-1 --table kafka_test") == 1, "both ways meet one wall"
    (table,) = command("status", "--json").json["tables"]
    assert table["state"] == "failed"
    assert "stationsync trust-control" in str(table)
    assert command("reconcile", "station-1").code == 1

    told = command.well("reseed-control", "station-1", "--dry-run").out
    assert "older at control, to be rewritten: 40" in told
    assert told.endswith("Nothing was changed.\n")
    assert command("reseed-control", "station-1", answer="n\n").code == 1
    assert texts(databases, "control")[1] == "row 1"
    told = command("reseed-control", "station-1", answer="y\n").out
    assert "  rewritten: 40" in told
    assert "superseded versions, kept: stationsync conflicts list: 42" in told
    assert "stationsync sync STATION, then: stationsync reconcile STATION" in told
    command.well("sync", "station-1")
    command.well("reconcile", "station-1")
    assert command.well("status", "--json").json["tables"][0]["state"] == "ok"
    again = command.well("reseed-control", "station-1", "--json").json
    assert (again["ok"], again["reports"]) == (True, [])
    fleet.require_equal()


def test_control_gets_back_the_rows_of_all_stations_while_they_are_paused_or_off_line(
    databases: Databases, tmp_path: Path
) -> None:
    fleet = restored(databases, stations=3)
    databases.create_kafka_test(2)
    databases.put(2, [row(n, "B") for n in range(1, 4)])
    fleet.sync(2)
    databases.execute("control", "DELETE FROM kafka_test WHERE code = 'B'")
    command = Command(databases, tmp_path, stations=2, exclude=["master_id", "flag"])
    pause(control_of(fleet.topology), "station-1", "", "")
    nowhere = {"mariadb": "mysql+pymysql://nobody@127.0.0.1:1/nowhere", "sqlite": f"sqlite:///{tmp_path}/nowhere/it.db"}
    command.topology["stations"]["station-2"]["url"] = nowhere[databases.kind]
    done = command.well("reseed-control", "--yes", "--json").json
    assert [report["found"]["insert"] for report in done["reports"]] == [5, 3]
    assert len([1 for _, _, code, *_ in databases.rows("control") if code == "B"]) == 3


def test_control_is_trusted_by_command(databases: Databases, tmp_path: Path) -> None:
    restored(databases)
    command = Command(databases, tmp_path, exclude=["master_id", "flag"])
    assert "older at control, to go down: 40" in command.well("trust-control", "station-1", "--dry-run").out
    told = command.well("trust-control", "station-1", "--yes").out
    assert "stationsync push station-1. The next reconcile brings back rows that control lacks." in told
    command.well("sync", "station-1")
    assert texts(databases, 1)[1] == "row 1"


def test_a_reconcile_that_was_refused_is_an_incident_that_names_both_ways(databases: Databases) -> None:
    fleet = restored(databases)
    with pytest.raises(ControlWentBack):
        swept(fleet)
    with pytest.raises(ControlWentBack):
        fleet.pull()
    (pair,) = fleet.pairs()
    look_at_station(pair.control, fleet.topology, pair.name)
    rows = databases.query("control", "SELECT kind, what FROM stationsync_incident WHERE over_id = 0")
    assert {kind for kind, what in rows if "stationsync reseed-control station-1" in str(what)} == {"brake", "failed"}
