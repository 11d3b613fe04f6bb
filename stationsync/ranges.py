"""Ranges of keys: pieces of a table that two databases cut alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stationsync.extract import native
from stationsync.fit import Fit
from stationsync.schema import Column
from stationsync.wire import Family

Key = tuple[str | bytes, ...]
Typed = tuple[sa.ColumnElement[Any], Column]


@dataclass(frozen=True)
class Span:
    """Rows behind `after`, up to and with `upto`, in the order of `range_columns`; None: no limit."""

    after: Key | None = None
    upto: Key | None = None

    def where(self, columns: Sequence[Typed]) -> sa.ColumnElement[bool]:
        limits: list[sa.ColumnElement[bool]] = [sa.true()]
        if self.after is not None:
            limits.append(_beyond(columns, self.after))
        if self.upto is not None:
            limits.append(_until(columns, self.upto))
        return sa.and_(*limits)


def at_least(columns: Sequence[Typed], key: Key) -> sa.ColumnElement[bool]:
    """`key` itself, and what is behind it."""
    steps = list(_steps(columns, key))
    behind = [sa.and_(*same, column > value) for same, column, value in steps[:-1]]
    same, column, value = steps[-1]
    return sa.or_(*behind, sa.and_(*same, column >= value))


def sameness(own: Column, other: Column) -> Callable[[Any], Any]:
    """What tells a column's values apart, where the two databases print equal ones in two ways: 5.00, 5.0000."""
    if own.type == other.type:
        return lambda value: value
    return lambda value: None if value is None else _plain(value, own.family)


def _plain(value: str | bytes, family: Family) -> str | bytes:
    if isinstance(value, bytes):
        return str(int.from_bytes(value)) if family is Family.BIT else value
    if family in (Family.INTEGER, Family.UNSIGNED):
        return str(int(value))
    if family in (Family.DECIMAL, Family.DATETIME, Family.TIMESTAMP, Family.TIME) and "." in value:
        return value.rstrip("0").rstrip(".")
    return value


def range_columns(fit: Fit) -> tuple[str, ...]:
    """The leading columns of the key that both databases sort alike and an index of the station serves; none where
    there is no such column, and the table is one range."""
    names: list[str] = []
    for name in fit.key:
        pair = fit.by_name[name]
        if pair.station.collation != pair.control.collation or not _sorts_as_it_compares(pair.station):
            break
        names.append(name)
    own = tuple(fit.by_name[name].station.name for name in names)
    served = max((len(own[:n]) for n in range(len(own) + 1) if _is_led(fit, own[:n])), default=0)
    return tuple(names[: max(served, 1)])


def _sorts_as_it_compares(column: Column) -> bool:
    return column.family not in (Family.ENUM, Family.SET, Family.OTHER, Family.FLOAT)


def _is_led(fit: Fit, names: tuple[str, ...]) -> bool:
    return any(index[: len(names)] == names for index in fit.station.indexes)


def _beyond(columns: Sequence[Typed], key: Key) -> sa.ColumnElement[bool]:
    """Behind `key`, written as the ranges that an index knows."""
    return sa.or_(*(sa.and_(*same, column > value) for same, column, value in _steps(columns, key)))


def _until(columns: Sequence[Typed], key: Key) -> sa.ColumnElement[bool]:
    steps = list(_steps(columns, key))
    before = [sa.and_(*same, column < value) for same, column, value in steps[:-1]]
    same, column, value = steps[-1]
    return sa.or_(*before, sa.and_(*same, column <= value))


def _steps(columns: Sequence[Typed], key: Key) -> list[tuple[list[sa.ColumnElement[bool]], Any, Any]]:
    values = [native(value, kind) for value, (_, kind) in zip(key, columns, strict=True)]
    same = [column == value for value, (column, _) in zip(values, columns, strict=True)]
    return [(same[:i], columns[i][0], value) for i, value in enumerate(values)]
