"""`pull`, `push`, `sync`: the engine's runs with the plain steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from cli.common import DryRun, Json, Station, Table, error_lines, error_object, print_json, say, settings, shown, worst
from stationsync.errors import StationOffline, StationPaused, StationSyncError, guarded
from stationsync.model.changes import Counts, Direction, Report, Status
from stationsync.model.details import plan_of
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.pairing.pair import Pair
from stationsync.sync import runs
from stationsync.sync.rehearse import Rehearsal
from stationsync.sync.tables import run_tables

Runs = Mapping[Direction, Callable[[Pair, runs.Steps], Report]]
_PULL: Runs = {Direction.UP: runs.pull}
_PUSH: Runs = {Direction.DOWN: runs.push_edits}


# Report field -> word; in the order of the line. What is zero is left out, but for the first.
@dataclass(frozen=True)
class Failed:
    """A run that was refused or found its station off-line. What it had committed before stays."""

    pair: Pair
    direction: Direction
    error: StationSyncError

    @property
    def status(self) -> Status:
        if isinstance(self.error, StationPaused):
            return Status.PAUSED
        return Status.OFFLINE if isinstance(self.error, StationOffline) else Status.FAILED

    def as_dict(self) -> dict[str, Any]:
        so_far = self.error.report.as_dict() if self.error.report else {}
        return {
            **so_far,
            "station": self.pair.name,
            "table": self.pair.table,
            "direction": str(self.direction),
            "status": str(self.status),
            "message": str(self.error),
            "error": error_object(self.error),
        }


Result = Report | Failed


def pull(
    ctx: typer.Context, station: Station, table: Table = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Bring a station's changes up to control."""
    _pull_and_push(ctx, station, table, _PULL, dry_run)


def push(
    ctx: typer.Context, station: Station, table: Table = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Bring control's edits down to their station."""
    _pull_and_push(ctx, station, table, _PUSH, dry_run)


def sync(
    ctx: typer.Context, station: Station, table: Table = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Pull, then push."""
    _pull_and_push(ctx, station, table, {**_PULL, **_PUSH}, dry_run)


def _pull_and_push(ctx: typer.Context, station: str, table: str | None, kinds: Runs, dry_run: bool) -> None:
    if not dry_run:
        drive(ctx, station, table, kinds, waiting=Direction.UP in kinds)
        return
    rehearsal = Rehearsal()
    dry: Runs = {Direction.UP: rehearsal.pull, Direction.DOWN: rehearsal.push}
    drive(ctx, station, table, {direction: dry[direction] for direction in kinds}, last=NOTHING_CHANGED)


def drive(
    ctx: typer.Context,
    station: str,
    table: str | None,
    kinds: Runs,
    *,
    lines: Callable[[Report], list[str]] | None = None,
    last: str = "",
    waiting: bool = False,
) -> None:
    """Run every table of the station, tell each result as `lines` puts it, and end with the worst exit code. Behind the
    last one, rows that are `waiting` for rows of other tables are tried again."""
    as_json = settings(ctx).json
    results: list[Result] = []
    told: set[str] = set()
    pairs = settings(ctx).pairs(station, table)
    for result in run_tables(pairs, kinds, runs.plain_steps, waiting=waiting, failed=Failed):
        results.append(result)
        if not as_json:
            tell(result, told, lines or _lines)
    code = worst(result.error.exit_code for result in results if isinstance(result, Failed))
    if as_json:
        print_json({"station": station, "ok": code == 0, "reports": [result.as_dict() for result in results]})
    elif last:
        say(last)
    if code:
        raise typer.Exit(code)


def tried(pair: Pair, direction: Direction, work: Callable[[Pair], Report]) -> Result:
    """What came of it; no exception ends more than its own station and table."""
    try:
        with guarded(pair.place):
            return work(pair)
    except StationSyncError as error:
        return Failed(pair, direction, error)


def tell(result: Result, told: set[str], lines: Callable[[Report], list[str]]) -> None:
    if isinstance(result, Report):
        for line in lines(result):
            say(line)
        for warning in result.warnings:
            say(f"  warning: {warning}")
        return
    # Both directions of a table usually meet the same wall; it is described once.
    lines_of_it = error_lines(result.error)
    text = "\n".join(lines_of_it)
    what = {Status.OFFLINE: "off-line"}.get(result.status, str(result.status))
    say(f"{result.pair.place} {result.direction}: {what}", err=True)
    if text not in told:
        say(*(f"  {line}" for line in lines_of_it), err=True)
    told.add(text)


def _lines(report: Report) -> list[str]:
    if shares := plan_of(report.details):
        return [line for share in shares for line in share.lines()]
    parts = report.counts.in_words()
    if report.counts == Counts() or report.status is Status.UNDER_WAY:
        parts = []
    if report.up_to:
        parts.append(f"up to {shown(report.up_to)}")
    said = f" ({', '.join(parts)})" if parts else ""
    message = f" - {report.message}" if report.message else ""
    return [f"{report.station}/{report.table} {report.direction}: {report.status}{said}{message}"]
