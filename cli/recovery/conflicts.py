"""`conflicts`: rows that both sides changed, who won, and what lost."""

from __future__ import annotations

import dataclasses
import json as json_module
from typing import Annotated, Any

import typer

from cli.common import Json, Limit, MaybeStation, Table, print_entries, print_json, print_table, say, settings
from stationsync.health import conflict_list
from stationsync.health.conflict_list import Conflict
from stationsync.store import kept

app = typer.Typer(no_args_is_help=True, help="Rows that both sides changed: list, show.")


@app.command("list")
def list_(
    ctx: typer.Context,
    station: MaybeStation = None,
    table: Table = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """The conflicts that were decided, the newest first."""
    given = settings(ctx)
    given.require_known(station, table)
    found, total = conflict_list.find(given.control, station, table, limit=limit or None)
    if json:
        print_json({"ok": True, "total": total, "conflicts": [dataclasses.asdict(one) for one in found]})
        return
    headers = ("id", "at", "station", "table", "key", "policy", "winner", "columns", "reason")
    print_entries(headers, [_line(one) for one in found], total, "There were no conflicts.")


@app.command()
def show(ctx: typer.Context, id: Annotated[int, typer.Argument()], json: Json = False) -> None:
    """Both versions side by side, what was known before, and what came out."""
    one = conflict_list.by_id(settings(ctx).control, id)
    if json:
        print_json({"ok": True, "conflict": dataclasses.asdict(one)})
        return
    say(f"{one.station}/{one.table} {_text(one.key)}, {one.at} UTC, policy {one.policy}")
    say(f"winner: {one.winner}; lost: {one.loser}, in {', '.join(one.columns)}")
    say(f"why: {one.reason}")
    if one.clock_offset:
        say(f"the station's clock was taken as {one.clock_offset:+} s off control's")
    versions = {"station": one.station_row, "control": one.control_row, "base": one.base_row, "result": one.result_row}
    names = next((row for row in versions.values() if row is not None), {})  # a side may have deleted its row
    print_table(("", "column", *versions), (_column(one, name, versions) for name in names))


def _line(one: Conflict) -> tuple[object, ...]:
    return (
        one.id, one.at, one.station, one.table, _text(one.key), one.policy, one.winner, ", ".join(one.columns),
        one.reason,
    )  # fmt: skip


def _column(one: Conflict, name: str, versions: dict[str, dict[str, Any] | None]) -> tuple[str, ...]:
    """One column of all versions; a star where a side lost."""
    cells = ("-" if row is None else kept.brief(row.get(name)) for row in versions.values())
    return ("*" if name in one.columns else "", name, *cells)


def _text(value: object) -> str:
    return json_module.dumps(value, ensure_ascii=False)
