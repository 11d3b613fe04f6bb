"""The rule: what becomes of one row, given the station's version S, control's C and the base's B.

Pure. The set-wise SQL of `merge` sorts the easy cases out by the same comparisons and is tested against this
function; conflicts are always decided here. After Unison's reconciler (DESIGN.md, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stationsync.model.changes import Policy
from stationsync.topology.model import TableDirection

Row = Mapping[str, Any]

# Why a version is kept that no other side had changed: whoever wrote the older one may never have seen it.
OLDER = "older at the station than known"
OLDER_CONTROL = "older at control than known"
# The same, where it is not certain that a row is the one that was known.
MAYBE_OTHER = "the station's newest rows are not those that were seen: this may be another row of the same key"
# The same, of a table that was dropped and created, or altered.
MAYBE_COPY = "the station's table was made anew since this version was seen: it may be an older copy, which lacks it"
# The same, of a row that was not there when somebody said that the table is right as it is.
LACKED = "the station lacked this version when its table was taken as it is: this may be another row of the same key"
_SECOND = timedelta(seconds=1)


class Action(StrEnum):
    """What the merge does at control. The base becomes S in every case but LEAVE."""

    UNCHANGED = "unchanged"  # S = B: nothing to do, whatever control has
    SETTLE = "settle"  # S = C: only the base moves
    INSERT = "insert"  # control has no such row
    UPDATE = "update"  # control gets the station's version
    KEEP = "keep"  # control's version stays and is to go down
    COMBINE = "combine"  # control gets a mixture, which is to go down
    LEAVE = "leave"  # the row only exists at the station, and nothing goes up


# What leaves another row at control than it had.
_REPLACE = (Action.UPDATE, Action.COMBINE)


@dataclass(frozen=True)
class Rule:
    """The table's settings that decide. `clock_offset`: the station's clock minus control's.
    `editable`: the columns that control may edit, None for all."""

    policy: Policy
    modified: str
    clock_offset: timedelta = timedelta(0)
    direction: TableDirection = TableDirection.BOTH
    editable: frozenset[str] | None = None
    # Why whoever wrote the station's versions may not have seen control's, though the base has them.
    unseen: str | None = None
    # What the station stamps from here on was written since its last run: its clock was not set back since.
    fresh: datetime | None = None
    # Up to there the station may have stamped what is known; later stamps are control's, whose clock is ahead.
    until: datetime | None = None
    # Further columns that stamp a row, where `modified` is NULL.
    otherwise: tuple[str, ...] = ()

    @property
    def stamps(self) -> tuple[str, ...]:
        return (self.modified, *self.otherwise)

    def stamp(self, row: Row) -> Any:
        return next((row[name] for name in self.stamps if row[name] is not None), None)


@dataclass(frozen=True)
class Decision:
    """`row` is control's row afterwards; `loser` a version that was superseded and must be kept, with `reason`."""

    action: Action
    row: Row | None
    reason: str
    loser: str | None = None
    lost_columns: tuple[str, ...] = field(default=())


def decide(s: Row, c: Row | None, b: Row | None, rule: Rule) -> Decision:
    """Decide one row. Rows are mappings of the same columns; NULL (None) equals NULL.

    A station row that is older than the base's is a restored copy, or an edit under a clock that was set back. A stamp
    alone decides nothing, so it is decided as any other; but what it replaces at control is always kept."""
    decision = _decide(s, c, b, rule)
    if c is None or b is None:
        return decision
    if decision.action is Action.COMBINE and is_older(rule.stamp(c), rule.stamp(b), rule.clock_offset):
        decision = _station_lost(decision, s)
    if decision.action not in _REPLACE:
        return decision
    why = OLDER if _may_be_restored(rule.stamp(s), rule.stamp(b), rule) else rule.unseen
    if why is None:
        return decision
    loser = "both" if decision.loser in ("station", "both") else "control"
    reason = why if c == b else f"{why}; {decision.reason}"
    replaced = [name for name in differing(c, decision.row or s) if name not in decision.lost_columns]
    return replace(decision, loser=loser, reason=reason, lost_columns=(*decision.lost_columns, *replaced))


def _may_be_restored(stamp: object, known: object, rule: Rule) -> bool:
    """Older than known, but for what was known from control, whose clock is ahead, and is edited at the station now."""
    if not is_older(stamp, known):
        return False
    now, was, ahead = moment(stamp), moment(known), -rule.clock_offset
    if now is None or was is None or rule.fresh is None or ahead < _SECOND:
        return True
    its_own = rule.until is not None and was <= rule.until
    return its_own or now < rule.fresh or was - now > ahead + _SECOND


def _station_lost(decision: Decision, s: Row) -> Decision:
    """Control's older version is a restored one too: what it replaces of the station's row is kept."""
    row = decision.row or s
    loser = "both" if decision.loser in ("control", "both") else "station"
    columns = (*decision.lost_columns, *(name for name in differing(s, row) if name not in decision.lost_columns))
    return replace(decision, loser=loser, reason=f"{OLDER_CONTROL}; {decision.reason}", lost_columns=columns)


