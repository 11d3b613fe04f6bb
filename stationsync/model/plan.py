"""What a run would do, per station, table and side: the same value for whatever can be run dry; and whether what a
person approved covers what a run would do by now. No I/O."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stationsync.model.stored_text import told

CONTROL = "control"
SAMPLES = 5
# Field of Share: in words. The first three are writes.
KINDS = {
    "inserts": "rows to insert",
    "updates": "rows to update",
    "deletes": "rows to delete",
    "conflicts": "conflicts",
    "quarantined": "rows for quarantine",
}
NOTHING_CHANGED = "Nothing was changed."
_SHORT = 40
_COLUMNS = 6


@dataclass(frozen=True)
class Sample:
    """One row of a plan: its key, and what would become of it, in words."""

    key: tuple[str, ...]
    what: str = ""

    def __str__(self) -> str:
        key = ", ".join(self.key)
        return f"({key}): {self.what}" if self.what else f"({key})"


@dataclass(frozen=True)
class Share:
    """What would be done to one table of one station; `at` names the side that is written: control, or the station.

    A conflict is decided and written like any other row: it is counted here, and not as an update."""

    station: str
    table: str
    at: str
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    conflicts: int = 0
    quarantined: int = 0
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, station: str, table: str, at: str, kind: str, rows: Iterable[Sample], number: int | None = None
    ) -> Share:
        """Of one kind; of `number` rows, where `rows` are not all of them."""
        listed = tuple(rows)
        counts = {kind: len(listed) if number is None else number}
        return cls(station, table, at, samples={kind: listed[:SAMPLES]} if counts[kind] else {}, **counts)

    def __add__(self, other: Share) -> Share:
        numbers = {kind: getattr(self, kind) + getattr(other, kind) for kind in KINDS}
        samples = {
            kind: (*self.samples.get(kind, ()), *other.samples.get(kind, ()))[:SAMPLES]
            for kind in KINDS
            if kind in self.samples or kind in other.samples
        }
        return dataclasses.replace(self, **numbers, samples=samples)

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)

    def as_dict(self) -> dict[str, object]:
        """Flat, JSON-ready."""
        return {
            "station": self.station,
            "table": self.table,
            "at": self.at,
            **{kind: getattr(self, kind) for kind in KINDS},
            "samples": {
                kind: [{"key": list(one.key), "what": one.what} for one in samples]
                for kind, samples in self.samples.items()
            },
        }

    def in_words(self) -> str:
        counts = [f"{words} {n:,}" for kind, words in KINDS.items() if (n := getattr(self, kind))]
        return ", ".join(counts) or "nothing to do"

    def lines(self) -> Iterator[str]:
        """For a terminal: the counts, and below them the samples."""
        yield f"{self.station}/{self.table} at {self.at}: {self.in_words()}"
        for kind, samples in self.samples.items():
            yield from (f"  {KINDS[kind]} {sample}" for sample in samples)
            more = getattr(self, kind) - len(samples)
            if more > 0:
                yield f"  {KINDS[kind]} … and {more:,} more"


class Gathering:
    """Shares of a plan as they come in, chunk by chunk."""

    def __init__(self) -> None:
        self._shares: dict[tuple[str, str, str], Share] = {}

    def add(self, share: Share) -> None:
        place = (share.station, share.table, share.at)
        known = self._shares.get(place)
        self._shares[place] = known + share if known else share

    @property
    def shares(self) -> tuple[Share, ...]:
        """Those with anything in them."""
        return tuple(filter(None, self._shares.values()))


def edited(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """The columns that differ, in words."""
    parts = [f"{name} {short(before[name])} → {short(after[name])}" for name in after if before[name] != after[name]]
    more = len(parts) - _COLUMNS
    return ", ".join(parts[:_COLUMNS]) + (f" and {more} more columns" if more > 0 else "")


def short(value: object) -> str:
    """A value as a sample shows it."""
    if value is None:
        return "NULL"
    text = f"0x{value.hex()}" if isinstance(value, bytes) else " ".join(told(str(value)).split())
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def key_of(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(value.hex() if isinstance(value, bytes) else told(str(value), whole=True) for value in values)


# Rows come in while a plan waits. So much more than was approved is still the same work; a mass change is not.
_ROWS, _PART = 20, 0.1

Totals = Mapping[str, int]


def totals(shares: Iterable[Share]) -> dict[str, int]:
    """Rows of each kind that there is any of, over all shares."""
    listed = list(shares)
    counts = {kind: sum(getattr(share, kind) for share in listed) for kind in KINDS}
    return {kind: n for kind, n in counts.items() if n}


def covers(approved: Totals, now: Totals) -> bool:
    """Of no kind there is much more now. Deletes count to the row."""
    return all(n <= _most(kind, approved.get(kind, 0)) for kind, n in now.items())


def _most(kind: str, approved: int) -> float:
    return approved if kind == "deletes" else approved + max(_ROWS, approved * _PART)


def as_text(found: Totals) -> str:
    """One canonical text of them."""
    return json.dumps(dict(found), sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Totals | None:
    """Back again; None of any other text."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and set(found) <= set(KINDS) else None
