"""Deletes travel by the table's policy, into the trash, never past a waiting edit, and not in masses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases, MariaDBDatabases
from support.deleting import delete, flagged, ids, items, small
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row
from support.sweeps import ROWS, a_fleet, everything, require_proved, sweep

from stationsync.errors import BrakePulled, Refused
from stationsync.keeping import trash
from stationsync.model.changes import Status
from stationsync.reconcile import deletes
from stationsync.session import extract

pytest_plugins = ["support.deleting"]


def conflicts(fleet: Fleet) -> list[tuple[Any, ...]]:
    query = "SELECT loser, reason, station_row IS NULL, control_row IS NULL FROM stationsync_conflict ORDER BY id"
    return fleet.databases.query("control", query)


# --- policies


def test_five_deleted_rows_are_archived_with_control_s_own_columns(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    own = dict(databases.query("control", "SELECT id, master_id FROM kafka_test"))
    delete(fleet, 1, "id <= 5")
    report = sweep(fleet)
    assert (report.status, report.counts.deleted) == (Status.DONE, 5)
    assert ids(fleet, "control") == ids(fleet, 1) == set(range(6, ROWS + 1))
    kept = items(fleet)
    assert {item.row["id"]: item.row["master_id"] for item in kept} == {str(i): str(own[i]) for i in range(1, 6)}
    assert {(i.side, i.state, i.reason) for i in kept} == {("control", "kept", "the station deleted the row")}
    require_proved(fleet, rows=ROWS - 5)
    fleet.require_nothing_to_do()


def test_by_default_deletes_stay_where_they_are_and_are_told(databases: Databases) -> None:
    fleet = a_fleet(databases)
    delete(fleet, 1, "id <= 200")
    for _ in range(2):
        report = sweep(fleet)
        assert report.status is Status.NOTHING
        assert json_of(report)["exceptions"] == {"gone": 200}
    assert len(ids(fleet, "control")) == ROWS


def test_a_deleted_row_that_is_made_again_is_a_new_row(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    delete(fleet, 1, "id = 7")
    sweep(fleet)
    databases.put(1, [row(7, "S1", text="again", at=ago(5))])
    fleet.sync()
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 7") == [("again",)]
    require_proved(fleet)


def test_flagged_rows_stay_and_lose_the_flag_when_the_station_has_them_again(flagging: Fleet) -> None:
    delete(flagging, 1, "id IN (3, 4)")
    assert sweep(flagging).counts.deleted == 2
    assert flagged(flagging) == {3, 4}
    assert len(ids(flagging, "control")) == ROWS
    assert sweep(flagging).status is Status.NOTHING
    same = next(values for values in flagging.databases.rows("control") if values[0] == 4)
    names = ("id", "text", "code", "create_date", "modify_date")
    flagging.databases.put(1, [row(3, "S1", text="again", at=ago(5)), dict(zip(names, same, strict=True))])
    flagging.sync()
    sweep(flagging)
    assert flagged(flagging) == set()
    require_proved(flagging)


# --- the check just before, and conflicts


def test_a_row_that_is_back_when_it_would_be_deleted_is_left(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = a_fleet(databases, deletes="archive")
    delete(fleet, 1, "id <= 5")
    real = extract.read_keys

    def back(session: Any, keys: Any, **options: Any) -> Any:
        if len(keys) == 5:
            databases.put(1, [row(3, "S1", text="back", at=ago(5))])
            patch.undo()
        return real(session, keys, **options)

    with monkeypatch.context() as patch:
        patch.setattr(extract, "read_keys", back)
        assert sweep(fleet).counts.deleted == 4
    assert 3 in ids(fleet, "control")
    fleet.sync()
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 3") == [("back",)]
    require_proved(fleet, rows=ROWS - 4)


def test_a_delete_against_a_waiting_edit_is_a_conflict_and_the_edit_stays(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    fleet.edit("control", 9, "S1", text="edited at control")
    delete(fleet, 1, "id IN (8, 9)")
    report = sweep(fleet)
    assert (report.counts.deleted, report.counts.conflicts) == (1, 1)
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 9") == [("edited at control",)]
    reason = "the station deleted the row; control had edited it and keeps it, alone"
    assert conflicts(fleet) == [("station", reason, 1, 0)]
    assert sweep(fleet).status is Status.NOTHING
    assert len(conflicts(fleet)) == 1


def test_a_row_that_control_has_alone_is_kept_in_its_newest_version(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    delete(fleet, 1, "id = 7")
    fleet.edit("control", 7, "S1", text="first", at=ago(20))
    assert fleet.push().counts.quarantined == 1
    assert sweep(fleet).counts.conflicts == 1
    fleet.edit("control", 7, "S1", text="second", at=ago(10))
    assert fleet.push().counts.quarantined == 1
    (entry,) = databases.query("control", "SELECT direction, state, row_json FROM stationsync_quarantine")
    assert entry[:2] == ("down", "open")
    assert '"second"' in entry[2]
    fleet.require_nothing_to_do()
    assert sweep(fleet).status is Status.NOTHING


def test_a_row_that_control_had_alone_is_another_station_s(databases: Databases) -> None:
    """The edit that could not go down to the first has gone down to the second: nobody is to do anything about it."""
    fleet = a_fleet(databases, 2, deletes="archive")
    databases.put(1, [row(999, code="S1", at=ago(900))])
    fleet.sync()
    delete(fleet, 1, "id = 999")
    fleet.edit("control", 999, "S1", text="edited at control", at=ago(20))
    assert fleet.push().counts.quarantined == 1
    assert sweep(fleet).counts.conflicts == 1
    databases.put(2, [row(999, code="S1", text="the second's", at=ago(60))])
    fleet.sync(2)
    for where in ("control", 2):
        assert databases.query(where, "SELECT text FROM kafka_test WHERE id = 999 AND code = 'S1'") == [
            ("edited at control",)
        ]
    assert fleet.push().counts.released == 1
    fleet.edit(2, 999, "S1", text="of the second", at=ago(0))
    fleet.sync(2)
    fleet.require_nothing_to_do()
    assert databases.query("control", "SELECT state FROM stationsync_quarantine WHERE direction = 'down'") == [
        ("released",)
    ]


def test_where_the_station_wins_the_edit_is_in_the_trash_and_in_the_conflict(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive", conflicts="station")
    fleet.edit("control", 9, "S1", text="edited at control")
    delete(fleet, 1, "id = 9")
    assert sweep(fleet).counts.deleted == 1
    assert 9 not in ids(fleet, "control")
    assert [item.row["text"] for item in items(fleet)] == ["edited at control"]
    assert [c[0] for c in conflicts(fleet)] == ["control"]
    require_proved(fleet, rows=ROWS - 1)


def test_a_row_that_both_sides_deleted_is_forgotten_but_kept_in_the_trash(databases: Databases) -> None:
    fleet = a_fleet(databases)
    for where in ("control", 1):
        delete(fleet, where, "id = 9")
    sweep(fleet)
    assert [item.reason for item in items(fleet)] == ["both sides deleted the row"]
    require_proved(fleet, rows=ROWS - 1)


def test_a_row_that_control_must_keep_is_quarantined_and_the_others_go(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    if databases.kind == "mariadb":
        signal = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'still needed'"
        body = f"FOR EACH ROW BEGIN IF OLD.id = 3 THEN {signal}; END IF; END"
    else:
        body = "WHEN OLD.id = 3 BEGIN SELECT RAISE(ABORT, 'still needed'); END"
    databases.execute("control", f"CREATE TRIGGER keep BEFORE DELETE ON kafka_test {body}")
    delete(fleet, 1, "id <= 5")
    report = sweep(fleet)
    assert (report.counts.deleted, report.counts.quarantined) == (4, 1)
    assert ids(fleet, "control") & {1, 2, 3, 4, 5} == {3}
    assert sweep(fleet).status is Status.NOTHING
    databases.execute("control", "DROP TRIGGER keep")
    assert sweep(fleet).counts.deleted == 1
    open_ones = "SELECT COUNT(*) FROM stationsync_quarantine WHERE state = 'open'"
    assert databases.query("control", open_ones) == [(0,)]
    require_proved(fleet, rows=ROWS - 5)


# --- the brake


def refused(fleet: Fleet, **options: Any) -> BrakePulled:
    before = everything(fleet)
    with pytest.raises(BrakePulled) as caught:
        sweep(fleet, **options)
    after = everything(fleet)
    for name in ("kafka_test", "stationsync_base_kafka_test", "stationsync_trash", "stationsync_conflict"):
        assert after["control"][name] == before["control"][name]
    assert after[1] == before[1]
    return caught.value


def test_a_mass_delete_is_refused_with_nothing_changed_and_can_be_allowed_once(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    delete(fleet, 1, "id <= 180")
    databases.put(1, [row(1000, "S1", at="2020-01-01 00:00:00")])
    error = refused(fleet)
    assert "180 of 300 rows known are gone at the station" in error.what
    assert "stationsync reconcile station-1 --table kafka_test --allow-deletes" in error.next_step

    # Vanished since: not what was allowed. Back again: not deleted.
    delete(fleet, 1, "id IN (201, 202)")
    databases.put(1, [row(5, "S1", text="back", at=ago(5))])
    report = sweep(fleet, allow_deletes=True)
    assert report.counts.deleted == 179
    assert "2 more rows are gone since" in report.warnings[0]
    assert json_of(report)["exceptions"] == {"gone": 2}
    assert ids(fleet, "control") == {5, 1000} | set(range(181, ROWS + 1))

    # Allowed once: what vanished since is a sweep like any other, and 31 more would be too many again.
    assert sweep(fleet).counts.deleted == 2
    delete(fleet, 1, "id BETWEEN 210 AND 240")
    refused(fleet)


def test_an_emptied_station_is_refused_however_small(databases: Databases) -> None:
    fleet = small(databases, 5)
    delete(fleet, 1, "1 = 1")
    assert "the station's table is empty" in refused(fleet).what


def test_a_small_table_may_lose_twenty_rows(databases: Databases) -> None:
    fleet = small(databases, 30)
    delete(fleet, 1, "id <= 20")
    assert sweep(fleet).counts.deleted == 20
    fleet.options(max_deletes="3")
    delete(fleet, 1, "id <= 24")
    refused(fleet)


def test_a_station_that_went_back_in_time_is_refused(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    backup = "UPDATE kafka_test SET text = 'of the backup', modify_date = %s WHERE id <= 100"
    databases.execute(1, backup, [ago(90_000)])
    assert "100 of 300 rows known are older at the station" in refused(fleet, allow_deletes=True).what


# --- control's deletes


@pytest.fixture
def sending(databases: Databases) -> Fleet:
    return a_fleet(databases, control_deletes="send")


def test_control_s_deletes_go_down(sending: Fleet) -> None:
    delete(sending, "control", "id <= 5")
    assert sweep(sending).counts.deleted == 5
    assert ids(sending, 1) == set(range(6, ROWS + 1))
    assert {(item.side, item.row["text"]) for item in items(sending)} == {("station", f"row {i}") for i in range(1, 6)}
    require_proved(sending, rows=ROWS - 5)
    sending.require_nothing_to_do()


def test_a_row_that_the_station_changed_since_comes_back_instead(sending: Fleet) -> None:
    delete(sending, "control", "id IN (5, 6)")
    sending.databases.execute(1, "UPDATE kafka_test SET text = 'changed' WHERE id = 5")
    report = sweep(sending)
    assert (report.counts.deleted, report.counts.conflicts) == (1, 1)
    assert sending.databases.query("control", "SELECT text FROM kafka_test WHERE id = 5") == [("changed",)]
    assert [c[0] for c in conflicts(sending)] == ["control"]
    require_proved(sending, rows=ROWS - 1)


def test_a_mass_delete_at_control_is_refused_too(sending: Fleet) -> None:
    delete(sending, "control", "id <= 150")
    assert "would be deleted at the station" in refused(sending).what
    assert sweep(sending, allow_deletes=True).counts.deleted == 150
    require_proved(sending, rows=ROWS - 150)


def test_a_run_cut_off_between_the_two_sides_loses_nothing(sending: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    delete(sending, "control", "id <= 5")
    with monkeypatch.context() as cut:
        cut.setattr(deletes.trash, "keep", _dies)
        with pytest.raises(KeyboardInterrupt):
            sweep(sending)
    assert len(ids(sending, 1)) == ROWS - 5
    sweep(sending)
    assert sorted(item.row["text"] for item in items(sending)) == [f"row {i}" for i in range(1, 6)]
    require_proved(sending, rows=ROWS - 5)


def _dies(*_: Any) -> None:
    raise KeyboardInterrupt


# --- the way back


def test_a_row_comes_back_from_the_trash_as_it_was(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    before = databases.query("control", "SELECT * FROM kafka_test WHERE id = 5")
    delete(fleet, 1, "id = 5")
    sweep(fleet)
    (pair,), (item,) = fleet.pairs(), items(fleet)
    trash.restore(pair.control, pair, item)
    assert databases.query("control", "SELECT * FROM kafka_test WHERE id = 5") == before
    assert [item.state for item in items(fleet)] == ["restored"]
    assert sweep(fleet).status is Status.NOTHING
    with pytest.raises(Refused, match="again"):
        trash.restore(pair.control, pair, item)


def test_a_flag_is_taken_off_again(flagging: Fleet) -> None:
    delete(flagging, 1, "id = 5")
    sweep(flagging)
    (pair,), (item,) = flagging.pairs(), items(flagging)
    trash.restore(pair.control, pair, item)
    assert flagged(flagging) == set()


# --- a set-up that cannot do it


def test_a_missing_flag_column_is_refused_by_name(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path, deletes="flag", exclude=["master_id", "gone_at"], flag_column="gone_at")
    done = command("init")
    assert done.code == 1
    assert "there is no column gone_at to flag deleted rows with" in done.err
    assert "ALTER TABLE kafka_test ADD COLUMN gone_at datetime NULL" in done.err


def test_a_missing_right_to_delete_is_named_by_check_and_by_a_sweep(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(n, at=ago(7200)) for n in range(1, 31)])
    command = Command(databases, tmp_path, control_deletes="send")
    command.well("init")
    command.well("sync", "station-1")
    name, server, user = databases.name(1), databases.server(1), f"d{databases.name(1)[-12:]}"
    server.execute(f"CREATE USER '{user}'@'%'")
    try:
        server.execute(f"GRANT SELECT, UPDATE, CREATE TEMPORARY TABLES ON `{name}`.* TO '{user}'@'%'")
        server.execute(f"GRANT PROCESS ON *.* TO '{user}'@'%'")
        command.topology["stations"]["station-1"]["url"] = databases.url(1).replace("//root", f"//{user}")
        grant = f"GRANT DELETE ON `{name}`.`kafka_test` TO '{user}'@'%'"
        assert grant in command("check", "station-1").out
        databases.execute("control", "DELETE FROM kafka_test WHERE id = 7")
        before = snapshot(databases, 1)
        done = command("reconcile", "station-1")
        assert done.code == 1
        assert "DELETE command denied" in done.err
        assert snapshot(databases, 1) == before
        server.execute(grant)
        command.well("reconcile", "station-1")
        assert databases.count(1) == 29
    finally:
        server.execute(f"DROP USER '{user}'@'%'")
