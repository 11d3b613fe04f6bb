"""`continuous`: keep stations equal for as long as it runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from cli.common import Json, print_json, say, settings
from cli.prefect_api import read_block
from stationsync.continuous.child import Setup, Unread
from stationsync.continuous.division import processes_for
from stationsync.continuous.processes import Died, Processes, Told
from stationsync.continuous.rounds import Round
from stationsync.continuous.station import Visit
from stationsync.errors import UsageError
from stationsync.model.amounts import parse_duration
from stationsync.model.changes import Report
from stationsync.topology.topology_file import topology_path

# Seconds between two lines of how it goes.
_LINE_EVERY = 60.0
Stations = Annotated[
    list[str] | None, typer.Argument(help="Only these stations; without any, all.", show_default=False)
]
Every = Annotated[str, typer.Option(metavar="DURATION", help="How often each station is looked at, such as 5s.")]
Length = Annotated[
    str | None,
    typer.Option("--for", metavar="DURATION", help="End after this time, such as 10m; without it, with Ctrl-C."),
]


def continuous(
    ctx: typer.Context, stations: Stations = None, every: Every = "5s", length: Length = None, json: Json = False
) -> None:
    """Synchronise stations again and again, and print what moved or failed.

    A station is looked at with a statement or two; only where something may have changed does a run begin. A schedule
    such as sync: {every: 5s, run: 10m} does the same as runs of Prefect. With --json, one JSON object a line."""
    topology = settings(ctx).topology
    names = tuple(topology.station(name).name for name in stations or topology.stations)
    seconds = _seconds("--every", every)
    if seconds < 1:
        raise UsageError("--every", "an interval is at least 1s.", not_done="Nothing was done.")
    until = None if length is None else time.monotonic() + _seconds("--for", length)
    file = topology_path(settings(ctx).topology_file).absolute()
    setup = Setup(file, None, names, seconds)
    printer = _Printer(as_json=settings(ctx).json)
    with _ended_by_signals(), Processes(setup, processes_for(len(names)), read_block) as processes:
        with suppress(KeyboardInterrupt):
            for told in _told(processes, until):
                printer.take(told)
        for told in processes.end():
            printer.take(told)
    printer.end()
    if printer.failing:
        raise typer.Exit(1)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C, or `kill`, is how it usually ends: what is under way comes to its end first."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _told(processes: Processes, until: float | None) -> Iterator[Told]:
    while until is None or time.monotonic() < until:
        left = 1.0 if until is None else min(1.0, until - time.monotonic())
        for _, told in processes.told(max(0.0, left)):
            yield told


class _Printer:
    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self.failing: set[str] = set()
        self._rounds = self._runs = self._rows = 0
        self._last = time.monotonic()
        self._said: dict[str, str] = {}

    def take(self, told: Told) -> None:
        match told:
            case Visit():
                self._visit(told)
            case Round():
                self._rounds += told.visited > 0
                if told.message:
                    self._note("control", told.message)
            case Unread(message=message):
                self._note("topology", f"it cannot be read, and is gone on with as it was. {message}")
            case Died(code=code):
                self._note("continuous", f"a process ended with {code}; another goes on with its stations")
        if time.monotonic() - self._last >= _LINE_EVERY:
            self.end()

    def _visit(self, visit: Visit) -> None:
        self._runs += 1
        news = visit.failing or visit.station in self.failing
        (self.failing.add if visit.failing else self.failing.discard)(visit.station)
        for report in visit.reports:
            self._rows += report.counts.applied
            if report.counts.moved or news:
                self._report(report)

    def _report(self, report: Report) -> None:
        if self._json:
            print_json({"event": "run", **report.as_dict()})
            return
        parts = ", ".join(report.counts.in_words()) if report.counts.moved else report.message
        said = f"{report.status} ({parts})" if parts else str(report.status)
        _line(f"{report.station}/{report.table} {report.direction}: {said}")

    def _note(self, place: str, what: str) -> None:
        """Not again what was said of this place last."""
        if self._said.get(place) == what:
            return
        self._said[place] = what
        if self._json:
            print_json({"event": "note", "place": place, "what": what})
        else:
            _line(f"{place}: {what}")

    def end(self) -> None:
        """How it goes, or went."""
        self._last = time.monotonic()
        numbers = {"rounds": self._rounds, "runs": self._runs, "rows": self._rows, "failing": len(self.failing)}
        if self._json:
            print_json({"event": "summary", **numbers})
        else:
            _line(", ".join(f"{value:,} {name}" for name, value in numbers.items()))


def _line(text: str) -> None:
    say(f"{time.strftime('%H:%M:%S')} {text}")


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(option, f"{error}.", not_done="Nothing was done.", next_step="Such as 5s, 10m, 2h.") from None
