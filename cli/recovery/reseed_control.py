"""`reseed-control` and `trust-control`: control's table was lost, restored, emptied or damaged, and our bookkeeping was
not. The station is right, or control is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

import typer

from cli.common import Json, Station, Table, confirm, print_json, say, settings
from cli.journal.options import Run, Since, Until, wanted_of
from cli.recovery.reseed import Yes, code_of, each, lines_of
from cli.run import Result, tell
from stationsync.errors import UsageError
from stationsync.model.changes import Report, Status
from stationsync.model.details import ReseedControlDetails
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.pairing.pair import Pair
from stationsync.recovery import reseed_control as engine
from stationsync.recovery.parents_first import parents_first
from stationsync.topology.model import ControlDeletes

_Words = Mapping[str, tuple[str, str]]
_Work = Callable[[Pair], Report]
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

Stations = Annotated[list[str] | None, typer.Argument(help="Only these stations.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")]
Missing = Annotated[bool, typer.Option("--missing", help="Only rows that control lacks; nothing is overwritten.")]


def reseed_control(
    ctx: typer.Context,
    station: Stations = None,
    table: Table = None,
    missing: Missing = False,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Control's table was lost or restored, the bookkeeping was not: give control back what it had of its stations.

    Shows the plan and asks first. Rows that control lacks, or has in an older version, become what the station is known
    to have, by the bookkeeping, and by the journal where that knows more; stations are not asked, and may be off-line
    or paused. Rows that control edited since the restore, by their stamp, stay edits. What is overwritten, and what
    such an edit is to replace, is kept: see conflicts list. A range of the journal (--run, --since, --until) says which
    rows; each gets the last that is known of it."""
    pairs = parents_first(_pairs(ctx, station or [], table))
    asked = engine.JournalSelection(wanted_of(ctx, None, None, run, since, until), missing)
    last = "Now bring up what stations wrote since: stationsync sync STATION, then: stationsync reconcile STATION"
    plan, give = (partial(work, asked=asked) for work in (engine.plan, engine.reseed))
    ask = "Write {rows:,} rows into {tables} tables of control?"
    _act(ctx, pairs, "reseed-control", _GIVEN, (plan, give), (ask, last), dry_run=dry_run, yes=yes)


def replay(
    ctx: typer.Context,
    station: Stations = None,
    table: Table = None,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """The same as: stationsync reseed-control --missing."""
    reseed_control(ctx, station, table, True, run, since, until, dry_run, yes, json)


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
    ask, works = f"Let these rows replace those of {station}?", (engine.plan_trust, engine.trust)
    _act(ctx, chosen, "trust-control", _TRUSTED, works, (ask, last), dry_run=dry_run, yes=yes)


def _pairs(ctx: typer.Context, stations: Sequence[str], table: str | None) -> list[Pair]:
    given = settings(ctx)
    if stations:
        return [pair for name in dict.fromkeys(stations) for pair in given.pairs(name, table)]
    found = [pair for pair in given.all_pairs() if table in (None, pair.table)]
    if not found:
        step = "See the names in deployments/stations.yaml."
        raise UsageError("--table", f"no station has a table {table}.", not_done="Nothing was done.", next_step=step)
    return found


def _act(
    ctx: typer.Context,
    pairs: list[Pair],
    name: str,
    words: _Words,
    works: tuple[_Work, _Work],
    says: tuple[str, str],
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Plan, ask, do (`works`: both; `says`: the question and the last line); tell everything, and end with the worst
    exit code."""
    plans = each(pairs, works[0])
    as_json = settings(ctx).json
    if not as_json:
        _show(plans, name, words)
    results: list[Result] = []
    chosen = [(pair, found) for pair, found in zip(pairs, plans, strict=False) if _writes(found)]
    if chosen and not dry_run:
        if not yes:
            rows = sum(_details(found).rows for _, found in chosen if isinstance(found, Report))
            confirm(says[0].format(rows=rows, tables=len(chosen)))
        results = each([pair for pair, _ in chosen], works[1])
    code = code_of([*plans, *results])
    if as_json:
        both = {"plan": [one.as_dict() for one in plans], "reports": [one.as_dict() for one in results]}
        print_json({"ok": code == 0, "dry_run": dry_run, **both})
    else:
        _show(results, name, words)
        say(says[1] if results else NOTHING_CHANGED)
    if code:
        raise typer.Exit(code)


def _writes(found: Result) -> bool:
    return isinstance(found, Report) and found.status is Status.DONE


def _show(results: list[Result], name: str, words: _Words) -> None:
    told: set[str] = set()
    for result in results:
        tell(result, told, partial(_lines, name=name, words=words))


def _details(report: Report) -> ReseedControlDetails:
    assert isinstance(report.details, ReseedControlDetails)
    return report.details


def _lines(report: Report, *, name: str, words: _Words) -> list[str]:
    details = _details(report)
    lines = lines_of(report, details, name, words)
    if details.of_journal:
        lines.append(f"  of these from the journal: {details.of_journal:,}, from the bookkeeping: {details.of_base:,}")
    if details.edits:
        lines.append(f"  {details.edits:,} of them with an edit of control's that had not gone down")
    if details.returned:
        lines.append(f"  deleted before, and back: {details.returned:,}; the next reconcile deletes them again")
    for one in details.left:
        more = f" and {one.rows - len(one.keys):,} more" if one.rows > len(one.keys) else ""
        lines.append(f"  left alone, {one.rows:,}: {one.why}: {', '.join(one.keys)}{more}")
    if details.kept:
        kept = "to be kept as conflicts" if details.dry_run else "kept: stationsync conflicts list"
        lines.append(f"  superseded versions, {kept}: {details.kept:,}")
    if details.refused:
        refused = f"{details.refused:,}; see: stationsync quarantine list {report.station}"
        lines.append(f"  refused by control, kept: {refused}")
    if unnamed := details.journal.unnamed:
        lines.append(f"  {unnamed:,} files of the journal that control's books do not name were read too")
    return lines
