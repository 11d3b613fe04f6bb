"""The flow `reconcile`: whole tables compared, what differs repaired, equality proved."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import Approve, DryRun, Station, Table, described
from flows.station_run import station_run
from stationsync.model.changes import Direction, Report
from stationsync.reconcile.reconcile import reconcile as reconcile_pair
from tasks import prefect_comparison

AllowDeletes = Annotated[
    bool, described("Carry over, once, the deletes that the run before refused: exactly those, no others.")
]


@flow(name="reconcile", flow_run_name="reconcile {station}", persist_result=False)
def reconcile(
    station: Station,
    table: Table = None,
    dry_run: DryRun = False,
    allow_deletes: AllowDeletes = False,
    approve: Approve = False,
) -> State[list[Report]]:
    """Compare a station's tables with control's, repair what differs, and prove that both sides are equal.

    Finds what no watermark can: deletes, late rows, edits that did not touch the modified column."""
    sweep = partial(reconcile_pair, looking=prefect_comparison(), allow_deletes=allow_deletes)
    plan = {Direction.BOTH: partial(sweep, dry_run=True)}
    return station_run("reconcile", station, table, {Direction.BOTH: sweep}, plan, dry_run=dry_run, approve=approve)
