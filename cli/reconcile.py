"""`reconcile`: a station, the base and control compared whole; what differs is repaired, and equality proved."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from typing import Annotated

import typer

from cli.common import DryRun, Json, Station, Table, shown
from cli.run import drive
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.details import ReconcileDetails
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.pairing.pair import Pair
from stationsync.reconcile.compare import KINDS
from stationsync.reconcile.proof import found_in_words, proved_in_words
from stationsync.reconcile.reconcile import reconcile as reconcile_pair
from stationsync.sync import runs


def reconcile(
    ctx: typer.Context,
    station: Station,
    table: Table = None,
    dry_run: DryRun = False,
    allow_deletes: Annotated[
        bool, typer.Option("--allow-deletes", help="Carry over, once, the deletes that were refused before.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare whole tables, repair what differs, and prove that both sides are equal.

    Finds what no watermark can: deletes, late rows, edits that did not touch the modified column."""

    def run(pair: Pair, steps: runs.Steps) -> Report:
        return reconcile_pair(pair, steps, dry_run=dry_run, allow_deletes=allow_deletes)

    kinds: dict[Direction, Callable[[Pair, runs.Steps], Report]] = {Direction.BOTH: run}
    last = NOTHING_CHANGED if dry_run else ""
    drive(ctx, station, table, kinds, lines=_lines, last=last, waiting=not dry_run)
    del json  # read by `drive`


def _lines(report: Report) -> list[str]:
    details = report.details
    lines = [f"{report.station}/{report.table} reconcile: {report.status}"]
    if report.status is Status.UNDER_WAY or not isinstance(details, ReconcileDetails):
        return [f"{lines[0]} - {report.message}"]
    lines[0] += f" ({found_in_words(details)})"
    for kind, keys in details.samples.items():
        named = ", ".join(json_module.dumps(key, ensure_ascii=False) for key in keys)
        more = details.found[kind] - len(keys)
        lines.append(f"  {KINDS[kind]}: {named}" + (f" and {more:,} more" if more else ""))
    lines += [line for share in details.plan for line in share.lines()]
    if done := report.counts.in_words()[1:]:
        lines.append(f"  repaired: {', '.join(done)}")
    if proved := proved_in_words(shown(report.up_to), details):
        lines.append(f"  {proved}")
    return lines
