"""The flow `watchdog`: finds what is stuck, dead, leaked or stale, and puts it right where that is safe."""

from __future__ import annotations

import os

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from stationsync.errors import StationSyncError
from stationsync.health.incident_book import LOOKED
from stationsync.health.watch import Doing, Handled, WatchdogLimits, judge
from stationsync.pairing.pair import control_of
from stationsync.session.lease import alone
from stationsync.topology import topology_file
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.incidents import tell_incidents
from tasks.step import as_step
from tasks.watchdog.act import put_right
from tasks.watchdog.look import look
from tasks.watchdog.tell import leave_watch_artifact, tell_of_watchdog, watch_state

# So many heartbeats in a row are missing where a run is dead. Tests have no time for the usual 75 seconds.
LIMITS = WatchdogLimits(missed=float(os.environ.get("STATIONSYNC_MISSED_HEARTBEATS") or WatchdogLimits.missed))


@flow(name="watchdog", flow_run_name="watchdog", persist_result=False)
def watchdog() -> State[list[Handled]]:
    """Find runs that are stuck, dead workers, leaked concurrency slots and stations with old data; put right what can
    safely be put right, and tell the rest."""
    try:
        topology = topology_file.load()
        control = control_of(topology, secret_block)
    except StationSyncError as error:
        return Failed(message=str(error))
    # Not by a limit of Prefect's: the slot of one that was killed would keep the next one out.
    with alone(control, "watchdog") as first:
        if not first:
            return Completed(name="UnderWay", message="Another watchdog is at work.")
        return _watch(topology)


def _watch(topology: Topology) -> State[list[Handled]]:
    told: list[Handled] = []
    # A second look, because a run that was marked as crashed wants another in its place.
    for _ in range(2):
        facts = as_step(look)(topology, LIMITS)
        done = as_step(put_right)(judge(facts, LIMITS))
        known = {(one.finding.what, one.finding.where) for one in told}
        told += [one for one in done if one.finding.action or (one.finding.what, one.finding.where) not in known]
        if not any(one.finding.action and one.finding.action.doing is Doing.CRASH for one in done):
            break
    leave_watch_artifact(topology, told)
    try:
        as_step(tell_incidents)(topology)
    except StationSyncError as error:
        return Failed(message=str(error))
    if not facts.control:
        tell_of_watchdog(topology, LOOKED)
    return watch_state(told, facts.control)
