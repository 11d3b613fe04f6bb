"""The runners as the director holds them: two processes, forked anew from a warm one after each kill."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from cli.drill import runner
from cli.drill.runner import Job

_CONTEXT = multiprocessing.get_context("forkserver")


def warm(*, suites: bool) -> None:
    """The process that the runners are forked from has everything imported; for suites that takes its time."""
    _CONTEXT.set_forkserver_preload(["cli.drill.runner", *(["cli.drill.warm"] if suites else [])])


@contextmanager
def _without_main() -> Iterator[None]:
    """A new process would load this one's main module once more, which takes longer than all the rest."""
    main = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


class Runner:
    """One process for one run at a time."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection
        self.busy = False

    def start(self, job: Job) -> None:
        if self._process is None or not self._process.is_alive():
            self.kill()
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=runner.main, args=(theirs,), daemon=True)
            with _without_main():
                process.start()
            self._process = process
            theirs.close()
            self._pipe = ours
        self._pipe.send(job)
        self.busy = True

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """What it says within that time; {"killed": …} where it is dead."""
        try:
            if not self._pipe.poll(seconds):
                return None
            said: dict[str, Any] = self._pipe.recv()
        except (EOFError, ConnectionError):
            self.kill()
            return {"killed": True}
        self.busy = "at" in said
        return said

    def go_on(self) -> None:
        """Behind a pause."""
        try:
            self._pipe.send("go on")
        except OSError:
            return

    def kill(self) -> None:
        self.busy = False
        if self._process is None:
            return
        self._process.kill()
        self._process.join()
        self._process.close()
        self._process = None
        self._pipe.close()


def environment(suites: str) -> dict[str, str]:
    return {"STATIONSYNC_EXPECTATIONS": suites, "GX_ANALYTICS_ENABLED": "false", "HOME": os.environ.get("HOME", "/")}
