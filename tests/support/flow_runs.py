"""Flow runs as a real Prefect server has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.client.schemas.objects import State, TaskRun
from prefect.client.schemas.sorting import ArtifactSort

from support.command import Command
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.prefect_server import PrefectServer
from support.waiting import eventually


def write(command: Command) -> str:
    """Write its topology; the file's name, for STATIONSYNC_TOPOLOGY."""
    command.file.write_text(yaml.safe_dump(command.topology, sort_keys=False), encoding="utf-8")
    return str(command.file)


def create_pool(client: SyncPrefectClient, name: str) -> None:
    """A pool of processes; one of this name may be there."""
    client.create_work_pool(WorkPoolCreate(name=name, type="process"), overwrite=True)


def run_deployed(server: PrefectServer, client: SyncPrefectClient, deployment: str) -> State[Any]:
    """Start it, as a person does in the UI; the state in which it ended."""
    found = client.read_deployment_by_name(deployment)
    run = client.create_flow_run_from_deployment(found.id)

    def look() -> State[Any] | None:
        state = client.read_flow_run(run.id).state
        return state if state and state.is_final() else None

    return eventually(look, f"the end of {deployment}", server)


class Run:
    """One run of a flow. Task runs and logs reach the server a little later, so they are waited for."""

    def __init__(self, server: PrefectServer, client: SyncPrefectClient, state: State[Any]) -> None:
        self._server, self._client = server, client
        found = state.state_details.flow_run_id
        assert found
        self.flow_run = client.read_flow_run(found)
        assert self.flow_run.state
        self.state: State[Any] = self.flow_run.state
        self.message = self.state.message or ""

    def tasks(self, expected: int) -> list[TaskRun]:
        """Its task runs in the order of their start, when `expected` are there and all are finished."""
        ours = FlowRunFilter.model_validate({"id": {"any_": [self.flow_run.id]}})

        def look() -> list[TaskRun] | None:
            found = self._client.read_task_runs(flow_run_filter=ours, limit=200)
            finished = len(found) >= expected and all(run.state and run.state.is_final() for run in found)
            return sorted(found, key=lambda run: str(run.start_time)) if finished else None

        return eventually(look, f"{expected} finished task runs", self._server)

    def steps(self, expected: int) -> list[str]:
        """The names of its tasks, without station and table."""
        return [run.name.split()[0] for run in self.tasks(expected)]

    def delays(self, task: TaskRun) -> list[float]:
        """The seconds that the task waited before each further try."""
        states = sorted(self._client.read_task_run_states(task.id), key=lambda state: str(state.timestamp))
        due = [(state.state_details.scheduled_time, state.timestamp) for state in states]
        return [(at - now).total_seconds() for at, now in due if at is not None]

    def log(self, line: str) -> str:
        """What its log says, once it has this line."""
        ours = LogFilter.model_validate({"flow_run_id": {"any_": [self.flow_run.id]}})

        def look() -> str | None:
            text = "\n".join(entry.message for entry in self._client.read_logs(ours, limit=200))
            return text if line in text else None

        return eventually(look, f"log line {line!r}", self._server)

    def artifact(self, key: str) -> list[dict[str, Any]]:
        """The rows of the table that it left."""
        for found in self._client.read_artifacts(sort=ArtifactSort.CREATED_DESC):
            if (found.key, found.flow_run_id) == (key, self.flow_run.id):
                rows = json.loads(str(found.data))
                assert isinstance(rows, list)
                return rows
        raise AssertionError(f"no artifact {key}")


class Flows:
    """A topology over a test's databases, and the flows run in this process against the server."""

    def __init__(
        self, server: PrefectServer, client: SyncPrefectClient, databases: MariaDBDatabases, folder: Path
    ) -> None:
        self.server, self.client, self.databases = server, client, databases
        self.command = Command(databases, folder, stations=2)
        self.topology = self.command.topology
        self.fleet = Fleet(databases, stations=2)

    def __call__(
        self, flow: Flow[..., Any], station: str = "station-1", table: str | None = None, **parameters: Any
    ) -> Run:
        """Run it as the topology now is."""
        write(self.command)
        state: Any = flow(station, table, **parameters, return_state=True)
        return Run(self.server, self.client, state)
