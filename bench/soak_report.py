"""What a soak says of Prefect's side: runs, gaps, duplicates, slots."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

# States of a run that did its work; the others left it to another.
_WORKED = ("Completed", "NothingToDo")


@dataclass
class Runs:
    states: Counter[str] = field(default_factory=Counter)
    longest_gap: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(url: str, stations: Sequence[str], until: datetime) -> Runs:
    with temporary_settings({PREFECT_API_URL: url}):
        runs, slots = asyncio.run(_read())
    found = Runs(Counter(f"{_kind(run)}: {run.state_name}" for run in runs))
    found.problems += [f"the concurrency limit {name} has {n} slots taken, and nothing runs" for name, n in slots if n]
    found.problems += _twice(runs)
    for station in stations:
        ours = [run for run in runs if f"station:{station}" in run.tags and _kind(run) == "sync"]
        worked = sorted((run for run in ours if run.state_name in _WORKED), key=lambda run: str(run.start_time))
        found.longest_gap[station] = _longest_gap([run.end_time for run in worked if run.end_time], until)
        found.problems += _overlapping(station, worked)
    return found


async def _read() -> tuple[list[FlowRun], list[tuple[str, int]]]:
    found: list[FlowRun] = []
    ours = FlowRunFilter.model_validate({"tags": {"all_": ["stationsync"]}})
    async with get_client() as client:
        while page := await client.read_flow_runs(
            flow_run_filter=ours, sort=FlowRunSort.ID_DESC, offset=len(found), limit=200
        ):
            found += page
        limits = await client.read_global_concurrency_limits(limit=200)
    return found, [(limit.name, limit.active_slots) for limit in limits]


def _kind(run: FlowRun) -> str:
    """Its flow's: a run is named so once it begins."""
    first = (run.name or "").split()[0]
    return first if first in ("sync", "reconcile", "watchdog", "fleet-report", "maintenance") else "not begun"


def _twice(runs: Iterable[FlowRun]) -> list[str]:
    """A moment of a schedule that more than one run was made for."""
    planned: Counter[Any] = Counter(
        (run.deployment_id, run.expected_start_time) for run in runs if run.auto_scheduled and run.expected_start_time
    )
    return [f"{n} runs of deployment {one} for {at}" for (one, at), n in planned.items() if n > 1]


def _overlapping(station: str, runs: Sequence[FlowRun]) -> list[str]:
    pairs = pairwise(run for run in runs if run.start_time and run.end_time)
    return [
        f"{station}: the runs {a.id} and {b.id} worked at the same time"
        for a, b in pairs
        if a.end_time and b.start_time and b.start_time < a.end_time
    ]


def _longest_gap(ends: Sequence[datetime], until: datetime) -> float:
    moments = [*sorted(ends), until]
    return max((b - a).total_seconds() for a, b in pairwise(moments)) if len(moments) > 1 else float("inf")
