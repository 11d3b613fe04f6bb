"""`revert`: takes back what runs changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import typer

from cli.common import DryRun, Json, Settings, Table, confirm, print_json, say, settings, worst
from cli.journal.options import moment
from cli.run import Failed, Result, tell, tried
from stationsync.errors import UsageError
from stationsync.journal.read import JournalChunk, JournalQuery
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.details import RevertDetails, plan_of
from stationsync.model.plan import NOTHING_CHANGED, Share
from stationsync.pairing.pair import Pair
from stationsync.recovery import revert as engine
from stationsync.recovery import revert as revert_choice
from stationsync.sync import runs

_NAMED = 20


def revert(
    ctx: typer.Context,
    run: Annotated[
        list[str] | None,
        typer.Argument(help="Runs by their ids in the journal, or Prefect flow runs; the beginning of an id will do."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Instead of runs: all that changed from here on; 2026-11-23T10:00 (UTC), or 2h ago."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="With --since: only what changed before this.")] = None,
    direction: Annotated[
        Direction | None, typer.Option(help="With --since: down for what stations got, up for what control got.")
    ] = None,
    station: Annotated[str | None, typer.Option(help="Only this station's rows.", show_default=False)] = None,
    table: Table = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Take back what runs changed, at both sides, from the rows that the journal kept.

    Shows the plan and asks first. Only rows that nobody has changed since are taken back; the others are left alone,
    and named. A revert is a run too, and can be taken back."""
    given = settings(ctx)
    given.require_names(station, table)
    chunks, named = _chosen(given, run or [], since, until, direction)
    pairs = _pairs(given, chunks, station, table)
    take_back = partial(engine.revert, steps=runs.plain_steps(), chunks=chunks, named=named)
    plans = _each(pairs, partial(take_back, dry_run=True))
    if not json:
        _show(plans)
    rows = sum(share.updates for one in plans if isinstance(one, Report) for share in _of_control(one))
    done: list[Result] = []
    if not dry_run and rows:
        if not yes:
            confirm(f"Take back {rows:,} rows of {len(pairs)} tables?")
        ready = [pair for pair, plan in zip(pairs, plans, strict=True) if isinstance(plan, Report)]
        done = _each(ready, take_back)
        if not json:
            _show(done)
    code = worst(one.error.exit_code for one in [*plans, *done] if isinstance(one, Failed))
    if json:
        shown = {"plan": [one.as_dict() for one in plans], "reports": [one.as_dict() for one in done]}
        print_json({"ok": code == 0, "dry_run": dry_run, **shown})
    elif dry_run or not rows:
        say(NOTHING_CHANGED)
    if code:
        raise typer.Exit(code)


def _chosen(
    given: Settings, run: Sequence[str], since: str | None, until: str | None, direction: Direction | None
) -> tuple[list[JournalChunk], str]:
    """The chunks, and how they are named in the journal."""
    if bool(run) == bool(since) or (run and (until or direction)):
        what = "name the runs to take back, or the time, and not both."
        step = "For example: stationsync revert 3e078b54, or: stationsync revert --since 1h --direction down"
        raise UsageError("revert", what, not_done="Nothing was changed.", next_step=step)
    if run:
        return revert_choice.of_runs(given.control, run), f"run {', '.join(run)}"
    wanted = JournalQuery(since=moment(since, "--since"), until=moment(until, "--until"))
    named = f"what changed since {wanted.since:%Y-%m-%d %H:%M:%S}"
    if wanted.until:
        named += f" and before {wanted.until:%Y-%m-%d %H:%M:%S}"
    way = None if direction is Direction.BOTH else direction
    return revert_choice.within(given.control, wanted, way), named


def _pairs(given: Settings, chunks: Sequence[JournalChunk], station: str | None, table: str | None) -> list[Pair]:
    found = dict.fromkeys((entry.station, entry.table) for entry in chunks)
    for gone in sorted({name for name, _ in found} - given.topology.stations.keys()):
        say(f"{gone}: left alone, it is not in the topology any more", err=True)
    return [
        pair
        for name, of in found
        if station in (None, name) and table in (None, of) and name in given.topology.stations
        for pair in given.pairs(name, of)
    ]


def _each(pairs: list[Pair], take_back: Callable[[Pair], Report]) -> list[Result]:
    """A station that is off-line stops none of the others."""
    return [tried(pair, Direction.BOTH, take_back) for pair in pairs]


def _of_control(report: Report) -> list[Share]:
    return [share for share in plan_of(report.details) if share.at == "control"]


def _show(results: list[Result]) -> None:
    told: set[str] = set()
    for result in results:
        tell(result, told, _lines)


def _lines(report: Report) -> list[str]:
    if report.status is Status.UNDER_WAY:
        return [f"{report.station}/{report.table} revert: {report.message}"]
    details = report.details
    if not isinstance(details, RevertDetails):
        return [f"{report.station}/{report.table} revert: {report.status} - {report.message}"]
    if details.dry_run:
        lines = [line for share in details.plan for line in share.lines()]
        lines = lines or [f"{report.station}/{report.table}: nothing to take back"]
    else:
        sent = f", {details.sent:,} of them sent to the station" if details.sent is not None else ""
        lines = [f"{report.station}/{report.table}: {report.counts.applied:,} rows taken back{sent}; run {report.run}"]
    for one in details.left:
        keys = ", ".join(one.keys[:_NAMED]) + (", … (all with --json)" if one.rows > _NAMED else "")
        lines.append(f"  left alone, {one.rows:,}: {one.why}: {keys}")
    return lines