def is_older(stamp: object, known: object, offset: timedelta = timedelta(0)) -> bool:
    """By a second or more: what is less may have been rounded. A row without a date is the older one. Where it is not
    known which clock stamped what is known, a stamp is older if it is by either (`offset`: the station's minus
    control's)."""
    now, was = moment(stamp), moment(known)
    if now is None or was is None:
        return was is not None
    try:
        return was - now >= _SECOND or was - offset - now >= _SECOND
    except OverflowError:
        return was - now >= _SECOND


def _decide(s: Row, c: Row | None, b: Row | None, rule: Rule) -> Decision:
    if b is not None and s == b:
        return Decision(Action.UNCHANGED, c, "the station has what we know it has")
    if c is None:
        if rule.direction is TableDirection.DOWN:
            return Decision(Action.LEAVE, None, "nothing goes up from this table")
        return Decision(Action.INSERT, s, "control has no such row")
    if s == c:
        return Decision(Action.SETTLE, c, "both sides have the same row")
    if rule.direction is TableDirection.DOWN:
        return Decision(Action.KEEP, c, "nothing goes up from this table", "station", differing(s, c))
    if b is not None and c == b:
        return Decision(Action.UPDATE, s, "only the station changed the row")
    # Of a row that is not known yet, the station's version is what control may have edited.
    known = s if b is None else b
    if as_editable(c, known, rule) == known:
        return Decision(Action.UPDATE, s, "control may not edit these columns", "control", differing(c, known))
    return _conflict(s, c, b, rule)


def differing(a: Row, b: Row) -> tuple[str, ...]:
    return tuple(name for name in a if a[name] != b[name])


def as_editable(c: Row, b: Row, rule: Rule) -> dict[str, Any]:
    """Control's row with the columns that control may not edit taken from the base; if nothing but the stamp is left
    of such an edit, it is none."""
    row = {name: c[name] if rule.editable is None or name in rule.editable else b[name] for name in c}
    return dict(b) if row != c and set(differing(row, b)) <= set(rule.stamps) else row


def offset_of(c: Row, b: Row | None, rule: Rule) -> timedelta:
    """How far the station's clock is ahead of the one that stamped control's version: none, where control's edit left
    the station's own stamp as it was."""
    return timedelta(0) if b is not None and rule.stamp(c) == rule.stamp(b) else rule.clock_offset


def station_is_newer(s: Row, c: Row, rule: Rule, b: Row | None = None) -> bool:
    """By `modified` on control's clock; control wins a tie, and a row without a date is the older one."""
    mine, theirs = moment(rule.stamp(s)), moment(rule.stamp(c))
    if mine is None or theirs is None:
        return mine is not None
    try:
        return mine - offset_of(c, b, rule) > theirs
    except OverflowError:
        return mine > theirs


def moment(value: object) -> datetime | None:
    """A `modified` as a moment: SQLite and wire rows have text; a zero date is no date."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) else None


def _conflict(s: Row, c: Row, b: Row | None, rule: Rule) -> Decision:
    allowed = as_editable(c, s if b is None else b, rule)
    if rule.policy is Policy.MERGE:
        return _combine(s, c, allowed, b, rule)
    if rule.policy is Policy.NEWEST:
        station_wins = station_is_newer(s, c, rule, b)
        reason = "the station's version is newer" if station_wins else "control's version is newer, or as old"
    else:
        station_wins = rule.policy is Policy.STATION
        reason = f"the policy of this table is: {rule.policy}"
    if station_wins:
        return Decision(Action.UPDATE, s, reason, "control", differing(s, c))
    return _control_wins(s, c, allowed, rule, reason)


def _control_wins(s: Row, c: Row, allowed: Row, rule: Rule, reason: str) -> Decision:
    """Control's version, but for the columns that it may not edit: those are the station's."""
    row = {n: c[n] if rule.editable is None or n in rule.editable else s[n] for n in c}
    lost = tuple(n for n in c if row[n] != s[n] or allowed[n] != c[n])
    if row == s:
        return Decision(Action.UPDATE, s, reason, "control" if lost else None, lost)
    loser = "station" if allowed == c else "both"
    return Decision(Action.KEEP if row == c else Action.COMBINE, row, reason, loser, lost)


def _combine(s: Row, c: Row, allowed: Row, b: Row | None, rule: Rule) -> Decision:
    """Column by column against the base; a column that both changed is the newer version's."""
    newer = s if station_is_newer(s, c, rule, b) else allowed
    row: dict[str, Any] = {}
    lost = []
    for name in s:
        if s[name] == allowed[name] or (b is not None and allowed[name] == b[name]):
            row[name] = s[name]
        elif b is not None and s[name] == b[name]:
            row[name] = allowed[name]
        else:
            row[name] = newer[name]
            lost.append(name)
    lost += [name for name in differing(c, allowed) if name not in lost]
    who = "the station's" if newer is s else "control's"
    reason = f"both changed {', '.join(lost)}: {who} version is newer" if lost else "each changed other columns"
    action = Action.UPDATE if row == s else Action.KEEP if row == c else Action.COMBINE
    return Decision(action, row, reason, "both" if lost else None, tuple(lost))
