"""Runs that crashed: no code of ours ran any more, so only Prefect knows of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from stationsync.alerting import Kind
from stationsync.fleet import fleet_tag
from stationsync.incidents import Incident
from stationsync.topology import Topology

# Within so much time every crash is seen by somebody who looks; of stations that crashed, older ones count too.
_RECENT = timedelta(minutes=15)
_KEPT = timedelta(days=7)
_STATION = "station:"


def crashes(topology: Topology, known: Collection[str]) -> list[Incident]:
    """One for each station with a flow whose last run that ended has crashed. `known`: stations that had one before.
    Raises httpx.HTTPError."""
    tag = fleet_tag(topology)
    with get_client(sync_client=True) as client:
        recent = _crashed(client, [tag], _RECENT)
        stations = {one for run in recent for one in _stations(run)} | set(known)
        found = []
        for station in sorted(stations & topology.stations.keys()):
            runs = [run for run in _last_of_each(client, tag, station) if not _followed(client, run)]
            if runs:
                found.append(_incident(station, runs))
        return found


def _crashed(client: SyncPrefectClient, tags: list[str], within: timedelta) -> list[FlowRun]:
    wanted = {
        "tags": {"all_": tags},
        "state": {"type": {"any_": ["CRASHED"]}},
        "end_time": {"after_": datetime.now(UTC) - within},
    }
    return _runs(client, wanted, 200)


def _stations(run: FlowRun) -> Iterator[str]:
    return (tag.removeprefix(_STATION) for tag in run.tags if tag.startswith(_STATION))


def _last_of_each(client: SyncPrefectClient, tag: str, station: str) -> list[FlowRun]:
    """The last crashed run of each of the station's deployments."""
    found: dict[UUID | None, FlowRun] = {}
    for run in _crashed(client, [tag, f"{_STATION}{station}"], _KEPT):
        found.setdefault(run.deployment_id, run)
    return list(found.values())


def _followed(client: SyncPrefectClient, run: FlowRun) -> bool:
    """A later run of the same deployment came to an end, good or bad."""
    wanted = {
        "deployment_id": {"any_": [run.deployment_id]},
        "state": {"type": {"any_": ["COMPLETED", "FAILED"]}},
        "end_time": {"after_": run.end_time},
    }
    return bool(_runs(client, wanted, 1))


def _runs(client: SyncPrefectClient, wanted: dict[str, Any], limit: int) -> list[FlowRun]:
    ours = FlowRunFilter.model_validate(wanted)
    return client.read_flow_runs(flow_run_filter=ours, sort=FlowRunSort.END_TIME_DESC, limit=limit)


def _incident(station: str, runs: list[FlowRun]) -> Incident:
    names = ", ".join(sorted(run.name for run in runs))
    said = runs[0].state.message if runs[0].state and runs[0].state.message else "its process ended"
    what = f"{names} crashed: {said}"
    step = (
        "Nothing is lost: the next run goes on from the watermark, or at once: "
        f"stationsync sync {station}. If it crashes again, see its log, and the memory of the machine"
    )
    return Incident(Kind.CRASHED, station, "", what, step, run=str(runs[0].id))
