"""The vocabulary: what a run reads, decides and reports, and what a check has to note. Frozen values, no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from stationsync.model.details import Details, as_json
from stationsync.model.reasons import Reason


class Direction(StrEnum):
    UP = "up"
    DOWN = "down"
    BOTH = "both"  # a reconcile


class Policy(StrEnum):
    """Who wins where both sides changed a row."""

    NEWEST = "newest"
    STATION = "station"
    CONTROL = "control"
    MERGE = "merge"


class Status(StrEnum):
    """How a run of one (station, table, direction) ended."""

    DONE = "done"
    NOTHING = "nothing to do"
    UNDER_WAY = "under way"
    OFFLINE = "offline"
    PAUSED = "paused"
    FAILED = "failed"


@dataclass(frozen=True)
class Position:
    """A place in the order (`modified`, key): rows behind it are still to be read.

    `modified` is the database's own text; `key` has wire values (text, or bytes for binary columns).
    """

    modified: str
    key: tuple[str | bytes, ...]


@dataclass(frozen=True)
class SeenRow(Position):
    """A row that was seen; `made`: when it was made, where a column says so."""

    made: str | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that is kept in quarantine: its place in the chunk and why."""

    index: int
    reason: Reason


class Origin(StrEnum):
    """Whose doing the rows of a chunk are, which the merge must know."""

    STATION = "station"  # its application's
    OURS = "ours"  # what the station's database made of rows that a push wrote
    BACKFILL = "backfill"  # read again on request: a row that is older than known is left to a reconcile


@dataclass(frozen=True)
class Chunk:
    """One page of station rows in wire form: every column is text exactly as the database printed it,
    or bytes (BLOB, BINARY, BIT). Column names are control's. `last` is None for rows fetched by key.

    Rows that cannot be carried as they are stand apart: `unreadable` says why, of the rows of `unreadable_rows`."""

    rows: pa.Table
    last: Position | None
    more: bool
    unreadable: tuple[BadRow, ...] = ()
    unreadable_rows: pa.Table | None = None
    origin: Origin = Origin.STATION

    def __len__(self) -> int:
        return int(self.rows.num_rows)


@dataclass(frozen=True)
class Checked:
    """A chunk after validation: `chunk` has only the good rows; `bad_rows` has the rows of `bad`, in order."""

    chunk: Chunk
    bad: tuple[BadRow, ...]
    bad_rows: pa.Table
    notes: tuple[str, ...] = ()

    @property
    def read(self) -> int:
        return len(self.chunk) + len(self.bad)

    def set_apart(self, why: Mapping[int, Reason]) -> Checked:
        """With these rows of the chunk, by their numbers, among the bad ones."""
        if not why:
            return self
        rows, at = self.chunk.rows, sorted(why)
        bad_rows = pa.concat_tables([self.bad_rows, rows.take(pa.array(at, pa.int64()))])
        rest = rows.take(pa.array([i for i in range(rows.num_rows) if i not in why], pa.int64()))
        bad = (*self.bad, *(BadRow(i, why[i]) for i in at))
        return replace(self, chunk=replace(self.chunk, rows=rest), bad=bad, bad_rows=bad_rows)


_WORDS = {
    "missing": "gone at the station",
    "changed": "changed meanwhile",
    "older": "older at the station, left",
    "locked": "locked, left for the next run",
    "outside": "left the filter",
}


@dataclass(frozen=True)
class Counts:
    """What became of rows. `applied` counts rows written at the target, `settled` rows where only the base moved.
    `older`: left by a backfill, because they are older at the station than they were seen. `locked`: left for the next
    run, because somebody keeps them locked. `outside`: the station's filter lets them through no more."""

    read: int = 0
    applied: int = 0
    unchanged: int = 0
    settled: int = 0
    conflicts: int = 0
    quarantined: int = 0
    released: int = 0
    missing: int = 0
    changed: int = 0
    deleted: int = 0
    older: int = 0
    locked: int = 0
    outside: int = 0

    @property
    def moved(self) -> int:
        """What a run did; rows that it met and had to leave as they are say that there was nothing to do."""
        written = self.applied + self.settled + self.conflicts + self.deleted + self.outside
        return written + self.quarantined + self.released

    def in_words(self) -> list[str]:
        """What was read, and whatever else there was: "read 4", "applied 2"."""
        numbers = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return [f"{_WORDS.get(name, name)} {n:,}" for name, n in numbers.items() if n or name == "read"]

    def __add__(self, other: Counts) -> Counts:
        names = [f.name for f in dataclasses.fields(self)]
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class Report:
    """The result of one run of one (station, table, direction); what `--json` prints and an artifact shows.

    `details`: what only this kind of run has to tell; None where it has nothing. `run` names it in the journal."""

    station: str
    table: str
    direction: Direction
    status: Status
    counts: Counts = Counts()
    chunks: int = 0
    up_to: datetime | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    message: str = ""
    details: Details | None = None
    run: str = ""
    # Those of the warnings that tell of a gap in the journal.
    gaps: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Flat, JSON-ready."""
        return {
            "station": self.station,
            "table": self.table,
            "direction": str(self.direction),
            "run": self.run,
            "status": str(self.status),
            **dataclasses.asdict(self.counts),
            "chunks": self.chunks,
            "up_to": self.up_to.isoformat(sep=" ") if self.up_to else None,
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
            "message": self.message,
            **as_json(self.details),
        }


class Level(StrEnum):
    PROBLEM = "problem"
    OFFLINE = "off-line"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Note:
    level: Level
    place: str
    what: str
    next_step: str = ""
