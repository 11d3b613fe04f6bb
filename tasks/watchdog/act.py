"""The watchdog's hands: each action is one request, and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from stationsync.health.watch import Doing, Handled, WatchdogAction, WatchdogFinding
from tasks.told import RunLog, message
from tasks.watchdog.look import STARTED

_AT_ONCE = 4


@task(name="put-right", cache_policy=NO_CACHE, persist_result=False)
def put_right(found: Sequence[WatchdogFinding]) -> list[Handled]:
    """Do what is to be done. What the server refuses is told, and stops nothing else."""
    told = asyncio.run(_all(found))
    log = RunLog()
    for one in told:
        finding = one.finding
        said = "; ".join(filter(None, [one.done, finding.next_step]))
        log.warning("%s: %s%s", finding.where, finding.what, f". {said}" if said else "")
    if not told:
        log.info("nothing to put right")
    return told


async def _all(found: Sequence[WatchdogFinding]) -> list[Handled]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(client: PrefectClient, finding: WatchdogFinding) -> Handled:
        if finding.action is None:
            return Handled(finding)
        async with gate:
            return Handled(finding, await _try(client, finding.action))

    async with get_client() as client:
        return list(await asyncio.gather(*(one(client, finding) for finding in found)))


async def _try(client: PrefectClient, action: WatchdogAction) -> str:
    try:
        return await _do(client, action)
    except ObjectNotFound:
        return "gone meanwhile"
    except httpx.HTTPStatusError as error:
        return f"could not be {action.doing}: the server answers {error.response.status_code}"
    except httpx.HTTPError as error:
        return f"could not be {action.doing}: {type(error).__name__}"


async def _do(client: PrefectClient, action: WatchdogAction) -> str:
    match action.doing:
        case Doing.CRASH:
            return await _set(client, action, Crashed(message=_message(action)))
        case Doing.CANCEL:
            return await _set(client, action, Cancelled(message=_message(action)))
        case Doing.RELEASE:
            # How long they were taken goes into an average of the server's, which nobody of ours asks for.
            await client.release_concurrency_slots([action.target], action.count, occupancy_seconds=1.0)
        case Doing.START:
            run = await client.create_flow_run_from_deployment(
                UUID(action.target), tags=[STARTED], idempotency_key=action.key
            )
            return f"{action.doing}: {run.name} ({action.why})"
        case Doing.FORGET:
            place = {"work_pool_name": action.target, "name": action.name}
            await client.request("DELETE", "/work_pools/{work_pool_name}/workers/{name}", path_params=place)
    return _done(action)


def _message(action: WatchdogAction) -> str:
    return message([f"{action.why} (stationsync's watchdog)"])


def _done(action: WatchdogAction) -> str:
    return " ".join(filter(None, [f"{action.doing}.", action.why]))


async def _set(client: PrefectClient, action: WatchdogAction, state: State[None]) -> str:
    """Not by force: a run that came to its end meanwhile stays as it ended."""
    result = await client.set_flow_run_state(UUID(action.target), state)
    if result.status is SetStateStatus.ACCEPT:
        return _done(action)
    return "came to its end meanwhile"
