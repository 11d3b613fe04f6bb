"""Our worker: runs are forks, and crash, stop and are cancelled as those of Prefect's own worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import write
from support.prefect_server import PrefectServer, Program
from support.processes import command_line
from support.sample import row
from support.waiting import PATIENCE, eventually

from deployments.forks import client as client_module
from deployments.forks.serve import superseded

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("worker")

HELD = "SELECT * FROM kafka_test WHERE id = %s FOR UPDATE"


class Site:
    """Two stations whose runs a worker of ours takes. Rows 1 and 2 are at control already, so that they can be held."""

    def __init__(self, server: PrefectServer, databases: MariaDBDatabases, folder: Path) -> None:
        self.server, self.databases = server, databases
        databases.create_kafka_test("control", control=True)
        self.fleet = Fleet(databases, stations=2)
        for n in (1, 2):
            databases.create_kafka_test(n)
            databases.put(n, [row(n)])
        self.fleet.init()
        self.fleet.sync(1)
        self.fleet.sync(2)
        command = Command(databases, folder, stations=2)
        # Nothing runs here but what these tests start.
        never = dict.fromkeys(("sync", "reconcile", "watchdog", "maintenance", "fleet_report"))
        command.topology["defaults"] = {"fleet": "control.local/test", "work_pool": "forks", "schedule": never}
        with temporary_settings({PREFECT_API_URL: server.url}):
            command.well("deploy", "--create-pools", "--allow-renamed", "--allow-moved")
        self.topology = write(command)

    def start(self, client: SyncPrefectClient, station: int) -> UUID:
        deployment = client.read_deployment_by_name(f"sync/station-{station}")
        return client.create_flow_run_from_deployment(deployment.id).id

    def ended(self, client: SyncPrefectClient, run: UUID) -> State:
        def look() -> State | None:
            state = client.read_flow_run(run).state
            return state if state and state.is_final() else None

        return eventually(look, "the end of the run", self.server)

    def holding(self, station: int) -> None:
        """An edit that the next run cannot merge: somebody holds control's row. Until `release`."""
        self.fleet.edit(station, station, text="waits")
        self._holder = self.databases.connect("control")
        self._holder.cursor().execute(HELD, (station,))

    def release(self) -> None:
        self._holder.rollback()

    def waits(self) -> None:
        """Until a run waits for that row."""
        sql = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        sql += " AND info LIKE '%stationsync_decided%'"
        eventually(lambda: self.databases.query("control", sql) or None, "a merge that waits", self.server)


