"""An active schedule produces runs. With other versions of SQLAlchemy or FastAPI than those of pyproject.toml the
scheduler is silently dead, while everything else looks healthy."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import write
from support.prefect_server import PrefectServer
from support.sample import row
from support.waiting import eventually

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("worker")


def test_an_active_schedule_moves_rows_with_nobody_there(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    mariadb_databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        mariadb_databases.create_kafka_test(number)
    fleet = Fleet(mariadb_databases, stations=2)
    fleet.init()
    mariadb_databases.put(2, [row(1, text="한국어 🚉")])
    server = prefect_server
    server.run("work-pool", "create", "central", "--type", "process", "--overwrite")
    server.run("deploy", "--name", "station-2")
    server.run("deployment", "schedule", "create", "sync/station-2", "--interval", "10", "--replace", "--accept-yes")
    try:
        with temporary_settings({PREFECT_API_URL: server.url}):
            assert _first(server, "SCHEDULED").auto_scheduled
            topology = write(Command(mariadb_databases, tmp_path, stations=2))
            with server.worker("central", STATIONSYNC_TOPOLOGY=topology):
                done = _first(server, "COMPLETED")
        assert (done.auto_scheduled, done.name) == (True, "sync station-2")
    finally:
        server.run("deployment", "delete", "sync/station-2")
    assert mariadb_databases.rows("control") == mariadb_databases.rows(2)
    fleet.require_equal(2)
    fleet.require_nothing_to_do((2,))


def _first(server: PrefectServer, state: str) -> FlowRun:
    """The first run of sync/station-2 in this state, once there is one. Other tests leave runs of a station-2 too."""

    def look() -> FlowRun | None:
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("sync/station-2")
            wanted = {"state": {"type": {"any_": [state]}}, "deployment_id": {"any_": [str(deployment.id)]}}
            found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted), limit=1)
        return found[0] if found else None

    return eventually(look, f"a run of station-2 in state {state}", server)
