"""Schema drift, pure: a table's shape as lines for people, their fingerprint, and what two of them differ in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from stationsync.model.schema import Column, Side, TableShape, folded
from stationsync.pairing.fit import Fit
from stationsync.topology.model import TableOptions

_DIGITS = 12
_SHOWN_LINES = 12
_PLAIN_NAME = re.compile(r"\w+")
_COLUMN = re.compile(r"column (?P<name>`(?:[^`]|``)*`|\w+) (?P<facts>.*)")
# The type comes first and may have blanks; behind NULL or NOT NULL come single words only.
_FACTS = re.compile(r"(?P<type>.*?) (?P<null>NOT NULL|NULL)(?P<words>(?: [\w/-]+)*)")
# Slow without it at worst: told by `check`, no reason to alarm a run.
_HARMLESS = ("+ index ", "- index ")


@dataclass(frozen=True)
class Description:
    """A line a column, key, index and trigger, in one order whatever the table's. Facts of its DDL only: what we
    make of a type may change with our own version, and statistics with every row."""

    lines: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:_DIGITS]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @classmethod
    def parse(cls, text: str) -> Description:
        return cls(tuple(text.split("\n")) if text else ())


def describe(shape: TableShape | None) -> Description:
    """Of a table that is not there: no lines."""
    if shape is None:
        return Description()
    columns = sorted(_column_line(column) for column in shape.columns)
    unique = sorted({f"unique {_names(names)}" for names in shape.unique})
    indexes = sorted({f"index {_names(names)}" for names in shape.indexes if names not in shape.unique})
    triggers = sorted(f"trigger {_name(trigger)}" for trigger in shape.triggers)
    return Description((*columns, *unique, *indexes, *triggers))


def _column_line(column: Column) -> str:
    words = [f"column {_name(column.name)} {_one_line(column.type)}", "NULL" if column.nullable else "NOT NULL"]
    if column.charset is not None or column.collation is not None:
        words.append(_collation(column.charset or "", column.collation or ""))
    facts = {
        "auto_increment": column.auto_increment,
        "generated": column.generated,
        "on-update": column.on_update,
        "required": column.required,
    }
    return " ".join([*words, *(word for word, holds in facts.items() if holds)])


def _collation(charset: str, collation: str) -> str:
    """A collation mostly begins with its character set."""
    return collation if collation.partition("_")[0] == charset else f"{charset}/{collation}"


def _names(names: Iterable[str]) -> str:
    return f"({', '.join(map(_name, names))})"


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "`" + _one_line(name).replace("`", "``") + "`"


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def column_names(description: Description) -> tuple[str, ...]:
    return tuple(map(_plain, _columns(description.lines)))


def difference(before: Description, now: Description) -> tuple[str, ...]:
    """`~ column text varchar(100) -> varchar(50)`, `- column x int NULL`, `+ index (a, b)`: columns come first."""
    gone = [line for line in before.lines if line not in now.lines]
    new = [line for line in now.lines if line not in before.lines]
    old_columns, new_columns = _columns(gone), _columns(new)
    # A name that is spelled in another case is no other column.
    spelled = {folded(name): name for name in new_columns}
    both = {name: spelled[folded(name)] for name in old_columns if folded(name) in spelled}
    told = {f"column {name} {old_columns[name]}" for name in both}
    told |= {f"column {name} {new_columns[name]}" for name in both.values()}
    changed = [_changed(old, old_columns[old], new, new_columns[new]) for old, new in both.items()]
    rest = [f"{sign} {line}" for sign, lines in (("-", gone), ("+", new)) for line in lines if line not in told]
    return (*changed, *sorted(rest, key=lambda line: not line[2:].startswith("column ")))


def _columns(lines: Iterable[str]) -> dict[str, str]:
    found = (_COLUMN.fullmatch(line) for line in lines)
    return {match["name"]: match["facts"] for match in found if match}


def _changed(old: str, before: str, new: str, now: str) -> str:
    words = [f"spelled {new}"] if old != new else []
    words += [_change(before, now)] if before != now else []
    return f"~ column {old} {', '.join(words)}"


def _change(before: str, now: str) -> str:
    """Only the facts that changed; all of them where one of these has no words (a flag that came or went)."""
    old, new = _FACTS.fullmatch(before), _FACTS.fullmatch(now)
    if old and new:
        pairs = [(a.strip(), b.strip()) for a, b in zip(old.groups(), new.groups(), strict=True) if a != b]
        if all(a and b for a, b in pairs):
            return " -> ".join(" ".join(words) for words in zip(*pairs, strict=True))
    return f"{before} -> {now}"


def lost(before: Description, now: Description, side: Side, fit: Fit, options: TableOptions) -> tuple[str, ...]:
    """Control's names of columns that this side had and has no more, while the other side still has them and nobody
    said `exclude`. Went on without them, a column that came back empty would count as the station's edit."""
    here = fit.station if side is Side.STATION else fit.control
    there = fit.control if side is Side.STATION else fit.station
    to_control, own = options.rename, {name: own for own, name in options.rename.items()}
    gone = []
    for name, facts in _columns(before.lines).items():
        plain = _plain(name)
        known = to_control.get(plain, plain) if side is Side.STATION else plain
        counterpart = known if side is Side.STATION else own.get(known, known)
        if name in _columns(now.lines) or plain in here or " generated" in facts:
            continue
        if counterpart in there and known not in options.exclude and known not in fit.by_name:
            gone.append(known)
    return tuple(gone)


def alarming(lines: Iterable[str]) -> tuple[str, ...]:
    """Without what can do no harm: an index that came or went."""
    return tuple(line for line in lines if not line.startswith(_HARMLESS))


def told(lines: Sequence[str]) -> str:
    """In one sentence, and no endless one."""
    more = f"; and {len(lines) - _SHOWN_LINES} more" if len(lines) > _SHOWN_LINES else ""
    return "; ".join(lines[:_SHOWN_LINES]) + more


def meaning(line: str, side: Side, fit: Fit, rename: Mapping[str, str]) -> str:
    """A line of a difference with what it means for this pair. `rename`: the station's name -> control's."""
    match = _COLUMN.fullmatch(line[2:])
    if match is None or line.startswith("~"):
        return line
    theirs, other, names = fit.control, Side.CONTROL, dict(rename)
    if side is Side.CONTROL:
        theirs, other, names = fit.station, Side.STATION, {control: own for own, control in rename.items()}
    name = _plain(match["name"])
    counterpart = names.get(name, name)
    if line.startswith("-"):
        return f"{line} (not synchronised any more; {other.owner} keeps its own)" if counterpart in theirs else line
    if counterpart not in theirs:
        return f"{line} (not synchronised: {other.owner} does not have it)"
    synced = (counterpart if side is Side.STATION else name) in fit.by_name
    return f"{line} ({'synchronised from now on' if synced else 'not synchronised: excluded or generated'})"


def _plain(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name
