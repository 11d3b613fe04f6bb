"""`reseed-control` and `trust-control`: control's table was restored, emptied or damaged, and our bookkeeping was not.
The station is right, or control is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import typer

from cli.common import Json, Station, Table, confirm, print_json, say, settings
from cli.recovery.reseed import Yes, code_of, each, lines_of
from cli.run import Result, tell
from stationsync.model.changes import Report, Status
from stationsync.pairing.pair import Pair
from stationsync.recovery import reseed_control as engine
from stationsync.recovery.parents_first import parents_first
from stationsync.sync.plan import NOTHING_CHANGED
from stationsync.topology.model import ControlDeletes

_Words = Mapping[str, tuple[str, str]]
# What becomes of a row: as it is planned, and as it was done.
_GIVEN: _Words = {
    "insert": ("missing at control, to be inserted", "inserted"),
    "rewrite": ("older at control, to be rewritten", "rewritten"),
    "newer": ("edited at control since, to be left as edits", "edited at control since, left as edits"),
}
_TRUSTED: _Words = {
    "insert": ("missing at control, to be left so", "missing at control, left so"),
    "rewrite": ("older at control, to go down", "older at control, waiting to go down"),
    "newer": ("edited at control, to go down", "edited at control, waiting to go down"),
}

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")]


def reseed_control(
    ctx: typer.Context,
    station: Annotated[list[str] | None, typer.Argument(help="Only these stations.", show_default=False)] = None,
    table: Table = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Control's table was restored, the bookkeeping was not: give control back what it had of its stations.

    Shows the plan and asks first. Rows that control lacks, or has in an older version, become what the station is known
    to have; stations are not asked, and may be off-line or paused. Rows that control edited since the restore, by
    their stamp, stay edits. What is overwritten, and what such an edit is to replace, is kept: see conflicts list."""
    given = settings(ctx)
    names = dict.fromkeys(station or given.topology.stations)
    chosen = parents_first([pair for name in names for pair in given.pairs(name, table)])
    last = "Now bring up what stations wrote since: stationsync sync STATION, then: stationsync reconcile STATION"
    ask = "Write these rows into control's tables?"
    _act(ctx, chosen, "reseed-control", _GIVEN, (engine.reseed, ask, last), dry_run=dry_run, yes=yes)


def trust_control(
    ctx: typer.Context,
    station: Station,
    table: Table = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Control's table is right as it is, though it went back: what it has of a station goes down.

    Shows the plan and asks first. Nothing is written at the station yet: rows that differ wait for the next push, as
    control's edits do. The station's versions that they are to replace are kept: see conflicts list. Rows that control
    lacks are what the next reconcile makes of control's deletes."""
    chosen = settings(ctx).pairs(station, table)
    deletes = {pair.options.control_deletes for pair in chosen}
    does = "deletes at the station" if deletes == {ControlDeletes.SEND} else "brings back"
    last = f"Now send it down: stationsync push {station}. The next reconcile {does} rows that control lacks."
    ask = f"Let these rows replace those of {station}?"
    _act(ctx, chosen, "trust-control", _TRUSTED, (engine.trust, ask, last), dry_run=dry_run, yes=yes)


def _act(
    ctx: typer.Context,
    pairs: list[Pair],
    name: str,
    words: _Words,
    doing: tuple[Callable[[Pair], Report], str, str],
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Plan, ask, do; tell everything, and end with the worst exit code."""
    work, ask, last = doing
    plans = each(pairs, engine.plan)
    as_json = settings(ctx).json
    if not as_json:
        _show(plans, name, words)
    results: list[Result] = []
    chosen = [pair for pair, found in zip(pairs, plans, strict=False) if _writes(found)]
    if chosen and not dry_run:
        if not yes:
            confirm(ask)
        results = each(chosen, work)
    code = code_of([*plans, *results])
    if as_json:
        both = {"plan": [one.as_dict() for one in plans], "reports": [one.as_dict() for one in results]}
        print_json({"ok": code == 0, **both})
    else:
        _show(results, name, words)
        say(last if results else NOTHING_CHANGED)
    if code:
        raise typer.Exit(code)


def _writes(found: Result) -> bool:
    return isinstance(found, Report) and found.status is Status.DONE


def _show(results: list[Result], name: str, words: _Words) -> None:
    told: set[str] = set()
    for result in results:
        tell(result, told, partial(_lines, name=name, words=words))


def _lines(report: Report, *, name: str, words: _Words) -> list[str]:
    details = report.details
    lines = lines_of(report, name, words)
    if details["returned"] and name == "reseed-control":
        lines.append(f"  deleted before, and back: {details['returned']:,}; the next reconcile deletes them again")
    if details["kept"]:
        kept = "to be kept as conflicts" if details["dry_run"] else "kept: stationsync conflicts list"
        lines.append(f"  superseded versions, {kept}: {details['kept']:,}")
    if details["refused"]:
        refused = f"{details['refused']:,}; see: stationsync quarantine list {report.station}"
        lines.append(f"  refused by control, kept: {refused}")
    return lines
