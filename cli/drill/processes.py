"""The runners as the director holds them: two processes, forked anew from a warm one after each kill."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

from cli.drill import runner
from cli.drill.runner import Job

_CONTEXT = multiprocessing.get_context("forkserver")


def warm() -> None:
    """The process that the runners are forked from has everything imported."""
    _CONTEXT.set_forkserver_preload(["cli.drill.runner", "cli.drill.warm"])


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
            self._process = _CONTEXT.Process(target=runner.main, args=(theirs,), daemon=True)
            self._process.start()
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
