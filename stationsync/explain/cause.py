"""Why both sides have the row that they have, where they agree, and who gave each column its value. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stationsync.explain.facts import Row, RowFacts
from stationsync.explain.story import CONFLICT, Event
from stationsync.explain.words import (
    GIVE_BACK,
    REVERT,
    TAKE,
    by_stamps,
    gave_again,
    is_conflict,
    listed,
    reverted,
    winner,
    winner_of,
)
from stationsync.journal.format import Decided
from stationsync.model.changes import Direction


def authors(facts: RowFacts, events: Sequence[Event]) -> dict[str, tuple[datetime, str]]:
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


def _alike(facts: RowFacts, name: str, a: Any, b: Any) -> bool:
    return not facts.differing({name: a}, {name: b})


def _author(facts: RowFacts, event: Event, name: str, *, seen: bool) -> str:
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


_WROTE = frozenset({Decided.INSERTED, Decided.UPDATED, Decided.COMBINED, Decided.SETTLED, Decided.KEPT, CONFLICT})


def cause(facts: RowFacts, events: Sequence[Event], sides: str) -> str:
    """`sides`: where the row stands so, in words."""
    told = [event for event in events if event.what in _WROTE]
    if not told:
        return f"The same row stands at {sides}. {_older(facts)}"
    last = told[-1]
    decided = last.cause or last
    if _is_conflict(decided):
        return _by_conflict(facts, decided, last, sides)
    if decided.rule == REVERT:
        what = f"The row stands at {sides} as it was before: {reverted(decided.reason)}, {_at(decided)}"
        return f"{what}; the station has it since {_at(last)} (run {last.run[:8]})."
    if decided.rule == TAKE:
        what = f"The row stands at {sides} because {decided.reason}, {_at(decided)}"
        return f"{what}; the station has it since {_at(last)} (run {last.run[:8]})."
    return f"{_plain(facts, last, sides)}."


def _is_conflict(event: Event) -> bool:
    return event.what == CONFLICT or (event.passed is not None and is_conflict(event.passed))


def _by_conflict(facts: RowFacts, decided: Event, last: Event, sides: str) -> str:
    names = _touched(facts, decided)
    of = f" of {listed(names)}" if names else ""
    won = _winner(decided)
    whose = f"{won[0].upper()}{won[1:]}'s value{of} stands" if won else f"{_mixture(facts, decided)} stands"
    why = _why(facts, decided)
    kept = f"; the loser is kept: stationsync conflicts show {decided.conflict.id}" if decided.conflict else ""
    return f"{whose} at {sides} since {_at(last)}: conflict by rule {decided.rule}, {why}{kept}."


def _winner(event: Event) -> str:
    if event.passed is not None:
        return winner(event.passed)
    return winner_of(event.conflict) if event.conflict is not None else ""


def _mixture(facts: RowFacts, event: Event) -> str:
    """Whose the columns are of a row that has something of both sides."""
    one = event.passed
    if one is None or one.came is None or one.before is None or one.after is None:
        return "A row with something of both sides"
    theirs, ours = facts.edited(one.before, one.after), facts.edited(one.came, one.after)
    parts = [f"{listed(names)} of {side}" for names, side in ((theirs, "the station"), (ours, "control")) if names]
    return f"A row with {' and '.join(parts)}" if parts else "A row with something of both sides"


def _touched(facts: RowFacts, event: Event) -> list[str]:
    """Columns in which a side lost, or that changed: but for the stamp, where there is another."""
    lost = list(event.conflict.columns) if event.conflict is not None else []
    names = lost or list(dict.fromkeys(change.column for change in event.changes))
    return facts.but_stamp(names)


def _why(facts: RowFacts, event: Event) -> str:
    one, conflict = event.passed, event.conflict
    if one is not None and one.before is not None:
        theirs = one.came if one.came is not None else one.after
        versions: tuple[Row | None, Row | None] = (theirs, one.before)
    else:
        versions = (conflict.station_row, conflict.control_row) if conflict else (None, None)
    offset = conflict.clock_offset if conflict else 0
    return (
        by_stamps(event.rule or "", versions, facts.options.modified, offset) or event.reason or "both had changed it"
    )


def _plain(facts: RowFacts, last: Event, sides: str) -> str:
    since = f"since {_at(last)}"
    run = f" (run {last.run[:8]})" if last.run else ""
    names = _touched(facts, last)
    of = f" of {listed(names)}" if names and not last.first else ""
    if last.rule in GIVE_BACK:
        return f"The row stands at {sides} {since}{run}: {last.says}"
    if last.passed is not None and gave_again(last.passed):
        return f"The row stands at {sides} as {facts.station} wrote it, {since}{run}: {last.says}"
    if last.what == Decided.INSERTED:
        if last.direction is Direction.DOWN:
            return f"The row stands at {sides} {since}{run}: {last.says}"
        return f"The row stands at {sides} as {facts.station} wrote it, {since}{run}; nothing has changed it since"
    if last.what == Decided.SETTLED and last.direction is Direction.UP:
        return f"The same row stands at {sides}: {last.says}, {_at(last)}{run}"
    if last.direction is Direction.DOWN:
        return f"Control's edit{of} stands at {sides} {since}{run}: only control had changed the row"
    return f"The station's edit{of} stands at {sides} {since}{run}: only the station had changed the row"


def _older(facts: RowFacts) -> str:
    if not facts.journal.on and facts.journal.begins is None:
        return "What made it so is not known: there is no journal."
    if facts.journal.begins is None:
        return "What made it so is not known: the journal has nothing of this table."
    return f"What made it so is older than the journal, which begins at {facts.journal.begins:%Y-%m-%d %H:%M:%S}."


def _at(event: Event) -> str:
    return f"{event.at:%Y-%m-%d %H:%M:%S}"
