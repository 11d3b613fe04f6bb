"""What becomes of one row of control's table that a station is known to have, or had. Pure.

First what the journal tells of a row, record by record, whatever their order (`told`, `State.after`); then what becomes
of the row, given what control and the base have now (`fate`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stationsync.journal.format import Decided
from stationsync.model.changes import Direction
from stationsync.pairing.decide import moment
from stationsync.pairing.stamp import of_row
from stationsync.recovery.reseed_rule import POLICY, is_newer

# `rule` of the journal's records of rows that control was given back; the second one in older journals.
RULES = (POLICY, "replay")
# Reasons of such records.
NO_OWNER = "the station had it no more; control did"
FLAGGED = "the station had deleted it"
EDITED = "with an edit of control's that had not gone down"

Version = Mapping[str, Any]
Key = tuple[str | bytes, ...]


@dataclass(frozen=True)
class JournalVersion:
    """What the journal said of one side at a moment (microseconds): its row, or None where it had none."""

    at: int
    row: Version | None


@dataclass(frozen=True)
class JournalState:
    """What the journal last told of a row: control's, and the station's as far as we know it (that is the base).
    Without either, nothing is told.

    `chosen`: a record of the range that is asked for is about it. `flagged`: control's row has its flag set."""

    key: Key
    control: JournalVersion | None = None
    station: JournalVersion | None = None
    flagged: bool = False
    chosen: bool = False

    def after(self, other: JournalState) -> JournalState:
        """Both together: of each side what was told last."""
        control, flagged = self.control, self.flagged
        if other.control is not None and (control is None or other.control.at >= control.at):
            control, flagged = other.control, other.flagged
        station = self.station
        if other.station is not None and (station is None or other.station.at >= station.at):
            station = other.station
        return JournalState(self.key, control, station, flagged, self.chosen or other.chosen)


def row_of(told: JournalVersion | None) -> Version:
    return (told.row if told is not None else None) or {}


def told(key: Key, at: int, record: Mapping[str, Any]) -> JournalState:
    """What one record tells, of each side."""
    decided, up = record["decision"], record["direction"] != Direction.DOWN
    before, after, came = record["before"], record["after"], record["came"]
    if decided == Decided.QUARANTINED:
        # What came up is not control's; what could not go down is.
        return JournalState(key) if up else JournalState(key, control=JournalVersion(at, came))
    station = after
    if decided == Decided.KEPT:
        # What came lost; it is what the station has. None: it had deleted the row.
        station = came if up else None
        after = after if up else None
    elif decided == Decided.COMBINED:
        station = came
    elif decided == Decided.FLAGGED or record["reason"] == NO_OWNER:
        station = None
    elif record["direction"] == Direction.BOTH:
        # A revert, or an answer to a conflict: an edit of control's, where both sides had `before`, or the station
        # what came of it.
        station = before if came is None else came
    elif record["rule"] in RULES and came is not None:
        station = came
    return JournalState(key, JournalVersion(at, after), JournalVersion(at, station), flagged=decided == Decided.FLAGGED)


class ControlOutcome(StrEnum):
    """The first ones are inserted, the next two rewritten; all others are left as they are."""

    BASE = "base"  # control lacks the row, and gets what the base has
    EDIT = "edit"  # the same, with control's edit of it, which had not gone down
    NEW = "new"  # the base knows no such row: it and control get what the journal has
    ALONE = "alone"  # as NEW, but that the station had the row no more
    FLAG = "flag"  # as ALONE, with its flag
    REWRITE = "rewrite"  # control has an older or another version, and gets the base's
    REDO = "redo"  # the same, with its edit, which had not gone down
    NEWER = "newer"  # edited at control since
    GONE = "gone"  # deleted
    THERE = "there"
    DIFFERS = "differs"
    FOREIGN = "foreign"
    GAP = "gap"
    UNTOLD = "untold"


