"""Why a row looks as it does: the story of its versions, and in plain sentences who won, why, and what waits. Pure.

told = explain(facts)
told.standing      # "Control's value of `text` stands at both sides since 12:00:05: conflict by rule newest, …"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stationsync.explain.absent import control_lost, foreign, nobody, not_known, not_ready, station_lost
from stationsync.explain.authors import authors
from stationsync.explain.cause import cause
from stationsync.explain.facts import Facts, Row
from stationsync.explain.parts import Verdict, entry_of, holds, next_run, open_entry, retry, sync, unseen, why
from stationsync.explain.story import Event, story
from stationsync.explain.words import listed
from stationsync.keeping.books import DISCARDED
from stationsync.model.changes import Direction
from stationsync.topology.model import TableDirection


@dataclass(frozen=True)
class Explained:
    """`next_steps`: commands, each with what it is for; empty where nothing waits. `known`: whether anybody ever had
    the row, as far as one can tell."""

    facts: Facts
    events: tuple[Event, ...]
    authors: dict[str, tuple[datetime, str]]
    known: bool
    standing: str
    next_steps: tuple[str, ...]


def explain(facts: Facts) -> Explained:
    events = story(facts)
    found = _verdict(facts, events)
    steps = tuple(
        dict.fromkeys([*(holds(facts) if found.known else ()), *found.next_steps] if found.next_steps else ())
    )
    return Explained(facts, tuple(events), authors(facts, events), found.known, found.standing, steps)


def _verdict(facts: Facts, events: Sequence[Event]) -> Verdict:
    s, c, b = facts.at_station, facts.at_control, facts.base
    owner = facts.books.owner
    if s is c is b is None and not events:
        return nobody(facts)
    if not facts.books.ready:
        return not_ready(facts)
    if owner is not None and owner != facts.station:
        return foreign(facts, owner)
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


def _both_changed(facts: Facts, s: Row, c: Row) -> Verdict:
    if facts.equal(s, c):
        what = "Both sides have changed the row to the same; the next pull notes that."
        return Verdict(what, (next_run(facts, Direction.UP, s),))
    if held := open_entry(facts, Direction.UP):
        what = f"Both sides have changed the row, and {facts.station}'s version cannot be applied: {why(held)}"
        return Verdict(what, retry(held))
    rule, base = facts.options.conflicts, facts.base or {}
    theirs, ours = (listed(facts.edited(base, row)) for row in (s, c))
    what = (
        f"Both sides have changed the row since they last agreed, {facts.station} {theirs}, control {ours}:"
        f" the next pull decides by rule {rule}, and keeps what loses{unseen(facts, Direction.UP, s)}."
    )
    return Verdict(what, (next_run(facts, Direction.UP, s),))


def _edit_waits(facts: Facts, b: Row, c: Row) -> Verdict:
    edit = f"Control has edited {listed(facts.edited(b, c))}"
    if facts.options.direction is TableDirection.UP:
        return Verdict(f"{edit}, and nothing goes down from this table: it stays at control.")
    if held := open_entry(facts, Direction.DOWN):
        return Verdict(f"{edit}, and the edit cannot go down: {why(held)}", retry(held))
    if given_up := entry_of(facts, Direction.DOWN, DISCARDED):
        what = (
            f"{edit}; the edit was refused, and a person discarded it (quarantine {given_up.id}): it stays at control."
        )
        return Verdict(what, (f"To try once more: stationsync quarantine retry {given_up.id}",))
    marked = "" if facts.books.pending else unseen(facts, Direction.DOWN, c)
    step = sync(facts) if facts.books.pending else next_run(facts, Direction.DOWN, c)
    asked = f"; {facts.station} cannot be asked now" if facts.unknown else ""
    return Verdict(f"{edit}, which waits to go down{marked}{asked}.", (step,))


def _change_waits(facts: Facts, b: Row, s: Row) -> Verdict:
    edit = f"{facts.station} has changed {listed(facts.edited(b, s))}"
    if facts.options.direction is TableDirection.DOWN:
        what = f"{edit}, and nothing goes up from this table: the next pull lets control win, and keeps what loses."
        return Verdict(what, (next_run(facts, Direction.UP, s),))
    if held := open_entry(facts, Direction.UP):
        return Verdict(f"{edit}, and the new version cannot be applied at control: {why(held)}", retry(held))
    what = f"{edit}, and control has not got it yet{unseen(facts, Direction.UP, s)}."
    return Verdict(what, (next_run(facts, Direction.UP, s),))


def _agreed(facts: Facts, events: Sequence[Event], row: Row) -> Verdict:
    sides = "control and in the base" if facts.unknown else "both sides"
    standing = cause(facts, events, sides)
    if facts.unknown:
        standing += f" {facts.station} could not be asked: this is what it is known to have."
    if held := open_entry(facts, Direction.UP) or open_entry(facts, Direction.DOWN):
        return Verdict(f"{standing} In quarantine all the same: {why(held)}", retry(held))
    return Verdict(standing)