@pytest.fixture(scope="module")
def api(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        yield client


def scheduled(deployment: UUID, minute: int, **more: Any) -> FlowRun:
    due = datetime(2026, 3, 1, 12, minute, tzinfo=UTC)
    given: dict[str, Any] = {"auto_scheduled": True, "parameters": {"station": "station-1"}, **more}
    return FlowRun(flow_id=uuid4(), deployment_id=deployment, next_scheduled_start_time=due, **given)


def test_of_late_runs_of_a_schedule_only_the_latest_is_wanted() -> None:
    one, other = uuid4(), uuid4()
    runs = [
        scheduled(one, 3),
        scheduled(one, 1),
        scheduled(one, 2),
        scheduled(other, 1),
        scheduled(one, 1, auto_scheduled=False),  # a person's
        scheduled(one, 1, parameters={"station": "station-1", "table": "a"}),  # brings something else
    ]
    assert superseded(runs) == [runs[1], runs[2]]
    assert superseded(runs[3:]) == []


def test_after_an_outage_one_run_of_each_deployment_begins(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path, api: SyncPrefectClient
) -> None:
    site = Site(prefect_server, mariadb_databases, tmp_path)
    deployment = api.read_deployment_by_name("sync/station-1").id
    (schedule,) = api.create_deployment_schedules(deployment, [(IntervalSchedule(interval=timedelta(seconds=2)), True)])

    def runs(**state: Any) -> list[FlowRun]:
        wanted = {"deployment_id": {"any_": [deployment]}, **state}
        return api.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted), limit=200)

    def late() -> list[UUID] | None:
        due = {"next_scheduled_start_time": {"before_": datetime.now(UTC)}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        found = [one.id for one in runs(**due)]
        return found if len(found) > 4 else None

    try:
        piled_up = set(eventually(late, "late runs", prefect_server))
        with prefect_server.fork_worker("forks", STATIONSYNC_TOPOLOGY=site.topology):

            def taken_up() -> bool | None:
                return None if piled_up & {one.id for one in open_runs(runs())} else True

            eventually(taken_up, "their end", prefect_server)
            api.delete_deployment_schedule(deployment, schedule.id)
            eventually(lambda: None if open_runs(runs()) else True, "the end of all", prefect_server)
    finally:
        # What the other tests start would be cancelled where a run of this schedule is under way.
        with contextlib.suppress(ObjectNotFound):
            api.delete_deployment_schedule(deployment, schedule.id)
    ours = [one for one in runs() if one.id in piled_up]
    begun = [one for one in ours if one.run_count]
    assert len(begun) <= 1, "the others were not begun"
    skipped = [one for one in ours if one.state and "A later run of this deployment" in (one.state.message or "")]
    assert len(skipped) >= len(piled_up) - 1


def open_runs(runs: list[FlowRun]) -> list[FlowRun]:
    return [one for one in runs if one.state and not one.state.is_final()]


def child(worker: Program, part: str) -> psutil.Process:
    """The worker's own child with this in its command line: the zygote, or the client of a run."""
    found = psutil.Process(worker.process.pid).children()
    (one,) = (one for one in found if part in command_line(one))
    return one


def test_runs_are_forks_that_crash_and_are_cancelled_alone(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path, api: SyncPrefectClient
) -> None:
    site = Site(prefect_server, mariadb_databases, tmp_path)
    with prefect_server.fork_worker("forks", STATIONSYNC_TOPOLOGY=site.topology) as worker:
        # A run that works is the zygote's child, and no new interpreter.
        site.fleet.edit(1, 1, text="edited")
        assert site.ended(api, site.start(api, 1)).is_completed()
        assert site.databases.rows("control")[0][1] == "edited"
        zygote = child(worker, "zygote")

        # Killed: crashed, and a neighbour that works meanwhile is not.
        site.holding(1)
        killed = site.start(api, 1)
        site.waits()
        (fork,) = zygote.children()
        fork.kill()
        assert site.ended(api, killed).is_crashed()
        site.release()

        # Cancelled in the UI while it waits in the database.
        site.holding(2)
        cancelled = site.start(api, 2)
        site.waits()
        api.set_flow_run_state(cancelled, Cancelling())
        assert site.ended(api, cancelled).is_cancelled()
        site.release()
        eventually(lambda: True if not zygote.children() else None, "the end of the fork", prefect_server)

        # Without its zygote the worker starts another one.
        zygote.kill()
        for n in (1, 2):
            assert site.ended(api, site.start(api, n)).is_completed()
        site.fleet.require_nothing_to_do((1, 2))

        # Told to end, it leaves nothing behind.
        left = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
        worker.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(left, timeout=PATIENCE)
        assert not alive, (alive, worker.tail)
        assert worker.process.wait() == 0


def test_the_client_killed_takes_its_run_along_and_a_worker_killed_does_not(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path, api: SyncPrefectClient
) -> None:
    site = Site(prefect_server, mariadb_databases, tmp_path)
    with prefect_server.fork_worker("forks", STATIONSYNC_TOPOLOGY=site.topology) as worker:
        site.holding(1)
        run = site.start(api, 1)
        site.waits()
        zygote = child(worker, "zygote")
        (fork,) = zygote.children()
        client = child(worker, Path(client_module.__file__).name)
        client.kill()
        assert site.ended(api, run).is_crashed()
        psutil.wait_procs([fork], timeout=PATIENCE)
        assert not fork.is_running()
        site.release()

        site.holding(1)
        run = site.start(api, 1)
        site.waits()
        worker.process.kill()
        worker.process.wait()
        site.release()
        assert site.ended(api, run).is_completed()
        # The zygote has nobody to serve any more.
        psutil.wait_procs([zygote], timeout=PATIENCE)
        assert not zygote.is_running()
    site.fleet.require_nothing_to_do((1, 2))


def test_a_client_without_a_zygote_is_the_run_itself() -> None:
    environment = {**os.environ, client_module.ZYGOTE: "/nowhere", "PREFECT__FLOW_RUN_ID": "not an id"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", client_module.__file__],
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Invalid flow run id" in done.stderr + done.stdout
