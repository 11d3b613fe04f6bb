"""What is known of one row: as all sides have it now, and what our books and the journal have of it. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from stationsync.health.conflict_list import Conflict
from stationsync.journal.format import Decided
from stationsync.keeping.trash import Item
from stationsync.model.changes import Direction
from stationsync.model.wire import DATED, Family
from stationsync.recovery.quarantine import Entry
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
class Kept:
    """How far back the journal goes. `begins`: its first chunk of this table; `gaps`: moments at which something moved
    that it could not take; `unreadable`: files that are not there."""

    on: bool = True
    begins: datetime | None = None
    gaps: tuple[datetime, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """`unknown`: why the station could not be asked; its row is None then. `key_text`: as the books have the key;
    `typed`: as a person types it behind the table's name."""

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
    books: Books = Books()
    journal: Kept = Kept()
    passed: tuple[Passed, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    quarantine: tuple[Entry, ...] = ()
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
