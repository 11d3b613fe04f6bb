"""What happened to one row, in order: the journal's records joined with the conflicts, the quarantine and the trash
that belong to them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from stationsync.explain.facts import Passed, Row, RowFacts
from stationsync.explain.words import (
    carried_down,
    gave_again,
    is_conflict,
    of_conflict,
    of_quarantine,
    of_trash,
    what_happened,
)
from stationsync.health.conflict_list import Conflict
from stationsync.journal.format import Decided
from stationsync.keeping.books import DISCARDED, OPEN, RELEASED
from stationsync.keeping.trash import GIVEN_AGAIN, Item
from stationsync.model.changes import Direction
from stationsync.recovery.quarantine import QuarantineEntry

CONFLICT, TRASHED, LEFT, GIVEN_UP = "conflict", "trash", "released", "discarded"
_LEAVES = (Decided.KEPT, Decided.QUARANTINED)
_T = TypeVar("_T", Conflict, Item)


@dataclass(frozen=True)
class ColumnChange:
    """`whose`: empty for what was written; else whose edit it was in a conflict (station, control; `differs`: how both
    differ, where nobody knows what they had before), what `came` and could not be applied, what is `gone`."""

    column: str
    old: Any
    new: Any
    whose: str = ""


@dataclass(frozen=True)
class Event:
    """`what`: the journal's decision, or one of the words above where only our other books tell. `first`: there was no
    row before, or none that is known, so that `old` says nothing. `row`: what the target has afterwards. `cause`: the
    conflict or the revert that a push only carried down."""

    at: datetime
    what: str
    says: str
    direction: Direction | None = None
    run: str = ""
    flow_run: str | None = None
    rule: str | None = None
    loser: str | None = None
    reason: str | None = None
    first: bool = False
    changes: tuple[ColumnChange, ...] = ()
    row: Row | None = None
    conflict: Conflict | None = None
    trash: Item | None = None
    quarantine: QuarantineEntry | None = None
    passed: Passed | None = None
    cause: Event | None = None

    @property
    def decided(self) -> bool:
        """Something came of it at either side, or was settled between them."""
        return self.what not in (Decided.QUARANTINED, LEFT, GIVEN_UP)


def story(facts: RowFacts) -> list[Event]:
    """The oldest first."""
    conflicts, trash = _Left(facts.conflicts), _Left(facts.trash)
    events: list[Event] = []
    known: Row | None = None
    for one in sorted(facts.passed, key=lambda one: one.at):
        conflict = conflicts.take(one.at, _of_conflict(one)) if one.loser else None
        item = trash.take(one.at, _of_trash(one))
        events.append(_event(facts, one, known, conflict, item))
        if one.decision not in _LEAVES:
            known = one.after
        elif one.decision is Decided.KEPT:
            # What the station had is what the base says from then on.
            known = one.came or one.after
    events += [_conflict(facts, one) for one in conflicts.rest]
    events += [Event(one.at, TRASHED, of_trash(one), trash=one) for one in trash.rest]
    events = _with_pushes(facts, sorted(events, key=lambda event: event.at))
    for entry in facts.quarantine:
        events = _with_entry(facts, events, entry)
    return events


def _with_pushes(facts: RowFacts, events: list[Event]) -> list[Event]:
    """A push of what was decided just before has that for its cause."""
    found: list[Event] = []
    for event in events:
        before = next((told for told in reversed(found) if told.decided), None)
        if before is not None and _carries(facts, event, before):
            event = replace(event, cause=before.cause or before, says=carried_down(event.what))
        found.append(event)
    return found


def _carries(facts: RowFacts, event: Event, before: Event) -> bool:
    pushed = event.direction is Direction.DOWN and event.what in (Decided.UPDATED, Decided.SETTLED)
    if not pushed or event.rule is not None or before.rule is None or event.row is None or before.row is None:
        return False
    return not facts.differing(_texts(before.row), _texts(event.row))


def _texts(row: Row) -> dict[str, Any]:
    """A conflict of our other books has the driver's values: compared by their texts."""
    return {
        name: value if value is None or isinstance(value, bytes | dict) else str(value) for name, value in row.items()
    }


class _Left:
    """Entries that no record of the journal has been found for yet."""

    def __init__(self, entries: Sequence[Any]) -> None:
        self.rest = sorted(entries, key=lambda one: (one.at, one.id))

    def take(self, at: datetime, belongs: Callable[[Any], bool]) -> Any:
        """The newest that is as old: a transaction's entries are dated when its run began."""
        fit = [one for one in self.rest if one.at <= at and belongs(one)]
        if not fit:
            return None
        self.rest.remove(fit[-1])
        return fit[-1]


def _of_conflict(record: Passed) -> Callable[[Conflict], bool]:
    def belongs(one: Conflict) -> bool:
        alike = (one.loser, one.policy) == (record.loser, record.rule)
        return alike and record.reason in (None, one.reason)

    return belongs


