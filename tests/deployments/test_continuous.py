"""A continuous schedule on a real Prefect server: one run for many stations, a trace of each that moves or fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import write
from support.prefect_server import PrefectServer
from support.sample import row
from support.waiting import eventually

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("worker")


class Site:
    def __init__(self, server: PrefectServer, databases: MariaDBDatabases, folder: Path) -> None:
        self.server, self.databases = server, databases
        databases.create_kafka_test("control", control=True)
        self.fleet = Fleet(databases, stations=3)
        for n in (1, 2, 3):
            databases.create_kafka_test(n)
            databases.put(n, [row(n)])
        self.fleet.init()
        self.command = Command(databases, folder, stations=3)
        never: dict[str, Any] = dict.fromkeys(("reconcile", "watchdog", "maintenance", "fleet_report"))
        schedule = {**never, "sync": {"every": "1s", "run": "90s"}}
        self.command.topology["defaults"] = {"fleet": "going-on", "work_pool": "going-on", "schedule": schedule}
        # One that is not part of it.
        self.command.topology["stations"]["station-3"]["schedule"] = {"sync": None}
        with temporary_settings({PREFECT_API_URL: server.url}):
            self.command.well("deploy", "--create-pools")
        self.topology = write(self.command)

    def children(self) -> list[psutil.Process]:
        return [one for one in psutil.process_iter() if _is_child_of_site(one, self.topology)]

    def text(self, where: Any, number: int) -> str:
        return str(self.databases.query(where, f"SELECT text FROM kafka_test WHERE id = {number}")[0][0])


def test_one_run_keeps_its_stations_equal_hands_over_and_is_cancelled(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    site = Site(prefect_server, mariadb_databases, tmp_path)
    fleet, databases = site.fleet, mariadb_databases
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.url}),
        get_client(sync_client=True) as client,
        prefect_server.fork_worker("going-on", STATIONSYNC_TOPOLOGY=site.topology),
    ):
        assert client.read_deployment_by_name("sync/station-1").schedules == []
        deployment = client.read_deployment_by_name("continuous/going-on")
        first = client.create_flow_run_from_deployment(deployment.id)
        eventually(lambda: databases.count("control") == 2 or None, "the first rows", prefect_server)
        fleet.edit(1, 1, text="by the station")
        eventually(lambda: site.text("control", 1) == "by the station" or None, "the edit at control", prefect_server)
        fleet.edit("control", 2, text="by control")
        eventually(lambda: site.text(2, 2) == "by control" or None, "the edit at the station", prefect_server)
        assert databases.count("control") == 2, "station-3 is not part of it"

        # The topology is changed: the run that goes on follows it.
        del site.command.topology["stations"]["station-3"]["schedule"]
        write(site.command)
        eventually(lambda: databases.count("control") == 3 or None, "the rows of station-3", prefect_server)
        assert not _state(client, first.id).is_final()

        # A later run waits beside it, and takes over.
        client.create_flow_run_from_deployment(deployment.id)

        eventually(lambda: _state(client, first.id).is_final() or None, "the end of the first run", prefect_server)
        assert _state(client, first.id).is_completed(), _state(client, first.id)
        assert str(_state(client, first.id).message).startswith("3 stations")
        fleet.edit(1, 1, text="to the second run")
        eventually(lambda: site.text("control", 1) == "to the second run" or None, "the edit", prefect_server)

        for key in ("station-1-sync", "going-on-continuous"):
            wanted = ArtifactFilter.model_validate({"key": {"any_": [key]}})
            assert client.read_artifacts(artifact_filter=wanted), key
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [first.id]}}))
        assert {one.name for one in tasks} >= {"sync station-1", "sync station-2"}

        # Its process is killed: so are its children, soon; and a further run goes on.
        mine = site.children()
        psutil.Process(mine[0].ppid()).kill()
        _, alive = psutil.wait_procs(mine, timeout=60)
        assert not alive
        fleet.edit(1, 1, text="to the third run")
        third = client.create_flow_run_from_deployment(deployment.id)
        eventually(lambda: site.text("control", 1) == "to the third run" or None, "the edit", prefect_server)
        fleet.require_equal(1)

        # Cancelled, it ends with its children. (One that its schedule started may be beside it by now.)
        client.update_deployment_schedule(deployment.id, deployment.schedules[0].id, active=False)
        for run in {third.id, *_under_way(client, deployment.id)}:
            client.set_flow_run_state(run, Cancelling(), force=True)
        eventually(lambda: not site.children() or None, "the end of all children", prefect_server)
        eventually(lambda: _state(client, third.id).is_final() or None, "the end of the run", prefect_server)


def _state(client: SyncPrefectClient, run: UUID) -> State:
    state = client.read_flow_run(run).state
    assert state is not None
    return state


def _under_way(client: SyncPrefectClient, deployment: UUID) -> list[UUID]:
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    return [one.id for one in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))]


def _is_child_of_site(process: psutil.Process, topology: str) -> bool:
    try:
        command = process.cmdline()
        environment = process.environ()
    except psutil.Error:
        return False
    return "stationsync.continuous.child" in command and environment.get("STATIONSYNC_TOPOLOGY") == topology
