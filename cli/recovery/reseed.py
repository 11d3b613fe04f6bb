"""`reseed` and `trust`: a station that was restored or emptied. Control is right, or the station is."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from cli.common import Json, Station, Table, confirm, print_json, say, settings, worst
from cli.run import Failed, Result, tell, tried
from stationsync.errors import StationOffline, StationSyncError
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.details import ReseedControlDetails, ReseedDetails
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.pairing.pair import Pair
from stationsync.recovery import reseed as engine

# What becomes of a row: as it is planned, and as it was done.
_FATES = {
    "insert": ("missing at the station, to be inserted", "inserted"),
    "rewrite": ("older or different at the station, to be rewritten", "rewritten"),
    "equal": ("equal already", "equal already"),
    "newer": ("written at the station since, left alone", "written at the station since, left alone"),
    "vanished": ("gone at control, left alone", "gone at control, left alone"),
}

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def reseed(
    ctx: typer.Context,
    station: Station,
    table: Table = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Control is right: write its rows back into a station's empty or old tables.

    Shows the plan and asks first. Rows that the station wrote since it was restored are left alone, and travel up with
    the next pull. A version of the station that is overwritten and that nobody else has is kept: see conflicts list."""
    pairs = settings(ctx).pairs(station, table)
    plans = each(pairs, engine.plan)
    if dry_run:
        _end(ctx, station, plans, [], NOTHING_CHANGED)
        return
    if not json:
        _show(plans)
    chosen = [pair for pair, result in zip(pairs, plans, strict=False) if isinstance(result, Report)]
    rights = each(chosen, _rights)
    if any(isinstance(result, Failed) for result in rights):
        _end(ctx, station, plans, rights, NOTHING_CHANGED, shown=True)
        return
    # Where nothing is to be written at the station, only our books are brought up to date.
    writes = any(isinstance(result, Report) and result.status is Status.DONE for result in plans)
    if writes and not yes:
        confirm(f"Write these rows into the tables of {station}?")
    done = engine.reseed(chosen)
    results = [_result(pair, done[pair.table]) for pair in chosen if pair.table in done]
    last = "" if not results else f"Now bring up what {station} wrote since: stationsync sync {station}"
    _end(ctx, station, plans, results, last, shown=True)


def trust(ctx: typer.Context, station: Station, table: Table = None, yes: Yes = False, json: Json = False) -> None:
    """The station is right: take its tables as they are now.

    Nothing is written at the station. The next pull reads all its rows again and decides them as usual: older rows
    replace control's, conflicts are decided by the table's policy and kept. Rows that are missing at the station stay
    at control, until a reconcile carries deletes over."""
    pairs = settings(ctx).pairs(station, table)
    if not yes:
        tables = ", ".join(pair.table for pair in pairs)
        what = f"Take {tables} of {station} as it is now? Its older rows will replace control's."
        confirm(what)
    results = each(pairs, engine.trust)
    code = code_of(results)
    if json:
        print_json({"station": station, "ok": code == 0, "reports": [result.as_dict() for result in results]})
    else:
        for result in results:
            if isinstance(result, Failed):
                tell(result, set(), _lines)
            else:
                say(f"{result.station}/{result.table}: trusted as it is; the next pull reads everything")
    if code:
        raise typer.Exit(code)


def each(pairs: list[Pair], work: Callable[[Pair], Report]) -> list[Result]:
    """One table that is refused does not stop the others; a station that does not answer is not asked again."""
    results: list[Result] = []
    for pair in pairs:
        results.append(result := tried(pair, Direction.DOWN, work))
        if isinstance(result, Failed) and isinstance(result.error, StationOffline):
            break
    return results


def _rights(pair: Pair) -> Report:
    engine.require_rights(pair)
    return Report(pair.name, pair.table, Direction.DOWN, Status.DONE)


def _result(pair: Pair, result: Report | StationSyncError) -> Result:
    return result if isinstance(result, Report) else Failed(pair, Direction.DOWN, result)


def code_of(results: list[Result]) -> int:
    return worst(result.error.exit_code for result in results if isinstance(result, Failed))


def _end(
    ctx: typer.Context, station: str, plans: list[Result], results: list[Result], last: str, *, shown: bool = False
) -> None:
    """Tell everything that was not shown yet, and end with the worst exit code."""
    code = code_of([*plans, *results])
    if settings(ctx).json:
        both = {"plan": [plan.as_dict() for plan in plans], "reports": [result.as_dict() for result in results]}
        print_json({"station": station, "ok": code == 0, **both})
    else:
        # A station that answered, and may be written to, has nothing more to tell about its rights.
        _show([result for result in results if isinstance(result, Failed) or result.details] if shown else plans)
        if last:
            say(last)
    if code:
        raise typer.Exit(code)


def _show(results: list[Result]) -> None:
    told: set[str] = set()
    for result in results:
        tell(result, told, _lines)


def _lines(report: Report) -> list[str]:
    details = report.details
    assert isinstance(details, ReseedDetails)
    lines = lines_of(report, details, "reseed", _FATES)
    if details.kept:
        kept = "to be kept as conflicts" if details.dry_run else "kept: stationsync conflicts list"
        lines.append(f"  superseded versions of the station, {kept}: {details.kept:,}")
    if details.refused:
        lines.append(f"  refused by the station, kept: {details.refused:,}; see: stationsync quarantine list")
    return lines


def lines_of(
    report: Report, details: ReseedDetails | ReseedControlDetails, what: str, fates: Mapping[str, tuple[str, str]]
) -> list[str]:
    """What becomes of the rows; `fates`: in words, as planned and as done."""
    planned = details.dry_run
    does = "to be done" if planned and report.status is Status.DONE else report.status
    lines = [f"{report.station}/{report.table} {what}{' plan' if planned else ''}: {does}"]
    for fate, words in fates.items():
        if n := details.found[fate]:
            samples = details.samples.get(fate, ()) if fate != "equal" else ()
            keys = ", ".join(json_module.dumps(key, ensure_ascii=False) for key in samples)
            lines.append(
                f"  {words[0 if planned else 1]}: {n:,}" + (f" ({keys}{', …' if n > 10 else ''})" if keys else "")
            )
    return lines