def _of_trash(record: Passed) -> Callable[[Item], bool]:
    goes = record.decision in (Decided.DELETED, Decided.FLAGGED) or (
        record.decision is Decided.SETTLED and record.after is None
    )
    side = "station" if record.direction is Direction.DOWN else "control"
    if gave_again(record):
        return lambda one: one.reason == GIVEN_AGAIN and one.side == side
    return lambda one: goes and one.side == side


def _event(facts: RowFacts, one: Passed, known: Row | None, conflict: Conflict | None, item: Item | None) -> Event:
    changes, first = _changes(facts, one, known, conflict)
    return Event(
        one.at, str(one.decision), what_happened(one, conflict, item), one.direction, one.run, one.flow_run,
        one.rule, one.loser, one.reason, first, tuple(changes), one.after, conflict, item, passed=one,
    )  # fmt: skip


def _changes(
    facts: RowFacts, one: Passed, known: Row | None, conflict: Conflict | None
) -> tuple[Iterator[ColumnChange], bool]:
    if one.decision is Decided.QUARANTINED:
        return _between(facts, known, one.came, "came"), known is None
    if is_conflict(one) and one.direction is Direction.UP and one.before is not None:
        return _both(facts, one, known, conflict), known is None
    if one.decision is Decided.DELETED:
        gone = (name for name in one.before or {} if name not in facts.options.key)
        return (ColumnChange(name, (one.before or {})[name], None, "gone") for name in gone), False
    return _between(facts, one.before, one.after), one.before is None


def _both(facts: RowFacts, one: Passed, known: Row | None, conflict: Conflict | None) -> Iterator[ColumnChange]:
    """What each side had done to the row that both knew; where that is not known, how they differ."""
    has_row = one.decision in (Decided.UPDATED, Decided.COMBINED)
    theirs = one.after if one.came is None and has_row else one.came
    base = known
    if base is None and conflict is not None:
        base = conflict.base_row
    if base is None:
        yield from _between(facts, theirs, one.before, "differs")
        return
    yield from _between(facts, base, one.before, "control")
    if theirs is not None:
        yield from _between(facts, base, theirs, "station")
    if one.decision is Decided.COMBINED:
        yield from _between(facts, one.before, one.after)


def _between(facts: RowFacts, old: Row | None, new: Row | None, whose: str = "") -> Iterator[ColumnChange]:
    if new is None:
        return
    if old is None:
        others = (name for name in new if name not in facts.options.key)
        yield from (ColumnChange(name, None, new[name], whose) for name in others)
        return
    yield from (ColumnChange(name, old[name], new[name], whose) for name in facts.differing(old, new))


def _conflict(facts: RowFacts, one: Conflict) -> Event:
    """One that the journal does not have (any more)."""
    s, c, base = one.station_row, one.control_row, one.base_row
    if base is not None:
        changes = [*_between(facts, base, c, "control"), *(_between(facts, base, s, "station") if s else ())]
    else:
        changes = list(_between(facts, s, c, "differs")) if s and c else []
    return Event(
        one.at, CONFLICT, of_conflict(one), None, "", None, one.policy, one.loser, one.reason,
        changes=tuple(changes), row=one.result_row, conflict=one,
    )  # fmt: skip


def _with_entry(facts: RowFacts, events: list[Event], entry: QuarantineEntry) -> list[Event]:
    """The entry as it is now: at what put it there, and where it was released, or discarded by a person."""
    put = [i for i, e in enumerate(events) if e.what == Decided.QUARANTINED and e.direction in (entry.direction, None)]
    if put:
        last = events[put[-1]]
        events[put[-1]] = replace(last, quarantine=entry, says=f"{last.says} (entry {entry.id}, {entry.state})")
    else:
        changes = tuple(_between(facts, None, entry.row, "came")) if entry.state == OPEN else ()
        at = entry.last_at if entry.state == OPEN else entry.first_at
        event = Event(
            at, str(Decided.QUARANTINED), f"{of_quarantine(entry)} (entry {entry.id}, {entry.state})",
            entry.direction, reason="; ".join(entry.reasons), first=True, changes=changes, quarantine=entry,
        )  # fmt: skip
        events = sorted([*events, event], key=lambda event: event.at)
    return events if entry.state == OPEN else _ended(events, entry)


def _ended(events: list[Event], entry: QuarantineEntry) -> list[Event]:
    """Said at the version that went through, where there is one; it is dated when its run began."""
    if entry.state == RELEASED:
        for i, event in enumerate(events):
            through = event.decided and event.run and event.at >= entry.last_at and entry.direction == event.direction
            if through:
                events[i] = replace(event, says=f"{event.says}; so it left the quarantine (entry {entry.id})")
                return events
    what, says = LEFT, f"left the quarantine (entry {entry.id})"
    if entry.state == DISCARDED:
        what, says = GIVEN_UP, f"a person discarded the version in quarantine (entry {entry.id})"
    event = Event(entry.last_at, what, says, entry.direction, quarantine=entry)
    return sorted([*events, event], key=lambda event: event.at)
