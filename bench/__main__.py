"""`python -m bench [--rows N] [--edits N] [--repeat N]`: prints the table of the README.

The yardstick (docs/BENCHMARK.md) is what the database's own client needs for the same data: SELECT into a file, then
LOAD DATA straight into control's table with its indexes; for edits LOAD DATA into a temporary table and one update
join. Validation, base, conflicts, quarantine and watermark are all ours on top. Only ratios within one run count."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.fleet import Fleet, Measured, Spent
from bench.wide import WideFleet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--wide", type=int, default=200_000, help="rows of forty columns; 0: none")
    parser.add_argument("--slow", type=float, default=0.05, help="seconds to a far station and back; 0: none")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each measurement; medians are shown")
    arguments = parser.parse_args()
    results = _near(arguments) | _wide(arguments) | _far(arguments)
    Console(width=140).print(_table(results))
    return 0


Results = dict[str, list[tuple[Measured, Spent]]]


def _near(arguments: argparse.Namespace) -> Results:
    with tempfile.TemporaryDirectory(prefix="stationsync-bench-") as folder, Fleet(Path(folder)) as fleet:
        fleet.fill_station(arguments.rows)
        edits = arguments.edits
        again = range(arguments.repeat)
        results: Results = {}
        for _ in again:
            for name, journal in (("first time, no journal", False), ("first time", True)):
                fleet.keep_journal(journal)
                results.setdefault(f"{arguments.rows:,} rows up, {name}", []).append(fleet.first_load())
        fleet.settle()
        results[f"{edits:,} edits up"] = [fleet.edits_up(edits) for _ in again]
        results[f"{edits:,} edits down"] = [fleet.edits_down(edits) for _ in again]
        fleet.settle()
        results[f"{arguments.rows:,} equal rows reconciled"] = [fleet.reconcile() for _ in again]
        found = [(ours, other) for ours, other in (fleet.differences() for _ in again) if other is not None]
        if found:
            results["20 differing rows found"] = found
        else:
            print(
                "20 differing rows are not measured: there is no pt-table-sync (Debian's percona-toolkit)",
                file=sys.stderr,
            )
        results[f"{edits:,} edits up, new process"] = [fleet.first_of_a_process(edits) for _ in again]
    return results


def _wide(arguments: argparse.Namespace) -> Results:
    if not arguments.wide:
        return {}
    with tempfile.TemporaryDirectory(prefix="stationsync-bench-") as folder, WideFleet(Path(folder)) as fleet:
        fleet.fill_station(arguments.wide)
        loads = [fleet.first_load() for _ in range(arguments.repeat)]
        return {f"{arguments.wide:,} rows of 40 columns up, first time": loads}


def _far(arguments: argparse.Namespace) -> Results:
    """A station far away. Its table is small: what counts is how often it is asked."""
    if not arguments.slow:
        return {}
    far, again, edits = f", {arguments.slow * 1000:.0f} ms away", range(arguments.repeat), arguments.edits
    with (
        tempfile.TemporaryDirectory(prefix="stationsync-bench-") as folder,
        Fleet(Path(folder), delay=arguments.slow) as fleet,
    ):
        fleet.fill_station((arguments.repeat + 2) * edits)
        fleet.first_load()
        fleet.settle()
        return {
            f"{edits:,} edits up{far}": [fleet.edits_up(edits) for _ in again],
            f"nothing to do, up and down{far}": [fleet.idle() for _ in again],
        }


def _table(results: Results) -> Table:
    table = Table(title="stationsync against the yardstick (medians of one run)")
    for heading in ("", "yardstick s", "ours s", "ratio", "rows/s", "CPU s", "all CPU s", "to yardstick", "peak MB"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, runs in results.items():
        median = _median([ours for ours, _ in runs])
        table.add_row(
            name,
            f"{statistics.median(y.seconds for _, y in runs):.2f}",
            f"{median.seconds:.2f}",
            f"{statistics.median(ours.seconds / y.seconds for ours, y in runs):.2f}x",
            f"{median.rows / median.seconds:,.0f}",
            f"{median.cpu:.1f}",
            f"{median.all_cpu:.1f}",
            f"{statistics.median(ours.all_cpu / max(y.cpu, 0.01) for ours, y in runs):.1f}x",
            f"{max(ours.peak_mb for ours, _ in runs):.0f}",
        )
    return table


def _median(runs: list[Measured]) -> Measured:
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


if __name__ == "__main__":
    sys.exit(main())
