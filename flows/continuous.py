"""The flow `continuous`: keeps the stations of a schedule equal for some minutes, round after round."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows.parameters import described
from stationsync.continuous.handover import turn
from stationsync.errors import StationSyncError
from stationsync.pairing.pair import control_of
from stationsync.topology import topology_file
from tasks.blocks import secret_block
from tasks.continuous import go_on, named_run

Name = Annotated[
    str,
    described(
        "The name of the continuous run: the group's, the station's or the fleet's, whoever has the schedule.",
        min_length=1,
    ),
]


@flow(name="continuous", flow_run_name="continuous {name}", persist_result=False)
def continuous(name: Name) -> State[Any]:
    """Synchronise each station of a continuous schedule again and again, at its interval, and hand over to the next
    run. A station that moves rows or fails leaves a trace of its own."""
    try:
        topology = topology_file.load()
        run = named_run(topology, name)
        if run is None:
            return Failed(message=f"no station has a continuous schedule of the name {name}")
        with turn(control_of(topology, secret_block), name) as ours:
            return go_on(topology, run, ours)
    except StationSyncError as error:
        return Failed(message=str(error))
