"""What happened to a row, in words: of the journal's records, and of entries of our other books. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from stationsync.explain.facts import Passed
from stationsync.health.conflict_list import Conflict
from stationsync.journal.format import Decided
from stationsync.keeping.trash import FLAGGED, GIVEN_AGAIN, RESTORED, Item
from stationsync.model.changes import Direction, Policy
from stationsync.pairing.decide import Row, moment
from stationsync.recovery.quarantine import QuarantineEntry
from stationsync.sync.journal_rows import BOTH_DELETED, VANISHED

# A run's id is long: its beginning is enough for every command.
_RUN = re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f-]{22}")
STATION, CONTROL = "the station", "control"
# The last one in older journals.
REVERT, RESEED, TAKE, REPLAY = "revert", "reseed", "take", "replay"
# Rules of what is no pull or push, and decides no conflict.
GIVE_BACK = (REVERT, RESEED, TAKE, REPLAY)
_UP = {
    Decided.INSERTED: "the station's row came, new to control",
    Decided.UPDATED: "the station's edit came; only the station had changed the row",
    Decided.COMBINED: "control got what each side had changed",
    Decided.DELETED: "the station had deleted the row, so control's went too",
    Decided.FLAGGED: "the station had deleted the row, so control's was flagged",
    Decided.SETTLED: "both sides had come to the same row",
    Decided.QUARANTINED: "the station's version could not be applied at control",
}
_DOWN = {
    Decided.INSERTED: "the station was given the row",
    Decided.UPDATED: "control's edit went to the station; only control had changed the row",
    Decided.DELETED: "control had deleted the row, so the station's went too",
    Decided.SETTLED: "the station has control's edit: a push that was cut off had sent it",
    Decided.QUARANTINED: "control's edit could not be applied at the station",
}
_RESEED = {
    (Direction.DOWN, Decided.INSERTED): "the station had lost the row: reseed gave it control's",
    (Direction.DOWN, Decided.UPDATED): "the station had gone back in time: reseed gave it control's version",
    (Direction.DOWN, Decided.SETTLED): "reseed found control's version at the station already",
    (Direction.UP, Decided.INSERTED): "control had lost the row: reseed-control gave it what it had",
    (Direction.UP, Decided.FLAGGED): "control had lost the row: reseed-control gave it what it had",
    (Direction.UP, Decided.UPDATED): "control had gone back in time: reseed-control gave it what it had",
    (Direction.UP, Decided.SETTLED): "control's row came back with a restore, and is known again",
}


def what_happened(one: Passed, conflict: Conflict | None, item: Item | None) -> str:
    """What a record of the journal tells."""
    said = _said(one)
    if one.by:
        said += f" (read by {one.by})"
    if conflict is not None:
        said += f"; what lost is kept: conflict {conflict.id}"
    return said + (f"; {_kept(item)}" if item is not None else "")


def carried_down(what: str) -> str:
    """A push of what a conflict or a revert had decided."""
    found = "the station was found to have" if what == Decided.SETTLED else "the station got"
    return f"{found} what was decided"


def reverted(reason: str | None) -> str:
    return "revert " + _RUN.sub(r"\1", reason or "took a run back")


def _said(one: Passed) -> str:
    if one.rule == REVERT:
        return f"{reverted(one.reason)}: control has the row as it was before"
    if one.rule == TAKE:
        return f"{one.reason}: control has it, as an edit of its own"
    why = f" ({one.reason})" if one.reason else ""
    if one.rule == RESEED and (one.direction, one.decision) in _RESEED:
        return _RESEED[one.direction, one.decision] + why
    if one.rule == REPLAY:
        return f"control had lost the row: replay gave it what the journal and the base had{why}"
    if one.reason in (BOTH_DELETED, VANISHED):
        return one.reason
    if gave_again(one):
        return "another row of the station came under this key, which was given again; the old row was put away"
    if one.rule and is_conflict(one):
        return conflict_in_words(one.rule, one.loser, winner(one), one.reason)
    if one.decision is Decided.SETTLED and one.direction is Direction.UP and one.before is None:
        return "both sides had the same row already: adopted as it is"
    if one.decision is Decided.QUARANTINED:
        return f"{(_DOWN if one.direction is Direction.DOWN else _UP)[one.decision]}: {one.reason}"
    words = _DOWN if one.direction is Direction.DOWN else _UP
    # Of a delete, the reason says the same again.
    reason = "" if one.decision in (Decided.DELETED, Decided.FLAGGED) else one.reason
    return words.get(one.decision, str(one.decision)) + (f" ({reason})" if reason else "")


def gave_again(one: Passed) -> bool:
    """The station's row is another one than before."""
    return one.reason == GIVEN_AGAIN and one.decision in (Decided.INSERTED, Decided.UPDATED)


