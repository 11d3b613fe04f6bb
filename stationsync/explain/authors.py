"""Who gave each column the value that it has now, and when: as far as the journal tells. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stationsync.explain.facts import Facts
from stationsync.explain.story import CONFLICT, Event
from stationsync.explain.words import GIVE_BACK, gave_again
from stationsync.journal.format import Decided
from stationsync.model.changes import Direction


def authors(facts: Facts, events: Sequence[Event]) -> dict[str, tuple[datetime, str]]:
    """Column -> since when it has the value that control has, and who gave it to it: as far as the journal tells."""
    found: dict[str, tuple[datetime, str, Any]] = {}
    for event in events:
        row = event.row
        if row is None or event.what in (Decided.QUARANTINED, CONFLICT):
            found = {} if row is None and event.what in (Decided.DELETED, Decided.SETTLED) else found
            continue
        if event.passed is not None and gave_again(event.passed):
            found = {name: (event.at, "station", value) for name, value in row.items()}
            continue
        for name, value in row.items():
            before = found.get(name)
            if before is None or not _alike(facts, name, before[2], value):
                found[name] = (event.at, _author(facts, event, name, seen=before is not None), value)
    now = facts.at_control if facts.at_control is not None else facts.base
    return {
        name: (at, who)
        for name, (at, who, value) in found.items()
        if who and now is not None and name in now and _alike(facts, name, now[name], value)
    }


def _alike(facts: Facts, name: str, a: Any, b: Any) -> bool:
    return not facts.differing({name: a}, {name: b})


def _author(facts: Facts, event: Event, name: str, *, seen: bool) -> str:
    """Empty where it was so before, and who gave it is older than the journal. `seen`: it was another before."""
    one = event.passed
    if one is None or event.row is None:
        return ""
    other = one.came if one.decision is Decided.KEPT else one.before
    if not seen and other is not None and name in other and _alike(facts, name, other[name], event.row[name]):
        return ""
    if one.rule in GIVE_BACK:
        return str(one.rule)
    if one.decision is Decided.SETTLED:
        return "both sides" if one.direction is Direction.UP else "control"
    if one.direction is Direction.DOWN or one.decision in (Decided.KEPT, Decided.FLAGGED):
        return "control"
    if one.decision is Decided.COMBINED and one.came is not None:
        return "station" if _alike(facts, name, one.came.get(name), event.row[name]) else "control"
    return "station"
