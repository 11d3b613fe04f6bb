"""`stationsync continuous`: the loop in processes of its own, as a person starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
from support.command import PROGRAM, Command
from support.databases import MariaDBDatabases
from support.flow_runs import write
from support.sample import row
from support.waiting import wait_until


def a_fleet(databases: MariaDBDatabases, folder: Path, stations: int = 2) -> Command:
    databases.create_kafka_test("control", control=True)
    for n in range(1, stations + 1):
        databases.create_kafka_test(n)
        databases.put(n, [row(n)])
    command = Command(databases, folder, stations)
    command.well("init")
    return command


def test_it_ends_after_its_time_and_tells_what_moved(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    command = a_fleet(mariadb_databases, tmp_path)
    done = command("continuous", "--every", "1s", "--for", "20s", "--json")
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    moved = {one["station"] for one in told if one["event"] == "run" and one["applied"] == 1}
    assert moved == {"station-1", "station-2"}
    assert told[-1] == {**told[-1], "event": "summary", "rows": 2, "failing": 0}
    # A first one of each station, and one more, of which looks can say that it left nothing to do.
    assert told[-1]["runs"] in (2, 3, 4)
    assert mariadb_databases.count("control") == 2


def test_wrong_arguments_start_nothing(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    command = a_fleet(mariadb_databases, tmp_path)
    for arguments, word in (
        (("station-9",), "no such station"),
        (("--every", "often"), "write a duration"),
        (("--every", "0.1s"), "at least 1s"),
        (("--for", "x"), "write a duration"),
    ):
        done = command("continuous", *arguments)
        assert done.code == 2, arguments
        assert word in done.err


def test_killed_at_any_moment_its_processes_end_and_a_child_that_is_killed_is_begun_again(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    databases = mariadb_databases
    command = a_fleet(databases, tmp_path)
    environment = {**os.environ, "STATIONSYNC_TOPOLOGY": write(command)}
    arguments = [PROGRAM, "continuous", "--every", "1s"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: databases.count("control") == 2, "the first rows")
            (child,) = psutil.Process(process.pid).children()
            child.kill()
            databases.execute(1, "UPDATE kafka_test SET text = 'again', modify_date = NOW()")
            wait_until(lambda: ("again",) in databases.query("control", "SELECT text FROM kafka_test"))
            (child,) = psutil.Process(process.pid).children()
        finally:
            process.kill()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the end of the child")


def test_ctrl_c_ends_it_with_a_summary(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    command = a_fleet(mariadb_databases, tmp_path)
    environment = {**os.environ, "STATIONSYNC_TOPOLOGY": write(command)}
    arguments = [PROGRAM, "continuous", "station-1", "--every", "1s"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: mariadb_databases.count("control") == 1, "the first row")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "1 rows, 0 failing" in out.splitlines()[-1]
    assert mariadb_databases.count("control") == 1
