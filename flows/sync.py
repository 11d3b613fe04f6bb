"""The flow `sync`: pull, then push."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import Approve, DryRun, Station, Table
from flows.station_run import PULL, PUSH, dry, station_run
from stationsync.model.changes import Report


@flow(name="sync", flow_run_name="sync {station}", persist_result=False)
def sync(
    station: Station, table: Table = None, dry_run: DryRun = False, approve: Approve = False
) -> State[list[Report]]:
    """Bring a station's changes up to control, then control's edits down, table by table."""
    return station_run(
        "sync", station, table, {**PULL, **PUSH}, dry({**PULL, **PUSH}), dry_run=dry_run, approve=approve
    )
