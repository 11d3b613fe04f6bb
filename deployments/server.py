"""Our deployments as a Prefect server has them: read them all, write one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.client.schemas.sorting import DeploymentSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Cancelled

from deployments.kinds import EVERY
from deployments.plan import RETIRED, Existing, is_our_tag
from deployments.wanted import BEAT, HEARTBEAT, NO_SCHEDULE, Deployment, ScheduleTiming


async def read_version(client: PrefectClient) -> str | None:
    """Prefect's version there. Prefect Cloud has none."""
    try:
        return str((await client.request("GET", "/admin/version")).json())
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (403, 404, 405):
            return None
        raise


async def read_pools(client: PrefectClient) -> Mapping[str, bool]:
    """Work pool -> whether it is paused."""
    pools: dict[str, bool] = {}
    offset = 0
    while page := await client.read_work_pools(offset=offset):
        offset += len(page)
        pools |= {pool.name: bool(pool.is_paused) for pool in page}
    return pools


async def read_settings(client: PrefectClient) -> Mapping[str, Any]:
    """What the server tells of its own settings, without secrets. Prefect Cloud tells nothing."""
    try:
        found: Mapping[str, Any] = (await client.request("GET", "/admin/settings")).json()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (403, 404, 405):
            return {}
        raise
    return found


async def create_pool(client: PrefectClient, name: str) -> None:
    # Somebody else, who deploys as well, may have made it meanwhile.
    with suppress(ObjectAlreadyExists):
        await client.create_work_pool(WorkPoolCreate(name=name, type="process"))


async def read_all(client: PrefectClient) -> list[Existing]:
    """Every deployment of a flow named as ours are. Flow by flow: within one, names are unique, so that pages sorted
    by name neither repeat nor skip any."""
    found = []
    for kind in EVERY:
        ours = FlowFilter.model_validate({"name": {"any_": [kind.name]}})
        offset = 0
        # The page is as large as the server allows.
        while page := await client.read_deployments(flow_filter=ours, sort=DeploymentSort.NAME_ASC, offset=offset):
            found += [existing(kind.name, one) for one in page]
            offset += len(page)
    return found


def existing(kind: str, one: DeploymentResponse) -> Existing:
    tags, options = frozenset(one.tags), one.concurrency_options
    schedules = [schedule for schedule in one.schedules if not _is_none(schedule)]
    deployment = Deployment(
        kind=kind,
        station=one.name,
        entrypoint=one.entrypoint or "",
        description=one.description or "",
        parameters=one.parameters,
        parameter_schema=one.parameter_openapi_schema or {},
        tags=frozenset(filter(is_our_tag, tags)),
        work_pool=one.work_pool_name,
        work_queue=None if one.work_queue_name == "default" else one.work_queue_name,
        schedules=tuple(sorted(map(_timing, schedules), key=lambda timing: timing.slug)),
        limit=one.global_concurrency_limit.limit if one.global_concurrency_limit else None,
        collision=options.collision_strategy.value if options else None,
        heartbeat=HEARTBEAT if BEAT in (one.job_variables.get("env") or {}) else None,
    )
    return Existing(
        deployment,
        other_tags=frozenset(tag for tag in tags if not is_our_tag(tag) and tag != RETIRED),
        retired=RETIRED in tags,
        inactive=frozenset(schedule.slug or "" for schedule in schedules if not schedule.active),
        job_variables=one.job_variables,
        id=one.id,
    )


def _is_none(one: DeploymentSchedule) -> bool:
    """What `prefect deploy` has left of prefect.yaml where there is no schedule; nobody's pause."""
    return not one.active and isinstance(one.schedule, CronSchedule) and one.schedule.cron == NO_SCHEDULE


def _timing(one: DeploymentSchedule) -> ScheduleTiming:
    slug, schedule = one.slug or "", one.schedule
    if isinstance(schedule, IntervalSchedule):
        return ScheduleTiming(
            slug, every=schedule.interval, anchor=schedule.anchor_date, timezone=schedule.timezone or "UTC"
        )
    if isinstance(schedule, CronSchedule):
        return ScheduleTiming(slug, cron=schedule.cron, timezone=schedule.timezone or "UTC")
    return ScheduleTiming(slug, cron=str(schedule.model_dump(mode="json")))  # somebody's own; never what we want


async def write(client: PrefectClient, flow: UUID, one: Deployment, before: Existing | None) -> UUID:
    """Create or replace it, in one transaction of the server; its scheduled runs are planned anew.

    What people set stays: pauses, tags of their own, job variables."""
    inactive = before.inactive if before else frozenset[str]()
    return await _put(
        client,
        flow,
        one,
        tags=one.tags | (before.other_tags if before else frozenset()),
        before=before,
        schedules=[_schedule(timing, active=timing.slug not in inactive) for timing in one.schedules],
        paused=False if before and before.retired else None,
    )


async def retire(client: PrefectClient, flow: UUID, before: Existing) -> UUID:
    """No more runs. Not deleted, because its runs would be its no more."""
    one = before.deployment
    tags = one.tags | before.other_tags | {RETIRED}
    await _cancel_waiting(client, before)
    # Through the same door: an update with no schedules would leave those that have a slug.
    return await _put(client, flow, one, tags=tags, before=before, schedules=[], paused=True)


async def _cancel_waiting(client: PrefectClient, before: Existing) -> None:
    """Runs that no worker has taken yet: one would, and fail, because its topology has no such station."""
    wanted = {
        "deployment_id": {"any_": [before.id]},
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "next_scheduled_start_time": {"before_": datetime.now(UTC)},
    }
    while waiting := await client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted)):
        for run in waiting:
            await client.set_flow_run_state(run.id, Cancelled(message="The station was retired."), force=True)


async def _put(
    client: PrefectClient,
    flow: UUID,
    one: Deployment,
    *,
    tags: frozenset[str],
    before: Existing | None,
    schedules: list[DeploymentScheduleCreate],
    paused: bool | None,
) -> UUID:
    return await client.create_deployment(
        flow_id=flow,
        name=one.station,
        entrypoint=one.entrypoint,
        description=one.description,
        parameters=dict(one.parameters),
        parameter_openapi_schema=dict(one.parameter_schema),
        enforce_parameter_schema=True,
        tags=sorted(tags),
        work_pool_name=one.work_pool,
        work_queue_name=one.work_queue,
        schedules=schedules,
        concurrency_limit=one.limit,
        concurrency_options=_options(one.collision),
        job_variables=job_variables(before.job_variables if before else {}),
        paused=paused,
        # Workers have stationsync installed: there is no code to pull.
        pull_steps=[],
    )


def job_variables(own: Mapping[str, Any]) -> dict[str, Any]:
    """What people set there, and ours where they did not."""
    return {**own, "env": {BEAT: str(HEARTBEAT), **(own.get("env") or {})}}


def _options(collision: str | None) -> ConcurrencyOptions | None:
    return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(collision)) if collision else None


def _schedule(timing: ScheduleTiming, *, active: bool) -> DeploymentScheduleCreate:
    schedule: IntervalSchedule | CronSchedule
    if timing.every and timing.anchor:
        schedule = IntervalSchedule(interval=timing.every, anchor_date=timing.anchor, timezone=timing.timezone)
    else:
        schedule = CronSchedule(cron=timing.cron or "", timezone=timing.timezone)
    return DeploymentScheduleCreate(schedule=schedule, slug=timing.slug, active=active)
