"""The flow `maintenance`: what is over and old goes, at control, in Prefect, on disk. What is unresolved stays."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from stationsync.errors import StationSyncError
from stationsync.maintenance.rule import Maintained
from stationsync.topology import topology_file
from tasks.prune import leave_prune_artifact, prune_control, prune_prefect, prune_state
from tasks.step import as_step


@flow(name="maintenance", flow_run_name="maintenance", persist_result=False)
def maintenance(dry_run: bool = False) -> State[Maintained]:
    """Delete what is over and old: run history, journal, trash, settled conflicts, released quarantine, log files.

    Args:
        dry_run: Only show what would be pruned.
    """
    try:
        topology = topology_file.load()
        done = as_step(prune_prefect)(topology, as_step(prune_control)(topology, dry_run))
    except StationSyncError as error:
        return Failed(message=str(error))
    leave_prune_artifact(topology, done)
    return prune_state(done)
