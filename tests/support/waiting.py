"""Waiting for what other processes do. The limit ends a test that hangs; it measures nothing, since on a busy machine
a process alone may need a minute to start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

PATIENCE = 600.0


class Program(Protocol):
    @property
    def logs(self) -> str:
        """What it has said, for the message of a wait that came to nothing."""


def eventually(
    look: Callable[[], T | None],
    what: str,
    program: Program | None = None,
    *,
    seconds: float = PATIENCE,
    pause: float = 0.2,
    longest: float = 0.5,
) -> T:
    """What `look` finds, once it is not None. The longer it takes, the longer the pause, up to `longest`: each look is
    work as well, here and for the server that is asked."""
    limit = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > limit:
            raise AssertionError(f"{what}: not seen within {seconds:.0f} s\n{program.logs if program else ''}")
        time.sleep(pause)
        pause = max(pause, min(pause * 1.1, longest))
    return found


def wait_until(condition: Callable[[], object], what: str = "this", *, pause: float = 0.05) -> None:
    """Ends once the condition is true."""
    eventually(lambda: True if condition() else None, what, pause=pause, longest=pause)
