"""Old runs of this fleet on the Prefect server, with what is theirs.

States and task runs go with their run; its logs the server deletes soon afterwards. Artifacts would stay: they are
deleted first, but for the latest of each key. Cut off anywhere, the next time goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from stationsync.maintenance.rule import Ages, PrunedPart
from stationsync.model.amounts import format_age
from stationsync.topology.fleet import OURS, fleet_tag, tagged
from stationsync.topology.model import Topology
from stationsync.topology.options import Maintenance

_PAGE, _AT_ONCE = 100, 4


@dataclass
class _Tally:
    runs: int = 0
    held: int = 0
    artifacts: int = 0
    latest: int = 0


def prune_history(topology: Topology, old: Ages, dry_run: bool) -> list[PrunedPart]:
    """Only what has this fleet's tags, is terminal, and is old by its state."""
    return asyncio.run(_prune(fleet_tag(topology), topology.maintenance, old, dry_run))


def kinds(options: Maintenance) -> dict[timedelta, list[StateType]]:
    """Retention: the states that it is for. All terminal ones, and no other."""
    found: dict[timedelta, list[StateType]] = {}
    for state, retention in (
        (StateType.COMPLETED, options.completed),
        (StateType.CANCELLED, options.cancelled),
        (StateType.FAILED, options.failed),
        (StateType.CRASHED, options.failed),
    ):
        found.setdefault(retention, []).append(state)
    return found


async def _prune(tag: str, options: Maintenance, old: Ages, dry_run: bool) -> list[PrunedPart]:
    tally = _Tally()
    async with get_client() as client:
        vacuum = await _vacuum(client)
        for retention, states in kinds(options).items():
            async for page, ours in _ended(client, tag, states, old, retention, dry_run):
                tally.held += len(page) - len(ours)
                await _artifacts(client, ours, tally, dry_run)
                tally.runs += len(ours) if dry_run else await _delete(client, tag, states, ours)
        everything = [state for states in kinds(options).values() for state in states]
        async for _, ours in _ended(client, tag, everything, old, options.artifacts, True):
            await _artifacts(client, ours, tally, dry_run)
    held = f"{tally.held:,} of stale stations stay" if tally.held else ""
    latest = "the latest of each key stays"
    return [
        PrunedPart("runs", tally.runs, note="; ".join(filter(None, [held, vacuum]))),
        PrunedPart("artifacts", tally.artifacts, tally.latest, note=latest),
    ]


async def _ended(
    client: PrefectClient, tag: str, states: Sequence[StateType], old: Ages, retention: timedelta, stay: bool
) -> AsyncIterator[tuple[list[FlowRun], list[FlowRun]]]:
    """Page after page of runs that ended so long ago, and those of them that may go. `stay`: they are not deleted."""
    limits = _of(tag, states, {"end_time": {"before_": old.before(retention).replace(tzinfo=UTC)}})
    offset = 0
    while page := await client.read_flow_runs(
        flow_run_filter=limits, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=offset
    ):
        ours = [
            run
            for run in page
            if run.end_time and _naive(run.end_time) < old.before(retention, tagged(run.tags, "station") or "")
        ]
        yield page, ours
        offset += len(page) if stay else len(page) - len(ours)


async def _delete(client: PrefectClient, tag: str, states: Sequence[StateType], runs: Sequence[FlowRun]) -> int:
    if not runs:
        return 0
    # With the states: a run that somebody started again meanwhile stays.
    limits = _of(tag, states, {"id": {"any_": [str(run.id) for run in runs]}})
    # Prefect's own client does not know this path yet.
    path: Any = "/flow_runs/bulk_delete"
    answer = await client.request("POST", path, json={"flow_runs": limits.model_dump(mode="json", exclude_unset=True)})
    answer.raise_for_status()
    return len(answer.json()["deleted"])


def _of(tag: str, states: Sequence[StateType], more: dict[str, Any]) -> FlowRunFilter:
    named = {"tags": {"all_": [OURS, tag]}, "state": {"type": {"any_": list(states)}}}
    return FlowRunFilter.model_validate(named | more)


async def _artifacts(client: PrefectClient, runs: Sequence[FlowRun], tally: _Tally, dry_run: bool) -> None:
    if not runs:
        return
    of = {"flow_run_id": {"any_": [str(run.id) for run in runs]}}
    found: set[UUID] = set()
    latest: set[UUID] = set()
    while page := await client.read_artifacts(
        artifact_filter=ArtifactFilter.model_validate(of), limit=200, offset=len(found)
    ):
        found.update(one.id for one in page)
        keys = sorted({one.key for one in page if one.key})
        latest |= await _latest(client, keys)
    tally.latest += len(found & latest)
    tally.artifacts += len(found - latest)
    if dry_run:
        return
    gate = asyncio.Semaphore(_AT_ONCE)

    async def delete(number: UUID) -> None:
        async with gate:
            with suppress(ObjectNotFound):  # gone meanwhile
                await client.delete_artifact(number)

    await asyncio.gather(*(delete(number) for number in found - latest))


async def _latest(client: PrefectClient, keys: Sequence[str]) -> set[UUID]:
    found: set[UUID] = set()
    for start in range(0, len(keys), _PAGE):
        answer = await client.request(
            "POST",
            "/artifacts/latest/filter",
            json={"artifacts": {"key": {"any_": list(keys[start : start + _PAGE])}}, "limit": _PAGE},
        )
        found |= {UUID(one["latest_id"]) for one in answer.json()}
    return found


async def _vacuum(client: PrefectClient) -> str:
    """What the server prunes by itself."""
    try:
        settings = (await client.request("GET", "/admin/settings")).json()
        vacuum = settings["server"]["services"]["db_vacuum"]
        kinds = vacuum.get("enabled")
        after = timedelta(seconds=float(vacuum.get("retention_period")))
    except Exception:  # noqa: BLE001 - Prefect Cloud tells none
        return ""
    names = ", ".join(sorted(kinds)) if isinstance(kinds, list) else ("all" if kinds else "")
    return f"the server's own vacuum takes {names} after {format_age(after)}" if names else ""


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
