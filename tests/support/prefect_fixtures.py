"""Fixtures for tests with Prefect; a module asks for them with `pytest_plugins = ["support.prefect_fixtures"]`, so
that no other test imports Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from support.databases import MariaDBDatabases
from support.flow_runs import Flows
from support.prefect_server import PrefectServer
from support.sample import row
from tasks.steps import connect, extract, extract_keys, merge, push, validate

_STEPS = (connect, extract, extract_keys, validate, merge, push)
# Without heartbeats: ending a run would wait a second for their thread.
_SETTINGS = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}

_running: list[PrefectServer] = []
# Those that a test of the module under way has used.
_used: set[PrefectServer] = set()


def _uses(item: pytest.Item | None) -> bool:
    return "prefect_server" in getattr(item, "fixturenames", ())


def pytest_runtest_setup(item: pytest.Item) -> None:
    for server in _running if _uses(item) else ():
        server.resume()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if _uses(item):
        _used.update(_running)
    if nextitem is None or nextitem.path != item.path:
        for server in _used:
            server.resume()
            server.forget()
        _used.clear()
    for server in _running if not _uses(nextitem) else ():
        server.pause()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """One server a test process, started when a test first asks for it. It stands still while no test uses it."""
    with PrefectServer() as server:
        _running.append(server)
        yield server
        _running.remove(server)
        _used.discard(server)
        server.resume()
        # Prefect's threads in this process would try for a minute to tell a server that is gone.
        EventsWorker.drain_all()
        APILogWorker.drain_all()


@pytest.fixture
def flows(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flows]:
    """Two stations, initialised, with three rows at the first. Retries wait a tenth of the usual time or so."""
    for step in _STEPS:
        monkeypatch.setattr(step, "retry_delay_seconds", [0.1, 0.4, 1.6])
    monkeypatch.setattr("flows.station_run.AGAIN", (0.1, 0.1))
    mariadb_databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        mariadb_databases.create_kafka_test(number)
    mariadb_databases.put(1, [row(1, text="한국어 🚉"), row(2), row(3)])
    with temporary_settings({**_SETTINGS, PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        flows = Flows(prefect_server, client, mariadb_databases, tmp_path)
        monkeypatch.setenv("STATIONSYNC_TOPOLOGY", str(flows.command.file))
        flows.fleet.init()
        yield flows
