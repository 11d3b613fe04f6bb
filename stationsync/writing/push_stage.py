"""The temporary tables of a push, at the station: what its rows are by the base (`o0`…), and are to be (`n0`…).

Only what was edited travels. In columns for long values a digest says what the station is expected to have (`o`), and
a new value is there for those rows alone in which it was edited (`e` tells). Columns with really long ones are in
tables, and so in statements, of their own. A table has so many columns at most that its rows fit the server's limits,
however wide the station's is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.database.statements import TEMPORARY, drop_temporary
from stationsync.model import stored_text
from stationsync.model.schema import SHAPES, RawType
from stationsync.model.wire import Family
from stationsync.pairing.fit import Fit
from stationsync.session import stage
from stationsync.session.session import Session

SEQ = "seq"
_NAME = "stationsync_push"
_COLUMNS = 100
# Bytes of a long value, and tables for columns with such.
_REALLY_LONG, _APART = 128 * 1024, 8


class _Part(NamedTuple):
    """A staged column: of which column of the fit, and what of it: `o`, `n`, or `e`."""

    i: int
    what: str

    @property
    def name(self) -> str:
        return f"{self.what}{self.i}"


class _Plan(NamedTuple):
    """`long`: indexes of columns whose values are compared by digest."""

    tables: tuple[sa.Table, ...]
    parts: tuple[tuple[_Part, ...], ...]
    long: frozenset[int]


@lru_cache(SHAPES)
def _plan(dialect: Dialect, fit: Fit, edited: tuple[int, ...], apart: tuple[int, ...]) -> _Plan:
    long = _long(dialect, fit)
    keys = [i for i, c in enumerate(fit.columns) if c.name in fit.key]
    small = [_Part(i, "o") for i in (*keys, *(i for i in range(len(fit.columns)) if i not in keys))]
    small += [_Part(i, "e") for i in edited if i in long] + [_Part(i, "n") for i in edited if i not in apart]
    parts = [tuple(small[start : start + _COLUMNS]) for start in range(0, len(small), _COLUMNS)]
    # A statement may have 61 tables.
    each = -(-len(apart) // _APART)
    parts += [tuple(_Part(i, "n") for i in apart[start : start + each]) for start in range(0, len(apart), each or 1)]
    tables = tuple(_table(dialect, fit, long, number, some) for number, some in enumerate(parts))
    return _Plan(tables, tuple(parts), long)


@lru_cache(SHAPES)
def _long(dialect: Dialect, fit: Fit) -> frozenset[int]:
    # A key or a value of a unique index is needed as it is.
    plain = {name for names in fit.station.unique for name in names}
    columns = ((i, c.name, c.station) for i, c in enumerate(fit.columns))
    return frozenset(
        i for i, name, own in columns if dialect.is_long(own) and own.name not in plain and name not in fit.key
    )


def _table(dialect: Dialect, fit: Fit, long: frozenset[int], number: int, parts: Sequence[_Part]) -> sa.Table:
    return sa.Table(
        f"{_NAME}_{number}" if number else _NAME,
        sa.MetaData(),
        sa.Column(SEQ, sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(part.name, _type(dialect, fit, long, part), nullable=True) for part in parts),
        **TEMPORARY,
    )


def _type(dialect: Dialect, fit: Fit, long: frozenset[int], part: _Part) -> Any:
    column = fit.columns[part.i]
    if part.what == "e":
        return sa.SmallInteger()
    if part.what == "o" and part.i in long:
        return sa.String(64)
    # The key in the station's own notion of sameness, so that its index serves the join.
    if part.what == "o" and column.name in fit.key:
        return RawType(dialect.key_type(column.station, column.station))
    # Every column may be here twice: a row that just fits the server's limits must still fit.
    return RawType(dialect.roomy_type(column.station))


class PushStage:
    """The tables for these rows, with edits in columns of the indexes `edited`, and what statements say with them."""

    def __init__(self, session: Session, edited: tuple[int, ...], new: pa.Table) -> None:
        self._session = session
        self._dialect = session.pair.station.dialect
        self._fit = session.fit
        self._edited = edited
        self._target = session.station_table
        long = _long(self._dialect, session.fit)
        apart = tuple(i for i in edited if i in long and _longest(new[session.fit.columns[i].name]) > _REALLY_LONG)
        self._plan = _plan(self._dialect, session.fit, edited, apart)
        # What is taken out of this one is no more looked at.
        self.rows = self._plan.tables[0]
        self.seq = self.rows.c[SEQ]

    def create(self, conn: sa.Connection) -> None:
        for table in self._plan.tables:
            stage.recreate(conn, table)

    def drop(self, conn: sa.Connection) -> None:
        for table in self._plan.tables:
            drop_temporary(conn, table)

    def fill(self, conn: sa.Connection, old: pa.Table, new: pa.Table, indexes: Sequence[int]) -> None:
        changed = {i: self._changed(old, new, i) for i in self._edited if i in self._plan.long}
        for table, parts in zip(self._plan.tables, self._plan.parts, strict=True):
            values: dict[str, Any] = {SEQ: pa.array([str(i) for i in indexes])}
            families: dict[str, Family] = {SEQ: Family.INTEGER}
            for part in parts:
                values[part.name], families[part.name] = self._values(part, old, new, changed)
            self._dialect.fill(conn, table, pa.table(values), families, self._session.pair.place)

    def _changed(self, old: pa.Table, new: pa.Table, i: int) -> list[bool]:
        name = self._fit.columns[i].name
        return [a != b for a, b in zip(old[name].to_pylist(), new[name].to_pylist(), strict=True)]

    def _values(self, part: _Part, old: pa.Table, new: pa.Table, changed: dict[int, list[bool]]) -> tuple[Any, Family]:
        column = self._fit.columns[part.i]
        if part.what == "e":
            return pa.array(["1" if yes else "0" for yes in changed[part.i]]), Family.INTEGER
        if part.what == "o" and part.i in self._plan.long:
            return pa.array([_digest(value) for value in old[column.name].to_pylist()], pa.string()), Family.TEXT
        rows = (old if part.what == "o" else new)[column.name]
        if part.i in changed:
            rows = pc.if_else(pa.array(changed[part.i]), rows, None)
        return rows, column.station.family

    @property
    def source(self) -> sa.FromClause:
        """All of the staged, a row a row."""
        joined: sa.FromClause = self.rows
        for table in self._plan.tables[1:]:
            joined = joined.join(table, table.c[SEQ] == self.seq)
        return joined

    def met(self, *, outer: bool = False) -> sa.Join:
        """The staged with the station's rows of their keys."""
        return self.source.join(self._target, self._same_key(), isouter=outer)

    def _same_key(self) -> sa.ColumnElement[bool]:
        return sa.and_(
            *(
                self._target.c[c.station.name] == self.staged(i, "o")
                for i, c in enumerate(self._fit.columns)
                if c.name in self._fit.key
            )
        )

    def update(self) -> sa.Update:
        """UPDATE of the station's rows that are staged."""
        return sa.update(self._target).where(self._same_key(), *self._together())

    def delete(self) -> sa.ColumnElement[bool]:
        return sa.and_(self._same_key(), *self._together())

    def _together(self) -> Iterator[sa.ColumnElement[bool]]:
        return (table.c[SEQ] == self.seq for table in self._plan.tables[1:])

    def staged(self, i: int, side: str) -> sa.ColumnElement[Any]:
        return self._column(_Part(i, side if i in self._edited else "o"))

    def _column(self, part: _Part) -> sa.ColumnElement[Any]:
        for table, parts in zip(self._plan.tables, self._plan.parts, strict=True):
            if part in parts:
                return table.c[part.name]
        raise KeyError(part)

    def to_be(self, i: int) -> sa.ColumnElement[Any]:
        """What the station's row is to have."""
        kind = self._fit.columns[i].station
        if i not in self._plan.long:
            return self.staged(i, "n")
        # Both of one collation, or the server does not know which to take.
        exact = self._dialect.exact
        return sa.case(
            (self._flag(i) == 1, exact(self.staged(i, "n"), kind)), else_=exact(self._target.c[kind.name], kind)
        )

    def _flag(self, i: int) -> sa.ColumnElement[Any]:
        part = _Part(i, "e")
        return self._column(part)

    def is_(self, side: str) -> sa.ColumnElement[bool]:
        """The station's row is, byte by byte, the old (o) or the new (n) one."""
        return sa.and_(*(self._is(i, side) for i in range(len(self._fit.columns))))

    def _is(self, i: int, side: str) -> sa.ColumnElement[bool]:
        kind = self._fit.columns[i].station
        column = self._target.c[kind.name]
        exact = self._dialect.exact
        if i not in self._plan.long:
            return exact(column, kind).is_not_distinct_from(exact(self.staged(i, side), kind))
        before = self._dialect.content_digest(column, kind).is_not_distinct_from(self.staged(i, "o"))
        if side == "o" or i not in self._edited:
            return before
        now = exact(column, kind).is_not_distinct_from(exact(self.staged(i, "n"), kind))
        return sa.or_(sa.and_(self._flag(i) == 1, now), sa.and_(self._flag(i) == 0, before))


def _longest(values: pa.ChunkedArray) -> int:
    return int(pc.max(pc.binary_length(values)).as_py() or 0)


def _digest(value: str | bytes | None) -> str | None:
    if value is None:
        return None
    if (stored := stored_text.parsed(value)) is not None:
        value = stored.content
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()
