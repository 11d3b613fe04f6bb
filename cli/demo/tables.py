"""What the demo prints: chapters, claims with their proof, and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from stationsync.model.changes import Report, Status

_WIDEST = 116
_NARROWEST = 100
# Field of Counts: its heading. A column without any number is left out, but for the first two.
_COUNTS = {
    "read": "read",
    "applied": "written",
    "unchanged": "same",
    "conflicts": "conflicts",
    "quarantined": "quarantined",
    "released": "released",
    "deleted": "deleted",
}
_STYLES = {Status.DONE: "green", Status.NOTHING: "dim", Status.OFFLINE: "yellow", Status.FAILED: "red"}


class Screen:
    """The terminal, or a file where there is none."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # an old terminal shows no emoji, and is no error
        width = Console().width
        # Without a terminal nobody knows the width, and 80 columns are too few.
        width = min(width, _WIDEST) if sys.stdout.isatty() else max(width, _NARROWEST)
        self.console = Console(width=width, highlight=False)
        self._spaced = self._claimed = False

    def say(self, *sentences: str, style: str = "") -> None:
        """A paragraph, wrapped. What was claimed before it stays with its own."""
        if self._claimed:
            self.space()
        self._indented(Text(" ".join(sentences), style=style))

    def line(self, text: str) -> None:
        """To be copied: never wrapped."""
        self.console.print(Text(f"    {text}", style="cyan"), soft_wrap=True)
        self._spaced = False

    def space(self) -> None:
        """One empty line, however often it is asked for."""
        if not self._spaced:
            self.console.print()
        self._spaced, self._claimed = True, False

    def _indented(self, what: Text | Table) -> None:
        self.console.print(Padding(what, (0, 0, 0, 2), expand=False))
        self._spaced = self._claimed = False

    def title(self, text: str) -> None:
        self.space()
        self.console.print(Rule(f"[bold]{escape(text)}[/bold]", align="left", style="cyan"))
        self._spaced = False

    def claim(self, text: str, *, holds: bool) -> None:
        good, bad = ("✓", "✗") if self.console.encoding.startswith("utf") else ("ok", "FAILED:")
        mark, style = (good, "green") if holds else (bad, "bold red")
        self._indented(Text.assemble((mark, style), (f" {text}", "" if holds else style)))
        self._claimed = True

    def seconds(self, seconds: float) -> None:
        self.console.print(Text(f"{seconds:.1f} s", style="dim"), justify="right")
        self._spaced = self._claimed = False

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A line that ends with how long it took; a terminal sees that something is going on."""
        begun = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"{what} …"):
                yield
        else:
            yield
        self.claim(f"{what} ({time.monotonic() - begun:.1f} s)", holds=True)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str] = ()) -> None:
        """Cells are plain text; a `Text` brings its own style."""
        table = Table(box=SIMPLE_HEAD, header_style="bold", border_style="dim", padding=(0, 1, 0, 0), show_edge=False)
        for heading in headings:
            whole = heading in ("station", "way", "result") or heading in right
            table.add_column(heading, justify="right" if heading in right else "left", no_wrap=whole)
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else shown(cell) for cell in row))
        self.space()
        self._indented(table)
        self.space()

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """A list of things and what is to be said of them."""
        grid = Table.grid("", "", padding=(0, 2))
        for what, said in rows:
            grid.add_row(Text(what), Text(said))
        self._indented(grid)
        self.space()

    def reports(self, reports: Sequence[Report]) -> None:
        """What runs did, one line each."""
        fields = [f for f in _COUNTS if f in ("read", "applied") or any(getattr(r.counts, f) for r in reports)]
        numbers = [_COUNTS[field] for field in fields]
        headings = ("station", "way", "result", *numbers, "seconds")
        lines = ((*_begin(r), *(_number(getattr(r.counts, f)) for f in fields), f"{r.seconds:.2f}") for r in reports)
        self.table(headings, lines, right=(*numbers, "seconds"))


def shown(value: object) -> Text:
    """A value of a table: NULL and the empty string can be told apart."""
    if value is None:
        return Text("NULL", style="dim italic")
    return Text("''", style="dim") if value == "" else Text(f"{value:,}" if isinstance(value, int) else str(value))


def changed(value: object) -> Text:
    """A value that somebody edited."""
    text = shown(value)
    text.stylize("bold yellow")
    return text


def _number(number: int) -> Text:
    return Text(f"{number:,}", style="" if number else "dim")


def _begin(report: Report) -> tuple[str, str, Text]:
    return report.station, str(report.direction), Text(str(report.status), style=_STYLES.get(report.status, ""))
