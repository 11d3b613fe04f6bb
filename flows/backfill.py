"""The flow `backfill`: a range of a station's rows read again, in between live runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows.parameters import Approve, DryRun, Station, Table, described
from flows.station_run import station_run
from stationsync.errors import StationSyncError
from stationsync.model.changes import Direction, Report
from stationsync.recovery.backfill import BackfillOrder
from stationsync.recovery.backfill_range import FORM, asked, typed_key
from tasks.backfill import backfill_of

Since = Annotated[
    datetime | None,
    described(
        "Rows modified from this moment on. Without a time zone it is on the station's own clock, as its rows show it."
    ),
]
Until = Annotated[datetime | None, described("Rows modified before this moment. Left empty: up to now.")]
# `prefect deployment run -p from_key=1000` sends a number, and the form of the UI a text.
FromKey = Annotated[
    str | int | float | list[str | int | float] | None,
    described('Rows from this key on: one value, or a JSON list of the leading ones, such as [1000, "A"].'),
]
ToKey = Annotated[
    str | int | float | list[str | int | float] | None,
    described("Rows up to and with this key. Left empty: up to the last."),
]
All = Annotated[bool, described("All rows of the table, those without a date too, instead of a range.")]
Rate = Annotated[float | None, described("Rows a second, at most. Left empty: as fast as it goes.", gt=0)]
Restart = Annotated[
    bool, described("Begin anew, though a run of the same range was cut off. Otherwise it goes on where that stopped.")
]


@flow(name="backfill", flow_run_name="backfill {station}", persist_result=False)
def backfill(
    station: Station,
    table: Table = None,
    since: Since = None,
    until: Until = None,
    all: All = False,
    from_key: FromKey = None,
    to_key: ToKey = None,
    rate: Rate = None,
    restart: Restart = False,
    dry_run: DryRun = False,
    approve: Approve = False,
) -> State[list[Report]]:
    """Read a range of a station's rows again and merge it, in between live runs. Moves no watermark.

    Started for the same range again, it goes on where it stopped."""
    try:
        first, last = map(typed_key, (from_key, to_key))
        range_ = asked(since=since, until=until, from_key=first, to_key=last, everything=all, examples=FORM)
        wanted, plan = (BackfillOrder(range_, rate, dry, restart) for dry in (False, True))
    except StationSyncError as error:
        return Failed(message=str(error))
    each, planned = ({Direction.UP: backfill_of(one)} for one in (wanted, plan))
    return station_run("backfill", station, table, each, planned, dry_run=dry_run, approve=approve)
