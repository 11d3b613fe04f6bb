"""The committed prefect.yaml, against a real server and a real worker process; both sides asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.flow_runs import write
from support.prefect_server import ROOT, PrefectServer
from support.sample import row

from stationsync import topology_file
from stationsync.notation import schedule_interval

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")

FLOWS = ("pull", "push", "sync")


def deployments() -> list[dict[str, Any]]:
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert isinstance(found, list)
    return found


def test_prefect_yaml_says_what_the_topology_says() -> None:
    topology = topology_file.load(ROOT / "deployments/stations.yaml")
    found = {(one["entrypoint"], one["name"]): one for one in deployments()}
    assert set(found) == {(f"flows.{flow}.{flow}", station) for flow in FLOWS for station in topology.stations}
    anchors = set()
    for (entrypoint, name), one in found.items():
        station = topology.station(name)
        assert one["parameters"] == {"station": name}
        assert one["work_pool"]["name"] == station.work_pool
        assert one["tags"] == [f"station:{name}", *([f"group:{station.group}"] if station.group else [])]
        assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert one["description"]
        when = getattr(topology.schedule(name), entrypoint.split(".")[-1])
        interval = schedule_interval(when) if when else None
        schedules = one.get("schedules", [])
        assert [each["interval"] for each in schedules] == ([interval.total_seconds()] if interval else [])
        anchors |= {each["anchor_date"] for each in schedules}
    assert len(anchors) == len(topology.stations)


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


def test_deployed_flows_do_the_job_in_a_worker(prefect_server: PrefectServer, fleet: Fleet, tmp_path: Path) -> None:
    server, databases = prefect_server, fleet.databases
    server.run("work-pool", "create", "central", "--type", "process", "--overwrite")
    server.run("deploy", "--all")
    listed = server.run("deployment", "ls")
    assert all(f"{flow}/station-{n}" in listed for flow in FLOWS for n in (1, 2, 3))
    # From here on only what a person starts: a scheduled run of the same minute would hold the lease.
    server.run("deployment", "schedule", "pause", "--all")

    topology = write(Command(databases, tmp_path, stations=3))
    with server.worker("central", STATIONSYNC_TOPOLOGY=topology):
        watched = server.run("deployment", "run", "pull/station-1", "--watch")
        assert "prefect.flow-run.Completed * pull station-1" in watched
        assert databases.rows("control") == databases.rows(1)
        assert databases.count("control") == 2

        fleet.edit("control", 1, text="edited")
        server.run("deployment", "run", "push/station-1", "--watch")
        assert databases.rows(1)[0][1] == "edited"

        fleet.edit(1, 2, text="by the station")
        watched = server.run("deployment", "run", "sync/station-1", "--watch")
        assert "prefect.flow-run.Completed * sync station-1" in watched
        fleet.require_equal()
        fleet.require_nothing_to_do((1, 2, 3))
