"""Pausing a station's deployments on a Prefect server, so that its schedules make no runs and the UI shows it.

The pause that counts is control's (`stationsync.store.pauses`): this one keeps the list of runs tidy."""

from __future__ import annotations

from functools import partial

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments.busy import patiently
from deployments.look import deployments_of
from deployments.plan import RETIRED
from stationsync.topology.model import Topology


def set_paused(topology: Topology, station: str, paused: bool) -> list[str]:
    """The names of the deployments that are so now. `deploy` leaves it as it is."""
    quick = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: 20})
    with quick, get_client(sync_client=True) as client:
        there = patiently(partial(deployments_of, client, topology, station))
        found = [one for one in there if RETIRED not in one.tags]
        for one in found:
            if one.paused != paused:
                patiently(partial(client.pause_deployment if paused else client.resume_deployment, one.id))
        flows = {one.flow_id for one in found}
        names = {flow: patiently(partial(client.read_flow, flow)).name for flow in flows}
        return sorted(f"{names[one.flow_id]}/{one.name}" for one in found)
