"""What a replay of the journal does about one row of control's table. Pure.

First what the journal tells of a row, record by record, whatever their order (`told`, `State.after`); then what becomes
of the row, given what control and the base have now (`fate`). Nothing is ever overwritten or deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stationsync.journal.format import Decided
from stationsync.model.changes import Direction

RULE = "replay"
# Reasons of a replay's own records.
NO_OWNER = "the station had it no more; control did"
FLAGGED = "the station had deleted it"
EDITED = "with an edit of control's that had not gone down"

Version = Mapping[str, Any]
Key = tuple[str | bytes, ...]


@dataclass(frozen=True)
class Told:
    """What the journal said of one side at a moment (microseconds): its row, or None where it had none."""

    at: int
    row: Version | None


@dataclass(frozen=True)
class State:
    """What the journal last told of a row: control's, and the station's as far as we know it (that is the base).

    `chosen`: a record of the range that is to be replayed is about it. `flagged`: control's row has its flag set."""

    key: Key
    control: Told | None = None
    station: Told | None = None
    flagged: bool = False
    chosen: bool = False

    def after(self, other: State) -> State:
        """Both together: of each side what was told last."""
        control, flagged = self.control, self.flagged
        if other.control is not None and (control is None or other.control.at >= control.at):
            control, flagged = other.control, other.flagged
        station = self.station
        if other.station is not None and (station is None or other.station.at >= station.at):
            station = other.station
        return State(self.key, control, station, flagged, self.chosen or other.chosen)


def told(key: Key, at: int, record: Mapping[str, Any]) -> State:
    """What one record tells, of each side."""
    decided, up = record["decision"], record["direction"] != Direction.DOWN
    before, after, came = record["before"], record["after"], record["came"]
    if decided == Decided.QUARANTINED:
        # What came up is not control's; what could not go down is.
        return State(key) if up else State(key, control=Told(at, came))
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
        # A revert: an edit of control's, where both sides had `before`.
        station = before
    elif record["rule"] == RULE and came is not None:
        station = came
    return State(key, Told(at, after), Told(at, station), flagged=decided == Decided.FLAGGED)


class Fate(StrEnum):
    BASE = "base"  # control gets what the base has
    EDIT = "edit"  # control gets its edit of it back, which had not gone down
    NEW = "new"  # the base knows no such row: it and control get what the journal has
    ALONE = "alone"  # as NEW, but that the station had the row no more
    FLAG = "flag"  # as ALONE, with its flag
    GONE = "gone"  # deleted
    THERE = "there"
    DIFFERS = "differs"
    FOREIGN = "foreign"
    GAP = "gap"
    UNTOLD = "untold"


WRITES = (Fate.BASE, Fate.EDIT, Fate.NEW, Fate.ALONE, Fate.FLAG)
# Why a row was left alone, where that is worth telling.
LEFT = {
    Fate.DIFFERS: "control has it otherwise; a replay overwrites nothing",
    Fate.FOREIGN: "its key belongs to another station now",
    Fate.GAP: "the journal has a gap behind it; where the station has the row, a reconcile brings it",
    Fate.UNTOLD: "the journal does not tell what the station had; where it has the row, a reconcile brings it",
}


@dataclass(frozen=True)
class Facts:
    """`owner`: the station that the base has the row of, None where it has no such row. `known`: control's row is as
    the base or the journal has it. `as_then`: the base's is as the journal has the station's. `edited`: of the
    journal's two versions, control's is another."""

    control: bool
    owner: str | None
    known: bool = False
    as_then: bool = False
    edited: bool = False


def fate(state: State, facts: Facts, station: str, gap: int) -> Fate:
    """`gap`: the moment of the last record that is known to be lost, 0 where none is."""
    if facts.owner not in (None, station):
        return Fate.FOREIGN
    if facts.control:
        return Fate.THERE if facts.known else Fate.DIFFERS
    has_row = state.control is not None and state.control.row is not None
    if facts.owner is not None:
        # The base may be newer than the journal; then an edit of an older version is no edit any more.
        return Fate.EDIT if has_row and facts.as_then and facts.edited else Fate.BASE
    if state.control is None or not has_row:
        return Fate.GONE
    if state.station is None:
        return Fate.UNTOLD
    if gap >= max(state.control.at, state.station.at):
        return Fate.GAP
    if state.station.row is not None:
        return Fate.NEW
    return Fate.FLAG if state.flagged else Fate.ALONE


def shape(state: State) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of both versions: rows of one shape are compared and written together."""
    versions = (one.row if one else None for one in (state.control, state.station))
    control, station = (tuple(sorted(row)) if row is not None else () for row in versions)
    return control, station
