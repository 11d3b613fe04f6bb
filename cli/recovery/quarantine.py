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
from stationsync.errors import UsageError
from stationsync.keeping.books import RELEASED
from stationsync.recovery import quarantine
from stationsync.recovery.quarantine import QuarantineEntry
from stationsync.store import kept

app = typer.Typer(no_args_is_help=True, help="Rows that could not be applied: list, show, retry, discard.")

Ids = Annotated[list[int], typer.Argument(help="Numbers of entries, as list prints them.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    station: MaybeStation = None,
    table: Table = None,
    all: Annotated[bool, typer.Option("--all", help="Released and discarded entries too.")] = False,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What is in quarantine, and why."""
    given = settings(ctx)
    given.require_known(station, table)
    found, total = quarantine.find(given.control, station, table, closed=all, limit=limit or None)
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
    ids: Annotated[list[int] | None, typer.Argument(help="Numbers of entries.", show_default=False)] = None,
    station: Annotated[str | None, typer.Option(help="All open entries of this station.")] = None,
    table: Table = None,
    all: Annotated[bool, typer.Option("--all", help="All open entries.")] = False,
    json: Json = False,
) -> None:
    """Try entries again, after the row, the rule or the table was mended."""
    given = settings(ctx)
    entries = _chosen(ctx, ids, station, table, all)
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
    ids: Ids,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Give these versions up: they are kept as discarded, and not reported again."""
    control = settings(ctx).control
    entries = quarantine.by_ids(control, ids)
    if not yes:
        confirm(f"Discard {len(entries)} of the quarantine's entries?")
    discarded = quarantine.discard(control, [entry.id for entry in entries])
    if json:
        print_json({"ok": True, "discarded": discarded})
    else:
        say(f"{discarded} discarded")


def _chosen(
    ctx: typer.Context, ids: list[int] | None, station: str | None, table: str | None, everything: bool
) -> list[QuarantineEntry]:
    """By number, or all open ones of a station, a table, or all: never all by mistake."""
    given = settings(ctx)
    if sum((bool(ids), station is not None, everything)) != 1 or (table is not None and station is None):
        raise UsageError(
            "quarantine retry",
            "name entries by number, or --station S [--table T], or --all.",
            not_done="Nothing was tried again.",
            next_step="See: stationsync quarantine list",
        )
    if ids:
        return quarantine.by_ids(given.control, ids)
    given.require_known(station, table)
    return quarantine.find(given.control, station, table)[0]


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
