"""Following a run on a Prefect server: its states, how it ended, its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, LogFilter
from prefect.client.schemas.objects import FlowRun, Log, State
from prefect.client.schemas.sorting import FlowRunSort, LogSort

from deployments.look import ours
from stationsync.topology.model import Topology

_LOOK = 1.0
_PAGE = 200
_LEVELS = ((40, "ERROR"), (30, "WARNING"), (20, "INFO"))


@dataclass(frozen=True)
class Ended:
    """`code` is what the direct command would end with."""

    state: str
    message: str
    code: int


def until_over(run_id: str, tell: Callable[[str], object] | None = None) -> Ended:
    """Wait for a run to end, and tell each state that it is seen in."""
    with get_client(sync_client=True) as client:
        seen = ""
        while True:
            state = client.read_flow_run(UUID(run_id)).state
            if state is not None and state.is_final():
                return Ended(state.name or state.type.value, state.message or "", code_of(state))
            name = state.name if state and state.name else "Pending"
            if tell and name != seen:
                tell(f"  {name}")
            seen = name
            time.sleep(_LOOK)


def code_of(state: State) -> int:
    """0 done, 3 the station is off-line, 1 anything else: failed, crashed, cancelled, paused."""
    if state.name == "Offline":
        return 3
    return 0 if state.is_completed() and state.name != "Paused" else 1


def last_run(client: SyncPrefectClient, topology: Topology, station: str, kind: str | None) -> FlowRun | None:
    """That has begun: one that is only due has no log."""
    wanted = {"state": {"type": {"not_any_": ["SCHEDULED", "PENDING"]}}}
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(wanted),
        deployment_filter=ours(topology, station),
        sort=FlowRunSort.START_TIME_DESC,
        flow_filter=FlowFilter.model_validate({"name": {"any_": [kind]}}) if kind else None,
        limit=1,
    )
    return found[0] if found else None


def lines_of(client: SyncPrefectClient, run: UUID, number: int, *, follow: bool) -> Iterator[str]:
    """The last lines so far; then, until the run is over, those that come."""
    of_run: Mapping[str, object] = {"flow_run_id": {"any_": [run]}}
    last = list(reversed(_read(client, of_run, LogSort.TIMESTAMP_DESC, number)))
    yield from map(_line, last)
    seen = {one.id for one in last}
    since = last[-1].timestamp if last else None
    while follow:
        state = client.read_flow_run(run).state
        new = {**of_run, "timestamp": {"after_": since}} if since else of_run
        for one in _read(client, new, LogSort.TIMESTAMP_ASC, None):
            if one.id not in seen:
                seen.add(one.id)
                since = one.timestamp
                yield _line(one)
        if state is not None and state.is_final():
            return
        time.sleep(_LOOK)


def _read(client: SyncPrefectClient, wanted: Mapping[str, object], sort: LogSort, number: int | None) -> list[Log]:
    found: list[Log] = []
    while number is None or len(found) < number:
        size = _PAGE if number is None else min(_PAGE, number - len(found))
        page = client.read_logs(LogFilter.model_validate(wanted), limit=size, offset=len(found), sort=sort)
        found += page
        if len(page) < size:
            break
    return found


def _line(one: Log) -> str:
    level = next((name for least, name in _LEVELS if one.level >= least), "DEBUG")
    return f"{one.timestamp.astimezone(UTC):%Y-%m-%d %H:%M:%S}  {level:<7}  {one.message}"
