"""A backfill as tasks of half a minute each, and its progress as an artifact that grows.

A task for each step of each chunk would leave thousands of them: these are the steps without Prefect, and the task
around them is what the UI shows and tries again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from stationsync.model.changes import Report
from stationsync.pairing.pair import Pair
from stationsync.recovery.backfill import Backfill, BackfillOrder
from stationsync.recovery.backfill import backfill as engine
from stationsync.recovery.backfill_books import Progress
from stationsync.sync import runs
from stationsync.sync.runs import Steps
from tasks.report import artifact_key
from tasks.step import as_step, step
from tasks.told import RunLog, leave_progress, move_progress

STRETCH_SECONDS = 30.0
# The artifact is written so often at most, in seconds: each time is a request to the server.
_EVERY = 2.0


@step("backfill", "job.progress.place")
def stretch(job: Backfill) -> Progress:
    """Merge chunk after chunk, for half a minute."""
    progress = job.stretch(STRETCH_SECONDS)
    RunLog().info("%s", progress.in_words())
    return progress


def backfill_of(wanted: BackfillOrder) -> Callable[[Pair, Steps], Report]:
    """The backfill of a table, inside a flow run. Called again for one, it goes on, also where it was to restart."""
    begun: set[str] = set()

    def run(pair: Pair, steps: Steps) -> Report:
        plain = replace(runs.plain_steps(), flow_run=steps.flow_run, run=steps.run)
        now = replace(wanted, restart=wanted.restart and pair.place not in begun)
        begun.add(pair.place)
        return engine(pair, plain, now, told=_Artifact(pair), stretch=as_step(stretch))

    return run


class _Artifact:
    """The progress artifact of one table: made when it begins, then written over."""

    def __init__(self, pair: Pair, now: Callable[[], float] = time.monotonic) -> None:
        self._pair = pair
        self._now = now
        self._id: UUID | None = None
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        percent = 100 * (progress.fraction or 0.0)
        title, text = f"backfill {progress.place}", f", {progress.asked}: {progress.in_words()}"
        if self._id is None:
            key = artifact_key(self._pair.name, "backfill-progress")
            self._id = leave_progress(percent, key, title, text)
        elif progress.done or self._now() - self._last >= _EVERY:
            move_progress(self._id, percent, title, text)
        else:
            return
        self._last = self._now()
