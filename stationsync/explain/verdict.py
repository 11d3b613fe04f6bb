"""Why a row looks as it does: the story of its versions, and in plain sentences who won, why, and what waits. Pure.

told = explain(facts)
told.standing      # "Control's value of `text` stands at both sides since 12:00:05: conflict by rule newest, …"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stationsync.explain.cause import authors, cause
from stationsync.explain.facts import Row, RowFacts
from stationsync.explain.story import Event, story
from stationsync.explain.words import listed
from stationsync.journal.format import Decided
from stationsync.keeping.books import DISCARDED, OPEN
from stationsync.keeping.trash import RESTORED
from stationsync.model.changes import Direction, Policy
from stationsync.pairing.decide import moment
from stationsync.pairing.stamp import of_row
from stationsync.recovery.quarantine import QuarantineEntry
from stationsync.store.bookkeeping import station_of
from stationsync.topology.model import Deletes, TableDirection
from stationsync.topology.row_filter import Leaving


@dataclass(frozen=True)
class RowVerdict:
    standing: str
    next_steps: tuple[str, ...] = ()
    known: bool = True


def kept_loser(event: Event) -> str:
    return f"What lost is kept: stationsync conflicts show {event.conflict.id}." if event.conflict else ""


def entry_of(facts: RowFacts, direction: Direction, state: str) -> QuarantineEntry | None:
    return next((one for one in facts.quarantine if (one.direction, one.state) == (direction, state)), None)


def open_entry(facts: RowFacts, direction: Direction) -> QuarantineEntry | None:
    return entry_of(facts, direction, OPEN)


def why(entry: QuarantineEntry) -> str:
    return f"{'; '.join(entry.reasons).rstrip('.')} (quarantine {entry.id})."


def retry(entry: QuarantineEntry | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    return (
        f"The version: stationsync quarantine show {entry.id}",
        f"Once the row, the rule or the table was mended: stationsync quarantine retry {entry.id}",
    )


def unseen(facts: RowFacts, direction: Direction, row: Row) -> str:
    """Why no run in its turn will see this version; empty where the next one does."""
    if is_seen(facts, direction, row):
        return ""
    value = of_row(row, facts.options.stamps)
    names = " or ".join(f"`{name}`" for name in facts.options.stamps)
    if moment(value) is None:
        return f"; its {names} ({value or 'NULL'}) is no date, so only a reconcile finds it"
    start = f"{facts.books.starts[direction]:%Y-%m-%d %H:%M:%S}"
    return f"; its {names} ({value}) is before what the next run reads (from {start} on), so only a reconcile finds it"


def is_seen(facts: RowFacts, direction: Direction, row: Row) -> bool:
    at, start = moment(of_row(row, facts.options.stamps)), facts.books.starts.get(direction)
    if at is None:
        return False
    return start is None or at >= start


def next_run(facts: RowFacts, direction: Direction, row: Row) -> str:
    return sync(facts) if is_seen(facts, direction, row) else reconcile(facts)


def sync(facts: RowFacts) -> str:
    return f"The next run does it; now: stationsync sync {facts.of}"


def reconcile(facts: RowFacts) -> str:
    return f"The next reconcile does it; now: stationsync reconcile {facts.of}"


def holds(facts: RowFacts) -> list[str]:
    """What holds up the whole table, while something waits: to be seen to first."""
    books = facts.books
    found = []
    if books.paused:
        found.append(f"First: {facts.station} is {books.paused}; to let it run: stationsync resume {facts.station}")
    if facts.unknown:
        found.append(f"First: {facts.station} has to be within reach")
    found += [f"First: the last {one.what} failed: {one.message}" for one in books.troubles if not one.offline]
    return found


def nobody(facts: RowFacts) -> RowVerdict:
    asked = f"{facts.station} could not be asked; control" if facts.unknown else f"{facts.station}, control"
    of_journal = f"the journal (from {facts.journal.begins:%Y-%m-%d %H:%M:%S} on)" if facts.journal.begins else ""
    books = ", ".join(filter(None, ["the base", of_journal, "quarantine", "conflicts", "trash"]))
    what = f"Nobody has a row {facts.key_text}, and nothing is known of one: {asked}, {books} have none."
    return RowVerdict(what, (f"See how keys look: stationsync journal show {facts.of} --limit 5",), known=False)


def foreign(facts: RowFacts, owner: str) -> RowVerdict:
    theirs = "" if facts.at_station is None else f" {facts.station} has a row of that key too, which was left out."
    held = open_entry(facts, Direction.UP)
    where = f" It is in quarantine: stationsync quarantine show {held.id}." if held else ""
    what = f"The key belongs to {owner}: the row at control is that station's.{theirs}{where}"
    return RowVerdict(what, (f"Its story: stationsync explain {owner} {facts.table} {facts.typed}",))


def left_filter(facts: RowFacts) -> RowVerdict:
    """Control has it of before."""
    again = " By now it goes through again." if facts.at_station is not None and not facts.outside else ""
    what = f"{facts.station}'s row left the filter (where: {facts.options.where or 'none'}).{again}"
    if facts.options.leaving is Leaving.DELETE:
        return RowVerdict(f"{what} The next reconcile deletes it at control.", (f"stationsync reconcile {facts.of}",))
    kept = "Control has it as it was then, alone: nothing of it travels until the filter lets it through again."
    return RowVerdict(f"{what} {kept}", (f"To look now: stationsync reconcile {facts.of}",) if again else ())


def kept_back(facts: RowFacts) -> RowVerdict:
    """Control never had it."""
    what = f"{facts.station} has the row, and its filter keeps it back (where: {facts.options.where})"
    return RowVerdict(f"{what}: it is not synchronised.")


def not_ready(facts: RowFacts) -> RowVerdict:
    what = "The table is not initialised: there is no base, so nobody knows who changed what."
    return RowVerdict(what, ("Take the rows over: stationsync init",))


def not_known(facts: RowFacts, events: Sequence[Event]) -> RowVerdict:
    """The base has no such row: nobody believes that the station has it."""
    s, c = facts.at_station, facts.at_control
    last = next((event for event in reversed(events) if event.decided), None)
    held, discarded = open_entry(facts, Direction.UP), entry_of(facts, Direction.UP, DISCARDED)
    if held and c is None:
        return RowVerdict(f"{facts.station}'s row is not at control: {why(held)}", retry(held))
    if s is None and c is None:
        return _gone(facts, last)
    if s is None:
        alone = "" if facts.unknown else f" {facts.station} does not have it."
        if last is not None and last.what == Decided.KEPT and last.direction is Direction.UP:
            what = f"Control alone has the row: {facts.station} deleted it, while control had edited it."
            return RowVerdict(f"{what} {kept_loser(last)}".strip())
        if last is not None and last.trash is not None and last.trash.state == RESTORED:
            what = f"Control alone has the row: {facts.station} deleted it, and a person restored it from the trash."
            return RowVerdict(what)
        if last is not None and last.what == Decided.FLAGGED:
            return RowVerdict(
                f"{facts.station} deleted the row, {last.at:%Y-%m-%d %H:%M:%S}; control keeps it, flagged."
            )
        what = f"Control has the row, but no station is known to have it: it never travelled.{alone}"
        return RowVerdict(what, (f"If {facts.station} has it: stationsync sync {facts.of}",) if facts.unknown else ())
    if discarded and c is None:
        what = f"{facts.station}'s row is not at control: it was refused, and a person discarded it: {why(discarded)}"
        return RowVerdict(what, (f"To try once more: stationsync quarantine retry {discarded.id}",))
    if facts.options.direction is TableDirection.DOWN:
        return RowVerdict(f"Only {facts.station} has the row, and nothing goes up from this table.")
    if c is not None:
        verb = "have the same row" if facts.equal(s, c) else "have different rows"
        what = f"{facts.station} and control {verb} of this key, which were never compared: the next pull decides."
        return RowVerdict(what, (next_run(facts, Direction.UP, s),))
    return RowVerdict(
        f"{facts.station} has the row, and it is not at control yet{unseen(facts, Direction.UP, s)}.",
        (next_run(facts, Direction.UP, s),),
    )


def _gone(facts: RowFacts, last: Event | None) -> RowVerdict:
    who = "Nobody has the row any more" if not facts.unknown else "Control no longer has the row"
    if last is None:
        return RowVerdict(f"{who}.")
    if last.trash is None:
        return RowVerdict(f"{who}: {last.says}, {last.at:%Y-%m-%d %H:%M:%S}.")
    item = last.trash
    what = f"{who}: {item.reason} (noted {last.at:%Y-%m-%d %H:%M:%S})."
    if item.state == RESTORED:
        return RowVerdict(f"{what} A person restored it from the trash, and it is gone again.")
    what += f" It is in the trash: stationsync trash show {item.id}."
    return RowVerdict(what, (f"To have it back at control: stationsync trash restore {item.id}",))


def control_lost(facts: RowFacts, b: Row) -> RowVerdict:
    sends = facts.options.sends_deletes
    if not facts.unknown and facts.at_station is None:
        what = "Both sides have lost the row since they last agreed. A reconcile puts what the base has into the trash."
        return RowVerdict(what, (reconcile(facts),))
    s, held = facts.at_station, open_entry(facts, Direction.DOWN)
    if facts.options.direction is TableDirection.DOWN and not sends:
        return RowVerdict("Control has deleted the row. Nothing goes up from this table, so it stays away.")
    if s is not None and not facts.equal(s, b):
        what = (
            f"Control has no row any more, and {facts.station} has changed {listed(facts.edited(b, s))} since it had:"
        )
        what += f" that version comes back{unseen(facts, Direction.UP, s)}."
        return RowVerdict(what, (next_run(facts, Direction.UP, s),))
    if sends:
        what = f"Control has deleted the row. A reconcile deletes {facts.station}'s too (control_deletes: send)."
    else:
        what = f"Control has lost the row. A reconcile brings it back from {facts.station} (control_deletes: restore)."
    return RowVerdict(what + (f" Until now: {why(held)}" if held else ""), (*retry(held), reconcile(facts)))


def station_lost(facts: RowFacts, b: Row, c: Row) -> RowVerdict:
    edited = facts.edited(b, c)
    held = open_entry(facts, Direction.DOWN) or open_entry(facts, Direction.UP)
    what = f"{facts.station} no longer has the row; control still does"
    if edited:
        what += f", with an edit of {listed(edited)} that did not get there any more"
    if facts.options.deletes is Deletes.IGNORE or facts.options.direction is TableDirection.DOWN:
        what += ". The table's deletes are ignored, so control keeps it"
        return RowVerdict(f"{what}.{f' {why(held)}' if held else ''}", retry(held) if held and edited else ())
    if edited and facts.options.conflicts is not Policy.STATION:
        what += ". A reconcile notes the conflict, and control keeps the row, alone"
    else:
        what += f". A reconcile carries the delete over (deletes: {facts.options.deletes})"
    return RowVerdict(f"{what}.{f' {why(held)}' if held else ''}", (reconcile(facts),))


@dataclass(frozen=True)
class Explained:
    """`next_steps`: commands, each with what it is for; empty where nothing waits. `known`: whether anybody ever had
    the row, as far as one can tell."""

    facts: RowFacts
    events: tuple[Event, ...]
    authors: dict[str, tuple[datetime, str]]
    known: bool
    standing: str
    next_steps: tuple[str, ...]


def explain(facts: RowFacts) -> Explained:
    events = story(facts)
    found = _verdict(facts, events)
    steps = tuple(
        dict.fromkeys([*(holds(facts) if found.known else ()), *found.next_steps] if found.next_steps else ())
    )
    return Explained(facts, tuple(events), authors(facts, events), found.known, found.standing, steps)


def _verdict(facts: RowFacts, events: Sequence[Event]) -> RowVerdict:
    s, c, b = facts.at_station, facts.at_control, facts.base
    owner = facts.books.owner
    if s is c is b is None and not events:
        return nobody(facts)
    if not facts.books.ready:
        return not_ready(facts)
    if owner is not None and station_of(owner) != facts.station:
        return foreign(facts, station_of(owner))
    if owner is not None and owner != facts.station:
        return left_filter(facts)
    if facts.outside and b is None:
        return kept_back(facts)
    if b is None:
        return not_known(facts, events)
    if c is None:
        return control_lost(facts, b)
    if not facts.unknown and s is None:
        return station_lost(facts, b, c)
    edited, changed = not facts.equal(c, b), s is not None and not facts.equal(s, b)
    if edited and changed:
        return _both_changed(facts, s or {}, c)
    if edited:
        return _edit_waits(facts, b, c)
    if changed:
        return _change_waits(facts, b, s or {})
    return _agreed(facts, events, c)


def _both_changed(facts: RowFacts, s: Row, c: Row) -> RowVerdict:
    if facts.equal(s, c):
        what = "Both sides have changed the row to the same; the next pull notes that."
        return RowVerdict(what, (next_run(facts, Direction.UP, s),))
    if held := open_entry(facts, Direction.UP):
        what = f"Both sides have changed the row, and {facts.station}'s version cannot be applied: {why(held)}"
        return RowVerdict(what, retry(held))
    rule, base = facts.options.conflicts, facts.base or {}
    theirs, ours = (listed(facts.edited(base, row)) for row in (s, c))
    what = (
        f"Both sides have changed the row since they last agreed, {facts.station} {theirs}, control {ours}:"
        f" the next pull decides by rule {rule}, and keeps what loses{unseen(facts, Direction.UP, s)}."
    )
    return RowVerdict(what, (next_run(facts, Direction.UP, s),))


def _edit_waits(facts: RowFacts, b: Row, c: Row) -> RowVerdict:
    edit = f"Control has edited {listed(facts.edited(b, c))}"
    if facts.options.direction is TableDirection.UP:
        return RowVerdict(f"{edit}, and nothing goes down from this table: it stays at control.")
    if held := open_entry(facts, Direction.DOWN):
        return RowVerdict(f"{edit}, and the edit cannot go down: {why(held)}", retry(held))
    if given_up := entry_of(facts, Direction.DOWN, DISCARDED):
        what = (
            f"{edit}; the edit was refused, and a person discarded it (quarantine {given_up.id}): it stays at control."
        )
        return RowVerdict(what, (f"To try once more: stationsync quarantine retry {given_up.id}",))
    marked = "" if facts.books.pending else unseen(facts, Direction.DOWN, c)
    step = sync(facts) if facts.books.pending else next_run(facts, Direction.DOWN, c)
    asked = f"; {facts.station} cannot be asked now" if facts.unknown else ""
    return RowVerdict(f"{edit}, which waits to go down{marked}{asked}.", (step,))


def _change_waits(facts: RowFacts, b: Row, s: Row) -> RowVerdict:
    edit = f"{facts.station} has changed {listed(facts.edited(b, s))}"
    if facts.options.direction is TableDirection.DOWN:
        what = f"{edit}, and nothing goes up from this table: the next pull lets control win, and keeps what loses."
        return RowVerdict(what, (next_run(facts, Direction.UP, s),))
    if held := open_entry(facts, Direction.UP):
        return RowVerdict(f"{edit}, and the new version cannot be applied at control: {why(held)}", retry(held))
    what = f"{edit}, and control has not got it yet{unseen(facts, Direction.UP, s)}."
    return RowVerdict(what, (next_run(facts, Direction.UP, s),))


def _agreed(facts: RowFacts, events: Sequence[Event], row: Row) -> RowVerdict:
    sides = "control and in the base" if facts.unknown else "both sides"
    standing = cause(facts, events, sides)
    if facts.unknown:
        standing += f" {facts.station} could not be asked: this is what it is known to have."
    if held := open_entry(facts, Direction.UP) or open_entry(facts, Direction.DOWN):
        return RowVerdict(f"{standing} In quarantine all the same: {why(held)}", retry(held))
    return RowVerdict(standing)
