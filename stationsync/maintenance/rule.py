"""What may be pruned by its age. Pure.

Everything of a stale station that is younger than what was last seen of it stays: it may be needed to explain what
went on there. Of one that never succeeded everything stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stationsync.health.freshness import Freshness


@dataclass(frozen=True)
class Ages:
    """`floors`: of each stale station, the moment from which on everything stays."""

    now: datetime
    floors: Mapping[str, datetime] = field(default_factory=dict)

    def before(self, retention: timedelta, station: str = "") -> datetime:
        """What is older than this may go."""
        return min(self.now - retention, self.floors.get(station, datetime.max))


def ages(now: datetime, found: Iterable[Freshness]) -> Ages:
    floors: dict[str, datetime] = {}
    for one in found:
        if one.stale:
            seen = datetime.min if one.lag is None else one.now - one.lag
            floors[one.station] = min(seen, floors.get(one.station, seen))
    return Ages(now, floors)
