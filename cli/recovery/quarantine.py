"""`quarantine`: rows that could not be applied, and what a person does about them."""

from __future__ import annotations

import dataclasses
import json as json_module
from typing import Annotated, Any

import typer

from cli.common import (
    Json,
    Limit,
    MaybeStation,
    Table,
    confirm,
    error_object,
    print_entries,
    print_error,
    print_json,
    print_table,
    say,
    settings,
    worst,
)
from cli.journal.options import Since
from cli.recovery.choice import Ids, ListStation, OfStation, OpenOnly, one_station, since_of
from stationsync.errors import UsageError
from stationsync.keeping.books import RELEASED
from stationsync.recovery import quarantine
from stationsync.recovery.quarantine import QuarantineEntry
from stationsync.store import kept

app = typer.Typer(no_args_is_help=True, help="Rows that could not be applied: list, show, retry, discard.")


@app.command("list")
def list_(
    ctx: typer.Context,
    station: MaybeStation = None,
    of_station: ListStation = None,
    table: Table = None,
    since: Since = None,
    open_only: OpenOnly = True,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What is in quarantine, and why; with --all, behind it what was released or discarded."""
    name, control = one_station(ctx, station, of_station, table), settings(ctx).control
    found, total = quarantine.find(
        control, name, table, closed=not open_only, since=since_of(since), limit=limit or None
    )
    if json:
        print_json({"ok": True, "total": total, "entries": [_object(entry) for entry in found]})
        return
    headers = ("id", "station", "table", "way", "key", "state", "since", "last", "reason")
    print_entries(headers, [_line(entry) for entry in found], total, "Nothing is in quarantine.")


@app.command()
def show(ctx: typer.Context, id: Annotated[int, typer.Argument()], json: Json = False) -> None:
    """One entry with the row itself."""
    (entry,) = quarantine.by_ids(settings(ctx).control, [id])
    if json:
        print_json({"ok": True, "entry": _object(entry) | {"row": entry.row}})
        return
    way = "from the station up" if entry.direction == "up" else "from control down"
    say(f"{entry.station}/{entry.table} {entry.key_text}, {way}: {entry.state}, {entry.times} times")
    for reason in entry.reasons:
        say(f"  {reason}")
    print_table(("column", "value"), ((name, kept.brief(value)) for name, value in entry.row.items()))


@app.command()
def retry(
    ctx: typer.Context,
    ids: Ids = None,
    station: OfStation = None,
    table: Table = None,
    since: Since = None,
    all: Annotated[bool, typer.Option("--all", help="All open entries.")] = False,
    json: Json = False,
) -> None:
    """Try entries again, after the row, the rule or the table was mended."""
    given = settings(ctx)
    entries = _chosen(ctx, "retry", ids, station, table, since, everything=all)
    stations = given.topology.stations
    retried = quarantine.retry(
        given.control,
        lambda name, of: given.pairs(name, of)[0],
        entries,
        known=lambda of: next((name for name, station in stations.items() if of in station.tables), None),
        stations=stations.keys(),
    )
    code = worst(error.exit_code for error in retried.errors)
    if json:
        states = [{"id": number, "state": state} for number, state in retried.states.items()]
        errors = [{"error": error_object(error)} for error in retried.errors]
        print_json({"ok": code == 0, "entries": states, "errors": errors})
    else:
        released = sum(state == RELEASED for state in retried.states.values())
        say(f"{released:,} of {len(entries):,} released")
        for number, state in retried.states.items():
            if state != RELEASED:
                say(f"{number}: still {state}; see: stationsync quarantine show {number}")
        for error in retried.errors:
            print_error(error)
    if code:
        raise typer.Exit(code)


@app.command()
def discard(
    ctx: typer.Context,
    ids: Ids = None,
    station: OfStation = None,
    table: Table = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Give these versions up: they are kept as discarded, and not reported again. By number, or all open entries of a
    station, or since a moment."""
    control = settings(ctx).control
    entries = _chosen(ctx, "discard", ids, station, table, since)
    if entries and not yes:
        confirm(f"Discard {len(entries)} of the quarantine's entries?")
    discarded = quarantine.discard(control, [entry.id for entry in entries])
    if json:
        print_json({"ok": True, "discarded": discarded})
    else:
        say(f"{discarded} discarded")


def _chosen(
    ctx: typer.Context,
    verb: str,
    ids: list[int] | None,
    station: str | None,
    table: str | None,
    since: str | None,
    *,
    everything: bool = False,
) -> list[QuarantineEntry]:
    """By number, or all open ones of a station, since a moment, or all: never all by mistake."""
    given = settings(ctx)
    by_filter = station is not None or since is not None
    if sum((bool(ids), by_filter, everything)) != 1 or (table is not None and not by_filter):
        more = ", or --all" if verb == "retry" else ""
        what = f"name entries by number, or --station or --since (with --table){more}."
        step = "See: stationsync quarantine list"
        raise UsageError(f"quarantine {verb}", what, not_done="Nothing was changed.", next_step=step)
    if ids:
        return quarantine.by_ids(given.control, ids)
    given.require_known(station, table)
    return quarantine.find(given.control, station, table, since=since_of(since))[0]


def _object(entry: QuarantineEntry) -> dict[str, Any]:
    found = dataclasses.asdict(entry)
    del found["row"], found["key_text"]
    return found | {"key": json_module.loads(entry.key_text)}


def _line(entry: QuarantineEntry) -> tuple[object, ...]:
    more = f" (and {len(entry.reasons) - 1} more)" if len(entry.reasons) > 1 else ""
    return (
        entry.id, entry.station, entry.table, entry.direction, entry.key_text, entry.state, entry.first_at,
        entry.last_at, "".join(entry.reasons[:1]) + more,
    )  # fmt: skip
