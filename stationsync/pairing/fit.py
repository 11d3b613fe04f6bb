"""Which columns of a station's table and control's are synchronised, and how. Pure; what is wrong says `fitting`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from stationsync.errors import SchemaRefused
from stationsync.model.schema import ByName, Column, Side, TableShape
from stationsync.model.stored_text import UTF8
from stationsync.model.wire import Family
from stationsync.topology.model import TableDirection, TableOptions

MODIFIED_FAMILIES = (Family.DATETIME, Family.TIMESTAMP)
# Columns of these names mostly say when their row was made.
_CREATED = re.compile(
    r"(?:(?:create|creation|created|insert|inserted|regist(?:er|ered|ration)|reg|add|added)_?(?:at|on|date|time|datetime"
    r"|dt|ts|timestamp)?(?:_utc)?|(?:date|time|dt|ts)_?(?:created|inserted|added|creation|registered))",
    re.IGNORECASE,
)
_UNLIKELY = frozenset({"create", "insert", "add", "added", "reg", "register"})


@dataclass(frozen=True)
class Finding:
    """A problem (`refused`) or a warning of `check`."""

    place: str
    what: str
    next_step: str = ""
    refused: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" + (f" {self.next_step}" if self.next_step else "")


@dataclass(frozen=True)
class WithoutKey:
    """How many rows have NULL in the key; None where nobody counted them."""

    station: int | None = None
    control: int | None = None

    def at(self, side: Side) -> int | None:
        return self.station if side is Side.STATION else self.control


@dataclass(frozen=True)
class Synced:
    """A synchronised column, known by control's name."""

    name: str
    station: Column
    control: Column
    editable: bool

    @cached_property
    def staged(self) -> Column:
        """As the station's values stand in a temporary table at control: in their own type; where something could be
        lost between the two character sets, in control's."""
        own, theirs = self.station, self.control
        alike = own.charset == theirs.charset or {own.charset, theirs.charset} <= UTF8
        if not own.is_text or not theirs.is_text or alike:
            return own
        # Its bytes may be more there, and are limited in a small TEXT.
        kind = "longtext" if own.type.endswith("text") else own.type
        return replace(own, type=kind, charset=theirs.charset, collation=theirs.collation)

    @property
    def compared(self) -> Column:
        """By whose rules what is staged is compared with control."""
        return self.station if self.staged is self.station and self.station.charset != "utf8mb4" else self.control


@dataclass(frozen=True)
class Fit:
    """The two tables of a pair, their synchronised columns, and what was found. `sides`: those that were looked at."""

    place: str
    station: TableShape
    control: TableShape
    key: tuple[str, ...]
    modified: str
    columns: tuple[Synced, ...]
    findings: tuple[Finding, ...] = ()
    sides: tuple[Side, ...] = (Side.STATION, Side.CONTROL)
    # The column that a row keeps for life, where the topology names one.
    created: str | None = None
    # Further columns that stamp a row, where those before them are NULL.
    modified_else: tuple[str, ...] = ()

    @property
    def stamps(self) -> tuple[str, ...]:
        return (self.modified, *self.modified_else)

    @cached_property
    def made(self) -> str | None:
        """The column that says when a row was made: the named one, or one that looks like it."""
        return self.created or looks_created(self, nullable=True)

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    @cached_property
    def by_name(self) -> ByName[Synced]:
        return ByName((c.name, c) for c in self.columns)

    @cached_property
    def families(self) -> dict[str, Family]:
        """By control's name; the station's, because wire rows are the station's."""
        return {c.name: c.station.family for c in self.columns}

    @property
    def editable(self) -> frozenset[str] | None:
        """The columns control may edit, None where that is all of them (but the key)."""
        names = frozenset(c.name for c in self.columns if c.editable)
        return None if len(names) == len(self.columns) - len(self.key) else names | frozenset(self.key)

    @cached_property
    def nullable_key(self) -> tuple[str, ...]:
        """The station's names of key columns that may be NULL there: rows with NULL in one have no identity, and are
        not carried."""
        return nullable(self.station, own_names_of(self, self.key))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if not f.refused)

    def require(self) -> Fit:
        """Raises SchemaRefused with every problem at once."""
        problems = [f for f in self.findings if f.refused]
        if problems:
            raise SchemaRefused(
                self.place,
                "; ".join(str(p) for p in problems),
                next_step="Mend the tables or deployments/stations.yaml, then: stationsync check",
            )
        return self


def spelled(options: TableOptions, control: TableShape, station: TableShape | None = None) -> TableOptions:
    """The options with every column's name as the tables spell it: a server compares these names without case."""

    def theirs(name: str) -> str:
        return station.spelled(name) if station else name

    def ours(name: str | None) -> str | None:
        return None if name is None else control.spelled(name)

    def all_ours(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(control.spelled(name) if name in control else theirs(name) for name in names)

    found: dict[str, Any] = {
        "key": all_ours(options.key),
        "modified": ours(options.modified),
        "modified_else": all_ours(options.modified_else),
        "created": ours(options.created),
        "flag_column": ours(options.flag_column),
        "exclude": all_ours(options.exclude),
        "editable": None if options.editable is None else all_ours(options.editable),
        "rename": {theirs(own): control.spelled(name) for own, name in options.rename.items()},
    }
    changed = {name: value for name, value in found.items() if value != getattr(options, name)}
    return options.model_copy(update=changed) if changed else options


def paired(place: str, station: TableShape, control: TableShape, options: TableOptions) -> Fit:
    own_names = {control_name: own for own, control_name in options.rename.items()}
    pairs = []
    for c in control.columns:
        own = own_names.get(c.name, c.name)
        if c.name not in options.exclude and own in station:
            pairs.append((c, station[own]))
    may_edit = _editable(options)
    columns = tuple(
        Synced(c.name, s, c, c.name not in options.key and (may_edit is None or c.name in may_edit))
        for c, s in pairs
        if not c.generated and (not s.generated or _is_source(c.name, options))
    )
    more = {"created": options.created, "modified_else": options.modified_else}
    return Fit(place, station, control, options.key, options.modified, columns, **more)  # type: ignore[arg-type]


def _is_source(name: str, options: TableOptions) -> bool:
    """What rows are known by may be a column that the station makes itself, where nothing goes down."""
    needed = (*options.key, *options.stamps, options.created)
    return options.direction is TableDirection.UP and name in needed


def nullable(shape: TableShape, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in shape and shape[name].nullable)


def _editable(options: TableOptions) -> tuple[str, ...] | None:
    if options.direction is TableDirection.UP:
        return ()
    # Whoever may edit anything also stamps the row.
    return (*options.editable, *options.stamps) if options.editable else options.editable


def own_names_of(fit: Fit, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(fit.by_name[n].station.name if n in fit.by_name else n for n in names)


def looks_created(fit: Fit, *, nullable: bool = False) -> str | None:
    """A column that seems to be kept for life, by its name and type; where there are several, the first. Control's
    name."""
    for column in fit.columns:
        own = column.station
        if column.name in (*fit.key, *fit.stamps) or own.family not in MODIFIED_FAMILIES or own.on_update:
            continue
        if (nullable or not own.nullable) and any(
            _CREATED.fullmatch(name) and name.lower() not in _UNLIKELY for name in (own.name, column.name)
        ):
            return column.name
    return None
