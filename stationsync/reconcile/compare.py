"""Comparing a station with the base, and control with the base, range by range. Reads only, and needs no lease.

The station and the base are compared by checksums that each database computes, narrowed down to rows; control and
the base stand in one database, and are joined. All three work at the same time."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import ComparedColumn
from stationsync.model.wire import Family, key_text
from stationsync.pairing.keys import Key, Span, Typed, range_columns, sameness
from stationsync.pairing.stamp import column as stamp_of
from stationsync.pairing.went_back_rule import Window
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION
from stationsync.topology.model import TableDirection

_BUCKETS = 256
# Ranges that are under way beside the one that is looked at, and the rows of both sides that are read together.
_AHEAD = 4
_ROWS_AT_ONCE = 50_000
# Rows that one reconcile looks into at most: their keys are held in memory, some 200 bytes each.
MOST_KEYS = 1_000_000
# Kinds of difference, in words.
KINDS = {
    "changed": "changed or new at the station",
    "older": "older at the station than known",
    "gone": "gone at the station",
    "outside": "kept back by the station's filter",
    "edited": "edited at control",
    "vanished": "gone at control",
}
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


class ComparedSide:
    """One of the two databases: what its rows are called, and how they are found."""

    def __init__(
        self,
        session: Session,
        connect: Callable[[], AbstractContextManager[sa.Connection]],
        columns: Mapping[str, ComparedColumn],
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
        stamp = self._plain[-1]
        known_as = map(self.known_as, keys)
        digests, stamps = found["digest"].to_pylist(), map(stamp, found["modified"].to_pylist())
        return {name: Row(*row) for name, *row in zip(known_as, keys, digests, stamps, strict=True)}

    def known_as(self, key: Key) -> str:
        """The key as both sides know it."""
        return key_text([same(part) for same, part in zip(self._plain, key, strict=False)])

    def _read(self, query: sa.Select[Any], families: list[Family]) -> pa.Table:
        named = dict(zip((c.name for c in query.selected_columns), families, strict=True))
        with self._connect() as conn:
            return self._dialect.read_all(conn, query, named)


def keys_of(rows: pa.Table, columns: int) -> list[Key]:
    return list(zip(*(rows[f"k{i}"].to_pylist() for i in range(columns)), strict=True))


@dataclass(frozen=True)
class Difference:
    """What a range has that is not equal. Station against base: `changed` (other version, or unknown to the base),
    `older` (other version, stamped before the base's), `gone` (the base has it, the station does not), `outside` (the
    station's filter keeps it back by now). Control against base: `edited`, `vanished` (control lacks the row)."""

    changed: tuple[Key, ...] = ()
    older: tuple[Key, ...] = ()
    gone: tuple[Key, ...] = ()
    outside: tuple[Key, ...] = ()
    edited: tuple[Key, ...] = ()
    vanished: tuple[Key, ...] = ()
    # Rows gone and vanished that nobody does anything about, only counted.
    left: Counter[str] = field(default_factory=Counter)
    # There are more than these.
    more: bool = False

    def __len__(self) -> int:
        return sum(len(getattr(self, kind)) for kind in KINDS)

    def __bool__(self) -> bool:
        return len(self) + self.left.total() > 0

    def count(self, kind: str) -> int:
        return len(getattr(self, kind)) + self.left[kind]

    def first(self, most: int) -> Difference:
        """So many of them, of the kinds in their order."""
        taken: dict[str, Any] = {}
        for kind in KINDS:
            keys = getattr(self, kind)
            taken[kind] = keys[: max(most, 0)]
            most -= len(keys)
        return self if most >= 0 else replace(self, **taken | {"more": True})

    def only_counted(self, kind: str, but: Set[Key]) -> Difference:
        """Of this kind, without the keys of rows that are not among `but`."""
        keys = getattr(self, kind)
        kept = tuple(key for key in keys if key in but)
        left = self.left + Counter({kind: len(keys) - len(kept)})
        changed: dict[str, Any] = {kind: kept, "left": left}
        return replace(self, **changed)

    @staticmethod
    def total(parts: Sequence[Difference]) -> Difference:
        keys = {kind: tuple(chain.from_iterable(getattr(part, kind) for part in parts)) for kind in KINDS}
        left = sum((part.left for part in parts), Counter[str]())
        return Difference(**keys, left=left, more=any(part.more for part in parts))


@dataclass(frozen=True)
class Pending:
    """The comparison of one range, under way in both databases."""

    span: Span
    station: Future[tuple[Sum, float]]
    control: Future[tuple[Sum, bool]]


class Comparison:
    """Open for one sweep. `others` are further connections to control, so that all that it has to compare goes on
    side by side; the station is asked one thing at a time."""

    def __init__(self, session: Session, others: Sequence[sa.Connection]) -> None:
        self.place = session.pair.place
        self._session = session
        fit, base, own = session.fit, session.base, session.station_table
        at_station = {c.name: ComparedColumn(own.c[c.station.name], c.station, c.control) for c in fit.columns}
        at_base = {c.name: ComparedColumn(base.c[c.name], c.control, c.station) for c in fit.columns}
        self.station = ComparedSide(session, self._station, at_station, session.carried)
        self.base = ComparedSide(session, self._of_base, at_base, base.c[STATION] == session.pair.name)
        control = session.control_table
        self._joined = base.outerjoin(control, stage.same_key(fit, base, control))
        self._lacking = control.c[fit.key[0]].is_(None)
        # Of a table that only goes up, an edit of control's goes nowhere, whoever finds it.
        options = session.pair.options
        up = options.direction is TableDirection.UP
        edited = sa.false() if up else sa.not_(stage.Comparing(session).unedited(control, base))
        self._unlike = sa.or_(self._lacking, edited)
        # Rows that one side lacks for good, as the options say: there may be any number of them.
        self._left_at_control, self._left_at_station = not options.follows_deletes, options.leaves_vanished
        self._others: SimpleQueue[sa.Connection] = SimpleQueue()
        for conn in others:
            self._others.put(conn.execution_options(stationsync_read=True))
        self._at_station, self._at_base = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._at_control, self._ranges = ThreadPoolExecutor(len(others)), ThreadPoolExecutor(_AHEAD)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._at_station, self._at_base, self._at_control, self._ranges):
            pool.shutdown(cancel_futures=True)

    def after(self, place: Key | None, rows: int) -> Key | None:
        """Where a range of so many of the station's rows ends; None where it is the last."""
        return self._at_station.submit(self.station.after, place, rows).result()

    def start(self, span: Span) -> Pending:
        """Sums of the station (with the seconds it took) and the base, and whether control differs from the base."""

        def timed() -> tuple[Sum, float]:
            begun = time.monotonic()
            return self.station.sum(span), time.monotonic() - begun

        return Pending(span, self._at_station.submit(timed), self._at_control.submit(self._base_and_control, span))

    def differences(self, spans: Sequence[Span], at_control: Sequence[Span]) -> Difference:
        """The rows that are not equal, in ranges where station and base differ, and where control and base do. Ends
        with `more` where they are too many to be held; at any time a few ranges are under way, and some thousand rows
        of each."""
        unequal, edited = set(spans), set(at_control)
        most = min(MOST_KEYS, self._session.pair.options.run_rows)

        def look_into(span: Span) -> Future[Difference]:
            return self._ranges.submit(self._differences, span, span in unequal, span in edited, most + 1)

        ranges = iter(dict.fromkeys((*spans, *at_control)))
        under_way = deque(map(look_into, islice(ranges, _AHEAD)))
        found: list[Difference] = []
        room = most
        try:
            while under_way and room >= 0:
                part = under_way.popleft().result()
                under_way.extend(map(look_into, islice(ranges, 1)))
                found.append(part.first(room))
                room -= len(part)
        finally:
            # They use the session's own connection.
            for one in under_way:
                one.cancel()
            wait(under_way)
        return Difference.total(found)

    def _differences(self, span: Span, unequal: bool, edited: bool, most: int) -> Difference:
        """Of one range. All databases work at the same time, and none waits for another."""
        at_control = self._at_control.submit(self._control, span, most) if edited else None
        between = self._between(span, at_control, most) if unequal else Difference()
        if at_control is None:
            return between
        control = at_control.result()
        if self._left_at_station:
            control = control.only_counted("vanished", set(between.gone))
        return Difference.total([between, control])

    def _between(self, span: Span, at_control: Future[Difference] | None, most: int) -> Difference:
        """The station against the base: by the sums of buckets, then by the rows of those that differ."""
        sums = self._at_station.submit(self.station.sums, span), self._at_base.submit(self.base.sums, span)
        found = Difference()
        for buckets in _unequal(*(one.result() for one in sums)):
            own = self._at_station.submit(self.station.rows, span, buckets)
            known = self._at_base.submit(self.base.rows, span, buckets)
            part = _difference(own.result(), known.result(), self._session.known.window)
            if part.gone and self._session.pair.options.where is not None:
                part = self._at_station.submit(self._kept_back, part).result()
            if self._left_at_control:
                part = part.only_counted("gone", set(at_control.result().vanished) if at_control else set())
            found = Difference.total([found, part])
            if len(found) >= most:
                break
        return found

    def _kept_back(self, found: Difference) -> Difference:
        """Rows that the station has all the same are not gone."""
        rows = extract.outside_among(self._session, found.gone)
        there = zip(*(rows[name].to_pylist() for name in self._session.fit.key), strict=True)
        outside = set(map(self.station.known_as, there))
        by_name = {self.base.known_as(key): key for key in found.gone}
        gone = tuple(key for name, key in by_name.items() if name not in outside)
        return replace(found, gone=gone, outside=tuple(key for name, key in by_name.items() if name in outside))

    def _base_and_control(self, span: Span) -> tuple[Sum, bool]:
        """In one pass: both stand in one database, and are joined."""
        differs = sa.func.sum(sa.case((self._unlike, 1), else_=0))
        query = sa.select(*self.base.summed, differs).select_from(self._joined).where(*self.base.within(span))
        with self._other() as conn:
            rows, digest, unlike = conn.execute(query).one()
        return Sum(int(rows), int(digest or 0)), bool(unlike)

    def _control(self, span: Span, most: int) -> Difference:
        """Control's rows that are not the base's; so many at most."""
        session, kinds = self._session, [self._session.fit.by_name[name].control for name in self._session.fit.key]
        readable = session.dialect.readable
        key = (session.base.c[name] for name in session.fit.key)
        lacks = sa.case((self._lacking, "1"), else_="0").label("lacking")
        query = sa.select(
            *(readable(c, kind).label(f"k{i}") for i, (c, kind) in enumerate(zip(key, kinds, strict=True)))
        )
        query = query.add_columns(lacks).select_from(self._joined)
        query = query.where(*self.base.within(span), self._unlike).limit(most)
        families = {f"k{i}": kind.family for i, kind in enumerate(kinds)} | {"lacking": Family.TEXT}
        with self._other() as conn:
            found = session.dialect.read_all(conn, query, families)
        rows = list(zip(keys_of(found, len(kinds)), found["lacking"].to_pylist(), strict=True))
        edited = tuple(key for key, lack in rows if lack == "0")
        return Difference(edited=edited, vanished=tuple(key for key, lack in rows if lack == "1"))

    @contextmanager
    def _other(self) -> Iterator[sa.Connection]:
        conn = self._others.get()
        try:
            with self._session.pair.control.transaction(conn):
                yield conn
        finally:
            self._others.put(conn)

    @contextmanager
    def _station(self) -> Iterator[sa.Connection]:
        with self._session.station() as conn, conn.begin():
            yield conn

    @contextmanager
    def _of_base(self) -> Iterator[sa.Connection]:
        with self._session.transaction():
            yield self._session.control


