"""What a person may answer to a conflict: which values of the row are to change, or why none may. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stationsync.errors import UsageError, did_you_mean
from stationsync.health.conflict_list import Conflict
from stationsync.keeping import replaced
from stationsync.model.schema import ByName
from stationsync.model.typed_in import typed_value
from stationsync.pairing.fit import Fit

_NOTHING = "Nothing was changed."
_BOTH = "both"


@dataclass(frozen=True)
class TakeOrder:
    """What becomes the row's new version: what lost in the conflict; or, where there are any, these values (None: NULL)
    by column, in the row as it is."""

    values: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TakeRefusal:
    """Why a conflict cannot be answered so, and what can be done."""

    why: str
    next_step: str = ""


def typed_values(order: TakeOrder, fit: Fit) -> dict[str, str | bytes | None]:
    """The order's values in wire form, by the names of control's columns. Raises UsageError."""
    found: dict[str, str | bytes | None] = {}
    for word, value in order.values.items():
        name = _settable(word, fit)
        column = fit.by_name[name].control
        if name in found:
            raise _wrong(fit, f"column {name} is given twice.")
        try:
            found[name] = None if value is None else typed_value(value, column)
        except ValueError as error:
            raise _wrong(fit, f"{error} of column {name}, which is {column.type}.") from None
    return found


def _settable(word: str, fit: Fit) -> str:
    if word not in fit.by_name:
        raise _wrong(fit, f"there is no synchronised column {word}{did_you_mean(word, fit.names)}")
    synced = fit.by_name[word]
    if synced.name in fit.key:
        raise _wrong(fit, f"column {synced.name} is part of the key, by which the row is known; it cannot be set.")
    if synced.name == fit.modified:
        raise _wrong(fit, f"column {synced.name} is stamped with the time of the answer; it cannot be set.")
    if synced.name == fit.created:
        raise _wrong(fit, f"column {synced.name} is what a row keeps for life; it cannot be set.")
    if not synced.editable:
        raise _wrong(fit, f"control may not edit column {synced.name}.")
    return synced.name


def _wrong(fit: Fit, what: str) -> UsageError:
    return UsageError(fit.place, what, not_done=_NOTHING, next_step=f"Columns: {', '.join(fit.names)}.")


def repeated(conflicts: Sequence[Conflict]) -> dict[int, TakeRefusal]:
    """Conflicts about one and the same row: only one of them can be answered so."""
    by_row: dict[str, list[int]] = {}
    for one in conflicts:
        by_row.setdefault(str(one.key), []).append(one.id)
    found: dict[int, TakeRefusal] = {}
    for ids in by_row.values():
        if len(ids) > 1:
            why = f"conflicts {', '.join(map(str, ids))} are about the same row"
            no = TakeRefusal(why, f"Take one of them: stationsync conflicts take {ids[0]}")
            found |= dict.fromkeys(ids, no)
    return found


def unanswerable(one: Conflict, fit: Fit) -> TakeRefusal | None:
    """What its record alone tells; whatever is to be taken."""
    if one.answer is not None:
        return TakeRefusal(f"it was answered already: {one.answer}, {one.answered_at} UTC")
    if len(one.key) != len(fit.key):
        return TakeRefusal(f"it is of another key than [{', '.join(fit.key)}], which the table has now")
    if one.result_row is None:
        return TakeRefusal("no side was left with the row", _by_hand(one))
    result = ByName(one.result_row.items())
    if lacking := [name for name in fit.key if name not in result]:
        return TakeRefusal(f"its record lacks the key column {', '.join(lacking)}")
    return None


def what_lost(one: Conflict, fit: Fit) -> dict[str, Any] | TakeRefusal:
    """The values that lost, as they are kept, by the names of control's columns; without the stamp, which is given
    anew."""
    values = _lost(one)
    if isinstance(values, TakeRefusal):
        return values
    set_instead = f"Set what the row is to have: stationsync conflicts take {one.id} --set COLUMN=VALUE"
    if gone := [name for name in values if name not in fit.by_name]:
        return TakeRefusal(f"column {', '.join(gone)}, in which it lost, is not synchronised any more", set_instead)
    found = {fit.by_name[name].name: value for name, value in values.items() if fit.by_name[name].name != fit.modified}
    if fit.created is not None and fit.created in found:
        return TakeRefusal(f"it is another row that had this key, by its {fit.created}", set_instead)
    if fixed := [name for name in found if not fit.by_name[name].editable]:
        return TakeRefusal(f"control may not edit these columns: {', '.join(fixed)}", "Change the row at its station.")
    if not found:
        return TakeRefusal("nothing but its stamp lost", f"Say that it was seen: stationsync conflicts done {one.id}")
    return found


def _lost(one: Conflict) -> dict[str, Any] | TakeRefusal:
    sides = {replaced.STATION: one.station_row, replaced.CONTROL: one.control_row}
    result = one.result_row or {}
    if one.loser != _BOTH:
        version = sides[one.loser]
        if version is None:
            return TakeRefusal(f"what lost is a delete at {_whose(one)}", _by_hand(one))
        return {name: version[name] for name in one.columns if name in version}
    found: dict[str, Any] = {}
    for name in one.columns:
        others = [row[name] for row in sides.values() if row and name in row and _differs(row[name], result.get(name))]
        if len(others) == len(sides) and _differs(*others):
            why = f"both sides lost in column {name}, with different values"
            return TakeRefusal(why, f"Set it: stationsync conflicts take {one.id} --set {name}=VALUE")
        if others:
            found[name] = others[0]
    return found


def _differs(a: Any, b: Any) -> bool:
    """Kept values: some as the driver had them, some as they are printed."""
    return a != b and (a is None or b is None or str(a) != str(b))


def _whose(one: Conflict) -> str:
    return one.station if one.loser == replaced.STATION else "control"


def _by_hand(one: Conflict) -> str:
    return f"Where the row is to be another, its application does it; then: stationsync conflicts done {one.id}"


def reason(one: Conflict, order: TakeOrder) -> str:
    """For the journal and `explain`."""
    if order.values:
        return f"a person answered conflict {one.id} with another {', '.join(order.values)}"
    if one.loser == _BOTH:
        return f"a person took what lost in conflict {one.id}"
    whose = "the station's" if one.loser == replaced.STATION else "control's"
    return f"a person took {whose} version, which had lost in conflict {one.id}"
