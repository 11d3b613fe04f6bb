"""How each table stands, in one word and a few numbers, from control's books alone."""

from __future__ import annotations

import signal
import subprocess
from itertools import product
from pathlib import Path

import pytest
from support.command import PROGRAM, Command
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.sample import row
from support.waiting import PATIENCE

from stationsync.errors import StationOffline
from stationsync.health.status import URGENCY, State, TableStatus, state_of, status, worst_first
from stationsync.pairing.pair import control_of
from stationsync.store.pauses import pause

FACTS = ("paused", "uninitialised", "failed", "offline", "never", "stale")
WORDS = [State.PAUSED, State.NEW, State.FAILED, State.OFFLINE, State.NEVER, State.STALE]


@pytest.mark.parametrize("facts", list(product((False, True), repeat=len(FACTS))))
@pytest.mark.parametrize("waiting", [0, 3])
def test_the_first_word_that_fits(facts: tuple[bool, ...], waiting: int) -> None:
    given = dict(zip(FACTS, facts, strict=True))
    said = state_of(initialised=not given.pop("uninitialised"), waiting=waiting, **given)
    first = next((word for word, holds in zip(WORDS, facts, strict=True) if holds), None)
    assert said is (first or (State.BEHIND if waiting else State.OK))


def test_every_word_has_its_place_in_the_list() -> None:
    assert sorted(URGENCY) == sorted(State)


@pytest.fixture
def fleet(databases: Databases) -> Fleet:
    databases.create_kafka_test("control", control=True)
    for number in (1, 2, 3):
        databases.create_kafka_test(number)
    databases.put(1, [row(1), row(2), row(3)])
    databases.put(2, [row(4), row(5)])
    fleet = Fleet(databases, stations=3)
    fleet.init()
    return fleet


def look(fleet: Fleet) -> dict[str, TableStatus]:
    return {one.station: one for one in status(control_of(fleet.topology), fleet.topology)}


def test_a_station_from_never_to_ok_and_behind_and_back(fleet: Fleet) -> None:
    found = look(fleet)["station-1"]
    assert (found.state, found.lag, found.last_run, found.waiting) == (State.NEVER, None, None, 0)
    fleet.sync()
    found = look(fleet)["station-1"]
    assert (found.state, found.last_error) == (State.OK, "")
    assert found.lag is not None
    assert found.last_run is not None
    fleet.edit("control", 2, text="중앙에서")
    found = look(fleet)["station-1"]
    assert (found.state, found.waiting) == (State.BEHIND, 1)
    fleet.push()
    assert look(fleet)["station-1"].state is State.OK
    assert look(fleet)["station-2"].state is State.NEVER, "another station's runs say nothing of this one"
    fleet.databases.execute("control", "UPDATE stationsync_state SET done_at = '2020-01-01 00:00:00'")
    assert look(fleet)["station-1"].state is State.STALE


def test_what_waits_is_counted_for_each_station_from_its_own_last_push(fleet: Fleet) -> None:
    for number in (1, 2):
        fleet.sync(number)
    fleet.pull(1)
    # The last push of one is a year old: its older edits count, and those of the other do not.
    sql = "UPDATE stationsync_state SET watermark = %s WHERE station = 'station-2' AND direction = 'down'"
    fleet.databases.execute("control", sql, ["2020-01-01 00:00:00.000000"])
    old = "2020-06-01 00:00:00"
    for id in (1, 2, 4):
        fleet.edit("control", id, text="edited", at=old)
    fleet.databases.execute(
        "control", "UPDATE stationsync_base_kafka_test SET stationsync_pending = 1 WHERE id IN (1, 4)"
    )
    found = look(fleet)
    assert {name: one.waiting for name, one in found.items()} == {"station-1": 1, "station-2": 1, "station-3": 0}
    fleet.edit("control", 5, text="edited", at=old)
    assert look(fleet)["station-2"].waiting == 2


def test_nothing_waits_where_a_table_only_goes_up(fleet: Fleet) -> None:
    fleet.sync()
    fleet.options(direction="up")
    fleet.edit("control", 1, text="stays here")
    found = look(fleet)["station-1"]
    assert (found.state, found.waiting) == (State.OK, 0)


