"""What is remembered of backfills: one entry each, so that one that was cut off goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.model.amounts import format_age
from stationsync.model.changes import Counts
from stationsync.model.wire import Family, key_text, parse_key_text
from stationsync.pairing.decide import moment
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.recovery.backfill_range import BackfillLimits, BackfillRange, asked_from
from stationsync.store.bookkeeping import backfill as table
from stationsync.store.bookkeeping import require_books


@dataclass(frozen=True)
class Progress:
    """`rows` were read of `expected` (None: more than are counted), those of earlier runs of it included; `counts` and
    `seconds` are this run's. `waits`: another run has the lease."""

    place: str
    asked: str
    rows: int = 0
    expected: int | None = None
    fraction: float | None = None
    began_at: float = 0.0
    counts: Counts = field(default_factory=Counts)
    chunks: int = 0
    seconds: float = 0.0
    waits: bool = False
    done: bool = False

    @property
    def rate(self) -> float | None:
        """Rows a second, in this run."""
        return self.counts.read / self.seconds if self.seconds > 0 and self.counts.read else None

    @property
    def remaining(self) -> float | None:
        """Seconds, if it goes on as it went in this run."""
        if self.done or self.fraction is None or self.fraction <= self.began_at:
            return None
        return self.seconds * (1 - self.fraction) / (self.fraction - self.began_at)

    def further(
        self, counts: Counts, limits: BackfillLimits, at: Key | None, seconds: float, *, done: bool
    ) -> Progress:
        """After a chunk that ends `at`."""
        found = replace(
            self, rows=self.rows + counts.read, counts=self.counts + counts, chunks=self.chunks + 1,
            seconds=seconds, waits=False, done=done,
        )  # fmt: skip
        return replace(found, fraction=found.reached(limits, at))

    def reached(self, limits: BackfillLimits, at: Key | None) -> float | None:
        if self.done:
            return 1.0
        if self.expected:
            return min(1.0, self.rows / self.expected)
        return None if at is None else position(limits, at)

    def in_words(self) -> str:
        """`12,000 of 50,000 rows, 24%, 4,000 rows a second, 10s left`."""
        of = f" of {self.expected:,}" if self.expected is not None else ""
        words = [f"{self.rows:,}{of} rows"]
        words += [f"{self.fraction:.0%}"] if self.fraction is not None else []
        words += [f"{self.rate:,.0f} rows a second"] if self.rate else []
        words += [f"{format_age(timedelta(seconds=self.remaining))} left"] if self.remaining is not None else []
        words += ["another run has the lease; waiting"] if self.waits else []
        return ", ".join(words)


def position(limits: BackfillLimits, at: Key) -> float | None:
    """How far `at` is between the first and the last row by its leading column, where that is a date or a number."""
    if limits.first is None or limits.last is None:
        return None
    low, here, high = (_number(value[0]) for value in (limits.first, at, limits.last))
    if low is None or here is None or high is None or high <= low:
        return None
    return min(1.0, max(0.0, (here - low) / (high - low)))


def _number(value: str | bytes | None) -> float | None:
    if value is None or isinstance(value, bytes):
        return None
    if (at := moment(value)) is not None and "-" in value:
        return (at - at.min).total_seconds()
    try:
        return float(value)
    except ValueError:
        return None


# DROPPED: begun anew instead.
OPEN, DONE, DROPPED = "open", "done", "dropped"


@dataclass(frozen=True)
class BackfillEntry:
    """`place`: everything up to this row was merged. `counts`: of all its runs together. `message`: why it stopped."""

    id: int
    station: str
    table: str
    asked: BackfillRange
    about: str
    limits: BackfillLimits
    place: Key | None
    expected: int | None
    rows: int
    counts: Mapping[str, int]
    state: str
    begun_at: datetime
    moved_at: datetime
    given_up_at: datetime | None
    message: str


def find_open(conn: sa.Connection, pair: Pair, asked: BackfillRange) -> BackfillEntry | None:
    """The one of this very range that was not finished. Raises NotInitialised."""
    require_books(conn)
    where = (table.c.asked_hash == asked.digest, table.c.state == OPEN)
    query = sa.select(table).where(_of(pair), *where).order_by(table.c.id.desc())
    row = conn.execute(query).mappings().first()
    return None if row is None else _entry(row)


def begin(
    conn: sa.Connection,
    pair: Pair,
    asked: BackfillRange,
    about: str,
    limits: BackfillLimits,
    expected: int | None,
    now: datetime,
) -> BackfillEntry:
    """A new entry."""
    values = {
        "station": pair.name,
        "table_name": pair.table,
        "asked": asked.text,
        "asked_hash": asked.digest,
        "about": about,
        "limits": _limits_text(limits),
        "expected": expected,
        "rows_read": 0,
        "counts": "{}",
        "state": OPEN,
        "begun_at": now,
        "moved_at": now,
        "given_up_at": None,
        "message": "",
    }
    made = conn.execute(sa.insert(table).values(values)).inserted_primary_key
    assert made is not None
    return _entry({**values, "id": made[0], "place": None})


