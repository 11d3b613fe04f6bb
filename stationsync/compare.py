"""Comparing a station with the base, and control with the base, range by range. Reads only, and needs no lease.

The station and the base are compared by checksums that each database computes, narrowed down to rows; control and
the base stand in one database, and are joined. All three work at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pyarrow as pa
import sqlalchemy as sa

from stationsync import extract, stage
from stationsync.bookkeeping import STATION
from stationsync.dialects import Twin
from stationsync.ranges import Key, Span, Typed, range_columns
from stationsync.session import Session
from stationsync.topology import TableDirection
from stationsync.wire import Family, key_text

_BUCKETS = 256
_NO_LIMIT = 1 << 40


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


@dataclass(frozen=True)
class Difference:
    """What a range has that is not equal. Station against base: `changed` (other version, or unknown to the base),
    `older` (other version, stamped before the base's), `gone` (the base has it, the station does not). Control
    against base: `edited`, `vanished` (control lacks the row)."""

    changed: tuple[Key, ...] = ()
    older: tuple[Key, ...] = ()
    gone: tuple[Key, ...] = ()
    edited: tuple[Key, ...] = ()
    vanished: tuple[Key, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.older or self.gone or self.edited or self.vanished)

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.changed + other.changed,
            self.older + other.older,
            self.gone + other.gone,
            self.edited + other.edited,
            self.vanished + other.vanished,
        )


class _Side:
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
        ranges = range_columns(session.fit)
        self._ranges: list[Typed] = [(columns[name].expression, columns[name].own) for name in ranges]

    def sum(self, span: Span) -> Sum:
        query = sa.select(sa.func.count(), self._dialect.combined(self._digest)).where(*self._within(span))
        with self._connect() as conn:
            rows, digest = conn.execute(query).one()
        return Sum(int(rows), int(digest or 0))

    def sums(self, span: Span) -> dict[int, Sum]:
        """The same for each bucket of keys."""
        query = sa.select(self._bucket, sa.func.count(), self._dialect.combined(self._digest))
        with self._connect() as conn:
            found = conn.execute(query.where(*self._within(span)).group_by(self._bucket)).all()
        return {int(number): Sum(int(rows), int(digest)) for number, rows, digest in found}

    def rows(self, span: Span, buckets: set[int]) -> dict[str, Row]:
        """Each row's digest, by its key."""
        return self._rows(sa.and_(*self._within(span), self._bucket.in_(sorted(buckets))))

    def of(self, keys: tuple[Key, ...]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for first in range(0, len(keys), extract.KEYS_A_QUERY):
            among = extract.among(keys[first : first + extract.KEYS_A_QUERY], self._key)
            found |= self._rows(sa.and_(self._where, among))
        return found

    def after(self, place: Key | None, rows: int) -> Key | None:
        """The key at which a range of so many rows ends; None where it is the last."""
        if not self._ranges:
            return None
        within = Span(place).where(self._ranges)
        query = self._keys(self._ranges).where(self._where, within)
        query = query.order_by(*(column for column, _ in self._ranges)).limit(1).offset(rows - 1)
        found = self._read(query, [kind.family for _, kind in self._ranges])
        return _keys(found, len(self._ranges))[0] if found.num_rows else None

    def count(self) -> int:
        with self._connect() as conn:
            counted = sa.select(sa.func.count()).select_from(self._key[0][0].table).where(self._where)
            return int(conn.scalar(counted) or 0)

    def _within(self, span: Span) -> tuple[sa.ColumnElement[bool], ...]:
        return (self._where, span.where(self._ranges)) if self._ranges else (self._where,)

    def _keys(self, columns: list[Typed]) -> sa.Select[Any]:
        readable = self._dialect.readable
        return sa.select(*(readable(column, kind).label(f"k{i}") for i, (column, kind) in enumerate(columns)))

    def _rows(self, where: sa.ColumnElement[bool]) -> dict[str, Row]:
        modified = self._columns[self._fit.modified]
        query = self._keys(self._key).where(where)
        query = query.add_columns(self._digest.label("digest"), modified.expression.label("modified"))
        families = [kind.family for _, kind in self._key]
        found = self._read(query, [*families, Family.INTEGER, Family.DATETIME])
        keys = _keys(found, len(families))
        digests, stamps = found["digest"].to_pylist(), found["modified"].to_pylist()
        return {key_text(key): Row(key, d, m) for key, d, m in zip(keys, digests, stamps, strict=True)}

    def _read(self, query: sa.Select[Any], families: list[Family]) -> pa.Table:
        named = dict(zip((c.name for c in query.selected_columns), families, strict=True))
        with self._connect() as conn:
            return self._dialect.read(conn, query, named, _NO_LIMIT)[0]


def _keys(rows: pa.Table, columns: int) -> list[Key]:
    return list(zip(*(rows[f"k{i}"].to_pylist() for i in range(columns)), strict=True))


class Comparison:
    """Open for one sweep. `other` is a second connection to control, so that both its comparisons run at once."""

    def __init__(self, session: Session, other: sa.Connection) -> None:
        self.place = session.pair.place
        self._session = session
        self._other = other
        fit, base, own = session.fit, session.base, session.station_table
        at_station = {c.name: Twin(own.c[c.station.name], c.station, c.control) for c in fit.columns}
        at_base = {c.name: Twin(base.c[c.name], c.control, c.station) for c in fit.columns}
        self.station = _Side(session, self._station, at_station, sa.true())
        self.base = _Side(session, self._control, at_base, base.c[STATION] == session.pair.name)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="compare")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def sums(self, span: Span) -> tuple[Sum, Sum, Difference]:
        """Of the station and the base; and how control differs from the base."""
        station = self._pool.submit(self.station.sum, span)
        control = self._pool.submit(self._control_against_base, span)
        base = self.base.sum(span)
        return station.result(), base, control.result()

    def difference(self, span: Span) -> Difference:
        """The rows of a range that are not equal, station against base narrowed by buckets of keys."""
        control = self._pool.submit(self._control_against_base, span)
        station = self._pool.submit(self.station.sums, span)
        base, own = self.base.sums(span), station.result()
        buckets = {n for n in base.keys() | own.keys() if base.get(n) != own.get(n)}
        if not buckets:
            return control.result()
        rows = self._pool.submit(self.station.rows, span, buckets)
        return _difference(rows.result(), self.base.rows(span, buckets)) + control.result()

    def differences(self, spans: tuple[Span, ...]) -> Difference:
        found = Difference()
        for span in spans:
            found += self.difference(span)
        return found

    def again(self, keys: tuple[Key, ...]) -> Difference:
        """Station against base, for these keys."""
        own = self._pool.submit(self.station.of, keys)
        theirs = self.base.of(keys)
        return _difference(own.result(), theirs)

    def _control_against_base(self, span: Span) -> Difference:
        session = self._session
        fit, base, control = session.fit, session.base, session.control_table
        same, readable = stage.Comparing(session).same, session.dialect.readable
        lacking = control.c[fit.key[0]].is_(None)
        key = [(base.c[name], fit.by_name[name].control) for name in fit.key]
        ranges = [(base.c[name], fit.by_name[name].control) for name in range_columns(fit)]
        query = (
            sa.select(
                *(readable(column, kind).label(f"k{i}") for i, (column, kind) in enumerate(key)),
                sa.case((lacking, "1"), else_="0").label("lacking"),
            )
            .select_from(base.outerjoin(control, stage.same_key(fit, base, control)))
            .where(base.c[STATION] == session.pair.name, span.where(ranges) if ranges else sa.true())
            .where(sa.or_(lacking, sa.not_(same(control, base))))
        )
        families = {f"k{i}": kind.family for i, (_, kind) in enumerate(key)} | {"lacking": Family.TEXT}
        with session.pair.control.errors(), self._other.begin():
            found, _ = session.dialect.read(self._other, query, families, _NO_LIMIT)
        lacks = found["lacking"].to_pylist()
        pairs = list(zip(_keys(found, len(key)), lacks, strict=True))
        edited = tuple(key for key, lack in pairs if lack == "0")
        if session.pair.options.direction is TableDirection.UP:
            edited = ()  # such an edit goes nowhere, whoever finds it
        return Difference(edited=edited, vanished=tuple(key for key, lack in pairs if lack == "1"))

    @contextmanager
    def _station(self) -> Any:
        with self._session.station() as conn, conn.begin():
            yield conn

    @contextmanager
    def _control(self) -> Any:
        with self._session.pair.control.errors(), self._session.control.begin():
            yield self._session.control


def _difference(station: Mapping[str, Row], base: Mapping[str, Row]) -> Difference:
    """Pure: what the rows of both sides, by their keys, have in common and not."""
    changed: list[Key] = []
    older: list[Key] = []
    for text, own in station.items():
        known = base.get(text)
        if known is None or known.digest != own.digest:
            went_back = known is not None and (own.modified or "") < (known.modified or "")
            (older if went_back else changed).append(own.key)
    gone = tuple(row.key for text, row in base.items() if text not in station)
    return Difference(tuple(changed), tuple(older), gone)
