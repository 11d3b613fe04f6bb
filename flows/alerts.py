"""The flow `alerts`: a look for incidents now, started when a run has crashed. The watchdog looks every minute."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from stationsync.errors import StationSyncError
from stationsync.topology import topology_file
from tasks.incidents import tell_incidents
from tasks.step import as_step

# Runs that crash at once start one of these: it looks again while there is more to tell.
LOOKS = 5


@flow(name="alerts", flow_run_name="alerts", persist_result=False)
def alerts() -> State[int]:
    """Look at the whole fleet for what is wrong, or no longer, and tell each of it once."""
    told = 0
    try:
        topology = topology_file.load()
        for _ in range(LOOKS):
            new = as_step(tell_incidents)(topology, watchdog=False)
            told += new
            if not new:
                break
    except StationSyncError as error:
        return Failed(message=str(error))
    return Completed(message=f"{told} told" if told else "Nothing new to tell.", data=told)
