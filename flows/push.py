"""The flow `push`: control's edits down to their station."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import Approve, DryRun, Station, Table
from flows.station_run import PUSH, dry, station_run
from stationsync.model.changes import Report


@flow(name="push", flow_run_name="push {station}", persist_result=False)
def push(
    station: Station, table: Table = None, dry_run: DryRun = False, approve: Approve = False
) -> State[list[Report]]:
    """Bring control's edits of a station's rows down to the station, table by table."""
    return station_run("push", station, table, PUSH, dry(PUSH), dry_run=dry_run, approve=approve)
