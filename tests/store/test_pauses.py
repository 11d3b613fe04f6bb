"""A pause holds for every way of starting a run, loses nothing, and is no failure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from support.command import Command, snapshot
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.sample import row

from stationsync.errors import StationPaused, TryAgain
from stationsync.health.incident_facts import fresh_facts
from stationsync.health.status import State, status
from stationsync.model.changes import Report
from stationsync.pairing.pair import Pair, control_of
from stationsync.reconcile.reconcile import reconcile
from stationsync.recovery.backfill import BackfillOrder, backfill
from stationsync.recovery.backfill_range import BackfillRange
from stationsync.store.pauses import not_stale, pause, require_running, resume
from stationsync.sync import runs
from stationsync.sync.rehearse import Rehearsal


@pytest.fixture
def fleet(databases: Databases) -> Fleet:
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    databases.put(1, [row(1), row(2)])
    fleet = Fleet(databases, stations=2)
    fleet.init()
    return fleet


RUNS: dict[str, Callable[[Pair], Report]] = {
    "pull": lambda pair: runs.pull(pair, runs.plain_steps()),
    "push": lambda pair: runs.push_edits(pair, runs.plain_steps()),
    "keys": lambda pair: runs.pull_keys(pair, runs.plain_steps(), (("1", "A"),)),
    "reconcile": lambda pair: reconcile(pair, runs.plain_steps()),
    "dry run": lambda pair: Rehearsal().pull(pair, runs.plain_steps()),
    "backfill": lambda pair: backfill(pair, runs.plain_steps(), BackfillOrder(BackfillRange())),
}


@pytest.mark.parametrize("run", RUNS)
def test_no_run_of_a_paused_station_begins_and_the_next_one_brings_all(fleet: Fleet, run: str) -> None:
    control, databases = control_of(fleet.topology), fleet.databases
    pause(control, "station-1", "kim", "new disk")
    fleet.edit(1, 1, text="meanwhile")
    before = snapshot(databases, "control", 1)
    with pytest.raises(StationPaused, match="by kim: new disk") as refused:
        RUNS[run](fleet.pairs()[0])
    assert refused.value.next_step == "To let it run again: stationsync resume station-1"
    assert snapshot(databases, "control", 1) == before
    fleet.sync(2)
    resume(control, "station-1")
    RUNS[run](fleet.pairs()[0])
    fleet.sync()
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_pause_is_remembered_with_who_and_why_and_a_second_one_keeps_its_begin(fleet: Fleet) -> None:
    control = control_of(fleet.topology)
    first = pause(control, "station-1", "kim", "new disk")
    assert pause(control, "station-1", "lee", "") == first
    again = pause(control, "station-1", "lee", "new disk and memory")
    assert (again.since, again.who, again.reason) == (first.since, "lee", "new disk and memory")
    assert resume(control, "station-1") == again
    assert resume(control, "station-1") is None
    later = pause(control, "station-1", "park", "")
    assert (later.who, later.reason, later.lasts) == ("park", "", True)
    assert later.since >= first.since


def test_a_paused_station_is_not_told_as_stale_nor_right_after(fleet: Fleet) -> None:
    control, databases = control_of(fleet.topology), fleet.databases
    fleet.sync()
    databases.execute("control", "UPDATE stationsync_state SET done_at = '2020-01-01 00:00:00'")

    def stale() -> set[str]:
        facts = fresh_facts(control, fleet.topology)
        return {one.station for one in facts if one.fresh is not None and one.fresh.stale}

    assert stale() == {"station-1", "station-2"}
    pause(control, "station-1", "kim", "")
    assert stale() == {"station-2"}
    resume(control, "station-1")
    assert stale() == {"station-2"}, "its first runs have not ended yet"
    databases.execute("control", "UPDATE stationsync_pause SET resumed = '2020-01-01 00:00:00'")
    assert not_stale(control, fleet.topology) == frozenset()
    assert stale() == {"station-1", "station-2"}


def test_status_shows_the_pause_and_since_when(fleet: Fleet) -> None:
    control = control_of(fleet.topology)
    pause(control, "station-1", "kim", "new disk")
    one, other = status(control, fleet.topology)
    assert one.state is State.PAUSED
    assert one.pause is not None
    assert isinstance(one.pause.since, datetime)
    assert (other.state, other.pause) == (State.NEVER, None)


def test_books_of_an_older_version_know_of_no_pause(fleet: Fleet) -> None:
    fleet.databases.execute("control", "DROP TABLE stationsync_pause")
    fleet.pull()
    fleet.init()
    fleet.require_nothing_to_do()


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(1)])
    command = Command(databases, tmp_path)
    command.environment = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path), "USER": "kim"}
    command.well("init")
    return command


def test_pause_and_resume_by_the_command(command: Command) -> None:
    out = command.well("pause", "station-1", "--reason", "새 디스크").out
    assert "by kim: 새 디스크" in out
    assert "no Prefect API is configured" in out
    for verb in ("pull", "push", "sync", "reconcile"):
        done = command(verb, "station-1")
        assert done.code == 1
        assert "paused since" in done.err
        assert "stationsync resume station-1" in done.err
        assert command(verb, "station-1", "--json").json["reports"][0]["status"] == "paused"
    assert command.databases.count("control") == 0
    assert "paused since" in command.well("status").out
    found = command.well("status", "--json").json["tables"][0]["paused"]
    assert (found["by"], found["reason"]) == ("kim", "새 디스크")
    command.well("init")
    assert command.well("resume", "station-1", "--json").json["was_paused"] is True
    assert command.well("resume", "station-1", "--json").json["was_paused"] is False
    command.well("sync", "station-1")
    assert command.databases.count("control") == 1


def test_a_pause_of_no_station_ends_with_2(command: Command) -> None:
    done = command("pause", "staton-1")
    assert done.code == 2
    assert "did you mean station-1?" in done.err


def test_a_pause_holds_though_the_server_could_not_be_told(command: Command) -> None:
    command.environment["PREFECT_API_URL"] = "http://127.0.0.1:1/api"
    done = command.alone("pause", "station-1")
    assert done.code == 1
    assert "The pause holds" in done.err
    assert command("sync", "station-1").code == 1


def test_a_control_that_goes_away_while_it_is_asked_for_pauses_is_an_environment_fault(
    mariadb_databases: MariaDBDatabases,
) -> None:
    """Found by the drill: what had failed was asked once more, over the connection that was lost."""
    mariadb_databases.create_kafka_test("control", control=True)
    control = control_of(Fleet(mariadb_databases).topology)

    def asked_over_a_lost_connection() -> None:
        with control.connect() as conn, conn.begin():
            number = conn.exec_driver_sql("SELECT CONNECTION_ID()").scalar()
            mariadb_databases.server("control").execute(f"KILL {number}")
            require_running(conn, "station-1")

    with pytest.raises(TryAgain):
        asked_over_a_lost_connection()
