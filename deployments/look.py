"""What a Prefect server knows of the stations' runs that an operator asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments.kinds import KINDS
from stationsync.topology.fleet import OURS, fleet_tag
from stationsync.topology.model import Topology

_PAGE = 200
# Of a large fleet only what is due soonest: these runs are many, and whoever looks asks what comes next.
_PAGES = 15


def next_runs(topology: Topology, station: str | None = None) -> Mapping[str, datetime]:
    """Station -> when its next run is due (UTC)."""
    found: dict[str, datetime] = {}
    wanted = len(topology.stations) if station is None else 1
    quick = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: 10})
    with quick, get_client(sync_client=True) as client:
        there, entrypoints = deployments_of(client, topology, station), {kind.entrypoint for kind in KINDS}
        stations = {str(one.id): one.name for one in there if one.entrypoint in entrypoints}
        for page in range(_PAGES):
            runs = _scheduled(client, topology, station, page * _PAGE)
            for run in runs:
                name, due = stations.get(str(run.deployment_id)), run.next_scheduled_start_time
                if name and due:
                    found.setdefault(name, due.astimezone(UTC).replace(tzinfo=None))
            if len(runs) < _PAGE or len(found) >= wanted:
                break
    return found


def ours(topology: Topology, station: str | None) -> DeploymentFilter:
    tags = [OURS, fleet_tag(topology), *([f"station:{station}"] if station else [])]
    return DeploymentFilter.model_validate({"tags": {"all_": tags}})


def deployments_of(client: SyncPrefectClient, topology: Topology, station: str | None) -> list[DeploymentResponse]:
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=ours(topology, station), offset=len(found), limit=_PAGE):
        found += page
    return found


def _scheduled(client: SyncPrefectClient, topology: Topology, station: str | None, offset: int) -> list[FlowRun]:
    scheduled = FlowRunFilter.model_validate({"state": {"type": {"any_": ["SCHEDULED"]}}})
    return client.read_flow_runs(
        flow_run_filter=scheduled,
        deployment_filter=ours(topology, station),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        offset=offset,
        limit=_PAGE,
    )
