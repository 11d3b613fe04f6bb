"""Fixtures. Each xdist worker has two MariaDB servers of its own, started when a test first asks for them;
each test has databases of its own on them."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from support import share
from support.another_server import of_side
from support.databases import Databases, MariaDBDatabases, SQLiteDatabases

from cli.sandbox.servers import MariaDBServer, find_mariadbd

# A busy machine is no failure.
hypothesis.settings.register_profile("stationsync", deadline=None)
hypothesis.settings.load_profile("stationsync")

# Making and dropping tables is most of what the tests ask of a server: in memory it takes a third of the time.
MEMORY = Path("/dev/shm")


def pytest_configure(config: pytest.Config) -> None:
    """No test sees a Prefect server, a profile or a topology of this machine; nothing calls home."""
    if "TMPDIR" not in os.environ and _is_roomy(MEMORY):
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "STATIONSYNC_")):
            del os.environ[name]
    home = Path(tempfile.mkdtemp(prefix="stationsync-prefect-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    os.environ["DO_NOT_TRACK"] = "1"
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "-B" not in sys.orig_argv:
        # Every worker and every program that a test starts would compile all modules anew.
        sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    """What is loaded now stays. Python would look through all of it again and again: a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _is_roomy(folder: Path) -> bool:
    """Whether the databases of all workers have room there and programs can be started from it."""
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return False
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize >= 8 * 2**30 and not facts.f_flag & os.ST_NOEXEC


def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores, since many tests wait: for a schedule, a heartbeat, a program's start."""
    return min(12, round(1.5 * (os.cpu_count() or 2)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What xdist's workers cannot know: they get arguments of their own."""
    node.workerinput["everything"] = share.is_everything(node.config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long ones first, so that nobody waits for one at the end. (xdist itself begins with the larger groups.)"""
    if share.is_everything(config) and not share.SOAK:
        out = share.left_out(items)
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def mariadb_pair() -> Iterator[tuple[MariaDBServer, MariaDBServer]]:
    """Control's server and the stations' server of this worker, started side by side."""
    if find_mariadbd() is None:
        pytest.fail("These tests need a MariaDB server program (mariadbd). Run: make mariadb", pytrace=False)
    control, station = (MariaDBServer(program=of_side(side)) for side in ("control", "station"))
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(MariaDBServer.start, (control, station)))
        yield control, station
    finally:
        control.close()
        station.close()


@pytest.fixture(scope="session")
def mariadb_control(mariadb_pair: tuple[MariaDBServer, MariaDBServer]) -> MariaDBServer:
    return mariadb_pair[0]


@pytest.fixture(scope="session")
def mariadb_station(mariadb_pair: tuple[MariaDBServer, MariaDBServer]) -> MariaDBServer:
    return mariadb_pair[1]


@pytest.fixture
def mariadb_databases(mariadb_control: MariaDBServer, mariadb_station: MariaDBServer) -> Iterator[MariaDBDatabases]:
    """Databases for a test that is about MariaDB only."""
    databases = MariaDBDatabases(mariadb_control, mariadb_station)
    yield databases
    databases.close()


@pytest.fixture(params=["mariadb", "sqlite"])
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Databases for a test that must hold on both kinds."""
    if request.param == "mariadb":  # asked for by name: a run of `-k sqlite` starts no server
        yield request.getfixturevalue("mariadb_databases")
        return
    databases = SQLiteDatabases(request.getfixturevalue("tmp_path"))
    yield databases
    databases.close()
