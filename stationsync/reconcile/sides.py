"""One side of a comparison: sums and rows of key ranges, as its own database computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import Twin
from stationsync.model.wire import Family, key_text
from stationsync.pairing.keys import Key, Span, Typed, range_columns, sameness
from stationsync.pairing.stamp import column as stamp_of
from stationsync.session.session import Session

_BUCKETS = 256
# Of these the driver's value says all that the wire form does.
_PLAIN = {Family.INTEGER, Family.UNSIGNED, Family.TEXT, Family.BINARY}


@dataclass(frozen=True)
class Sum:
    """How many rows, and their digests in one."""

    rows: int = 0
    digest: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.rows + other.rows, self.digest ^ other.digest)


class Row(NamedTuple):
    key: Key
    digest: str
    modified: str | None


Sums = dict[int, Sum]
Rows = dict[str, Row]


class Side:
    """One of the two databases: what its rows are called, and how they are found."""

    def __init__(
        self,
        session: Session,
        connect: Callable[[], AbstractContextManager[sa.Connection]],
        columns: Mapping[str, Twin],
        where: sa.ColumnElement[bool],
    ) -> None:
        self._dialect = session.dialect
        self._connect = connect
        self._columns = columns
        self._where = where
        self._fit = session.fit
        self._digest = self._dialect.digest(list(columns.values()))
        key = [columns[name] for name in session.fit.key]
        self._bucket = self._dialect.bucket(key, _BUCKETS)
        self._key: list[Typed] = [(c.expression, c.own) for c in key]
        self._plain = [sameness(c.own, c.other) for c in (*key, columns[session.fit.modified])]
        ranges = range_columns(session.fit)
        self._ranges: list[Typed] = [(columns[name].expression, columns[name].own) for name in ranges]

    @property
    def summed(self) -> tuple[sa.ColumnElement[int], sa.ColumnElement[int]]:
        return sa.func.count(), self._dialect.combined(self._digest)

    def sum(self, span: Span) -> Sum:
        query = sa.select(*self.summed).where(*self.within(span))
        with self._connect() as conn:
            rows, digest = conn.execute(query).one()
        return Sum(int(rows), int(digest or 0))

    def sums(self, span: Span) -> Sums:
        """The same for each bucket of keys."""
        query = sa.select(self._bucket, *self.summed)
        with self._connect() as conn:
            found = conn.execute(query.where(*self.within(span)).group_by(self._bucket)).all()
        return {int(number): Sum(int(rows), int(digest)) for number, rows, digest in found}

    def rows(self, span: Span, buckets: set[int]) -> Rows:
        """Each row's digest, by its key as both sides know it."""
        if not buckets:
            return {}
        return self._rows(sa.and_(*self.within(span), self._bucket.in_(sorted(buckets))))

    def after(self, place: Key | None, rows: int) -> Key | None:
        """The key at which a range of so many rows ends; None where it is the last."""
        if not self._ranges:
            return None
        within = Span(place).where(self._ranges)
        columns, kinds = [column for column, _ in self._ranges], [kind.family for _, kind in self._ranges]
        readable = self._dialect.readable
        if not set(kinds) <= _PLAIN or any(readable(column, kind) is not column for column, kind in self._ranges):
            query = self._keys(self._ranges).where(self._where, within)
            found = self._read(query.order_by(*columns).limit(1).offset(rows - 1), kinds)
            return keys_of(found, len(kinds))[0] if found.num_rows else None
        # As the driver has it: this is asked for every range, and compiled only once.
        plain = sa.select(*columns).where(self._where, within).order_by(*columns).limit(1).offset(rows - 1)
        with self._connect() as conn:
            row = conn.execute(plain).first()
        return None if row is None else tuple(v if isinstance(v, bytes) else str(v) for v in row)

    def count(self) -> int:
        with self._connect() as conn:
            counted = sa.select(sa.func.count()).select_from(self._key[0][0].table).where(self._where)
            return int(conn.scalar(counted) or 0)

    def within(self, span: Span) -> tuple[sa.ColumnElement[bool], ...]:
        return (self._where, span.where(self._ranges)) if self._ranges else (self._where,)

    def _keys(self, columns: list[Typed]) -> sa.Select[Any]:
        readable = self._dialect.readable
        return sa.select(*(readable(column, kind).label(f"k{i}") for i, (column, kind) in enumerate(columns)))

    def _rows(self, where: sa.ColumnElement[bool]) -> dict[str, Row]:
        modified = stamp_of(self._fit, lambda name: self._columns[name].expression)
        query = self._keys(self._key).where(where)
        query = query.add_columns(self._digest.label("digest"), modified.label("modified"))
        families = [kind.family for _, kind in self._key]
        found = self._read(query, [*families, Family.INTEGER, Family.DATETIME])
        keys = keys_of(found, len(families))
        *plain, stamp = self._plain
        known_as = (key_text([same(part) for same, part in zip(plain, key, strict=True)]) for key in keys)
        digests, stamps = found["digest"].to_pylist(), map(stamp, found["modified"].to_pylist())
        return {name: Row(*row) for name, *row in zip(known_as, keys, digests, stamps, strict=True)}

    def _read(self, query: sa.Select[Any], families: list[Family]) -> pa.Table:
        named = dict(zip((c.name for c in query.selected_columns), families, strict=True))
        with self._connect() as conn:
            return self._dialect.read_all(conn, query, named)


def keys_of(rows: pa.Table, columns: int) -> list[Key]:
    return list(zip(*(rows[f"k{i}"].to_pylist() for i in range(columns)), strict=True))