def _unequal(station: Sums, base: Sums) -> Iterator[set[int]]:
    """Buckets that are not equal, as many together as a few thousand rows allow."""
    part: set[int] = set()
    rows = 0
    for number in sorted(base.keys() | station.keys()):
        own, known = station.get(number, Sum()), base.get(number, Sum())
        if own == known:
            continue
        if part and rows + own.rows + known.rows > _ROWS_AT_ONCE:
            yield part
            part, rows = set(), 0
        part.add(number)
        rows += own.rows + known.rows
    if part:
        yield part


def _difference(station: Mapping[str, Row], base: Mapping[str, Row], window: Window) -> Difference:
    """Pure: what the rows of both sides, by their keys, have in common and not. What the station's clock explains is
    changed, and not older."""
    changed: list[Key] = []
    older: list[Key] = []
    for text, own in station.items():
        known = base.get(text)
        if known is None or known.digest != own.digest:
            # Without a stamp, or with a zero one, a row is of no time; and no pull would ever bring it.
            went_back = known is not None and "0001" <= (own.modified or "") < (known.modified or "")
            went_back = went_back and not window.explains(own.modified)
            (older if went_back else changed).append(own.key)
    gone = tuple(row.key for text, row in base.items() if text not in station)
    return Difference(tuple(changed), tuple(older), gone)
