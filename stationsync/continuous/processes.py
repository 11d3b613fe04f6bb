"""The processes of a continuous run, as the one that began them sees them: what they tell, and a new one where one
died."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Self

from stationsync.continuous.child import Answer, Secret, Setup, Unread
from stationsync.continuous.rounds import Round
from stationsync.continuous.station import Visit
from stationsync.pairing.pair import Blocks

# Seconds before a process that died is begun again, and that one may take to come to its end.
_AGAIN, _GRACE = 5.0, 60.0


@dataclass(frozen=True)
class Died:
    """A process ended that should not have; another goes on with its stations."""

    part: int
    code: int


Told = Visit | Round | Unread | Died


@dataclass
class _Child:
    part: int
    process: subprocess.Popen[bytes]
    connection: Connection


class Processes:
    """Entering begins them, leaving ends them: what is under way comes to its end first, for a minute at most."""

    def __init__(self, setup: Setup, number: int, blocks: Blocks | None = None) -> None:
        self._setup, self._number, self._blocks = setup, number, blocks
        self._children: dict[int, _Child] = {}
        # When those that died are begun again.
        self._again: dict[int, float] = {}

    def __enter__(self) -> Self:
        for part in range(self._number):
            self._begin(part)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # Who is cancelled ends at once.
        self.end(0.0 if error is not None else _GRACE)

    def told(self, seconds: float) -> Iterator[tuple[int, Told]]:
        """What the processes tell within so many seconds, each with its part."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for part, at in list(self._again.items()):
                if at <= time.monotonic():
                    del self._again[part]
                    self._begin(part)
            if not self._children:
                time.sleep(min(left, 1.0))
                continue
            by_connection = {child.connection: child for child in self._children.values()}
            ready = wait(list(by_connection), min(left, 1.0))
            for child in [child for connection, child in by_connection.items() if connection in ready]:
                told = self._next(child)
                if told is not None:
                    yield child.part, told

    def _next(self, child: _Child) -> Told | None:
        try:
            what = child.connection.recv()
        except (EOFError, OSError):
            child.connection.close()
            del self._children[child.part]
            self._again[child.part] = time.monotonic() + _AGAIN
            return Died(child.part, child.process.wait())
        if isinstance(what, Secret):
            self._answer(child, what.name)
            return None
        assert isinstance(what, (Visit, Round, Unread))
        return what

    def _answer(self, child: _Child, name: str) -> None:
        assert self._blocks is not None, "it was told that there are none"
        try:
            secret: str | None = self._blocks(name)
        except (LookupError, ValueError):
            secret = None
        child.connection.send(Answer(secret))

    def _begin(self, part: int) -> None:
        ours, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", "stationsync.continuous.child", str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        ours.send(replace(self._setup, part=part, parts=self._number, blocks=self._blocks is not None))
        self._children[part] = _Child(part, process, ours)

    def end(self, grace: float = _GRACE) -> list[Told]:
        """Let what is under way come to its end, for so many seconds; what was told meanwhile."""
        for child in self._children.values():
            with suppress(OSError):
                child.connection.send(None)
        until = time.monotonic() + grace
        told: list[Told] = []
        for child in self._children.values():
            told += self._last_of(child, until)
            try:
                child.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.connection.close()
        self._children.clear()
        self._again.clear()
        return told

    def _last_of(self, child: _Child, until: float) -> list[Told]:
        """Whoever is not read from cannot come to its end."""
        told: list[Told] = []
        with suppress(EOFError, OSError):
            while (left := until - time.monotonic()) > 0 and child.connection.poll(left):
                what = child.connection.recv()
                if isinstance(what, Secret):
                    self._answer(child, what.name)
                else:
                    told.append(what)
        return told
