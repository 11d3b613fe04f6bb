"""A station that was emptied or restored from a backup: recognised, refused, and given its rows back by `reseed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.reports import json_of
from support.sample import row

from stationsync.errors import GrantMissing, NotInitialised, StationWentBack
from stationsync.model.changes import Report, Status
from stationsync.recovery import reseed, reseed_page
from stationsync.sync import push, runs

BASE = "stationsync_base_kafka_test"
LOSERS = "SELECT key_text, policy, loser, station_row FROM stationsync_conflict ORDER BY id"


def a_fleet(databases: Databases, rows: int = 60, stations: int = 1, **options: Any) -> Fleet:
    """Rows of two years ago, one a minute, at every station; synchronised."""
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, stations=stations, **options)
    for number in range(1, stations + 1):
        databases.create_kafka_test(number)
    fleet.init()
    for number in range(1, stations + 1):
        put(databases, number, 1, rows, code="ABC"[number - 1])
        fleet.sync(number)
    return fleet


def put(databases: Databases, station: int, first: int, last: int, code: str = "A") -> None:
    rows = [row(n, code, at=f"2024-01-01 {n // 60 % 24:02}:{n % 60:02}:{n // 1440:02}") for n in range(first, last + 1)]
    databases.put(station, rows)


def wipe(databases: Databases, station: int = 1) -> None:
    databases.execute(station, "DELETE FROM kafka_test")
    if databases.kind == "mariadb":
        databases.execute(station, "TRUNCATE TABLE kafka_test")


def backup(databases: Databases, station: int = 1) -> None:
    databases.execute(station, "CREATE TABLE saved AS SELECT * FROM kafka_test")


def put_back(databases: Databases, station: int = 1) -> None:
    wipe(databases, station)
    databases.execute(station, "INSERT INTO kafka_test SELECT * FROM saved")


def refused(run: Any, *args: Any) -> StationWentBack:
    with pytest.raises(StationWentBack) as caught:
        run(*args)
    return caught.value


def give_back(fleet: Fleet, station: int = 1) -> dict[str, int]:
    (result,) = reseed.reseed(fleet.pairs(station)).values()
    assert isinstance(result, Report), result
    return {kind: n for kind, n in json_of(result)["found"].items() if n}


def losers(fleet: Fleet) -> list[tuple[Any, ...]]:
    return fleet.databases.query("control", LOSERS)


# --- emptied


def test_a_wiped_station_is_refused_and_gets_its_rows_back(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, rows=1_200, stations=2)
    before = databases.rows(1)
    wipe(databases)
    control = snapshot(databases, "control")

    error = refused(fleet.pull)
    assert "its table is empty" in error.what
    assert "1,200 of 1,200 rows known are older or missing" in error.what
    assert "stationsync reseed station-1 --table kafka_test" in error.next_step
    assert "stationsync trust station-1 --table kafka_test" in error.next_step
    refused(fleet.push)
    fleet.require_nothing_to_do([2])
    same = {name: rows for name, rows in snapshot(databases, "control").items() if "state" not in name}
    assert same == {name: rows for name, rows in control.items() if "state" not in name}

    (pair,) = fleet.pairs()
    plan = reseed.plan(pair)
    assert json_of(plan)["found"] == {"insert": 1_200, "rewrite": 0, "equal": 0, "newer": 0, "vanished": 0}
    assert len(json_of(plan)["samples"]["insert"]) == 10
    assert databases.count(1) == 0

    assert give_back(fleet) == {"insert": 1_200}
    assert databases.rows(1) == before
    fleet.require_nothing_to_do([1, 2])
    fleet.require_equal()
    assert losers(fleet) == []


def test_the_next_row_of_a_reseeded_station_has_a_new_number(databases: Databases) -> None:
    fleet = a_fleet(databases)
    wipe(databases)
    give_back(fleet)
    now = ago(0)
    sql = "INSERT INTO kafka_test (text, code, create_date, modify_date) VALUES ('new', 'A', %s, %s)"
    databases.execute(1, sql, [now, now])
    assert databases.query(1, "SELECT MAX(id) FROM kafka_test")[0][0] > 60
    fleet.sync()
    assert databases.count("control") == 61
    fleet.require_nothing_to_do()


def test_after_a_reseed_nothing_is_written_at_the_station(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases)
    wipe(databases)
    give_back(fleet)
    status = "SHOW TABLE STATUS LIKE 'kafka_test'"
    written = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = %s"
    before = [databases.query(1, written, [name])[0] for name in ("COM_INSERT_SELECT", "COM_UPDATE_MULTI")]
    table = databases.query(1, status)
    fleet.require_nothing_to_do()
    assert [databases.query(1, written, [name])[0] for name in ("COM_INSERT_SELECT", "COM_UPDATE_MULTI")] == before
    assert databases.query(1, status) == table


# --- restored from a backup


def restored(databases: Databases, **options: Any) -> Fleet:
    """Of 60 rows 40 were edited after the backup, one of them at control since; 5 rows are newer than the backup."""
    fleet = a_fleet(databases, **options)
    backup(databases)
    for number in range(1, 41):
        fleet.edit(1, number, text=f"edited {number}", at=ago(40))
    put(databases, 1, 61, 65)
    databases.execute(1, "UPDATE kafka_test SET modify_date = %s WHERE id > 60", [ago(39)])
    fleet.sync()
    fleet.require_nothing_to_do()
    fleet.edit("control", 3, text="waiting", at=ago(20))
    put_back(databases)
    return fleet


def test_a_restored_station_gets_back_what_it_lost_and_keeps_what_it_wrote_since(databases: Databases) -> None:
    fleet = restored(databases)
    fleet.edit(1, 7, text="after the restore", at=ago(5))
    databases.put(1, [row(99, text="new", at=ago(5))])
    error = refused(fleet.pull)
    assert "44 of 65 rows known are older or missing" in error.what
    refused(fleet.push)

    assert give_back(fleet) == {"insert": 5, "rewrite": 39, "equal": 20, "newer": 1}
    texts = {values[0]: values[1] for values in databases.rows(1)}
    assert (texts[1], texts[3], texts[7], texts[60], texts[65]) == (
        "edited 1", "waiting", "after the restore", "row 60", "row 65",
    )  # fmt: skip
    # Versions of the backup that nobody else has are kept.
    kept = losers(fleet)
    assert len(kept) == 40
    assert {(policy, loser) for key, policy, loser, _ in kept if '"7"' not in key} == {("reseed", "station")}
    assert any(key == '["1","A"]' and '"row 1"' in text for key, _, _, text in kept)

    fleet.sync()
    control = {values[0]: values[1] for values in databases.rows("control")}
    assert (control[3], control[7], control[99]) == ("waiting", "after the restore", "new")
    fleet.require_nothing_to_do()
    fleet.require_equal()
    # What was written since went over a version that its writer had not seen.
    assert [kept[:3] for kept in losers(fleet) if kept[2] == "control"] == [('["7","A"]', "reseed", "control")]


def test_a_trusted_station_s_rows_win_as_usual(databases: Databases) -> None:
    fleet = restored(databases, conflicts="station")
    refused(fleet.pull)
    (pair,) = fleet.pairs()
    reseed.trust(pair)
    pulled, _ = fleet.sync()
    assert pulled.counts.applied == 40
    control = {values[0]: values[1] for values in databases.rows("control")}
    assert (control[1], control[3], control[65]) == ("row 1", "row 3", "row 65")
    kept = {key: (policy, loser) for key, policy, loser, _ in losers(fleet)}
    assert kept.pop('["3","A"]') == ("station", "control")
    assert len(kept) == 39
    assert set(kept.values()) == {("trust", "control")}
    fleet.require_nothing_to_do()


def test_an_emptied_station_may_be_trusted(databases: Databases) -> None:
    fleet = a_fleet(databases)
    wipe(databases)
    refused(fleet.pull)
    reseed.trust(fleet.pairs()[0])
    fleet.require_nothing_to_do()
    assert databases.count("control") == 60
    databases.put(1, [row(99, at=ago(0))])
    fleet.sync()
    fleet.require_nothing_to_do()
    assert databases.count("control") == 61


def test_a_reconcile_brings_no_old_rows_up_where_many_more_are_missing(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, rows=100)
    backup(databases)
    for number in range(1, 11):
        fleet.edit(1, number, text=f"edited {number}", at=ago(40))
    databases.put(1, [row(n, at=ago(39)) for n in range(101, 141)])
    fleet.sync()
    put_back(databases)
    control = databases.rows("control")
    done = Command(databases, tmp_path)("reconcile", "station-1")
    assert done.code == 1
    assert "50 of 140 rows known are older or missing" in done.err
    assert databases.rows("control") == control
    (pair,) = fleet.pairs()
    reseed.trust(pair)
    fleet.sync()
    Command(databases, tmp_path).well("reconcile", "station-1")
    assert databases.query("control", "SELECT text FROM kafka_test WHERE id = 1") == [("row 1",)]
    fleet.require_nothing_to_do()


def test_a_station_restored_on_another_host_is_recognised(databases: Databases) -> None:
    fleet = restored(databases)
    fleet.options(rename={}, lookback="90s")
    databases.execute("control", "UPDATE stationsync_state SET about = 'another'")
    refused(fleet.pull)


def test_books_of_an_older_version_get_what_they_lack(databases: Databases) -> None:
    fleet = restored(databases)
    databases.execute("control", "ALTER TABLE stationsync_state DROP COLUMN newest")
    with pytest.raises(NotInitialised) as caught:
        fleet.pull()
    assert "stationsync init" in caught.value.next_step
    fleet.init()
    refused(fleet.pull)
    refused(fleet.push)


# --- what is no restore


def test_the_newest_rows_may_be_deleted(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 45")
    fleet.require_nothing_to_do()
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 41")
    fleet.require_nothing_to_do()
    assert databases.count("control") == 60


def test_many_rows_may_be_deleted_where_some_of_the_newest_are_left(databases: Databases) -> None:
    """A restore leaves none of them."""
    fleet = a_fleet(databases, rows=200)
    databases.execute(1, "DELETE FROM kafka_test WHERE id BETWEEN 10 AND 195")
    fleet.require_nothing_to_do()
    assert databases.count("control") == 200


def test_an_application_that_deletes_its_newest_rows_all_the_time_is_named_in_the_topology(
    databases: Databases,
) -> None:
    fleet = a_fleet(databases, rows=200)
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 100")
    assert "short_lived: true" in refused(fleet.pull).next_step
    fleet.options(short_lived=True)
    fleet.require_nothing_to_do()
    databases.execute(1, "DELETE FROM kafka_test")
    fleet.require_nothing_to_do()
    put(databases, 1, 300, 310)
    databases.execute(1, "UPDATE kafka_test SET modify_date = %s", [ago(5)])
    fleet.sync()
    assert databases.count("control") == 211

    # Older versions are a restore all the same.
    fleet.options(short_lived=False)
    (pair,) = fleet.pairs()
    reseed.reseed([pair])
    fleet.options(short_lived=True)
    databases.execute(1, "UPDATE kafka_test SET modify_date = '2020-01-01 00:00:00'")
    refused(fleet.pull)


def test_a_small_table_may_lose_rows(databases: Databases) -> None:
    fleet = a_fleet(databases, rows=5)
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 2")
    fleet.require_nothing_to_do()
    databases.execute(1, "DELETE FROM kafka_test")
    fleet.require_nothing_to_do()
    put(databases, 1, 10, 10)
    databases.execute(1, "UPDATE kafka_test SET modify_date = %s", [ago(5)])
    fleet.sync()
    assert databases.count("control") == 6


def test_rows_stamped_in_the_future_may_be_mended(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET modify_date = '2094-01-01' WHERE id <= 50")
    fleet.sync()
    databases.execute(1, "UPDATE kafka_test SET modify_date = %s WHERE id <= 50", [ago(30)])
    fleet.sync()
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_row_of_the_future_hides_no_restore(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.put(1, [row(99, at="2094-01-01 00:00:00")])
    backup(databases)
    put(databases, 1, 100, 140)
    databases.execute(1, "UPDATE kafka_test SET modify_date = %s WHERE id >= 100", [ago(40)])
    fleet.sync()
    put_back(databases)
    databases.put(1, [row(200, at=ago(0))])
    assert "41 of 102 rows known" in refused(fleet.pull).what


def test_a_few_rows_may_be_stamped_back(databases: Databases) -> None:
    fleet = a_fleet(databases)
    databases.execute(1, "UPDATE kafka_test SET modify_date = '2023-01-01' WHERE id > 45")
    fleet.require_nothing_to_do()


def test_rows_without_a_date_are_no_restore(databases: Databases) -> None:
    sql = {"mariadb": "ALTER TABLE kafka_test MODIFY modify_date datetime NULL", "sqlite": ""}[databases.kind]
    if not sql:
        pytest.skip("SQLite cannot take NOT NULL off a column")
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    for where in (1, "control"):
        databases.execute(where, sql)
    fleet = Fleet(databases)
    fleet.init()
    put(databases, 1, 1, 10)
    fleet.sync()
    databases.execute(1, "UPDATE kafka_test SET modify_date = NULL WHERE id > 2")
    fleet.require_nothing_to_do()


# --- directions, and columns that control may not edit


def test_a_row_that_exists_gets_only_what_control_may_edit(databases: Databases) -> None:
    fleet = a_fleet(databases, editable=["text"])
    backup(databases)
    databases.execute(1, "UPDATE kafka_test SET create_date = '2025-05-05', modify_date = %s WHERE id < 50", [ago(40)])
    fleet.sync()
    databases.execute("control", "UPDATE kafka_test SET text = 'both', create_date = '2020-02-02' WHERE id = 1")
    databases.execute("control", "UPDATE kafka_test SET text = 'both', create_date = '2020-02-02' WHERE id = 60")
    databases.execute("control", "UPDATE kafka_test SET modify_date = %s WHERE id IN (1, 60)", [ago(10)])
    put_back(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 60")
    refused(fleet.pull)
    assert give_back(fleet) == {"insert": 1, "rewrite": 49, "equal": 10}
    found = {values[0]: (values[1], str(values[3])[:10]) for values in databases.rows(1)}
    assert (found[1], found[60], found[2]) == (("both", "2025-05-05"), ("both", "2020-02-02"), ("row 2", "2025-05-05"))
    fleet.sync()
    fleet.require_nothing_to_do()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_tables_of_one_direction(databases: Databases, direction: str) -> None:
    fleet = a_fleet(databases)
    fleet.options(direction=direction)
    before = databases.rows(1)
    wipe(databases)
    refused(fleet.pull)
    assert give_back(fleet) == {"insert": 60}
    assert databases.rows(1) == before
    fleet.require_nothing_to_do()


def test_a_row_that_control_lacks_is_not_written_and_one_that_nobody_knows_is_left(databases: Databases) -> None:
    fleet = a_fleet(databases)
    wipe(databases)
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 5")
    databases.put(1, [row(77, at="2023-01-01 00:00:00")])
    assert give_back(fleet) == {"insert": 59, "vanished": 1}
    assert [values[0] for values in databases.rows(1)] == [*range(1, 5), *range(6, 61), 77]
    fleet.sync()
    assert databases.query("control", "SELECT COUNT(*) FROM kafka_test WHERE id = 77") == [(1,)]
    fleet.require_nothing_to_do()


def test_many_pages_and_long_values(databases: Databases) -> None:
    fleet = a_fleet(databases, rows=3)
    databases.put(1, [row(n, text="역 🚉 'x' \\ " + "é" * 80, at=ago(30)) for n in range(1_000, 2_101)])
    fleet.sync()
    before = databases.rows(1)
    wipe(databases)
    assert give_back(fleet) == {"insert": 1_104}
    assert databases.rows(1) == before
    fleet.require_nothing_to_do()
    fleet.require_equal()


# --- cut off


class CutOff(BaseException):
    """The process ends here."""


def test_cut_off_between_the_station_s_commit_and_control_s(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = restored(databases)

    def cut(*_: Any) -> None:
        raise CutOff

    with monkeypatch.context() as patched:
        patched.setattr(push, "move_base", cut)
        with pytest.raises(CutOff):
            reseed.reseed(fleet.pairs())
    assert {values[0]: values[1] for values in databases.rows(1)}[3] == "waiting"
    kept = losers(fleet)
    assert give_back(fleet) == {"equal": 65}
    fleet.require_nothing_to_do()
    fleet.require_equal()
    assert losers(fleet) == kept


def test_what_is_superseded_is_kept_before_the_station_commits(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = restored(databases)
    before = databases.rows(1)
    write = reseed_page._write

    def cut(*args: Any) -> None:
        write(*args)
        raise CutOff

    with monkeypatch.context() as patched:
        patched.setattr(reseed_page, "_write", cut)
        with pytest.raises(CutOff):
            reseed.reseed(fleet.pairs())
    assert databases.rows(1) == before
    kept = losers(fleet)
    assert len(kept) == 40
    give_back(fleet)
    assert losers(fleet) == kept
    fleet.require_nothing_to_do()


def test_a_sync_in_between_loses_nothing_and_echoes_nothing(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = restored(databases)

    def cut(*_: Any) -> None:
        raise CutOff

    with monkeypatch.context() as patched:
        patched.setattr(push, "move_base", cut)
        with pytest.raises(CutOff):
            reseed.reseed(fleet.pairs())
    station, control = databases.rows(1), databases.rows("control")
    fleet.sync()
    assert (databases.rows(1), databases.rows("control")) == (station, control)
    give_back(fleet)
    fleet.require_nothing_to_do()
    fleet.require_equal()


# --- what the station refuses


def test_a_row_that_the_station_refuses_is_kept_and_the_rest_goes_on(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases)
    wipe(databases)
    databases.execute(1, "ALTER TABLE kafka_test ADD CONSTRAINT no_17 CHECK (text <> 'row 17')")
    (result,) = reseed.reseed(fleet.pairs()).values()
    assert isinstance(result, Report)
    assert (json_of(result)["found"]["insert"], json_of(result)["refused"]) == (59, 1)
    fleet.require_nothing_to_do()
    ((key, direction, reasons, state),) = databases.query(
        "control", "SELECT key_text, direction, reasons, state FROM stationsync_quarantine"
    )
    assert (key, direction, state) == ('["17","A"]', "down", "open")
    assert "the station refuses to have the row back" in reasons
    databases.execute(1, "ALTER TABLE kafka_test DROP CONSTRAINT no_17")
    assert give_back(fleet) == {"insert": 1, "equal": 59}
    assert databases.query("control", "SELECT state FROM stationsync_quarantine") == [("released",)]
    fleet.require_nothing_to_do()
    fleet.require_equal()


def test_a_child_that_comes_before_its_parent_is_tried_again(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    columns = "id bigint PRIMARY KEY, parent bigint, modify_date datetime NOT NULL"
    for where in ("control", 1):
        databases.execute(where, f"CREATE TABLE child ({columns}, KEY (modify_date))")
        databases.execute(where, f"CREATE TABLE parent ({columns}, KEY (modify_date))")
    databases.execute(1, "ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent (id)")
    table = {"key": ["id"], "modified": "modify_date"}
    fleet = Fleet(databases, tables={"child": table, "parent": table})
    fleet.init()
    databases.put(1, [{"id": n, "parent": None, "modify_date": "2024-01-01"} for n in range(1, 9)], "parent")
    databases.put(1, [{"id": n, "parent": n, "modify_date": "2024-01-01"} for n in range(1, 9)], "child")
    before = [databases.query(1, f"SELECT * FROM {name}") for name in ("child", "parent")]
    for pair in fleet.pairs():
        runs.pull(pair, runs.plain_steps())
    databases.execute(1, "DELETE FROM child")
    databases.execute(1, "DELETE FROM parent")
    results = reseed.reseed(fleet.pairs())
    for result in results.values():
        assert isinstance(result, Report)
        assert (json_of(result)["found"]["insert"], json_of(result)["refused"]) == (8, 0)
    assert [databases.query(1, f"SELECT * FROM {name}") for name in ("child", "parent")] == before
    assert databases.query("control", "SELECT key_text FROM stationsync_quarantine WHERE state = 'open'") == []
    for pair in fleet.pairs():
        for run in (runs.pull, runs.push_edits):
            assert run(pair, runs.plain_steps()).status is Status.NOTHING


def test_a_missing_grant_is_named_and_nothing_is_changed(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    a_fleet(databases)
    wipe(databases)
    user = f"r{databases.name(1)[-12:]}"
    server = databases.server(1)
    server.execute(f"CREATE USER '{user}'@'%'")
    try:
        server.execute(f"GRANT SELECT, UPDATE, CREATE TEMPORARY TABLES ON `{databases.name(1)}`.* TO '{user}'@'%'")
        command = Command(databases, tmp_path)
        url = databases.url(1).replace("//root", f"//{user}")
        assert user in url, url
        command.topology["stations"]["station-1"]["url"] = url
        before = snapshot(databases, "control", 1)
        done = command("reseed", "station-1", "--yes")
        assert done.code == 1
        assert "GRANT INSERT ON" in done.err
        assert "Nothing was changed." in done.err + done.out
        assert snapshot(databases, "control", 1) == before
        (report,) = command("reseed", "station-1", "--yes", "--json").json["reports"]
        assert report["error"]["kind"] == GrantMissing.__name__
    finally:
        server.execute(f"DROP USER '{user}'@'%'")


# --- the commands


def test_the_commands_plan_ask_and_do(databases: Databases, tmp_path: Path) -> None:
    fleet = restored(databases)
    command = Command(databases, tmp_path)
    done = command("sync", "station-1")
    assert done.code == 1
    assert "stationsync reseed station-1 --table kafka_test" in done.err

    before = snapshot(databases, "control", 1)
    done = command.well("reseed", "station-1", "--dry-run")
    assert "missing at the station, to be inserted: 5" in done.out
    assert "older or different at the station, to be rewritten: 40" in done.out
    assert "equal already: 20" in done.out
    assert done.out.endswith("Nothing was changed.\n")
    plan = command.well("reseed", "station-1", "--dry-run", "--json").json["plan"][0]
    assert (plan["dry_run"], plan["found"]["insert"], plan["found"]["rewrite"]) == (True, 5, 40)
    declined = command("reseed", "station-1", answer="n\n")
    assert declined.code == 1
    assert "Write these rows into the tables of station-1?" in declined.err
    assert snapshot(databases, "control", 1) == before

    done = command.well("reseed", "station-1", "--yes")
    assert "rewritten: 40" in done.out
    assert "superseded versions of the station, kept: stationsync conflicts list: 40" in done.out
    assert "reseed" in command.well("conflicts", "list").out
    assert command("sync", "station-1").code == 0
    fleet.require_nothing_to_do()
    assert command.well("reseed", "station-1", "--json").json["reports"][0]["found"]["equal"] == 65


def test_trust_asks_and_says_what_comes(databases: Databases, tmp_path: Path) -> None:
    restored(databases)
    command = Command(databases, tmp_path)
    before = snapshot(databases, "control", 1)
    assert command("trust", "station-1", answer="n\n").code == 1
    assert snapshot(databases, "control", 1) == before
    assert "the next pull reads everything" in command.well("trust", "station-1", "--yes").out
    command.well("sync", "station-1")
    assert command.well("trust", "station-1", "--yes", "--json").json["ok"] is True
