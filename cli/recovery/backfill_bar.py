"""How far a backfill is, while it runs: a bar where a person sits at a terminal, a line now and then elsewhere.

All on standard error: standard output is the result's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.common import say
from stationsync.recovery.backfill_books import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_EVERY = 10.0
_WHOLE = 1000


@contextmanager
def following() -> Iterator[Callable[[Progress], None]]:
    """What is to be told how far it is."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.fields[place]}"), BarColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bar(bars)


class _Bar:
    """One for each table."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.place not in self._tasks:
            self._tasks[progress.place] = self._bars.add_task("", total=None, place=progress.place)
        task = self._tasks[progress.place]
        if progress.done:
            self._bars.remove_task(self._tasks.pop(progress.place))
            return
        known = progress.fraction is not None
        done = round((progress.fraction or 0) * _WHOLE)
        self._bars.update(
            task, total=_WHOLE if known else None, completed=done, description=progress.in_words(), refresh=True
        )


class _Lines:
    """The first is told after a while only: a short backfill needs none."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.done or now - self._last < _EVERY:
            return
        self._last = now
        say(f"{progress.place}: {progress.in_words()}", err=True)
