"""Runs that crashed: no code of ours ran any more, so only Prefect knows of them.

A run that comes again makes up for the last one by itself. A backfill that somebody started does not: it is wanted
until its range was read, by whomever, or until somebody gives it up."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from stationsync.database.connection import Database
from stationsync.health.incidents import Incident
from stationsync.topology.alerting import Kind
from stationsync.topology.fleet import fleet_tag
from stationsync.topology.model import Topology
from tasks.crashed_backfills import Unfinished, asked_of, unfinished

# Within so much time every crash is seen by somebody who looks; of stations that crashed, older ones count too.
_RECENT = timedelta(minutes=15)
_KEPT = timedelta(days=7)
_STATION = "station:"
_BACKFILL = "backfill"


def crashes(topology: Topology, control: Database, known: Collection[str]) -> list[Incident]:
    """One for each station with a flow whose last run that ended has crashed, or with a backfill that crashed and was
    not made up for. `known`: stations that had one before. Raises httpx.HTTPError, and StationSyncError where control
    cannot be asked."""
    tag = fleet_tag(topology)
    with get_client(sync_client=True) as client:
        recent = _crashed(client, [tag], _RECENT)
        stations = {one for run in recent for one in _stations(run)} | set(known)
        found = []
        for station in sorted(stations & topology.stations.keys()):
            tags = [tag, f"{_STATION}{station}"]
            backfills = _crashed(client, tags, _KEPT, flow=_BACKFILL)
            others = {run.id for run in backfills}
            last = _last_of_each(run for run in _crashed(client, tags, _KEPT) if run.id not in others)
            runs = [run for run in last if not _followed(client, run)]
            left = [run for run in backfills if not _made_up(client, run)]
            parts = unfinished(topology, control, station, left)
            if runs or parts:
                found.append(_incident(station, runs, parts))
        return found


def _crashed(client: SyncPrefectClient, tags: list[str], within: timedelta, flow: str | None = None) -> list[FlowRun]:
    wanted = {
        "tags": {"all_": tags},
        "state": {"type": {"any_": ["CRASHED"]}},
        "end_time": {"after_": datetime.now(UTC) - within},
    }
    return _runs(client, wanted, 200, flow)


def _stations(run: FlowRun) -> Iterator[str]:
    return (tag.removeprefix(_STATION) for tag in run.tags if tag.startswith(_STATION))


def _last_of_each(runs: Iterator[FlowRun]) -> list[FlowRun]:
    """The last crashed run of each deployment."""
    found: dict[UUID | None, FlowRun] = {}
    for run in runs:
        found.setdefault(run.deployment_id, run)
    return list(found.values())


def _followed(client: SyncPrefectClient, run: FlowRun) -> bool:
    """A later run of the same deployment came to an end, good or bad."""
    return bool(_later(client, run, 1))


def _made_up(client: SyncPrefectClient, run: FlowRun) -> bool:
    """A later backfill of the same came to an end: what it could not do it has told itself."""
    this = (asked_of(run), run.parameters.get("table"))
    return any((asked_of(one), one.parameters.get("table")) == this for one in _later(client, run, 200))


def _later(client: SyncPrefectClient, run: FlowRun, limit: int) -> list[FlowRun]:
    wanted = {
        "deployment_id": {"any_": [run.deployment_id]},
        "state": {"type": {"any_": ["COMPLETED", "FAILED"]}},
        "end_time": {"after_": run.end_time},
    }
    return _runs(client, wanted, limit)


def _runs(client: SyncPrefectClient, wanted: dict[str, Any], limit: int, flow: str | None = None) -> list[FlowRun]:
    ours = FlowRunFilter.model_validate(wanted)
    of = FlowFilter.model_validate({"name": {"any_": [flow]}}) if flow else None
    return client.read_flow_runs(flow_run_filter=ours, flow_filter=of, sort=FlowRunSort.END_TIME_DESC, limit=limit)


def _incident(station: str, runs: list[FlowRun], backfills: list[Unfinished]) -> Incident:
    crashed = [*runs, *(one.run for one in backfills)]
    names = ", ".join(sorted({run.name for run in crashed}))
    said = crashed[0].state.message if crashed[0].state and crashed[0].state.message else "its process ended"
    what = f"{names} crashed: {said}"
    steps = []
    if runs:
        steps.append(
            "Nothing is lost: the next run goes on from the watermark, or at once: "
            f"stationsync sync {station}. If it crashes again, see its log, and the memory of the machine"
        )
    if backfills:
        what = "; ".join(dict.fromkeys([what, *(one.told() for one in backfills)]))
        steps += dict.fromkeys(one.next_step() for one in backfills)
    return Incident(Kind.CRASHED, station, "", what, ". ".join(steps), run=str(crashed[0].id))
