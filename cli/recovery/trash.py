"""`trash`: rows that were deleted because the other side deleted them, and bringing them back."""

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
from cli.recovery.choice import Ids, ListStation, OfStation, OpenOnly, one_station, require_choice, since_of
from stationsync.errors import LockWait
from stationsync.keeping import trash
from stationsync.keeping.trash import Item
from stationsync.store import kept

app = typer.Typer(no_args_is_help=True, help="Rows that were deleted with the other side's: list, show, restore, done.")


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
    """What is in the trash, the newest first; with --all, behind it what was restored, or looked at."""
    name, control = one_station(ctx, station, of_station, table), settings(ctx).control
    found, total = trash.find(control, name, table, closed=not open_only, since=since_of(since), limit=limit or None)
    if json:
        print_json({"ok": True, "total": total, "items": [_object(item) for item in found]})
        return
    headers = ("id", "at", "station", "table", "key", "deleted at", "state", "reason")
    print_entries(headers, [_line(item) for item in found], total, "The trash is empty.")


@app.command()
def show(ctx: typer.Context, id: Annotated[int, typer.Argument()], json: Json = False) -> None:
    """One row as it was."""
    (item,) = trash.by_ids(settings(ctx).control, [id])
    if json:
        print_json({"ok": True, "item": _object(item) | {"row": item.row}})
        return
    say(f"{item.station}/{item.table} {item.key_text}, {item.at} UTC: {item.reason} ({item.shown_state})")
    print_table(("column", "value"), ((name, kept.brief(value)) for name, value in item.row.items()))


@app.command()
def restore(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(help="Numbers of rows, as list prints them.")],
    json: Json = False,
) -> None:
    """Put rows back into control's table. The station does not get them: it deleted them. Rows that an application
    keeps locked are left, and named."""
    given = settings(ctx)
    chosen = trash.by_ids(given.control, ids)
    restored, failed = trash.restore_all(given.control, chosen, lambda one: given.pairs(one.station, one.table)[0])
    locked = [number for number, error in failed.items() if isinstance(error, LockWait)]
    errors = [error for error in failed.values() if not isinstance(error, LockWait)]
    code = worst(e.exit_code for e in errors)
    if json:
        told = [{"error": error_object(error)} for error in errors]
        print_json({"ok": code == 0, "restored": restored, "locked": locked, "errors": told})
    else:
        say(f"{len(restored)} of {len(ids)} restored at control")
        for error in errors:
            print_error(error)
        if locked:
            again = f"stationsync trash restore {' '.join(map(str, locked))}"
            say(f"{len(locked)} left, an application at control keeps them locked. Once it is done with them: {again}")
    if code:
        raise typer.Exit(code)


@app.command()
def done(
    ctx: typer.Context,
    ids: Ids = None,
    station: OfStation = None,
    table: Table = None,
    since: Since = None,
    json: Json = False,
) -> None:
    """Say that rows of the trash were looked at: list has them behind the others (--all). Nothing else changes; they
    stay as long as they would have, and can be restored.

    By number, or all open ones of a station, or since a moment."""
    given = settings(ctx)
    require_choice("trash done", ids, table, station, since)
    if ids:
        number, total = trash.answer(given.control, ids), len(set(ids))
    else:
        given.require_known(station, table)
        number = total = trash.answer_all(given.control, station, table, since_of(since))
    if json:
        print_json({"ok": True, "answered": number, "already": total - number})
        return
    say(f"{number:,} answered" + (f"; {total - number:,} were so already" if total > number else ""))


def _object(item: Item) -> dict[str, Any]:
    found = dataclasses.asdict(item)
    del found["row"], found["key_text"]
    return found | {"state": item.shown_state, "key": json_module.loads(item.key_text)}


def _line(item: Item) -> tuple[object, ...]:
    return item.id, item.at, item.station, item.table, item.key_text, item.side, item.shown_state, item.reason
