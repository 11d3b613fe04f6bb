"""The rules of a reseed: what becomes of one row that control gives back to its station. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from stationsync.model.changes import Policy
from stationsync.pairing.decide import Row, Rule, as_editable, is_older, moment
from stationsync.pairing.stamp import of_row

# By whose word a version was replaced, in conflicts and journal; of what control is given back, too.
POLICY = "reseed"


class StationOutcome(StrEnum):
    INSERT = "insert"  # the station lacks the row: it gets control's
    REWRITE = "rewrite"  # the station has an older or different version
    EQUAL = "equal"  # the station has it already: only the base moves
    NEWER = "newer"  # written at the station since: left alone, for the next pull to decide
    VANISHED = "vanished"  # control lacks the row too: nothing to give back


@dataclass(frozen=True)
class Return:
    """`row`: what the station has afterwards, None where it is left alone. `keep`: a version is superseded that
    nobody else has: the station's; where it is left alone control's, for the next pull will replace it."""

    fate: StationOutcome
    row: Row | None = None
    keep: bool = False


def give_back(s: Row | None, c: Row | None, b: Row, rule: Rule) -> Return:
    """Decide one row. Where the station has it, columns that control may not edit stay what the station last had."""
    if c is None:
        return Return(StationOutcome.VANISHED)
    if s is None:
        return Return(StationOutcome.INSERT, c)
    allowed = as_editable(c, b, rule)
    if s in (c, allowed):
        return Return(StationOutcome.EQUAL, s)
    if is_newer(s, b, rule.stamps):
        # On top of a version of the backup: its writer has not seen what was there before. Where control has edited the
        # row too, the merge decides and keeps both, but not where it goes column by column.
        return Return(StationOutcome.NEWER, keep=c == b or rule.policy is Policy.MERGE)
    # Control's version may be the older one: somebody has put its row back.
    unseen = s != b or is_older(rule.stamp(allowed), rule.stamp(b), rule.clock_offset)
    return Return(StationOutcome.REWRITE, allowed, keep=unseen)


def is_newer(s: Row, b: Row, modified: Sequence[str]) -> bool:
    """Stamped later than what the station last had; a row without a date is the older one."""
    mine, known = moment(of_row(s, modified)), moment(of_row(b, modified))
    return mine is not None and (known is None or mine > known)
