"""What the flows of one station have in common: the loop over its tables, and how a run ends.

Flows are sync on purpose, though an async one ends a second sooner (Prefect joins a heartbeat thread): the engine
blocks, and only in the main thread does a cancelled run stop at once and roll its transaction back."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

from prefect.client.schemas.objects import State
from prefect.states import Failed

from stationsync.errors import LeaseLost, StationOffline, StationPaused, StationSyncError
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.pair import Pair, pairs
from stationsync.sync import runs
from stationsync.sync.rehearse import Rehearsal
from stationsync.sync.tables import Run, failure, run_tables
from stationsync.topology import topology_file
from tasks import prefect_steps
from tasks.blocks import secret_block
from tasks.incidents import tell_station
from tasks.plan import leave_plan, plan_state, wait_for_approval
from tasks.report import final_state, leave_artifact
from tasks.step import RETRY_SECONDS
from tasks.told import RunLog

PULL: Mapping[Direction, Run] = {Direction.UP: runs.pull}
PUSH: Mapping[Direction, Run] = {Direction.DOWN: runs.push_edits}
AGAIN = (RETRY_SECONDS, 4 * RETRY_SECONDS)


def dry(each: Mapping[Direction, Run]) -> Mapping[Direction, Run]:
    """The same pull and push, as one plan."""
    rehearsal = Rehearsal()
    runs_of = {Direction.UP: rehearsal.pull, Direction.DOWN: rehearsal.push}
    return {direction: runs_of[direction] for direction in each}


def station_run(
    kind: str,
    station: str,
    table: str | None,
    each: Mapping[Direction, Run],
    plan: Mapping[Direction, Run],
    *,
    dry_run: bool = False,
    approve: bool = False,
) -> State[list[Report]]:
    """Do these runs for every table of the station, leave the artifact, and say how it ended.

    `plan` are their dry runs: done instead, or first, with a person to approve of what they show."""
    try:
        topology = topology_file.load()
        chosen = pairs(topology, station, table, secret_block)
        if dry_run or approve:
            reports = list(_reports(chosen, plan))
            leave_plan(kind, station, reports)
            if {report.status for report in reports} & {Status.FAILED, Status.OFFLINE, Status.PAUSED, Status.UNDER_WAY}:
                return final_state(reports)
            if dry_run:
                return plan_state(reports)
            wait_for_approval(reports)
    except StationSyncError as error:
        return Failed(message=str(error))
    state = _done(kind, station, chosen, each)
    tell_station(topology, station)
    return state


def _done(kind: str, station: str, chosen: list[Pair], each: Mapping[Direction, Run]) -> State[list[Report]]:
    reports: list[Report] = []
    try:
        for report in _reports(chosen, each, waiting=kind != "push"):
            reports.append(report)
    finally:
        leave_artifact(kind, station, reports)
    return final_state(reports)


def _reports(chosen: list[Pair], each: Mapping[Direction, Run], *, waiting: bool = False) -> Iterator[Report]:
    return run_tables(chosen, each, prefect_steps, waiting=waiting, run=_with_lease_again, failed=_failed)


def _failed(pair: Pair, direction: Direction, error: StationSyncError) -> Report:
    expected = isinstance(error, (StationOffline, StationPaused))
    RunLog().log(30 if expected else 40, "%s", error)
    return failure(pair, direction, error)


def _with_lease_again(pair: Pair, run: Run) -> Report:
    """A lost lease cannot be mended inside a run. A new run goes on from the watermark."""
    steps = prefect_steps()
    for delay in AGAIN:
        try:
            return run(pair, steps)
        except LeaseLost as error:
            jittered = delay * random.uniform(0.5, 1.5)
            RunLog().warning("%s Another run begins in %.1f s.", error, jittered)
            time.sleep(jittered)
    return run(pair, steps)
