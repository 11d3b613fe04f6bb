"""Whatever is killed, every station is syncing again within three minutes, and nobody does anything for it.

A real server, a real worker and real stations. What systemd does is done here: what was killed is started again. All
faults come in one test, because the waiting is for heartbeats, and Prefect's come every 30 s at the fastest."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import write
from support.prefect_server import PrefectServer, Program
from support.sample import row
from support.waiting import eventually

from stationsync.session.lease import is_any_held

# It has a server of its own, and mostly waits.
pytestmark = pytest.mark.long

# With nothing shortened, and Prefect's own worker: CHAOS=long, about ten minutes.
LONG = os.environ.get("CHAOS") == "long"
STATIONS = 2
MINUTES = 3
# A run that is alive holds its station's lease, so that fewer heartbeats than usual are enough.
QUICKLY = {"STATIONSYNC_MISSED_HEARTBEATS": "1.2", "PREFECT_WORKER_PREFETCH_SECONDS": "0"}
SETTINGS = {} if LONG else QUICKLY
EVERY = "1m" if LONG else "10s"


class Site:
    """Stations with an application that writes, all that keeps them in step, and ways to break it."""

    def __init__(self, server: PrefectServer, client: SyncPrefectClient, fleet: Fleet, command: Command) -> None:
        assert isinstance(fleet.databases, MariaDBDatabases)
        self.server, self.client, self.fleet, self.databases = server, client, fleet, fleet.databases
        self._next = 1000
        command.topology["defaults"] = {
            "work_pool": "central",
            "schedule": {"sync": EVERY, "watchdog": EVERY, "maintenance": None, "fleet_report": None},
        }
        command.well("deploy", "--create-pools")
        self._topology = write(command)
        self.start_worker()

    def start_worker(self) -> None:
        start = self.server.worker if LONG else self.server.fork_worker
        self.worker: Program = start("central", STATIONSYNC_TOPOLOGY=self._topology, **SETTINGS)

    def deployments(self) -> list[DeploymentResponse]:
        ours = DeploymentFilter.model_validate({"tags": {"all_": ["stationsync"]}})
        return self.client.read_deployments(deployment_filter=ours)

    def runs(self, *states: str, station: str | None = None) -> list[FlowRun]:
        wanted = {
            "state": {"type": {"any_": list(states)}},
            "tags": {"all_": [f"station:{station}" if station else "stationsync"]},
        }
        return self.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))

    def everybody_syncs(self, after: str) -> None:
        """A row written now at each station arrives at control, within the three minutes."""
        self._next += 1
        begun = time.monotonic()
        for station in range(1, STATIONS + 1):
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
            self.databases.put(station, [row(self._next, code=f"S{station}", text=after, at=now)])

        def arrived() -> bool | None:
            sql = f"SELECT COUNT(*) FROM kafka_test WHERE id = {self._next}"
            return self.databases.query("control", sql)[0][0] == STATIONS or None

        eventually(arrived, f"every station syncs after {after}", self.server, seconds=60 * MINUTES)
        print(f"{after}: every station in step after {time.monotonic() - begun:.0f} s")

    def pause(self, tag: str) -> None:
        """The schedules of deployments with such a tag."""
        for one in self.deployments():
            for schedule in one.schedules if any(its.startswith(tag) for its in one.tags) else ():
                self.client.update_deployment_schedule(one.id, schedule.id, active=False)

    def no_runs_of_stations(self) -> bool | None:
        under_way = (self.runs("PENDING", "RUNNING", station=f"station-{one}") for one in range(1, STATIONS + 1))
        return None if any(under_way) else True

    def all_slots_free(self) -> bool | None:
        limits = [one.global_concurrency_limit for one in self.deployments()]
        return None if any(one.active_slots for one in limits if one) else True

    @contextmanager
    def a_run_in_the_middle(self, station: str) -> Iterator[psutil.Process]:
        """A run of this station that holds its lease and cannot write on: its process."""
        control = self.databases.server("control")
        with closing(control.connect(self.databases.name("control"), autocommit=False)) as blocking:
            cursor = blocking.cursor()
            cursor.execute("SELECT * FROM stationsync_state WHERE station = %s FOR UPDATE", [station])
            cursor.fetchall()

            def process() -> psutil.Process | None:
                found = self.runs("RUNNING", station=station)
                pid = found[0].infrastructure_pid if found else None
                return psutil.Process(int(pid)) if pid and is_any_held(self.fleet.pairs(int(station[-1]))) else None

            yield eventually(process, f"a run of {station} under way", self.server, seconds=60 * MINUTES)
            blocking.rollback()


@pytest.fixture
def site(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> Iterator[Site]:
    mariadb_databases.create_kafka_test("control", control=True)
    for number in range(1, STATIONS + 1):
        mariadb_databases.create_kafka_test(number)
    fleet = Fleet(mariadb_databases, stations=STATIONS)
    fleet.init()
    with (
        PrefectServer() as server,
        temporary_settings({PREFECT_API_URL: server.url}),
        get_client(sync_client=True) as client,
    ):
        yield Site(server, client, fleet, Command(mariadb_databases, tmp_path, stations=STATIONS))


def test_whatever_is_killed_every_station_syncs_again(site: Site) -> None:
    site.everybody_syncs("the first start")

    with site.a_run_in_the_middle("station-1") as run:
        run.kill()
    site.everybody_syncs("kill -9 of a run")

    with site.a_run_in_the_middle("station-1"):
        site.worker.kill()
    (left,) = site.runs("RUNNING", station="station-1")
    site.server.server.kill()
    site.server.start_server()
    site.start_worker()
    site.everybody_syncs("kill -9 of a worker with its run, and of the server")
    assert (site.client.read_flow_run(left.id).state or left.state).type.value == "CRASHED"

    with site.a_run_in_the_middle("station-2"):
        site.server.server.close()
        site.server.start_server()
    site.everybody_syncs("a restart of the server with a run under way")

    site.pause("station:")
    eventually(site.no_runs_of_stations, "the last runs end", site.server, seconds=60 * MINUTES)
    site.pause("stationsync")  # the watchdog last: it ends what a killed program left behind
    eventually(site.all_slots_free, "all slots are free", site.server, seconds=60 * MINUTES)
    site.fleet.require_equal(1)
    site.fleet.require_equal(2)
