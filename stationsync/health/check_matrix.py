"""The matrix of `check`: which stations' tables have which fingerprint, and what the others differ in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from stationsync.pairing.drift import Description, difference
from stationsync.store.known_shapes import KnownShape

_SHOWN_NAMES = 3
NO_TABLE, NOT_KNOWN = "no table", "not known"


@dataclass(frozen=True)
class MatrixSide:
    """A table as it is now, or, where its database does not answer, as it was `last_seen`. `description` is None
    where nobody ever saw it."""

    description: Description | None
    known: KnownShape | None = None
    last_seen: bool = False

    @property
    def fingerprint(self) -> str:
        if self.description is None:
            return NOT_KNOWN
        return self.description.fingerprint if self.description.lines else NO_TABLE


@dataclass(frozen=True)
class Shape:
    """Both sides of a pair."""

    station: str
    table: str
    own: MatrixSide
    control: MatrixSide


@dataclass(frozen=True)
class Group:
    """Those that have this fingerprint. `difference`: to the one that most have; `changed`: by the last change, at
    `since` (control's clock, UTC)."""

    fingerprint: str
    names: tuple[str, ...]
    last_seen: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()
    since: datetime | None = None
    changed: tuple[str, ...] = ()

    @property
    def shown_names(self) -> str:
        """A few of them; a fleet may have a thousand."""
        away = set(self.last_seen)
        shown = [name + (" (last seen)" if name in away else "") for name in self.names[:_SHOWN_NAMES]]
        more = len(self.names) - len(shown)
        return ", ".join(shown) + (f", ... and {more:,} more" if more else "")


@dataclass(frozen=True)
class Matrix:
    """One table of the topology; the fingerprint that most stations have comes first."""

    table: str
    control: Group
    stations: tuple[Group, ...]


def matrices(shapes: Iterable[Shape]) -> list[Matrix]:
    """One a table, in the order in which they come."""
    by_table: dict[str, list[Shape]] = {}
    for shape in shapes:
        by_table.setdefault(shape.table, []).append(shape)
    return [_matrix(table, found) for table, found in by_table.items()]


def _matrix(table: str, shapes: Sequence[Shape]) -> Matrix:
    by_print: dict[str, list[tuple[str, MatrixSide]]] = {}
    for shape in shapes:
        by_print.setdefault(shape.own.fingerprint, []).append((shape.station, shape.own))
    # Real fingerprints first: what is not there is no measure for the others.
    order = sorted(by_print, key=lambda name: (name in (NO_TABLE, NOT_KNOWN), -len(by_print[name])))
    common = by_print[order[0]][0][1].description
    control = _group([("control", shape.control) for shape in shapes], None)
    return Matrix(table, control, tuple(_group(by_print[name], common) for name in order))


def _group(members: Sequence[tuple[str, MatrixSide]], common: Description | None) -> Group:
    first = members[0][1]
    changes = [side.known for _, side in members if side.known and side.known.description == first.description]
    last = max((known for known in changes if known.before is not None), key=lambda known: known.since, default=None)
    described = bool(common and first.description and first.description.lines)
    return Group(
        first.fingerprint,
        tuple(dict.fromkeys(name for name, _ in members)),
        tuple(name for name, side in members if side.last_seen),
        difference(common, first.description) if described and common and first.description else (),
        last.since if last else None,
        difference(last.before, last.description) if last and last.before else (),
    )