def remember(conn: sa.Connection, entry: BackfillEntry, progress: Progress, place: Key | None, now: datetime) -> None:
    """How far it is. Written behind the merge of a chunk: cut off in between, the chunk is merged again."""
    counts = {name: entry.counts.get(name, 0) + n for name, n in vars(progress.counts).items()}
    values: dict[str, Any] = {
        "place": None if place is None else key_text(place),
        "rows_read": progress.rows,
        "counts": json.dumps({name: n for name, n in counts.items() if n}),
        "state": DONE if progress.done else OPEN,
        "moved_at": now,
        "message": "",
    }
    conn.execute(sa.update(table).where(table.c.id == entry.id).values(values))


def stop(conn: sa.Connection, entry: BackfillEntry, message: str) -> None:
    conn.execute(sa.update(table).where(table.c.id == entry.id).values(message=message))


def drop(conn: sa.Connection, entry: BackfillEntry, message: str, given_up_at: datetime | None = None) -> None:
    values = {"state": DROPPED, "message": message, "given_up_at": given_up_at}
    conn.execute(sa.update(table).where(table.c.id == entry.id).values(values))


def find(
    control: Database, station: str | None = None, of: str | None = None, *, closed: bool = False, limit: int | None
) -> tuple[list[BackfillEntry], int]:
    """Entries, the newest first, and how many there are: of a station, of a table; open ones, or all."""
    where: list[sa.ColumnElement[bool]] = [sa.true()]
    where += [table.c.station == station] if station is not None else []
    where += [table.c.table_name == of] if of is not None else []
    where += [] if closed else [table.c.state == OPEN]
    with _books(control) as conn:
        total = conn.scalar(sa.select(sa.func.count()).select_from(table).where(*where))
        query = sa.select(table).where(*where).order_by(table.c.id.desc()).limit(limit)
        return [_entry(row) for row in conn.execute(query).mappings()], int(total or 0)


def newest(control: Database, station: str, asked: BackfillRange) -> Mapping[str, BackfillEntry]:
    """The last entry of this very range for each of the station's tables that has one, whatever became of it."""
    with _books(control) as conn:
        where = (table.c.station == station, table.c.asked_hash == asked.digest)
        rows = conn.execute(sa.select(table).where(*where).order_by(table.c.id)).mappings()
        return {row["table_name"]: _entry(row) for row in rows}


def give_up(control: Database, number: int) -> BackfillEntry:
    """Forget the place of one that was cut off. What it merged stays. UsageError where no such one is open."""
    with _books(control) as conn:
        row = conn.execute(sa.select(table).where(table.c.id == number, table.c.state == OPEN)).mappings().first()
        if row is None:
            what, step = f"no backfill {number} is open.", "See: stationsync backfill --list"
            raise UsageError("backfill", what, not_done="Nothing was changed.", next_step=step)
        drop(conn, entry := _entry(row), "given up", control.dialect.clock(conn, Family.DATETIME).utc)
        return entry


@contextmanager
def _books(control: Database) -> Iterator[sa.Connection]:
    with control.begin() as conn:
        require_books(conn)
        yield conn


def _of(pair: Pair) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.station == pair.name, table.c.table_name == pair.table)


def _limits_text(limits: BackfillLimits) -> str:
    moments = [None if moment is None else moment.isoformat() for moment in (limits.since, limits.until)]
    places = [None if place is None else key_text(place) for place in (limits.first, limits.last)]
    return json.dumps([list(limits.order), *moments, *places])


def _limits(text: str) -> BackfillLimits:
    order, since, until, first, last = json.loads(text)
    begin, end = (None if moment is None else datetime.fromisoformat(moment) for moment in (since, until))
    lowest, highest = (None if place is None else parse_key_text(place) for place in (first, last))
    return BackfillLimits(tuple(order), begin, end, lowest, highest)


def _entry(row: Mapping[Any, Any]) -> BackfillEntry:
    return BackfillEntry(
        row["id"],
        row["station"],
        row["table_name"],
        asked_from(row["asked"]),
        row["about"],
        _limits(row["limits"]),
        None if row["place"] is None else parse_key_text(row["place"]),
        row["expected"],
        row["rows_read"],
        json.loads(row["counts"]),
        row["state"],
        row["begun_at"],
        row["moved_at"],
        row["given_up_at"],
        row["message"],
    )
