"""`init`: the bookkeeping tables, and adopting the rows that control already has."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from cli.common import DryRun, Json, error_object, print_error, print_json, say, settings, worst
from stationsync.errors import StationOffline
from stationsync.model.details import plan_as_json
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.setup.adopt import Adoption, adopt
from stationsync.setup.initialise import Initialised, initialise
from stationsync.setup.row_filters import FilterChange, FilterChanges, take_filters
from stationsync.topology.row_filter import Leaving

AllowLeaving = Annotated[
    bool, typer.Option(help="Take a changed filter of rows (where) although more rows leave than max_deletes allows.")
]


def init(ctx: typer.Context, dry_run: DryRun = False, allow_leaving: AllowLeaving = False, json: Json = False) -> None:
    """Create the bookkeeping tables at control, and adopt the rows that are already there.

    Rows that are equal at both sides are taken as known; rows that differ follow the table's conflict policy, with
    both versions kept. Run it again whenever tables or columns were added, or a filter of rows (where) was changed."""
    given = settings(ctx)
    pairs = given.all_pairs()
    made = initialise(given.control, pairs, dry_run=dry_run)
    ready = [one for one in pairs if one.control_table not in made.errors]
    filters = take_filters(ready, dry_run=dry_run, allow_leaving=allow_leaving)
    adoption = adopt(given.control, ready, dry_run=dry_run)
    adoption = replace(adoption, errors=(*made.errors.values(), *filters.errors, *adoption.errors))
    # An off-line station is none of init's faults: its first pull adopts the rest.
    code = worst(e.exit_code for e in adoption.errors if not isinstance(e, StationOffline))
    if json:
        print_json(_object(made, filters, adoption, dry_run, ok=code == 0))
    else:
        _tell(made, filters, adoption, dry_run)
    if code:
        raise typer.Exit(code)


def _object(
    made: Initialised, filters: FilterChanges, adoption: Adoption, dry_run: bool, *, ok: bool
) -> dict[str, Any]:
    return {
        "ok": ok,
        "dry_run": dry_run,
        "tables": list(made.tables),
        "columns": list(made.columns),
        "filters": [asdict(one) for one in filters.changes],
        "adopted": [vars(one) for one in adoption.adopted],
        "only_at_control": adoption.only_at_control,
        **(plan_as_json([one.share for one in adoption.adopted if one.share]) if dry_run else {}),
        "errors": [{"error": error_object(error)} for error in adoption.errors],
    }


def _tell(made: Initialised, filters: FilterChanges, adoption: Adoption, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for name in made.tables:
        say(f"control: table {name} {would}created")
    for name in made.columns:
        say(f"control: column {name} {would}added")
    if not (made.tables or made.columns):
        say("control: all bookkeeping tables are there")
    for change in filters.changes:
        say(f"{change.station}/{change.table}: {_told(change, dry_run)}")
    for one in adoption.adopted:
        say(
            f"{one.station}/{one.table}: {one.equal:,} equal rows {would}adopted; {one.different:,} differ"
            f" ({'would follow' if dry_run else 'followed'} the policy {one.policy}); {one.only_here:,} only at the"
            " station, left to the first pull"
            + (f"; {one.foreign:,} with a key that another station owns" if one.foreign else "")
        )
    for table, rows in adoption.only_at_control.items():
        if rows:
            say(f"control/{table}: {rows:,} rows that no station has: they stay, and have no owner")
    for error in adoption.errors:
        if isinstance(error, StationOffline):
            say(f"{error.place}: off-line; its first pull adopts its rows")
        else:
            print_error(error)
    if dry_run:
        for line in (line for one in adoption.adopted if one.share for line in one.share.lines()):
            say(line)
        say(NOTHING_CHANGED)


def _told(change: FilterChange, dry_run: bool) -> str:
    """What another filter of rows does, in a sentence."""
    shown = [f"where: {where}" if where else "none" for where in (change.before, change.now)]
    stay = "control keeps them as they are" if change.leaving is Leaving.KEEP else "a reconcile deletes them at control"
    edits = f", {change.edits:,} of them with an edit of control's that has not gone down" if change.edits else ""
    verb = "would be" if dry_run else "is"
    return (
        f"the filter of its rows {verb} taken, {shown[1]} (before: {shown[0]}); {change.comes:,} rows come in with the"
        f" next pull, {change.leaves:,} leave ({stay}{edits})"
    )
