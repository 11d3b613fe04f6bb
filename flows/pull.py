"""The flow `pull`: a station's changes up to control."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import Station, Table
from flows.station_run import PULL, station_run
from stationsync.changes import Report


@flow(name="pull", flow_run_name="pull {station}", persist_result=False)
def pull(station: Station, table: Table = None) -> State[list[Report]]:
    """Bring a station's changes up to control, table by table, from where the last run ended."""
    return station_run("pull", station, table, PULL)
