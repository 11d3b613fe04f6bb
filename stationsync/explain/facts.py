"""What is known of one row: as all sides have it now, and what our books and the journal have of it. Frozen values."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from stationsync.errors import UsageError
from stationsync.health.conflict_list import Conflict
from stationsync.journal.format import Decided
from stationsync.keeping.trash import Item
from stationsync.model import typed_in
from stationsync.model.changes import Direction
from stationsync.model.schema import Column
from stationsync.model.typed_in import as_bytes
from stationsync.model.wire import DATED, Family, key_text
from stationsync.recovery.quarantine import QuarantineEntry
from stationsync.topology.model import TableOptions

# In wire form: the text that the database printed, or bytes. Kept versions have bytes as {"hex": …}.
Row = Mapping[str, Any]
Key = tuple[str | bytes, ...]

_NUMBERS = frozenset({Family.INTEGER, Family.UNSIGNED, Family.DECIMAL, Family.FLOAT, Family.YEAR})
_POINTED = DATED | {Family.TIME}


@dataclass(frozen=True)
class Passed:
    """A record of the journal. `by`: what read the row where it was not read in its turn, such as "a backfill"."""

    at: datetime
    run: str
    flow_run: str | None
    direction: Direction
    decision: Decided
    before: Row | None = None
    after: Row | None = None
    came: Row | None = None
    rule: str | None = None
    loser: str | None = None
    reason: str | None = None
    by: str = ""


@dataclass(frozen=True)
class Trouble:
    """A last run that did not come to its end; `what`: pull, push or reconcile. `offline`: it did not reach the
    station."""

    what: str
    offline: bool
    message: str
    at: datetime | None


@dataclass(frozen=True)
class Books:
    """`starts`: from which stamp on the next run of a direction reads; None: from the beginning. `ready`: the table has
    a base."""

    owner: str | None = None
    pending: bool = False
    starts: Mapping[Direction, datetime | None] = field(default_factory=dict)
    paused: str = ""
    troubles: tuple[Trouble, ...] = ()
    under_way: bool = False
    ready: bool = True


@dataclass(frozen=True)
class JournalReach:
    """How far back the journal goes. `begins`: its first chunk of this table; `gaps`: moments at which something moved
    that it could not take; `unreadable`: files that are not there."""

    on: bool = True
    begins: datetime | None = None
    gaps: tuple[datetime, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowFacts:
    """`unknown`: why the station could not be asked; its row is None then. `key_text`: as the books have the key;
    `typed`: as a person types it behind the table's name. `outside`: the station's filter keeps its row back."""

    station: str
    table: str
    key_text: str
    typed: str
    at: datetime
    options: TableOptions
    families: Mapping[str, Family]
    at_station: Row | None = None
    at_control: Row | None = None
    base: Row | None = None
    unknown: str = ""
    outside: bool = False
    books: Books = Books()
    journal: JournalReach = JournalReach()
    passed: tuple[Passed, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    quarantine: tuple[QuarantineEntry, ...] = ()
    trash: tuple[Item, ...] = ()

    @property
    def columns(self) -> list[str]:
        return list(self.families)

    @property
    def of(self) -> str:
        """The table as a command takes it."""
        return f"{self.station} --table {self.table}"

    def differing(self, a: Row, b: Row) -> list[str]:
        """Columns that both versions have, in different values."""
        return [n for n in self._names(a) if n in b and not same(a[n], b[n], self.families.get(n))]

    def edited(self, a: Row, b: Row) -> list[str]:
        """The same without the stamp, where something else differs."""
        return self.but_stamp(self.differing(a, b))

    def but_stamp(self, names: list[str]) -> list[str]:
        return [name for name in names if name not in self.options.stamps] or names

    def equal(self, a: Row | None, b: Row | None) -> bool:
        return a is b is None or (a is not None and b is not None and not self.differing(a, b))

    def _names(self, row: Row) -> Iterable[str]:
        """In the table's order; columns that it has no more go last."""
        return sorted(row, key=lambda name: self.columns.index(name) if name in self.families else len(self.columns))


def same(a: object, b: object, family: Family | None) -> bool:
    """One value, though two databases may print it with more digits or fewer."""
    if a == b:
        return True
    if a is None or b is None or family is None:
        return False
    x, y = str(a), str(b)
    if family in _NUMBERS:
        try:
            return Decimal(x) == Decimal(y)
        except InvalidOperation:
            return x == y
    return family in _POINTED and _whole(x) == _whole(y)


def _whole(moment: str) -> str:
    head, point, fraction = moment.partition(".")
    return f"{head}{point}{fraction}".rstrip("0").rstrip(".") if point else head


_PLAIN = re.compile(r"[\w.:@+][\w.:@+-]*")


def key_of(place: str, words: Sequence[str], names: Sequence[str]) -> Key:
    """`["7","A"]`, or `7 A`; bytes as {"hex":"00ff"}. Raises UsageError where these are not as many as key columns."""
    whole = _parsed(words[0]) if len(words) == 1 else None
    if isinstance(whole, list):
        found = tuple(as_bytes(part) for part in whole)
    else:
        found = tuple(part if isinstance(part := as_bytes(_parsed(word)), bytes) else word for word in words)
    if wrong := [part for part in found if not isinstance(part, str | bytes)]:
        raise _bad(place, f"{json.dumps(wrong[0])} is no value of a key.", names)
    if len(found) != len(names):
        raise _bad(place, f"the key is [{', '.join(names)}], {_many(len(names))}, and {len(found)} came.", names)
    return found  # type: ignore[return-value]


def fitted(place: str, key: Key, columns: Mapping[str, Column]) -> Key:
    """As the key's columns take it. Raises UsageError for what cannot be a value of one."""
    return tuple(_fitted(place, part, name, column) for part, (name, column) in zip(key, columns.items(), strict=True))


def typed(key: Key) -> str:
    """What a person types, so that a shell hands it over as it is."""
    if all(isinstance(part, str) and _PLAIN.fullmatch(part) for part in key):
        return " ".join(map(str, key))
    return shlex.quote(key_text(key))


def _fitted(place: str, part: str | bytes, name: str, column: Column) -> str | bytes:
    try:
        return typed_in.fitted(part, column)
    except ValueError as error:
        raise _bad(place, f"{error} of key column {name}, which is {column.type}.", [name]) from None


def _parsed(word: str) -> object:
    try:
        # Numbers as they are written: 1.10 is no 1.1, where a key is DECIMAL.
        return json.loads(word, parse_int=str, parse_float=str)
    except ValueError:
        return None


def _many(number: int) -> str:
    return "one value" if number == 1 else f"{number} values"


def _bad(place: str, what: str, names: Sequence[str]) -> UsageError:
    sample = " ".join(name.upper() for name in names)
    step = f"""Write {sample}, or the whole key as JSON: '["7","A"]', bytes as {{"hex":"00ff"}}."""
    return UsageError(place, what, not_done="Nothing was looked up.", next_step=step)
