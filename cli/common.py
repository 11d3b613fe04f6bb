"""What the commands share: the settings of one call, printing, and errors in readable lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len

from cli.prefect_api import read_block
from stationsync.database.connection import Database
from stationsync.errors import StationSyncError
from stationsync.model import printable, stored_text
from stationsync.pairing.pair import Pair, control_of, pairs
from stationsync.setup.rename import names
from stationsync.topology import topology_file
from stationsync.topology.model import Topology

# What an exit code weighs where several things went wrong: the set-up first, an off-line station last.
_WEIGHT = (0, 3, 1, 2)


@dataclass
class Settings:
    """The global options of one call; `json` is the command's own."""

    topology_file: Path | None = None
    debug: bool = False
    json: bool = False

    @cached_property
    def topology(self) -> Topology:
        return topology_file.load(self.topology_file)

    @cached_property
    def control(self) -> Database:
        return control_of(self.topology, read_block)

    def pairs(self, station: str, table: str | None = None) -> list[Pair]:
        return pairs(self.topology, station, table, read_block)

    def all_pairs(self) -> list[Pair]:
        return [pair for name in self.topology.stations for pair in self.pairs(name)]

    def require_names(self, station: str | None, table: str | None = None) -> None:
        """UsageError where the topology has no such station, or the station no such table."""
        if station is not None:
            self.pairs(station, table)

    def require_known(self, station: str | None, table: str | None = None) -> None:
        """The same, but for names that are gone from the topology while control still has entries of them."""
        if station is not None and (station in self.topology.stations or station not in names(self.control)):
            self.require_names(station, table)


def settings(ctx: typer.Context) -> Settings:
    found = ctx.find_object(Settings)
    assert found is not None  # the main callback made it
    return found


def _remember_json(ctx: typer.Context, wanted: bool) -> bool:
    settings(ctx).json = wanted
    return wanted


Json = Annotated[
    bool,
    typer.Option("--json", callback=_remember_json, help="One JSON object on standard output, nothing else there."),
]
Station = Annotated[str, typer.Argument(help="A station's name in the topology.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, as a plan.")]
MaybeStation = Annotated[str | None, typer.Argument(help="Only this station.", show_default=False)]
Limit = Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")]
Table = Annotated[str | None, typer.Option(help="Only this table, by its name in the topology.")]


def say(*lines: str, err: bool = False) -> None:
    """Where all that the commands print goes through, each line by itself: what comes from a database controls no
    terminal, and begins no line of its own."""
    for line in lines:
        typer.echo(printable.printable(line, one_line=True), err=err)


def confirm(question: str) -> None:
    """Ends the command where the answer is no."""
    typer.confirm(printable.printable(question, one_line=True), abort=True, err=True)


def agrees(question: str) -> bool:
    """No, where nothing is typed."""
    return bool(typer.confirm(printable.printable(question, one_line=True), default=False, err=True))


def ask(question: str, default: str | None) -> str:
    """What is typed; the default where nothing is."""
    return str(typer.prompt(printable.printable(question, one_line=True), default=default, err=True)).strip()


def print_json(result: dict[str, Any]) -> None:
    text = json.dumps(result, ensure_ascii=False, default=_plain)
    if stored_text.MARK in text:
        text = json.dumps(_readable(result), ensure_ascii=False, default=_plain)
    typer.echo(printable.json_text(text))


def _readable(value: Any) -> Any:
    """Text that is no Unicode as its bytes."""
    if isinstance(value, Mapping):
        return {_readable_key(name): _readable(one) for name, one in value.items()}
    return [_readable(one) for one in value] if isinstance(value, list | tuple) else stored_text.as_json(value)


def _readable_key(name: Any) -> Any:
    return stored_text.told(name) if isinstance(name, str) else name


def _plain(value: Any) -> str:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def shown(value: object) -> str:
    """A cell: nothing for None, moments in whole seconds."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return printable.printable(stored_text.told(str(value)), one_line=True)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    say(*table_lines(headers, rows))


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Columns padded by what a terminal shows (a Korean letter is two cells wide); never wrapped, so it can be cut."""
    lines = [list(headers), *([shown(value) for value in row] for row in rows)]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(headers))]
    return [
        "  ".join(text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def print_entries(headers: Sequence[str], rows: Sequence[Sequence[object]], total: int, none: str) -> None:
    """A list that `--limit` may have cut; `none` is what to say of an empty one."""
    if not rows:
        say(none)
        return
    print_table(headers, rows)
    if total > len(rows):
        say(f"{len(rows):,} of {total:,}; --limit 0 shows all")


def error_lines(error: StationSyncError) -> list[str]:
    """A line each: where and what, what was not done, the next step."""
    what = f"{error.place}: {error.what}"
    first = what.split("\n") if error.several_lines else [what]
    return [*first, *(f"  {line}" for line in (error.not_done, error.next_step) if line)]


def error_object(error: StationSyncError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "place": error.place,
        "what": error.what,
        "not_done": error.not_done,
        "next_step": error.next_step,
        "exit_code": error.exit_code,
    }


def print_error(error: StationSyncError) -> None:
    say(*error_lines(error), err=True)


def worst(codes: Iterable[int]) -> int:
    return max(codes, key=_WEIGHT.index, default=0)