def test_a_failed_run_and_a_refused_sweep_tell_why(fleet: Fleet) -> None:
    fleet.sync()
    sql = "UPDATE stationsync_state SET status = 'failed', message = 'no\ngood' WHERE direction = 'up'"
    fleet.databases.execute("control", sql)
    found = look(fleet)["station-1"]
    assert (found.state, found.last_error) == (State.FAILED, "no good")
    fleet.sync()
    assert look(fleet)["station-1"].state is State.OK
    sql = "INSERT INTO stationsync_proof (station, table_name, status, message) VALUES (%s, %s, %s, %s)"
    fleet.databases.execute("control", sql, ["station-1", "kafka_test", "failed", "too many deletes"])
    found = look(fleet)["station-1"]
    assert (found.state, found.last_error) == (State.FAILED, "too many deletes")


def test_a_station_that_is_off_line_is_no_failure(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, urls={"station-1": "mysql+pymysql://u@127.0.0.1:1/none"})
    fleet.init()
    with pytest.raises(StationOffline):
        fleet.pull()
    found = look(fleet)["station-1"]
    assert found.state is State.OFFLINE
    assert "station-1" in found.last_error


def test_the_worst_stands_first_and_the_oldest_before_the_others(fleet: Fleet) -> None:
    for number in (1, 2):
        fleet.sync(number)
    sql = "UPDATE stationsync_state SET done_at = %s WHERE station = %s"
    fleet.databases.execute("control", sql, ["2021-01-01 00:00:00", "station-1"])
    fleet.databases.execute("control", sql, ["2020-01-01 00:00:00", "station-2"])
    assert [one.station for one in worst_first(look(fleet).values())] == ["station-3", "station-2", "station-1"]
    pause(control_of(fleet.topology), "station-3", "kim", "")
    assert [one.station for one in worst_first(look(fleet).values())] == ["station-2", "station-1", "station-3"]


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    databases.put(1, [row(1)])
    command = Command(databases, tmp_path, stations=2)
    command.environment = {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}
    command.well("init")
    command.well("sync", "station-1")
    return command


def test_what_a_person_reads_and_what_a_program_does(command: Command) -> None:
    lines = command.well("status").out.splitlines()
    assert lines[0].split("  ")[0] == "station"
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["station-2", "kafka_test", "never"],
        ["station-1", "kafka_test", "ok"],
    ]
    assert "2 of 2 tables: 1 never, 1 ok" in lines
    assert "no Prefect API is configured" in lines[-1]
    found = command.well("status", "--json").json
    assert found["states"] == {"never": 1, "ok": 1}
    assert [(one["station"], one["state"], one["next_run"]) for one in found["tables"]] == [
        ("station-2", "never", None),
        ("station-1", "ok", None),
    ]
    assert 0 <= found["tables"][1]["lag_seconds"] < 900


def test_only_some_states(command: Command) -> None:
    assert [one["station"] for one in command.well("status", "--only", "ok", "--json").json["tables"]] == ["station-1"]
    assert "0 of 2 tables" in command.well("status", "--only", "failed").out
    done = command("status", "--only", "broken")
    assert done.code == 2
    assert "paused, new, failed" in done.err


def test_a_server_that_does_not_answer_is_said_and_nothing_else_is_missing(command: Command) -> None:
    command.environment["PREFECT_API_URL"] = "http://127.0.0.1:1/api"
    done = command.alone("status")
    out = done.out
    assert done.code == 0
    assert "next run: not known" in out
    assert "does not answer" in out
    assert "station-1" in out


def test_watching_goes_on_until_ctrl_c_which_is_no_failure(command: Command) -> None:
    watching = subprocess.Popen(
        [str(PROGRAM), "--topology", str(command.file), "status", "--watch", "--every", "0.1"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "", "HOME": str(command.file.parent)},
        # A background job of a shell ignores it, and its children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert watching.stdout
    try:
        seen = 0
        while seen < 2:
            line = watching.stdout.readline()
            assert line, "it ended"
            seen += "station-1" in line
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=PATIENCE)
    finally:
        watching.kill()
    assert watching.returncode == 0
