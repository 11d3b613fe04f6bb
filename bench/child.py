"""The product in a process of its own, so that its CPU and peak memory are its own.

Runs `pull`, `push`, `reconcile` or `compare` (its dry run) once for each line on standard input, and answers each with
a line of JSON. What the first one has to import is in its answer, as a command or a process worker's run has it."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stationsync.model.changes import Report
from stationsync.model.details import ReconcileDetails
from stationsync.pairing.pair import Pair, pairs
from stationsync.reconcile.reconcile import reconcile
from stationsync.sync import runs
from stationsync.topology.topology_file import load

_RUNS: dict[str, Callable[[Pair, runs.Steps], Report]] = {
    "pull": runs.pull,
    "push": runs.push_edits,
    "reconcile": reconcile,
    "compare": partial(reconcile, dry_run=True),
}


def _differing(report: Report) -> int:
    return sum(report.details.found.values()) if isinstance(report.details, ReconcileDetails) else 0


def main(topology: str) -> None:
    (pair,) = pairs(load(Path(topology)), "station-1")
    for line in sys.stdin:
        run = _RUNS[line.strip()]
        begun, cpu = time.perf_counter(), time.process_time()
        report = run(pair, runs.plain_steps())
        answer = {
            "seconds": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "rows": report.counts.applied or _differing(report),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
