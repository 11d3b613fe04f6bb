"""`backfill`: a range of a station's rows read again and merged, in between live runs."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from cli.common import DryRun, Json, Limit, MaybeStation, Table, print_entries, print_json, say, settings
from cli.recovery.backfill_bar import following
from cli.run import drive
from stationsync.errors import UsageError
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.details import BackfillDetails, plan_of
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.recovery import backfill as engine
from stationsync.recovery import backfill_books
from stationsync.recovery.backfill_books import BackfillEntry
from stationsync.recovery.backfill_range import asked, moment_from

_HEADERS = ("id", "station", "table", "range", "state", "rows", "of", "began", "last moved", "why it stopped")


def backfill(
    ctx: typer.Context,
    station: MaybeStation = None,
    table: Table = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Rows modified from here on: ISO text, on the station's own clock."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="MOMENT", help="Rows modified before this.")] = None,
    all: Annotated[bool, typer.Option("--all", help="All rows, those without a date too.")] = False,
    from_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help='From this key on: a value, or a JSON list such as [1000, "A"].'),
    ] = None,
    to_key: Annotated[str | None, typer.Option(metavar="KEY", help="Up to and with this key.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="ROWS", help="Rows a second, at most.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the beginning, though one of this range was cut off.")
    ] = False,
    dry_run: DryRun = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Show the backfills that were cut off or are under way; with --all, all.")
    ] = False,
    drop: Annotated[
        int | None, typer.Option(metavar="ID", help="Give up one that was cut off, as --list numbers them.")
    ] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """Read a range of a station's rows again and merge it, in between live runs.

    Asked for the same range again, it goes on where it stopped. Moves no watermark; turns no row back."""
    if drop is not None:
        _drop(ctx, drop)
        return
    if list_:
        _list(ctx, station, table, everything=all, limit=limit or None)
        return
    if station is None or (table is None and (from_key or to_key)):
        what = "name a station" if station is None else "a range of keys is of one table: name it with --table"
        step = "stationsync backfill STATION --table TABLE --since 2024-05-01"
        raise UsageError("backfill", what, not_done="Nothing was done.", next_step=f"For example: {step}")
    begin, end = moment_from(since, "--since"), moment_from(until, "--until")
    range_ = asked(since=begin, until=end, from_key=from_key, to_key=to_key, everything=all)
    wanted = engine.BackfillOrder(range_, rate, dry_run, restart)
    with following() as told:
        run = partial(engine.backfill, wanted=wanted, told=told)
        drive(ctx, station, table, {Direction.UP: run}, lines=_lines, last=NOTHING_CHANGED if dry_run else "")
    del json  # read by `drive`


def _lines(report: Report) -> list[str]:
    if shares := plan_of(report.details):
        return [line for share in shares for line in share.lines()]
    begin = f"{report.station}/{report.table} backfill: {report.status}"
    if report.status is Status.UNDER_WAY:
        return [f"{begin} - {report.message}"]
    details = report.details if isinstance(report.details, BackfillDetails) else None
    of = f" of {details.asked}" if details else ""
    lines = [f"{begin}{of} ({', '.join(report.counts.in_words())})"]
    if details and details.resumed:
        lines.append(f"  taken up where it had stopped; {details.rows:,} rows in all its runs")
    return lines


def _list(ctx: typer.Context, station: str | None, table: str | None, *, everything: bool, limit: int | None) -> None:
    given = settings(ctx)
    given.require_names(station, table)
    found, total = backfill_books.find(given.control, station, table, closed=everything, limit=limit)
    if given.json:
        print_json({"ok": True, "total": total, "backfills": [_object(entry) for entry in found]})
        return
    print_entries(_HEADERS, [_line(entry) for entry in found], total, "No backfill is open.")


def _drop(ctx: typer.Context, number: int) -> None:
    given = settings(ctx)
    entry = backfill_books.give_up(given.control, number)
    if given.json:
        print_json({"ok": True, "dropped": entry.id})
    else:
        say(f"{entry.station}/{entry.table} backfill of {entry.asked}: given up after {entry.rows:,} rows")


def _object(entry: BackfillEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "station": entry.station,
        "table": entry.table,
        "asked": str(entry.asked),
        "state": entry.state,
        "rows": entry.rows,
        "expected": entry.expected,
        "counts": dict(entry.counts),
        "begun_at": entry.begun_at,
        "moved_at": entry.moved_at,
        "message": entry.message,
    }


def _line(entry: BackfillEntry) -> tuple[object, ...]:
    expected = "many" if entry.expected is None else f"{entry.expected:,}"
    return (
        entry.id, entry.station, entry.table, entry.asked, entry.state, f"{entry.rows:,}", expected, entry.begun_at,
        entry.moved_at, entry.message,
    )  # fmt: skip
