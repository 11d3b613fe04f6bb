"""A run in a process of its own that is to be killed.

`at` = [point, "before" | "after", count] kills it with SIGKILL there, exactly. Points are the steps of a run, and
some places inside of them, where the engine's functions are wrapped; the engine itself knows nothing of this."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from stationsync.journal import recorder
from stationsync.keeping import books
from stationsync.model.changes import Report
from stationsync.pairing.pair import Pair, pairs
from stationsync.recovery import backfill, reseed_control
from stationsync.recovery.backfill_range import BackfillRange
from stationsync.sync import merge, push, runs, straight
from stationsync.topology.topology_file import from_mapping
from support.fleet import KAFKA_TEST


def _reseed_control(pair: Pair, steps: runs.Steps) -> Report:
    del steps  # it has none
    return reseed_control.reseed(pair)


RUNS: Mapping[str, Callable[..., Report]] = {
    "up": runs.pull,
    "down": runs.push_edits,
    "reseed-control": _reseed_control,
    "backfill": partial(backfill.backfill, wanted=backfill.BackfillOrder(BackfillRange())),
}
STEPS = ("extract", "validate", "merge", "push")
# Inside a merge: quarantine and rows are written, the watermark is not. Inside a push: between the two databases.
INSIDE: Mapping[str, tuple[Any, str]] = {
    "watermark": (books, "write_mark"),
    "sorting": (merge, "_merge_rows"),
    # New rows are in both tables, on either of two connections; nothing is committed.
    "loading": (straight, "load"),
    "sending": (push, "send"),
    "base": (push, "move_base"),
    "result": (books, "write_result"),
    # In the journal's thread; behind it, with the row that names the file; behind the commit.
    "writing": (recorder._Writer, "write"),
    "naming": (recorder._Page, "store"),
    "placing": (recorder.Recorder, "put"),
}


# A process that has everything imported: each run is a fork of it. The drill's runners are forks of the same process,
# so that what they need is named too. (Python 3.11 does not find modules of `tests` here, and says nothing.)
_CONTEXT = multiprocessing.get_context("forkserver")
_ENGINE = (recorder, books, merge, push, runs, straight, backfill, reseed_control)
_CONTEXT.set_forkserver_preload([*(module.__name__ for module in _ENGINE), "cli.drill.runner", "cli.drill.warm"])


class Run:
    """A run of station-1 as a process."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._pipe, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_run, args=(arguments, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_it_begins(self) -> None:
        assert self._pipe.recv() == "begins"

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> dict[str, Any] | None:
        """Its report, if it came to that."""
        said: list[Any] = []
        with contextlib.suppress(EOFError):
            while True:
                said.append(self._pipe.recv())
        self._process.join()
        return next((one for one in said if isinstance(one, dict)), None)

    @property
    def was_killed(self) -> bool:
        return self._process.exitcode == -signal.SIGKILL


def start(
    control: str,
    station: str,
    *,
    direction: str = "up",
    at: list[Any] | None = None,
    page_rows: int,
    journal: str = "off",
    **options: Any,
) -> Run:
    arguments = {"control": control, "station": station, "direction": direction, "at": at, "page_rows": page_rows}
    return Run(arguments | {"journal": journal, "options": options})


def deadly(function: Callable[..., Any], when: str, count: int) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls  # another thread may count on
        if mine == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if mine == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def _run(wanted: Mapping[str, Any], pipe: Connection) -> None:
    topology = from_mapping(
        {
            "control": {"url": wanted["control"]},
            "tables": {"kafka_test": {**KAFKA_TEST, "page_rows": wanted["page_rows"], **wanted["options"]}},
            "stations": {"station-1": {"url": wanted["station"]}},
            "journal": wanted["journal"],
        }
    )
    (pair,) = pairs(topology, "station-1")
    steps = runs.plain_steps()
    if wanted["at"]:
        point, when, count = wanted["at"]
        if point in STEPS:
            steps = replace(steps, **{point: deadly(getattr(steps, point), when, count)})
        else:
            module, name = INSIDE[point]
            setattr(module, name, deadly(getattr(module, name), when, count))
    pipe.send("begins")
    report = RUNS[wanted["direction"]](pair, steps)
    pipe.send({"status": str(report.status), **asdict(report.counts)})
