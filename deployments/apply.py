"""Brings a Prefect server to what the topology says, several deployments at a time.

Everything that can be refused is refused before the first change. Each deployment is then written whole, by one
request; where the server fails in the middle, running the command again does the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

import prefect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments import server
from deployments.api import answering, events_fault, require_api
from deployments.busy import Patience
from deployments.kinds import EVERY, schemas
from deployments.objections import Allowed, quoted
from deployments.plan import Existing, Plan, compare
from deployments.settings import complaints, other_version, unusable_version
from deployments.wanted import wanted
from stationsync.errors import SetUpError
from stationsync.topology.fleet import fleet_of
from stationsync.topology.model import Topology

PLACE, UNCHANGED = "stationsync deploy", "Nothing was changed."
AT_ONCE = 4
Step = Callable[[PrefectClient], Awaitable[object]]


def look(topology: Topology, allowed: Allowed) -> Plan:
    """Read the server, and say what has to change there. Changes nothing."""
    wants = wanted(topology, schemas())
    url = require_api(PLACE)
    # With Prefect's own five, a server that hangs would be waited for for many minutes.
    with answering(url, not_done=UNCHANGED), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
        there = asyncio.run(_read())
    plan = compare(fleet_of(topology), wants, there.deployments, there.pools, allowed)
    used = {one.work_pool for one in wants}
    paused = [
        f"the work pool {pool} is paused: none of its runs starts. Resume it: prefect work-pool resume {quoted(pool)}"
        for pool, is_paused in there.pools.items()
        if is_paused and pool in used
    ]
    version = other_version(there.version, prefect.__version__)
    others = filter(None, (version, there.events))
    return replace(plan, warnings=(*complaints(there.settings), *others, *paused))


@dataclass(frozen=True)
class _There:
    deployments: list[Existing]
    pools: Mapping[str, bool]
    settings: Mapping[str, Any]
    version: str | None
    # What is wrong with the way of events, in a sentence.
    events: str


async def _read() -> _There:
    async with get_client() as client:
        version = await server.read_version(client)
        if unusable_version(version, prefect.__version__):
            raise SetUpError(
                "Prefect server",
                f"is of version {version}, and this is Prefect {prefect.__version__}",
                not_done=UNCHANGED,
                next_step="Upgrade the server, or mend PREFECT_API_URL.",
            )
        pools = await server.read_pools(client)
        deployments, found = await server.read_all(client), await server.read_settings(client)
        return _There(deployments, pools, found, version, await events_fault())


def carry_out(plan: Plan) -> None:
    """Make the changes of this plan."""
    if not plan.size:
        return
    url, made = require_api(PLACE), _Made(plan.size)
    try:
        with answering(url, not_done=""):
            asyncio.run(_all(plan, made))
    except SetUpError as error:
        next_step = f"{error.next_step} Then run again: stationsync deploy (it goes on where this one stopped)"
        raise SetUpError(error.place, error.what, not_done=made.told(), next_step=next_step) from error


class _Made:
    """How many changes are made, of how many."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0

    def told(self) -> str:
        if not self.count:
            return "Nothing was changed."
        return f"{self.count:,} of {self.total:,} changes were made, each of them whole; the others were not."


async def _all(plan: Plan, made: _Made) -> None:
    """Pools first, because deployments name them; what goes, last."""
    async with get_client() as client:
        # Alone, because the first request of a client brings the token that the others need (`api.token_race`).
        await server.read_pools(client)
        await _several(client, [partial(server.create_pool, name=name) for name in plan.pools], made)
        touched = {one.kind for one in plan.new}
        touched |= {change.to.kind for change in plan.changed} | {one.deployment.kind for one in plan.retired}
        kinds = [kind.name for kind in EVERY if kind.name in touched]
        flows = {kind: await client.create_flow_from_name(kind) for kind in kinds}
        await _several(client, _writes(plan, flows), made)
        retire: list[Step] = [
            partial(server.retire, flow=flows[one.deployment.kind], before=one) for one in plan.retired
        ]
        await _several(client, retire, made)


def _writes(plan: Plan, flows: dict[str, UUID]) -> list[Step]:
    """Those with a schedule last: as soon as there is one, the server's scheduler is busy with it."""
    unscheduled_first = sorted(plan.new, key=lambda one: bool(one.schedules))
    new: list[Step] = [partial(server.write, flow=flows[one.kind], one=one, before=None) for one in unscheduled_first]
    return new + [
        partial(server.write, flow=flows[change.to.kind], one=change.to, before=change.before)
        for change in plan.changed
    ]


async def _several(client: PrefectClient, steps: Iterable[Step], made: _Made) -> None:
    """All of them, a few at a time. After a failure no other is begun, and those under way are waited for."""
    waiting, busy = deque(steps), _Busy(AT_ONCE)

    async def work() -> None:
        while waiting:
            step = waiting.popleft()
            try:
                await step(client)
            except Exception as error:
                if not busy.again(error):
                    waiting.clear()
                    raise
                waiting.appendleft(step)  # whole or not at all: it may be asked for twice
                if busy.one_less():
                    return
                await asyncio.sleep(busy.delay)
            else:
                busy.well()
                made.count += 1
        busy.workers -= 1

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        results = await asyncio.gather(*(work() for _ in range(AT_ONCE)), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class _Busy(Patience):
    """Of one that cannot keep up less is asked at a time, down to one request, and then with growing delays."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers

    def one_less(self) -> bool:
        if self.workers == 1:
            return False
        self.workers -= 1
        return True
