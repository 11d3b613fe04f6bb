"""Why a side has a row and another has not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stationsync.explain.facts import Facts, Row
from stationsync.explain.parts import Verdict, entry_of, kept_loser, next_run, open_entry, reconcile, retry, unseen, why
from stationsync.explain.story import Event
from stationsync.explain.words import listed
from stationsync.journal.format import Decided
from stationsync.keeping.books import DISCARDED
from stationsync.keeping.trash import RESTORED
from stationsync.model.changes import Direction, Policy
from stationsync.topology.model import ControlDeletes, Deletes, TableDirection


def nobody(facts: Facts) -> Verdict:
    asked = f"{facts.station} could not be asked; control" if facts.unknown else f"{facts.station}, control"
    of_journal = f"the journal (from {facts.journal.begins:%Y-%m-%d %H:%M:%S} on)" if facts.journal.begins else ""
    books = ", ".join(filter(None, ["the base", of_journal, "quarantine", "conflicts", "trash"]))
    what = f"Nobody has a row {facts.key_text}, and nothing is known of one: {asked}, {books} have none."
    return Verdict(what, (f"See how keys look: stationsync journal show {facts.of} --limit 5",), known=False)


def foreign(facts: Facts, owner: str) -> Verdict:
    theirs = "" if facts.at_station is None else f" {facts.station} has a row of that key too, which was left out."
    held = open_entry(facts, Direction.UP)
    where = f" It is in quarantine: stationsync quarantine show {held.id}." if held else ""
    what = f"The key belongs to {owner}: the row at control is that station's.{theirs}{where}"
    return Verdict(what, (f"Its story: stationsync explain {owner} {facts.table} {facts.typed}",))


def not_ready(facts: Facts) -> Verdict:
    what = "The table is not initialised: there is no base, so nobody knows who changed what."
    return Verdict(what, ("Take the rows over: stationsync init",))


def not_known(facts: Facts, events: Sequence[Event]) -> Verdict:
    """The base has no such row: nobody believes that the station has it."""
    s, c = facts.at_station, facts.at_control
    last = next((event for event in reversed(events) if event.decided), None)
    held, discarded = open_entry(facts, Direction.UP), entry_of(facts, Direction.UP, DISCARDED)
    if held and c is None:
        return Verdict(f"{facts.station}'s row is not at control: {why(held)}", retry(held))
    if s is None and c is None:
        return _gone(facts, last)
    if s is None:
        alone = "" if facts.unknown else f" {facts.station} does not have it."
        if last is not None and last.what == Decided.KEPT and last.direction is Direction.UP:
            what = f"Control alone has the row: {facts.station} deleted it, while control had edited it."
            return Verdict(f"{what} {kept_loser(last)}".strip())
        if last is not None and last.trash is not None and last.trash.state == RESTORED:
            what = f"Control alone has the row: {facts.station} deleted it, and a person restored it from the trash."
            return Verdict(what)
        if last is not None and last.what == Decided.FLAGGED:
            return Verdict(f"{facts.station} deleted the row, {last.at:%Y-%m-%d %H:%M:%S}; control keeps it, flagged.")
        what = f"Control has the row, but no station is known to have it: it never travelled.{alone}"
        return Verdict(what, (f"If {facts.station} has it: stationsync sync {facts.of}",) if facts.unknown else ())
    if discarded and c is None:
        what = f"{facts.station}'s row is not at control: it was refused, and a person discarded it: {why(discarded)}"
        return Verdict(what, (f"To try once more: stationsync quarantine retry {discarded.id}",))
    if facts.options.direction is TableDirection.DOWN:
        return Verdict(f"Only {facts.station} has the row, and nothing goes up from this table.")
    if c is not None:
        verb = "have the same row" if facts.equal(s, c) else "have different rows"
        what = f"{facts.station} and control {verb} of this key, which were never compared: the next pull decides."
        return Verdict(what, (next_run(facts, Direction.UP, s),))
    return Verdict(
        f"{facts.station} has the row, and it is not at control yet{unseen(facts, Direction.UP, s)}.",
        (next_run(facts, Direction.UP, s),),
    )


def _gone(facts: Facts, last: Event | None) -> Verdict:
    who = "Nobody has the row any more" if not facts.unknown else "Control no longer has the row"
    if last is None:
        return Verdict(f"{who}.")
    if last.trash is None:
        return Verdict(f"{who}: {last.says}, {last.at:%Y-%m-%d %H:%M:%S}.")
    item = last.trash
    what = f"{who}: {item.reason} (noted {last.at:%Y-%m-%d %H:%M:%S})."
    if item.state == RESTORED:
        return Verdict(f"{what} A person restored it from the trash, and it is gone again.")
    what += f" It is in the trash: stationsync trash show {item.id}."
    return Verdict(what, (f"To have it back at control: stationsync trash restore {item.id}",))


def control_lost(facts: Facts, b: Row) -> Verdict:
    sends = facts.options.control_deletes is ControlDeletes.SEND and facts.options.direction is not TableDirection.UP
    if not facts.unknown and facts.at_station is None:
        what = "Both sides have lost the row since they last agreed. A reconcile puts what the base has into the trash."
        return Verdict(what, (reconcile(facts),))
    s, held = facts.at_station, open_entry(facts, Direction.DOWN)
    if facts.options.direction is TableDirection.DOWN and not sends:
        return Verdict("Control has deleted the row. Nothing goes up from this table, so it stays away.")
    if s is not None and not facts.equal(s, b):
        what = (
            f"Control has no row any more, and {facts.station} has changed {listed(facts.edited(b, s))} since it had:"
        )
        what += f" that version comes back{unseen(facts, Direction.UP, s)}."
        return Verdict(what, (next_run(facts, Direction.UP, s),))
    if sends:
        what = f"Control has deleted the row. A reconcile deletes {facts.station}'s too (control_deletes: send)."
    else:
        what = f"Control has lost the row. A reconcile brings it back from {facts.station} (control_deletes: restore)."
    return Verdict(what + (f" Until now: {why(held)}" if held else ""), (*retry(held), reconcile(facts)))


def station_lost(facts: Facts, b: Row, c: Row) -> Verdict:
    edited = facts.edited(b, c)
    held = open_entry(facts, Direction.DOWN) or open_entry(facts, Direction.UP)
    what = f"{facts.station} no longer has the row; control still does"
    if edited:
        what += f", with an edit of {listed(edited)} that did not get there any more"
    if facts.options.deletes is Deletes.IGNORE or facts.options.direction is TableDirection.DOWN:
        what += ". The table's deletes are ignored, so control keeps it"
        return Verdict(f"{what}.{f' {why(held)}' if held else ''}", retry(held) if held and edited else ())
    if edited and facts.options.conflicts is not Policy.STATION:
        what += ". A reconcile notes the conflict, and control keeps the row, alone"
    else:
        what += f". A reconcile carries the delete over (deletes: {facts.options.deletes})"
    return Verdict(f"{what}.{f' {why(held)}' if held else ''}", (reconcile(facts),))
