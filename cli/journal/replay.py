"""`journal replay`: control's table gets the rows back that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from cli.common import DryRun, Json, Table, confirm, print_json, say, settings, worst
from cli.journal.options import Run, Since, Until, wanted_of
from cli.run import Failed, Result, tell, tried
from stationsync.errors import UsageError
from stationsync.journal.read import Wanted
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.pair import Pair
from stationsync.recovery import replay as engine
from stationsync.recovery.parents_first import parents_first
from stationsync.sync.plan import NOTHING_CHANGED, planned


def replay(
    ctx: typer.Context,
    station: Annotated[list[str] | None, typer.Argument(help="Only these stations.", show_default=False)] = None,
    table: Table = None,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Bring back the rows that control has lost, from the journal and the bookkeeping.

    Shows the plan and asks first. Only rows that control lacks are inserted; nothing is overwritten or deleted. A range
    says which rows; each gets the last that is known of it. Without one, all rows that are known come back. Stations
    are not asked: afterwards, sync and reconcile them."""
    pairs = parents_first(_pairs(ctx, station or [], table))
    wanted = wanted_of(ctx, None, None, run, since, until)
    plans = _each(pairs, wanted, dry_run=True)
    if not json:
        _show(plans)
    ready = [pair for pair, plan in zip(pairs, plans, strict=True) if _has_work(plan)]
    rows = sum(plan.details["rows"] for plan in plans if isinstance(plan, Report))
    done: list[Result] = []
    if not dry_run and ready:
        if not yes:
            confirm(f"Insert {rows:,} rows into {len(ready)} tables of control?")
        done = _each(ready, wanted, dry_run=False)
        if not json:
            _show(done)
    _end(plans, done, as_json=json, dry_run=dry_run)


def _pairs(ctx: typer.Context, stations: Sequence[str], table: str | None) -> list[Pair]:
    given = settings(ctx)
    if stations:
        return [pair for name in dict.fromkeys(stations) for pair in given.pairs(name, table)]
    found = [pair for pair in given.all_pairs() if table in (None, pair.table)]
    if not found:
        step = "See the names in deployments/stations.yaml."
        raise UsageError("--table", f"no station has a table {table}.", not_done="Nothing was done.", next_step=step)
    return found


def _has_work(plan: Result) -> bool:
    return isinstance(plan, Report) and plan.status is Status.DONE


def _each(pairs: Sequence[Pair], wanted: Wanted, *, dry_run: bool) -> list[Result]:
    """A table that is refused stops none of the others."""
    bring_back = partial(engine.replay, wanted=wanted, dry_run=dry_run)
    return [tried(pair, Direction.UP, bring_back) for pair in pairs]


def _end(plans: Sequence[Result], done: Sequence[Result], *, as_json: bool, dry_run: bool) -> None:
    code = worst(one.error.exit_code for one in [*plans, *done] if isinstance(one, Failed))
    if as_json:
        shown = {"plan": [one.as_dict() for one in plans], "reports": [one.as_dict() for one in done]}
        print_json({"ok": code == 0, "dry_run": dry_run, **shown})
    elif not done:
        say(NOTHING_CHANGED)
    elif code == 0:
        stations = dict.fromkeys(one.station for one in done if isinstance(one, Report))
        first = next(iter(stations))
        each = ", and so each station" if len(stations) > 1 else ""
        say(f"Now: stationsync sync {first}, stationsync reconcile {first}{each}.")
    if code:
        raise typer.Exit(code)


def _show(results: Sequence[Result]) -> None:
    told: set[str] = set()
    for result in results:
        tell(result, told, _lines)


def _lines(report: Report) -> list[str]:
    found = report.details
    if found["dry_run"]:
        lines = [line for share in planned(found) for line in share.lines()]
        lines = lines or [f"{report.station}/{report.table}: nothing to do"]
    else:
        refused = f", {report.counts.quarantined:,} in quarantine" if report.counts.quarantined else ""
        back = f"{report.counts.applied:,} rows brought back{refused}"
        lines = [f"{report.station}/{report.table}: {back}; run {report.run}"]
    if found["edits"]:
        lines.append(f"  {found['edits']:,} of them with an edit of control's that had not gone down")
    for one in found["left"]:
        more = f" and {one['rows'] - len(one['keys']):,} more" if one["rows"] > len(one["keys"]) else ""
        lines.append(f"  left alone, {one['rows']:,}: {one['why']}: {', '.join(one['keys'])}{more}")
    if unnamed := found["journal"]["unnamed"]:
        lines.append(f"  {unnamed:,} files of the journal that control's books do not name were read too")
    return lines
