"""A row's stamp: its `modified`, or where that is a list of columns, the first of them that is not NULL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from stationsync.pairing.fit import Fit


def column(fit: Fit, own: Callable[[str], sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    """`own`: a column of the table by control's name."""
    first, *others = (own(name) for name in fit.stamps)
    return sa.func.coalesce(first, *others) if others else first


def of(fit: Fit, table: sa.FromClause) -> sa.ColumnElement[Any]:
    """Of a table that has control's names: control's own, the base, a stage."""
    return column(fit, lambda name: table.c[name])


def at_station(fit: Fit, table: sa.FromClause) -> sa.ColumnElement[Any]:
    return column(fit, lambda name: table.c[fit.by_name[name].station.name])


def not_before(fit: Fit, own: Callable[[str], sa.ColumnElement[Any]], moment: str) -> sa.ColumnElement[bool]:
    """Stamped at this moment or later, in ranges that an index of each column serves."""
    ranges: list[sa.ColumnElement[bool]] = []
    earlier: list[sa.ColumnElement[bool]] = []
    for name in fit.stamps:
        ranges.append(sa.and_(*earlier, own(name) >= moment))
        earlier.append(own(name).is_(None))
    return sa.or_(*ranges)


def missing(fit: Fit, own: Callable[[str], sa.ColumnElement[Any]], first: str) -> sa.ColumnElement[bool]:
    """No stamp at all: NULL, or a zero date (before `first`)."""
    none: sa.ColumnElement[bool] = sa.true()
    for name in reversed(fit.stamps):
        none = sa.or_(own(name) < first, sa.and_(own(name).is_(None), none))
    return none


def of_rows(fit: Fit, rows: pa.Table) -> pa.ChunkedArray:
    """Of wire rows."""
    first, *others = (rows[name] for name in fit.stamps)
    return pc.coalesce(first, *others) if others else first


def of_row(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((value for name in names if (value := row.get(name)) is not None), None)
