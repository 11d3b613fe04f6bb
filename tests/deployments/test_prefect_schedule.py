"""An active schedule produces runs. With other versions of SQLAlchemy or FastAPI than those of pyproject.toml the
scheduler is silently dead, while everything else looks healthy."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import create_pool, write
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
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        create_pool(client, "central")
        server.run("deploy", "--name", "station-2")
        deployment = client.read_deployment_by_name("sync/station-2")
        for schedule in deployment.schedules:
            client.delete_deployment_schedule(deployment.id, schedule.id)
        client.create_deployment_schedules(deployment.id, [(IntervalSchedule(interval=timedelta(seconds=20)), True)])
        try:
            assert _first(server, client, deployment.id, "SCHEDULED").auto_scheduled
            topology = write(Command(mariadb_databases, tmp_path, stations=2))
            # One run at a time: those that are due meanwhile would take the time of the first.
            with server.worker("central", "--limit", "1", STATIONSYNC_TOPOLOGY=topology):
                done = _first(server, client, deployment.id, "COMPLETED")
            assert (done.auto_scheduled, done.name) == (True, "sync station-2")
        finally:
            client.delete_deployment(deployment.id)
    assert mariadb_databases.rows("control") == mariadb_databases.rows(2)
    fleet.require_equal(2)
    fleet.require_nothing_to_do((2,))


def _first(server: PrefectServer, client: SyncPrefectClient, deployment: UUID, state: str) -> FlowRun:
    """The first run of the deployment in this state, once there is one."""
    wanted = {"state": {"type": {"any_": [state]}}, "deployment_id": {"any_": [str(deployment)]}}

    def look() -> FlowRun | None:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted), limit=1)
        return found[0] if found else None

    return eventually(look, f"a run of station-2 in state {state}", server, pause=0.5)
