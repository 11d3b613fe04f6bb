"""`pull`, `push`, `sync`: the engine's runs with the plain steps. `run`: the same as a Prefect run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typer

from cli.common import Json, Station, Table, error_lines, error_object, print_json, settings, shown, worst
from cli.prefect_api import start_deployment
from stationsync import runs
from stationsync.changes import Counts, Direction, Report, Status
from stationsync.errors import StationOffline, StationSyncError
from stationsync.pair import Pair

_RUNS: dict[Direction, Callable[[Pair, runs.Steps], Report]] = {
    Direction.UP: runs.pull,
    Direction.DOWN: runs.push_edits,
}
# Report field -> word; in the order of the line. What is zero is left out, but for the first.
_WORDS = (
    ("read", "read"),
    ("applied", "applied"),
    ("unchanged", "unchanged"),
    ("settled", "settled"),
    ("conflicts", "conflicts"),
    ("quarantined", "quarantined"),
    ("released", "released"),
    ("missing", "gone at the station"),
    ("changed", "changed meanwhile"),
)


@dataclass(frozen=True)
class Failed:
    """A run that was refused or found its station off-line. What it had committed before stays."""

    pair: Pair
    direction: Direction
    error: StationSyncError

    def as_dict(self) -> dict[str, Any]:
        status = Status.OFFLINE if isinstance(self.error, StationOffline) else Status.FAILED
        so_far = self.error.report.as_dict() if self.error.report else {}
        return {
            **so_far,
            "station": self.pair.name,
            "table": self.pair.table,
            "direction": str(self.direction),
            "status": str(status),
            "message": str(self.error),
            "error": error_object(self.error),
        }


Result = Report | Failed


def pull(ctx: typer.Context, station: Station, table: Table = None, json: Json = False) -> None:
    """Bring a station's changes up to control."""
    _drive(ctx, station, table, (Direction.UP,))


def push(ctx: typer.Context, station: Station, table: Table = None, json: Json = False) -> None:
    """Bring control's edits down to their station."""
    _drive(ctx, station, table, (Direction.DOWN,))


def sync(ctx: typer.Context, station: Station, table: Table = None, json: Json = False) -> None:
    """Pull, then push."""
    _drive(ctx, station, table, (Direction.UP, Direction.DOWN))


def run(ctx: typer.Context, station: Station, json: Json = False) -> None:
    """Start the Prefect deployment sync/STATION; a worker runs it."""
    settings(ctx).topology.station(station)
    started = start_deployment(f"sync/{station}")
    if json:
        print_json({"ok": True, "station": station, **vars(started)})
        return
    typer.echo(f"{started.deployment}: run {started.name} ({started.run_id}) is scheduled; a worker will take it.")
    if started.url:
        typer.echo(started.url)


def _drive(ctx: typer.Context, station: str, table: str | None, directions: tuple[Direction, ...]) -> None:
    as_json = settings(ctx).json
    results: list[Result] = []
    told: set[str] = set()
    for result in _results(settings(ctx).pairs(station, table), directions):
        results.append(result)
        if not as_json:
            _tell(result, told)
    code = worst(result.error.exit_code for result in results if isinstance(result, Failed))
    if as_json:
        print_json({"station": station, "ok": code == 0, "reports": [result.as_dict() for result in results]})
    if code:
        raise typer.Exit(code)


def _results(pairs: list[Pair], directions: tuple[Direction, ...]) -> Iterator[Result]:
    """One table that is refused does not stop the others; a station that does not answer is not asked again."""
    steps = runs.plain_steps()
    for pair in pairs:
        for direction in directions:
            try:
                yield _RUNS[direction](pair, steps)
            except StationSyncError as error:
                yield Failed(pair, direction, error)
                if isinstance(error, StationOffline):
                    return


def _tell(result: Result, told: set[str]) -> None:
    if isinstance(result, Report):
        typer.echo(_line(result))
        for warning in result.warnings:
            typer.echo(f"  warning: {warning}")
        return
    # Both directions of a table usually meet the same wall; it is described once.
    text = error_lines(result.error)
    what = "off-line" if isinstance(result.error, StationOffline) else "failed"
    typer.echo(f"{result.pair.place} {result.direction}: {what}", err=True)
    if text not in told:
        typer.echo(f"  {text}".replace("\n", "\n  "), err=True)
    told.add(text)


def _line(report: Report) -> str:
    parts = [f"{name} {n:,}" for field, name in _WORDS if (n := getattr(report.counts, field)) or field == "read"]
    if report.counts == Counts() or report.status is Status.UNDER_WAY:
        parts = []
    if report.up_to:
        parts.append(f"up to {shown(report.up_to)}")
    said = f" ({', '.join(parts)})" if parts else ""
    message = f" - {report.message}" if report.message else ""
    return f"{report.station}/{report.table} {report.direction}: {report.status}{said}{message}"
