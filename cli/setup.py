"""`init`: the bookkeeping tables, and adopting the rows that control already has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from cli.common import DryRun, Json, error_object, print_error, print_json, say, settings, worst
from stationsync.errors import StationOffline
from stationsync.model.details import plan_as_json
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.setup.adopt import Adoption, adopt
from stationsync.setup.initialise import Initialised, initialise


def init(ctx: typer.Context, dry_run: DryRun = False, json: Json = False) -> None:
    """Create the bookkeeping tables at control, and adopt the rows that are already there.

    Rows that are equal at both sides are taken as known; rows that differ follow the table's conflict policy, with
    both versions kept. Run it again whenever tables or columns were added."""
    given = settings(ctx)
    pairs = given.all_pairs()
    made = initialise(given.control, pairs, dry_run=dry_run)
    adoption = adopt(given.control, [one for one in pairs if one.control_table not in made.errors], dry_run=dry_run)
    adoption = replace(adoption, errors=(*made.errors.values(), *adoption.errors))
    # An off-line station is none of init's faults: its first pull adopts the rest.
    code = worst(e.exit_code for e in adoption.errors if not isinstance(e, StationOffline))
    if json:
        print_json(_object(made, adoption, dry_run, ok=code == 0))
    else:
        _tell(made, adoption, dry_run)
    if code:
        raise typer.Exit(code)


def _object(made: Initialised, adoption: Adoption, dry_run: bool, *, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "dry_run": dry_run,
        "tables": list(made.tables),
        "columns": list(made.columns),
        "adopted": [vars(one) for one in adoption.adopted],
        "only_at_control": adoption.only_at_control,
        **(plan_as_json([one.share for one in adoption.adopted if one.share]) if dry_run else {}),
        "errors": [{"error": error_object(error)} for error in adoption.errors],
    }


def _tell(made: Initialised, adoption: Adoption, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for name in made.tables:
        say(f"control: table {name} {would}created")
    for name in made.columns:
        say(f"control: column {name} {would}added")
    if not (made.tables or made.columns):
        say("control: all bookkeeping tables are there")
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
