"""What may be pruned by its age, and what a maintenance did, or on a dry run would do. Pure.

Everything of a stale station that is younger than what was last seen of it stays: it may be needed to explain what
went on there. Of one that never succeeded everything stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from stationsync.health.freshness import Freshness
from stationsync.model.amounts import format_size


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


@dataclass(frozen=True)
class PrunedPart:
    """Of one kind of thing. Bytes are None where nobody tells them; `note`: what was left out, and why."""

    what: str
    pruned: int = 0
    kept: int | None = None
    before: int | None = None
    after: int | None = None
    note: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Maintained:
    parts: tuple[PrunedPart, ...]
    dry_run: bool = False

    @property
    def failed(self) -> bool:
        return any(part.failed for part in self.parts)

    def lines(self) -> list[dict[str, str]]:
        """A table for people."""
        return [
            {
                "what": part.what,
                "would be pruned" if self.dry_run else "pruned": f"{part.pruned:,}",
                "kept": "" if part.kept is None else f"{part.kept:,}",
                "before": format_size(part.before),
                "after": format_size(part.after),
                "note": part.note,
            }
            for part in self.parts
        ]

    def summary(self) -> str:
        some = [f"{part.what} {part.pruned:,}" for part in self.parts if part.pruned]
        told = ", ".join(some) or "nothing to prune"
        if self.dry_run:
            return f"would be pruned: {told}. Nothing was changed."
        return f"pruned: {told}." if some else "Nothing to prune."

    def as_dict(self) -> dict[str, Any]:
        return {"ok": not self.failed, "dry_run": self.dry_run, "parts": [asdict(part) for part in self.parts]}
