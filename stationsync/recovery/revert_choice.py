"""Which of the journal's chunks are to be taken back: those of runs, or all within a time."""

from __future__ import annotations

from collections.abc import Sequence

from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.journal import read
from stationsync.journal.read import Entry, Wanted
from stationsync.model.changes import Direction

_LIST = "List them with: stationsync journal list"


def of_runs(control: Database, given: Sequence[str]) -> list[Entry]:
    """By ids of runs or of Prefect's flow runs, or their beginnings. UsageError where the journal has none, or several
    that begin so."""
    found: dict[str, Entry] = {}
    for run in given:
        entries, _ = read.chunks(control, Wanted(run=run))
        meant = {entry.run if entry.run.startswith(run) else entry.flow_run for entry in entries}
        if len(meant) != 1:
            what = f"{len(meant)} runs in the journal begin so." if meant else "the journal has no such run."
            raise UsageError(f"run {run}", what, not_done="Nothing was changed.", next_step=_LIST)
        found |= {entry.id: entry for entry in entries}
    return list(found.values())


def within(control: Database, wanted: Wanted, direction: Direction | None = None) -> list[Entry]:
    """What was changed in this time; `direction` UP: at control, DOWN: at stations."""
    entries, _ = read.chunks(control, wanted)
    return [entry for entry in entries if direction in (None, entry.direction)]
