"""The flow `fleet-report`: how every table of every station stands, for people and for Prometheus."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from stationsync.errors import StationSyncError
from stationsync.topology import topology_file
from tasks.fleet_report import leave_report, look_at_tables, report_state
from tasks.step import as_step


@flow(name="fleet-report", flow_run_name="fleet-report", persist_result=False)
def fleet_report() -> State[Any]:
    """Look at control's books, and leave a table and a chart of the whole fleet, the worst first; where
    defaults.metrics_file names a file, the same for Prometheus."""
    try:
        topology = topology_file.load()
        tables = as_step(look_at_tables)(topology)
        as_step(leave_report)(topology, tables)
    except StationSyncError as error:
        return Failed(message=str(error))
    return report_state(tables)
