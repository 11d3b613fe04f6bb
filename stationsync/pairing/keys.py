"""Keys in SQL: rows of some keys, rows behind a key, and ranges: pieces of a table that two databases cut alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from stationsync.model import stored_text
from stationsync.model.schema import Column
from stationsync.model.wire import Family
from stationsync.pairing.fit import Fit

Key = tuple[str | bytes, ...]
Typed = tuple[sa.ColumnElement[Any], Column]


def native(value: str | bytes, column: Column) -> Any:
    """A wire value as the driver compares it exactly: integers as integers, decimals as decimals."""
    if column.charset is None and (stored := stored_text.parsed(value)) is not None:
        # SQLite's driver takes no such text.
        return sa.cast(sa.literal(stored.content, sa.LargeBinary), sa.Text)
    if isinstance(value, bytes):
        # The server compares BIT with numbers only.
        return int.from_bytes(value) if column.family is Family.BIT else value
    if column.family in (Family.INTEGER, Family.UNSIGNED, Family.YEAR):
        return int(value)
    return Decimal(value) if column.family is Family.DECIMAL else value


def among(
    keys: Sequence[tuple[str | bytes, ...]], columns: Sequence[tuple[sa.ColumnElement[Any], Column]]
) -> sa.ColumnElement[bool]:
    """Rows of one of these keys; `columns` are the key's."""
    return sa.or_(*(sa.and_(*(_equals(c, v, kind) for (c, kind), v in zip(columns, k, strict=True))) for k in keys))


def _equals(expression: sa.ColumnElement[Any], value: str | bytes, column: Column) -> sa.ColumnElement[bool]:
    stored = stored_text.parsed(value)
    if stored is not None and not stored.fits(column.charset):
        # Converted, it would be another value, which some other row may have.
        return sa.false()
    same: sa.ColumnElement[bool] = expression == native(value, column)
    return same


def ordered(expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
    """`expression` so that it sorts as it compares: ENUM and SET are sorted by number, but compared as text."""
    return sa.func.concat(expression, "") if column.family in (Family.ENUM, Family.SET) else expression


def key_behind(fit: Fit, table: sa.Table, key: Sequence[str | bytes]) -> sa.ColumnElement[bool]:
    """Rows of `table` (control's column names) behind `key` in the order of the key."""
    return in_order_behind(fit, fit.key, [ordered(table.c[name], fit.by_name[name].control) for name in fit.key], key)


def in_order_behind(
    fit: Fit, names: Sequence[str], columns: Sequence[sa.ColumnElement[Any]], wire: Sequence[str | bytes]
) -> sa.ColumnElement[bool]:
    """Rows behind the values `wire` of these columns, in their order, written as the ranges that an index knows."""
    values = [native(value, fit.by_name[name].station) for name, value in zip(names, wire, strict=True)]
    ranges = []
    for i, (column, value) in enumerate(zip(columns, values, strict=True)):
        same = [c == v for c, v in zip(columns[:i], values[:i], strict=True)]
        ranges.append(sa.and_(*same, column > value))
    return sa.or_(*ranges)


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
    return lambda value: None if value is None else plain(value, own.family)


def plain(value: str | bytes, family: Family) -> str | bytes:
    """A value as any database prints it, whatever its type's digits and zeros."""
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
