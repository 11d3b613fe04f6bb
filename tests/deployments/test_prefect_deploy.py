"""Deployed stations, against a real server and a real worker process; both sides asserted. By the committed
prefect.yaml, and by `stationsync deploy`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import create_pool, run_deployed, write
from support.prefect_server import PrefectServer
from support.sample import row

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("deploy")

FLOWS = ("pull", "push", "sync", "reconcile", "backfill")


@pytest.fixture
def fleet(mariadb_databases: MariaDBDatabases) -> Fleet:
    """Three stations; station-1 has two rows."""
    mariadb_databases.create_kafka_test("control", control=True)
    for number in (1, 2, 3):
        mariadb_databases.create_kafka_test(number)
    fleet = Fleet(mariadb_databases, stations=3)
    fleet.init()
    mariadb_databases.put(1, [row(1, text="한국어 🚉"), row(2)])
    return fleet


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        yield client


def test_deployed_flows_do_the_job_in_a_worker(
    prefect_server: PrefectServer, client: SyncPrefectClient, fleet: Fleet, tmp_path: Path
) -> None:
    server, databases = prefect_server, fleet.databases
    create_pool(client, "central")
    server.run("deploy", "--all")
    found = {f"{(one.entrypoint or '').split('.')[-1]}/{one.name}": one for one in client.read_deployments()}
    assert {f"{flow}/station-{n}" for flow in FLOWS for n in (1, 2, 3)} <= set(found)
    # From here on only what a person starts: a scheduled run of the same minute would hold the lease.
    for one in found.values():
        for schedule in one.schedules:
            client.update_deployment_schedule(one.id, schedule.id, active=False)

    topology = write(Command(databases, tmp_path, stations=3))
    with server.worker("central", STATIONSYNC_TOPOLOGY=topology):
        # A run that was due before the schedules were paused may have come first.
        assert _ended(server, client, "pull/station-1") in ("Completed", "NothingToDo")
        assert databases.rows("control") == databases.rows(1)
        assert databases.count("control") == 2

        fleet.edit("control", 1, text="edited")
        _ended(server, client, "push/station-1")
        assert databases.rows(1)[0][1] == "edited"

        fleet.edit(1, 2, text="by the station")
        assert _ended(server, client, "sync/station-1") == "Completed"
        fleet.require_equal()
        fleet.require_nothing_to_do((1, 2, 3))


def _ended(server: PrefectServer, client: SyncPrefectClient, deployment: str) -> str:
    """The state in which a run of it ends; again while a scheduled run of before still holds the lease."""
    for _ in range(10):
        state = run_deployed(server, client, deployment)
        if state.name != "UnderWay":
            break
    return str(state.name)


def test_a_schedule_that_was_taken_out_is_gone_after_prefect_deploy(
    prefect_server: PrefectServer, client: SyncPrefectClient, fleet: Fleet, tmp_path: Path
) -> None:
    command, file = Command(fleet.databases, tmp_path, stations=1), tmp_path / "prefect.yaml"
    command.topology["stations"]["out-1"] = command.topology["stations"].pop("station-1")

    def deployed(schedule: dict[str, str]) -> list[str]:
        command.topology["defaults"] = {"fleet": "out", "work_pool": "out", "schedule": schedule}
        command.well("deploy", "--prefect-yaml", str(file))
        content = yaml.safe_load(file.read_text())
        content["deployments"] = [one for one in content["deployments"] if one["entrypoint"] == "flows.sync.sync"]
        file.write_text(yaml.safe_dump(content))
        prefect_server.run("deploy", "--all", "--prefect-file", str(file))
        found = client.read_deployment_by_name("sync/out-1")
        return [one.slug or "" for one in found.schedules if one.active]

    create_pool(client, "out")
    assert deployed({"sync": "1d"}) == ["sync"]
    assert deployed({}) == []
    assert deployed({"sync": "2d"}) == ["sync"]


def test_what_stationsync_deployed_does_the_job_in_a_worker(
    prefect_server: PrefectServer, client: SyncPrefectClient, fleet: Fleet, tmp_path: Path
) -> None:
    server, databases = prefect_server, fleet.databases
    command = Command(databases, tmp_path, stations=3, deletes="archive")
    # The sample's fleet, whose deployments another test may have left there; without schedules: only what is started.
    command.topology["defaults"] = {
        "fleet": "control.local/test",
        "work_pool": "deployed",
        "schedule": {"watchdog": None, "maintenance": None, "fleet_report": None},
    }
    command.well("deploy", "--create-pools", "--allow-moved")
    assert command.well("deploy", "--allow-moved").out.startswith("Nothing to do: ")
    with server.worker("deployed", STATIONSYNC_TOPOLOGY=write(command)):
        watched = server.run("deployment", "run", "sync/station-1", "--watch")
        assert "prefect.flow-run.Completed * sync station-1" in watched
        assert databases.rows("control") == databases.rows(1)
        assert databases.count("control") == 2

        databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
        assert run_deployed(server, client, "reconcile/station-1").name == "Completed"
        assert databases.rows("control") == databases.rows(1)
        assert databases.count("control") == 1
    fleet.require_nothing_to_do((1, 2, 3))
