"""The flow `pull`: a station's changes up to control."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import Approve, DryRun, Station, Table
from flows.station_run import PULL, dry, station_run
from stationsync.model.changes import Report


@flow(name="pull", flow_run_name="pull {station}", persist_result=False)
def pull(
    station: Station, table: Table = None, dry_run: DryRun = False, approve: Approve = False
) -> State[list[Report]]:
    """Bring a station's changes up to control, table by table, from where the last run ended."""
    return station_run("pull", station, table, PULL, dry(PULL), dry_run=dry_run, approve=approve)
