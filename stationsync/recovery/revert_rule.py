"""What taking a run back comes to, row by row, from the journal's records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from stationsync.journal.format import Decided
from stationsync.model.changes import Direction

Version = Mapping[str, Any]

_WROTE = frozenset({Decided.INSERTED, Decided.UPDATED, Decided.COMBINED, Decided.DELETED, Decided.FLAGGED})


@dataclass(frozen=True)
class Undo:
    """A row as it was before the first of the runs that wrote it, and as it was after the last; None: no row."""

    before: Version | None
    after: Version | None

    @property
    def why_not(self) -> str | None:
        """Why it cannot be taken back here; None where it can."""
        if self.after is None:
            return "the run deleted it: see stationsync trash list"
        if self.before is None:
            return "the run inserted it: its station has it, and may delete it"
        if self.before.keys() != self.after.keys():
            return "the table had other columns then"
        return None


def gather(chunks: Iterable[pa.Table]) -> dict[str, Undo]:
    """By the key's text; chunks in the order in which they were written. Rows that are as they were are left out."""
    found: dict[str, Undo] = {}
    for rows in chunks:
        for record in rows.select(["direction", "decision", "key", "before", "after"]).to_pylist():
            if not _wrote(record):
                continue
            key = record["key"]
            undo = Undo(record["before"], record["after"])
            found[key] = replace(found[key], after=undo.after) if key in found else undo
    return {key: undo for key, undo in found.items() if undo.before != undo.after}


def _wrote(record: Mapping[str, Any]) -> bool:
    """A push that was cut off behind the station's commit is told by the run that found its rows equal."""
    cut_off = record["decision"] == Decided.SETTLED and record["direction"] == Direction.DOWN
    return record["decision"] in _WROTE or (cut_off and record["after"] is not None)
