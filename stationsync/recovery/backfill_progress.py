"""How far a backfill is, and how long it will still take. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from stationsync.model.changes import Counts
from stationsync.pairing.decide import moment
from stationsync.pairing.keys import Key
from stationsync.recovery.backfill_read import Limits


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

    def further(self, counts: Counts, limits: Limits, at: Key | None, seconds: float, *, done: bool) -> Progress:
        """After a chunk that ends `at`."""
        found = replace(
            self, rows=self.rows + counts.read, counts=self.counts + counts, chunks=self.chunks + 1,
            seconds=seconds, waits=False, done=done,
        )  # fmt: skip
        return replace(found, fraction=found.reached(limits, at))

    def reached(self, limits: Limits, at: Key | None) -> float | None:
        if self.done:
            return 1.0
        if self.expected:
            return min(1.0, self.rows / self.expected)
        return None if at is None else position(limits, at)

    def in_words(self) -> str:
        """`12,000 of 50,000 rows, 24 %, 4,000 rows a second, 0:10 left`."""
        of = f" of {self.expected:,}" if self.expected is not None else ""
        words = [f"{self.rows:,}{of} rows"]
        words += [f"{self.fraction:.0%}"] if self.fraction is not None else []
        words += [f"{self.rate:,.0f} rows a second"] if self.rate else []
        words += [f"{clock(self.remaining)} left"] if self.remaining is not None else []
        words += ["another run has the lease; waiting"] if self.waits else []
        return ", ".join(words)


def clock(seconds: float) -> str:
    """1:02:03"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def position(limits: Limits, at: Key) -> float | None:
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
