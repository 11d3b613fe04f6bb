"""Parts of the sentences that `explain` says. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stationsync.explain.facts import Facts, Row
from stationsync.explain.story import Event
from stationsync.keeping.books import OPEN
from stationsync.model.changes import Direction
from stationsync.pairing.decide import moment
from stationsync.pairing.stamp import of_row
from stationsync.recovery.quarantine import Entry


@dataclass(frozen=True)
class Verdict:
    standing: str
    next_steps: tuple[str, ...] = ()
    known: bool = True


def kept_loser(event: Event) -> str:
    return f"What lost is kept: stationsync conflicts show {event.conflict.id}." if event.conflict else ""


def entry_of(facts: Facts, direction: Direction, state: str) -> Entry | None:
    return next((one for one in facts.quarantine if (one.direction, one.state) == (direction, state)), None)


def open_entry(facts: Facts, direction: Direction) -> Entry | None:
    return entry_of(facts, direction, OPEN)


def why(entry: Entry) -> str:
    return f"{'; '.join(entry.reasons).rstrip('.')} (quarantine {entry.id})."


def retry(entry: Entry | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    return (
        f"The version: stationsync quarantine show {entry.id}",
        f"Once the row, the rule or the table was mended: stationsync quarantine retry {entry.id}",
    )


def unseen(facts: Facts, direction: Direction, row: Row) -> str:
    """Why no run in its turn will see this version; empty where the next one does."""
    if is_seen(facts, direction, row):
        return ""
    value = of_row(row, facts.options.stamps)
    names = " or ".join(f"`{name}`" for name in facts.options.stamps)
    if moment(value) is None:
        return f"; its {names} ({value or 'NULL'}) is no date, so only a reconcile finds it"
    start = f"{facts.books.starts[direction]:%Y-%m-%d %H:%M:%S}"
    return f"; its {names} ({value}) is before what the next run reads (from {start} on), so only a reconcile finds it"


def is_seen(facts: Facts, direction: Direction, row: Row) -> bool:
    at, start = moment(of_row(row, facts.options.stamps)), facts.books.starts.get(direction)
    if at is None:
        return False
    return start is None or at >= start


def next_run(facts: Facts, direction: Direction, row: Row) -> str:
    return sync(facts) if is_seen(facts, direction, row) else reconcile(facts)


def sync(facts: Facts) -> str:
    return f"The next run does it; now: stationsync sync {facts.of}"


def reconcile(facts: Facts) -> str:
    return f"The next reconcile does it; now: stationsync reconcile {facts.of}"


def holds(facts: Facts) -> list[str]:
    """What holds up the whole table, while something waits: to be seen to first."""
    books = facts.books
    found = []
    if books.paused:
        found.append(f"First: {facts.station} is {books.paused}; to let it run: stationsync resume {facts.station}")
    if facts.unknown:
        found.append(f"First: {facts.station} has to be within reach")
    found += [f"First: the last {one.what} failed: {one.message}" for one in books.troubles if not one.offline]
    return found
