"""What a server says of a station's table beside its rows: by that, and the newest rows, `went_back` knows whether the
table is still the one that was seen. Frozen values, and their text in our books."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class TableFacts:
    """`counter`: the next AUTO_INCREMENT value; it never goes down while a table lives. `made`: what changes where the
    table is made anew (restored, truncated; but by ALTER TABLE and OPTIMIZE too), `server`: where it stands. None:
    nobody says."""

    counter: int | None = None
    made: str | None = None
    server: str | None = None


@dataclass(frozen=True)
class Again:
    """Keys from `low` on were free when somebody said that the table is right as it is. Versions that are known of them
    and stamped up to `until` are of rows that the station had lost: who gets such a key has not seen them."""

    low: int
    until: datetime


@dataclass(frozen=True)
class Lacked:
    """The table was made anew, and may be an older copy: versions that are known and stamped after `since` (None: any)
    up to `until` it may never have had. Who replaces one of them there has not seen it. `inclusive`: nor those of that
    very moment."""

    since: datetime | None
    until: datetime
    inclusive: bool = True

    def has(self, at: datetime) -> bool:
        return at <= self.until and (self.since is None or at > self.since or (self.inclusive and at == self.since))

    def __or__(self, other: Lacked) -> Lacked:
        """What one of them may lack, and what is in between."""
        if self.since is None or other.since is None:
            return Lacked(None, max(self.until, other.until))
        since = min(self.since, other.since)
        return Lacked(
            since, max(self.until, other.until), any(one.inclusive for one in (self, other) if one.since == since)
        )


@dataclass(frozen=True)
class Remembered:
    """The facts as they were last seen. `doubtful`: the run was cut off in which it was not certain whether keys were
    given again. `doubts`: how often it was not, and the table had not been made anew: an application that writes its
    rows anew all the time. `lacks`: the base marks rows that the table lacked when it was taken as it is."""

    facts: TableFacts = TableFacts()
    doubtful: bool = False
    doubts: int = 0
    again: Again | None = None
    lacked: Lacked | None = None
    lacks: bool = False

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=datetime.isoformat)

    @staticmethod
    def from_json(text: str | None) -> Remembered | None:
        if text is None:
            return None
        data: dict[str, Any] = json.loads(text)
        again = data.get("again")
        return Remembered(
            TableFacts(**data["facts"]),
            data["doubtful"],
            data["doubts"],
            Again(again["low"], datetime.fromisoformat(again["until"])) if again else None,
            _lacked(data.get("lacked")),
            data.get("lacks", False),
        )


def _lacked(data: dict[str, Any] | None) -> Lacked | None:
    if data is None:
        return None
    since, until = (None if data[name] is None else datetime.fromisoformat(data[name]) for name in ("since", "until"))
    return None if until is None else Lacked(since, until, data["inclusive"])
