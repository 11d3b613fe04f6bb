"""The flow `maintenance` against a real server with runs of this fleet, and of another one."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed, Running
from support.flow_runs import Flows, Run, write

from flows.maintenance import maintenance

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")


class Server:
    def __init__(self, flows: Flows) -> None:
        self.flows, self.client = flows, flows.client
        flows.topology["defaults"] = {"fleet": "swept"}
        flows.topology["journal"] = "off"
        for station in ("station-1", "station-2"):
            flows.fleet.sync(int(station[-1]))
        flow = self.client.create_flow_from_name("swept-flow")
        self.deployments = {
            fleet: self.client.create_deployment(flow, fleet, tags=["stationsync", f"fleet:{fleet}"])
            for fleet in ("swept", "another")
        }

    def run(self, state: Any, fleet: str = "swept", *tags: str) -> FlowRun:
        run = self.client.create_flow_run_from_deployment(self.deployments[fleet], tags=list(tags))
        self.client.set_flow_run_state(run.id, Running(), force=True)
        self.client.set_flow_run_state(run.id, state, force=True)
        return run

    def there(self, *runs: FlowRun) -> list[bool]:
        found = []
        for run in runs:
            try:
                self.client.read_flow_run(run.id)
                found.append(True)
            except ObjectNotFound:
                found.append(False)
        return found

    def artifacts(self, key: str) -> list[str]:
        of = ArtifactFilter.model_validate({"key": {"any_": [key]}})
        return sorted(str(one.data) for one in self.client.read_artifacts(artifact_filter=of))

    def maintain(self, **parameters: Any) -> Run:
        write(self.flows.command)
        state: Any = maintenance(**parameters, return_state=True)
        return Run(self.flows.server, self.client, state)


def _leave(server: Server, run: FlowRun, text: str) -> None:
    values = {"key": "of-a-run", "type": "markdown", "data": text, "flow_run_id": str(run.id)}
    server.client.request("POST", "/artifacts/", json=values).raise_for_status()


def test_old_ended_runs_of_this_fleet_go_and_no_other(flows: Flows) -> None:
    server = Server(flows)
    done, other_done = server.run(Completed()), server.run(Completed())
    failed, going = server.run(Failed()), server.run(Running())
    theirs = server.run(Completed(), "another")
    runs = (done, other_done, failed, going, theirs)
    for run, text in ((done, "1"), (other_done, "2")):
        _leave(server, run, text)
    flows.topology["maintenance"] = {"completed": 0}

    tried = server.maintain(dry_run=True)
    assert tried.state.type.value == "COMPLETED", tried.message
    assert tried.message.endswith("Nothing was changed.")
    assert "runs 2" in tried.message
    assert server.there(*runs) == [True] * 5

    ran = server.maintain()
    assert ran.state.type.value == "COMPLETED", ran.message
    assert server.there(*runs) == [False, False, True, True, True]
    assert server.artifacts("of-a-run") == ["2"], "the latest of a key stays"
    rows = {line["what"]: line["pruned"] for line in ran.artifact("maintenance-swept")}
    assert rows["runs"] == "2"
    assert server.maintain().message == "Nothing to prune."


def test_runs_of_a_station_that_never_succeeded_stay_and_a_second_kind_of_fault_is_told(flows: Flows) -> None:
    server = Server(flows)
    flows.databases.execute("control", "DELETE FROM stationsync_state WHERE station = 'station-2'")
    stale = server.run(Completed(), "swept", "station:station-2")
    fresh = server.run(Completed(), "swept", "station:station-1")
    flows.topology["maintenance"] = {"completed": 0}
    server.maintain()
    assert server.there(stale, fresh) == [True, False]
    flows.databases.execute("control", "DROP TABLE stationsync_trash")
    ran = server.maintain()
    assert ran.state.type.value == "FAILED"
    assert "stationsync init" in ran.message
