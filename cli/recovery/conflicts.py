"""`conflicts`: rows that both sides changed, who won, and what lost; and a person's answer to them."""

from __future__ import annotations

import dataclasses
import json as json_module
from typing import Annotated, Any

import typer

from cli.common import Json, Limit, MaybeStation, Table, print_entries, print_json, print_table, say, settings
from cli.journal.options import Since
from cli.recovery.choice import (
    Ids,
    ListStation,
    Loser,
    OfStation,
    OpenOnly,
    chosen_conflicts,
    conflict_filter,
    one_station,
)
from cli.recovery.take import take
from stationsync.health import conflict_list
from stationsync.health.conflict_list import Conflict
from stationsync.store import kept

# Of the columns that differ, so many stand in a line of the list, each with so much of its value.
_COLUMNS, _CELL = 4, 24

app = typer.Typer(no_args_is_help=True, help="Rows that both sides changed: list, show, take, done.")


@app.command("list")
def list_(
    ctx: typer.Context,
    station: MaybeStation = None,
    of_station: ListStation = None,
    table: Table = None,
    since: Since = None,
    where_loser: Loser = None,
    open_only: OpenOnly = False,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """The conflicts that were decided: open ones first, by table, the newest first, with what both sides had."""
    given = settings(ctx)
    name = one_station(ctx, station, of_station, table)
    wanted = conflict_filter(name, table, since, where_loser, open_only=open_only)
    found, total = conflict_list.find(given.control, wanted, limit=limit or None)
    if json:
        print_json({"ok": True, "total": total, "conflicts": [_object(one) for one in found]})
        return
    headers = (
        "id",
        "state",
        "at",
        "station",
        "table",
        "key",
        "policy",
        "winner",
        "differs: station | control",
        "reason",
    )
    print_entries(headers, [_line(one) for one in found], total, "There were no conflicts.")


@app.command()
def show(ctx: typer.Context, id: Annotated[int, typer.Argument()], json: Json = False) -> None:
    """Both versions side by side, what was known before, and what came out."""
    one = conflict_list.by_id(settings(ctx).control, id)
    if json:
        print_json({"ok": True, "conflict": _object(one)})
        return
    say(f"{one.station}/{one.table} {_text(one.key)}, {one.at} UTC, policy {one.policy}")
    say(f"winner: {one.winner}; lost: {one.loser}, in {', '.join(one.columns)}")
    say(f"why: {one.reason}")
    say(f"state: {one.state}" + (f" since {one.answered_at} UTC" if one.answered_at else ""))
    if one.clock_offset:
        say(f"the station's clock was taken as {one.clock_offset:+} s off control's")
    versions = {"station": one.station_row, "control": one.control_row, "base": one.base_row, "result": one.result_row}
    names = next((row for row in versions.values() if row is not None), {})  # a side may have deleted its row
    print_table(("", "column", *versions), (_column(one, name, versions) for name in names))
    if one.state == conflict_list.OPEN:
        say(f"To have what lost: stationsync conflicts take {one.id}; looked at: stationsync conflicts done {one.id}")


app.command("take")(take)


@app.command()
def done(
    ctx: typer.Context,
    ids: Ids = None,
    station: OfStation = None,
    table: Table = None,
    since: Since = None,
    where_loser: Loser = None,
    json: Json = False,
) -> None:
    """Say that conflicts were looked at: they are not told any more, and stand behind the open ones. Nothing else
    changes; both versions stay as long as they would have.

    By number, or all open ones of a station, since a moment, or that one side lost."""
    given = settings(ctx)
    wanted = chosen_conflicts(ctx, "done", ids, station, table, since, where_loser)
    if wanted is None:
        number, total = len(conflict_list.answer_by_ids(given.control, ids or [])), len(set(ids or []))
    else:
        number = total = conflict_list.answer_all(given.control, wanted)
    if json:
        print_json({"ok": True, "answered": number, "already": total - number})
        return
    say(f"{number:,} answered" + (f"; {total - number:,} were so already" if total > number else ""))


def _object(one: Conflict) -> dict[str, Any]:
    return dataclasses.asdict(one) | {"state": one.state}


def _line(one: Conflict) -> tuple[object, ...]:
    return (
        one.id, one.state, one.at, one.station, one.table, _text(one.key), one.policy, one.winner, _differing(one),
        one.reason,
    )  # fmt: skip


def _differing(one: Conflict) -> str:
    """Both versions of the columns in which a side lost."""
    sides = (one.station_row, one.control_row)
    told = [f"{name}: {' | '.join(_brief(row, name) for row in sides)}" for name in one.columns[:_COLUMNS]]
    more = [f"and {len(one.columns) - _COLUMNS} more"] if len(one.columns) > _COLUMNS else []
    return ", ".join([*told, *more])


def _brief(row: dict[str, Any] | None, name: str) -> str:
    text = "-" if row is None else kept.brief(row.get(name))
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _column(one: Conflict, name: str, versions: dict[str, dict[str, Any] | None]) -> tuple[str, ...]:
    """One column of all versions; a star where a side lost."""
    cells = ("-" if row is None else kept.brief(row.get(name)) for row in versions.values())
    return ("*" if name in one.columns else "", name, *cells)


def _text(value: object) -> str:
    return json_module.dumps(value, ensure_ascii=False)