INSERTS = (ControlOutcome.BASE, ControlOutcome.EDIT, ControlOutcome.NEW, ControlOutcome.ALONE, ControlOutcome.FLAG)
REWRITES = (ControlOutcome.REWRITE, ControlOutcome.REDO)
WRITES = INSERTS + REWRITES
# Something is done about these.
TOUCHED = (*WRITES, ControlOutcome.NEWER)
EDITS = (ControlOutcome.EDIT, ControlOutcome.REDO)
# Written as the journal tells, whole or in part.
OF_JOURNAL = (ControlOutcome.EDIT, ControlOutcome.REDO, ControlOutcome.NEW, ControlOutcome.ALONE, ControlOutcome.FLAG)
# Why a row was left alone, where that is worth telling.
LEFT = {
    ControlOutcome.DIFFERS: "control has it otherwise, and it is not overwritten",
    ControlOutcome.FOREIGN: "its key belongs to another station now",
    ControlOutcome.GAP: "the journal has a gap behind it; where the station has the row, a reconcile brings it",
    ControlOutcome.UNTOLD: (
        "the journal does not tell what the station had; where it has the row, a reconcile brings it"
    ),
}


@dataclass(frozen=True)
class ControlRowFacts:
    """`control`: it has the row. `owner`: the station that the base has the row of, None where it has no such row.
    `same`: control's row is the base's. `stays`: it is not, and is an edit of control's (`is_edit`).

    Of the journal's two versions: `as_control`, `as_station`: control's row is the one or the other; `as_then`: the
    base's is the station's; `edited`: control's is another one than the station's."""

    control: bool
    owner: str | None
    same: bool = False
    stays: bool = False
    as_control: bool = False
    as_station: bool = False
    as_then: bool = False
    edited: bool = False


def fate(
    state: JournalState, facts: ControlRowFacts, station: str, gap: int, *, missing: bool = False
) -> ControlOutcome:
    """`gap`: the moment of the last record that is known to be lost, 0 where none is. `missing`: nothing that control
    has is to be overwritten."""
    if facts.owner not in (None, station):
        return ControlOutcome.FOREIGN
    has_row = state.control is not None and state.control.row is not None
    # The base may be newer than the journal; then an edit of an older version is no edit any more.
    edit = has_row and facts.as_then and facts.edited
    if facts.control:
        return _where_control_has_it(state, facts, missing=missing, edit=edit)
    if facts.owner is not None:
        return ControlOutcome.EDIT if edit else ControlOutcome.BASE
    if state.control is None or not has_row:
        return ControlOutcome.GONE
    if state.station is None:
        return ControlOutcome.UNTOLD
    if gap >= max(state.control.at, state.station.at):
        return ControlOutcome.GAP
    if state.station.row is not None:
        return ControlOutcome.NEW
    return ControlOutcome.FLAG if state.flagged else ControlOutcome.ALONE


def _where_control_has_it(state: JournalState, facts: ControlRowFacts, *, missing: bool, edit: bool) -> ControlOutcome:
    if facts.owner is None or missing:
        if facts.same or facts.as_control or facts.as_station:
            return ControlOutcome.THERE
        deleted = state.control is not None and state.control.row is None
        # What was deleted and is back, the trash tells (`deleted_and_back`).
        return ControlOutcome.GONE if deleted and not missing else ControlOutcome.DIFFERS
    if facts.same or (edit and facts.as_control):
        return ControlOutcome.THERE
    if facts.stays:
        return ControlOutcome.NEWER
    return ControlOutcome.REDO if edit else ControlOutcome.REWRITE


def is_edit(c: Version, b: Version, modified: Sequence[str], *, waits: bool) -> bool:
    """Whether control's version, another one than the base's, was written there since, by its stamp; what is as old, or
    older, came with the restore. `waits`: it is known to be an edit; then it may be as old."""
    return is_newer(c, b, modified) or (waits and moment(of_row(c, modified)) == moment(of_row(b, modified)))


def shape(state: JournalState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of both versions: rows of one shape are compared and written together."""
    versions = (one.row if one else None for one in (state.control, state.station))
    control, station = (tuple(sorted(row)) if row is not None else () for row in versions)
    return control, station
