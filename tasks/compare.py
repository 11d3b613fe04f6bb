"""Comparing whole tables: range after range by checksums, then the rows of the ranges that differ."""

from __future__ import annotations

from stationsync.reconcile.compare import KINDS, Comparison, Difference
from stationsync.reconcile.scan import Scan, Scanner, differences
from tasks.step import step
from tasks.told import RunLog


@step("compare", "scanner.place")
def compare(scanner: Scanner, scan: Scan) -> Scan:
    """Compare the next ranges of both sides, for some seconds."""
    further = scanner.stretch(scan)
    ranges = further.ranges - scan.ranges
    differ = len({*further.unequal, *further.at_control})
    RunLog().info(
        "%s ranges compared, %s so far; %s rows equal, %s ranges differ%s",
        f"{ranges:,}", f"{further.ranges:,}", f"{further.equal.rows:,}", f"{differ:,}",
        "" if further.done else ", more to come",
    )  # fmt: skip
    return further


@step("look-into", "comparison.place")
def look_into(comparison: Comparison, scan: Scan) -> Difference:
    """Find the rows that differ, in the ranges that do."""
    found = differences(comparison, scan)
    said = ", ".join(f"{words} {n:,}" for kind, words in KINDS.items() if (n := found.count(kind)))
    RunLog().info("%s", said or "nothing differs")
    return found
