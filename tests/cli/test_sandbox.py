"""Throw-away servers: they keep their data through a crash, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pymysql
import pytest
from support.waiting import wait_until

from cli.sandbox import files
from cli.sandbox.servers import MariaDBServer
from stationsync.errors import SetUpError


def test_data_survives_a_crash_at_the_same_address(tmp_path: Path) -> None:
    with MariaDBServer(tmp_path / "station", durable=True) as server:
        server.create_database("test")
        server.execute("CREATE TABLE t (id INT PRIMARY KEY)", "test")
        server.execute("INSERT INTO t VALUES (1)", "test")
        address = server.url("test")
        server.kill()
        assert not server.running
        server.start()
        assert server.query("SELECT id FROM t", "test") == [(1,)]
        server.restart()
        assert server.query("SELECT id FROM t", "test") == [(1,)]
        assert server.url("test") == address
    assert server.folder.exists(), "a folder of the caller's is kept"


def test_a_folder_can_be_taken_up_again(tmp_path: Path) -> None:
    with MariaDBServer(tmp_path) as server:
        server.create_database("kept")
    with MariaDBServer(tmp_path) as server:
        assert ("kept",) in server.query("SHOW DATABASES")


def test_options_and_charset() -> None:
    with MariaDBServer(timezone="+09:00", options=["--max-connections=17"], buffer_pool="32M") as server:
        asked = "@@character_set_server, @@time_zone, @@max_connections, @@innodb_buffer_pool_size"
        assert server.query(f"SELECT {asked}") == [("utf8mb4", "+09:00", 17, 32 << 20)]


def test_a_user_has_the_rights_that_were_granted(mariadb_station: MariaDBServer) -> None:
    password = "it's a \\ in it"
    mariadb_station.create_database("grants_test")
    mariadb_station.create_user("grants_tester", password, ["SELECT ON grants_test.*"])
    with pymysql.connect(
        host=mariadb_station.host,
        port=mariadb_station.port,
        user="grants_tester",
        password=password,
        database="grants_test",
    ) as connection:
        connection.query("SELECT 1")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            connection.query("CREATE TABLE t (id INT)")
    assert "it%27s%20a%20%5C%20in%20it" in mariadb_station.url("grants_test", "grants_tester", password)


def test_servers_start_side_by_side() -> None:
    servers = [MariaDBServer() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(MariaDBServer.start, servers))
    # The threads that started them are gone: the servers are not.
    assert len({server.query("SELECT @@port")[0] for server in servers}) == 4
    for server in servers:
        server.close()
    assert not any(server.folder.exists() for server in servers)


def test_a_taken_port_is_left_to_its_owner() -> None:
    server = MariaDBServer()
    with socket.create_server((server.host, server.port)):
        taken = server.port
        with server:
            assert server.port != taken
            assert server.query("SELECT @@port") == [(server.port,)]


def test_a_port_that_clients_know_is_waited_for() -> None:
    with MariaDBServer() as server:
        server.stop()
        known = server.port
        with ThreadPoolExecutor(1) as pool, socket.create_server((server.host, known)):
            start = pool.submit(server.start)
            wait_until(lambda: "Bind on TCP/IP port" in server.log_tail)
            assert not start.done()
        start.result()
        assert server.port == known


def test_a_frozen_server_keeps_its_connections_but_does_not_answer() -> None:
    with MariaDBServer() as server:
        link = pymysql.connect(host=server.host, port=server.port, user="root", read_timeout=1)
        server.freeze()
        with pytest.raises(pymysql.err.OperationalError, match="timed out"):
            link.query("SELECT 1")
        server.thaw()
        assert server.query("SELECT 1") == [(1,)]
        server.freeze()
        server.stop()
        assert not server.running


def test_a_server_that_does_not_start_shows_its_log() -> None:
    server = MariaDBServer(options=["--no-such-option"])
    with pytest.raises(SetUpError, match="no-such-option"):
        server.start()
    server.close()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_mariadbd", lambda: None)
    server = MariaDBServer(options=["--no-such-option"])
    with pytest.raises(SetUpError, match="make mariadb"):
        server.start()
    server.close()


ENDS = {
    "killed": "os.kill(os.getpid(), 9)",
    "terminated": "os.kill(os.getpid(), 15)",
    "interrupted": "raise KeyboardInterrupt",
    "ended": "pass",
    "ended without clean-up": "os._exit(0)",
    # A forked child that ends must not take its parent's server along.
    "forked": "child = os.fork()\nif not child: sys.exit()\nos.wait(); server.query('SELECT 1'); os._exit(0)",
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_when_the_parent_is_gone(end: str) -> None:
    story = """
        import os, sys
        from cli.sandbox.servers import MariaDBServer
        server = MariaDBServer()
        server.start()
        print(server.pid, server.folder, flush=True)
    """
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(story) + ENDS[end]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OperationalError" not in parent.stderr
    pid, folder = parent.stdout.split()
    wait_until(lambda: not alive(int(pid)))
    wait_until(lambda: not Path(folder).exists())


def test_nothing_is_left_when_the_parent_is_killed_during_the_start() -> None:
    story = """
        from cli.sandbox.servers import MariaDBServer
        server = MariaDBServer()
        print(server.folder, flush=True)
        server.start()
    """
    for delay in (0.0, 0.01, 0.03, 0.1):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(story)], stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout
            folder = parent.stdout.readline().strip()
            time.sleep(delay)
            parent.kill()
        wait_until(lambda folder=folder: not users_of(folder))
        shutil.rmtree(folder, ignore_errors=True)  # an empty folder stays if not even the watcher was there


def alive(pid: int) -> bool:
    # Where nobody reaps orphans (a container's first process) a dead process stays listed as a zombie.
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def users_of(folder: str) -> list[int]:
    """Processes that name this folder on their command line."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid != os.getpid() and any(folder in word for word in process.info["cmdline"] or ()):
            found.append(process.pid)
    return found