def is_conflict(one: Passed) -> bool:
    """A rule decided; of a plain delete, the record names the table's rule all the same."""
    if one.rule is None or one.rule in GIVE_BACK:
        return False
    return one.loser is not None or one.decision not in (Decided.DELETED, Decided.FLAGGED)


def of_conflict(one: Conflict) -> str:
    return (
        f"{conflict_in_words(one.policy, one.loser, winner_of(one), one.reason)}; what lost is kept: conflict {one.id}"
    )


def winner(one: Passed) -> str:
    """Whose row stands afterwards, as a whole; empty for a mixture."""
    if one.decision is Decided.COMBINED:
        return ""
    if one.decision is Decided.KEPT and one.direction is Direction.UP:
        return CONTROL
    return STATION


def winner_of(one: Conflict) -> str:
    if one.loser != "both":
        return CONTROL if one.loser == "station" else STATION
    return {str(one.station_row): STATION, str(one.control_row): CONTROL}.get(str(one.result_row), "")


def conflict_in_words(rule: str, loser: str | None, won: str, reason: str | None) -> str:
    why = f": {reason}" if reason else ""
    if loser is None:
        return f"both sides had changed the row, and nothing was lost (rule {rule}{why})"
    won = f"{won} won" if won else "each side lost something"
    return f"both sides had changed the row; {won} by rule {rule}{why}"


def of_quarantine(entry: QuarantineEntry) -> str:
    words = _DOWN if entry.direction is Direction.DOWN else _UP
    return f"{words[Decided.QUARANTINED]}: {'; '.join(entry.reasons)}"


def of_trash(item: Item) -> str:
    if item.reason == GIVEN_AGAIN:
        return f"a row that had this key before was put away, for its key was given again; {_kept(item)}"
    where = "control" if item.side == "control" else "the station"
    gone = "flagged" if item.state == FLAGGED else "deleted"
    return f"the row was {gone} at {where}: {item.reason}; {_kept(item)}"


def _kept(item: Item) -> str:
    return f"trash {item.id}" + (", restored at control since" if item.state == RESTORED else "")


def by_stamps(rule: str, versions: tuple[Row | None, Row | None], modified: str, offset: int) -> str:
    """Why one of two versions, (the station's, control's), won: as far as their stamps say so."""
    s, c = versions
    if rule not in (Policy.NEWEST, Policy.MERGE) or s is None or c is None or modified not in s or modified not in c:
        return ""
    mine, theirs = moment(_text(s[modified])), moment(_text(c[modified]))
    if mine is None or theirs is None:
        who = "both rows have" if mine is theirs else "the station's row has" if mine is None else "control's row has"
        return f"{who} no date, which counts as the oldest"
    if offset:
        mine -= timedelta(seconds=offset)
    corrected = f", corrected by {-offset:+} s for its clock" if offset else ""
    stamps = f"the station's {stamp(s[modified])}{corrected}"
    if mine == theirs:
        return f"control's stamp {stamp(c[modified])} was as late as {stamps}, and control wins a tie"
    if mine < theirs:
        return f"control's stamp {stamp(c[modified])} was later than {stamps}"
    return f"{stamps} was later than control's {stamp(c[modified])}".replace("the station's", "the station's stamp", 1)


def stamp(value: Any) -> str:
    """Without a fraction that says nothing."""
    text = _text(value)
    head, point, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return head + (point + fraction if fraction else "")


def _text(value: Any) -> str:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def listed(names: list[str]) -> str:
    """Columns, as a sentence has them."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) > 4:
        return f"{', '.join(quoted[:3])} and {len(quoted) - 3} more columns"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
