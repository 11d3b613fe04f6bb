"""The watchdog's look at Prefect and at control: what is under way, who is alive, whose data is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort
from prefect.events.filters import EventFilter

from stationsync.errors import StationSyncError
from stationsync.health import watch
from stationsync.health.freshness import Freshness, freshness
from stationsync.health.watch import Stale, WatchdogFacts, WatchdogLimits, WatchedDeployment, WatchedRun, Worker
from stationsync.pairing.pair import control_of, pairs
from stationsync.session.lease import is_any_held
from stationsync.store.pauses import paused_stations
from stationsync.topology.fleet import OURS, fleet_tag, tagged
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.told import RunLog

# The tag of a run that the watchdog started.
STARTED = "stationsync-watchdog"
BEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
# Prefect's own, where a deployment does not say.
_USUAL_BEAT = timedelta(seconds=180)
_FAST = timedelta(seconds=30)


@task(name="look", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE, persist_result=False)
def look(topology: Topology, limits: WatchdogLimits) -> WatchdogFacts:
    """Everything that the rules ask for, and nothing is changed."""
    facts = asyncio.run(_ask_prefect(fleet_tag(topology), limits))
    facts = replace(facts, **_ask_control(topology))
    facts = _with_leases(facts, topology, limits)
    RunLog().info(
        "%s deployments, %s runs under way or due, %s workers; %s stations are stale",
        len(facts.deployments), len(facts.runs), len(facts.workers), len(facts.stale),
    )  # fmt: skip
    return facts


async def _ask_prefect(tag: str, limits: WatchdogLimits) -> WatchdogFacts:
    async with get_client() as client:
        ours = DeploymentFilter.model_validate({"tags": {"all_": [OURS, tag]}})
        deployments = await _deployments(client, ours)
        # After the slots: a run that ended meanwhile is no leak, it is looked at once more.
        now = datetime.now(UTC)
        runs = await _runs(client, ours, now, limits)
        deployments = await _slots_again(client, ours, deployments, runs)
        pools = sorted({one.pool for one in deployments if one.pool})
        workers, paused = await _workers(client, pools)
        facts = WatchdogFacts(now, deployments, runs, workers, paused)
        return await _with_heartbeats(client, facts, limits)


async def _deployments(client: PrefectClient, ours: DeploymentFilter) -> list[WatchedDeployment]:
    found: list[DeploymentResponse] = []
    while page := await client.read_deployments(
        deployment_filter=ours, sort=DeploymentSort.NAME_ASC, offset=len(found), limit=200
    ):
        found += page
    flows = {one.flow_id for one in found}
    names = {flow: (await client.read_flow(flow)).name for flow in flows}
    return [_deployment(one, names[one.flow_id]) for one in found]


def _deployment(one: DeploymentResponse, flow: str) -> WatchedDeployment:
    limit = one.global_concurrency_limit
    return WatchedDeployment(
        id=str(one.id),
        name=f"{flow}/{one.name}",
        pool=one.work_pool_name,
        station=tagged(one.tags, "station"),
        paused=one.paused or (bool(one.schedules) and not any(schedule.active for schedule in one.schedules)),
        scheduled=bool(one.schedules),
        beat=_beat(one.job_variables),
        limit=limit.name if limit else None,
        slots=limit.active_slots if limit else 0,
    )


def _beat(variables: Mapping[str, Any]) -> timedelta | None:
    """How often its runs say that they live; None where somebody switched that off."""
    given = (variables.get("env") or {}).get(BEAT, _USUAL_BEAT.total_seconds())
    try:
        return max(_FAST, timedelta(seconds=int(given)))
    except (TypeError, ValueError):
        return None


async def _runs(
    client: PrefectClient, ours: DeploymentFilter, now: datetime, limits: WatchdogLimits
) -> list[WatchedRun]:
    states: Iterable[dict[str, Any]] = (
        {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
        {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "next_scheduled_start_time": {"before_": now + limits.soon},
        },
        {"state": {"type": {"any_": ["CRASHED"]}}, "end_time": {"after_": now - limits.crashed}},
    )
    return [_run(run) for state in states for run in await _all_runs(client, ours, state)]


async def _all_runs(client: PrefectClient, ours: DeploymentFilter, state: dict[str, Any]) -> list[FlowRun]:
    found: list[FlowRun] = []
    wanted = FlowRunFilter.model_validate(state)
    while page := await client.read_flow_runs(
        flow_run_filter=wanted, deployment_filter=ours, sort=FlowRunSort.ID_DESC, offset=len(found), limit=200
    ):
        found += page
    return found


def _run(run: FlowRun) -> WatchedRun:
    assert run.state
    since = run.state.timestamp
    return WatchedRun(
        id=str(run.id),
        name=run.name,
        deployment=str(run.deployment_id),
        state=run.state.type.value,
        since=since,
        due=run.next_scheduled_start_time or run.expected_start_time,
        scheduled=run.auto_scheduled or STARTED in run.tags,
        again=STARTED in run.tags,
    )


async def _slots_again(
    client: PrefectClient, ours: DeploymentFilter, deployments: Sequence[WatchedDeployment], runs: Sequence[WatchedRun]
) -> list[WatchedDeployment]:
    """A slot that no run holds is looked at again, with its runs: one of both may have been on its way."""
    busy = {run.deployment for run in runs if run.active}
    suspects = {one.id for one in deployments if one.slots and one.id not in busy}
    if not suspects:
        return list(deployments)
    again = {one.id: one.slots for one in await _deployments(client, ours) if one.id in suspects}
    active = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    busy |= {str(run.deployment_id) for run in await _all_runs(client, ours, active)}
    slots = {one: 0 if one in busy else again.get(one, 0) for one in suspects}
    return [replace(one, slots=min(one.slots, slots.get(one.id, one.slots))) for one in deployments]


async def _workers(client: PrefectClient, pools: Sequence[str]) -> tuple[list[Worker], frozenset[str]]:
    workers, paused = [], set()
    for pool in pools:
        if (await client.read_work_pool(pool)).is_paused:
            paused.add(pool)
        for one in await client.read_workers_for_work_pool(pool):
            if one.last_heartbeat_time is not None:
                every = timedelta(seconds=one.heartbeat_interval_seconds or 30)
                workers.append(Worker(pool, one.name, one.last_heartbeat_time, every))
    return workers, frozenset(paused)


async def _with_heartbeats(client: PrefectClient, facts: WatchdogFacts, limits: WatchdogLimits) -> WatchdogFacts:
    """Of those that are running for so long that there should have been some."""
    last: dict[str, datetime] = {}
    for run in watch.quiet(facts, limits):
        wanted = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{UUID(run.id)}"]},
            "occurred": {"since": run.since - timedelta(minutes=1), "until": datetime.now(UTC) + timedelta(minutes=5)},
        }
        page = await client.read_events(EventFilter.model_validate(wanted), limit=1)
        if page.events:
            last[run.id] = page.events[0].occurred
    return replace(facts, runs=[replace(run, heartbeat=last.get(run.id)) for run in facts.runs])


def _ask_control(topology: Topology) -> dict[str, Any]:
    try:
        control = control_of(topology, secret_block)
        found, paused = freshness(control, topology), paused_stations(control)
    except StationSyncError as error:
        return {"control": str(error)}
    by_station: dict[str, list[Freshness]] = {}
    for one in found:
        if one.stale:
            by_station.setdefault(one.station, []).append(one)
    return {"stale": tuple(_stale(station, tables) for station, tables in by_station.items()), "paused": paused}


def _stale(station: str, tables: Sequence[Freshness]) -> Stale:
    """The worst of its tables: one that never succeeded, else the oldest."""
    worst = max(tables, key=lambda one: (one.lag is None, one.lag or timedelta(0)))
    since = worst.since.replace(tzinfo=UTC) if worst.since else None
    return Stale(station, since, f"{worst.table} {worst.why}", offline=all(one.offline for one in tables))


def _with_leases(facts: WatchdogFacts, topology: Topology, limits: WatchdogLimits) -> WatchdogFacts:
    """Of the runs that gave no sign: is anybody at work on their station's tables?"""
    stations = {one.id: one.station for one in facts.deployments}
    leased: dict[str, bool | None] = {}
    for run in watch.quiet(facts, limits):
        leased[run.id] = _leased(topology, stations.get(run.deployment))
    return replace(facts, runs=[replace(run, leased=leased.get(run.id)) for run in facts.runs])


def _leased(topology: Topology, station: str | None) -> bool | None:
    if station not in topology.stations:
        return None
    try:
        return is_any_held(pairs(topology, station, None, secret_block))
    except StationSyncError:
        return None
