"""Rows that somebody keeps locked, an application at either side: they wait for the next run, the others go through.

The first wait of a run is an ordinary one. If it was in vain, the run goes on carefully: waits are short, rows that
are locked are left out (SKIP LOCKED), and what still waits is found by halving. A locked row of a station that could
not be merged is kept in quarantine in the transaction that moves the watermark past it, and is read by its key with
every run until it went in; an edit of control's stays `pending`.

What a person starts (a reseed, a revert) writes rows of given keys: it goes `around` those that are locked,
names them, and does just the rest when it is started again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.care import Care
from stationsync.database.dialect import Dialect
from stationsync.database.statements import TEMPORARY, drop_temporary
from stationsync.errors import LockWait
from stationsync.keeping import books
from stationsync.model import reasons
from stationsync.model.changes import Counts, Direction
from stationsync.model.schema import Column
from stationsync.model.wire import key_texts
from stationsync.pairing.keys import among
from stationsync.session import extract, stage
from stationsync.session.session import Session

Key = tuple[str | bytes, ...]
Item = TypeVar("Item")
T = TypeVar("T")


def leave_out(
    session: Session, staged: sa.Table, rows: pa.Table, news: sa.ColumnElement[bool]
) -> tuple[pa.Table, Counts]:
    """The staged rows without those that are `news` (told from stage and base) and whose row at control is locked:
    they are taken out of the stage and kept."""
    if not (session.care.on and session.dialect.skips_locked(session.control)):
        return rows, Counts()
    keys = _locked(session, staged, news)
    if not keys:
        return rows, Counts()
    texts = set(key_texts(_table_of(session, keys), session.fit.key))
    at = [i for i, text in enumerate(key_texts(rows, session.fit.key)) if text in texts]
    if len(at) != len(keys):
        what = "rows are locked that cannot be told from the others by their keys"
        raise LockWait(session.pair.place, what)
    own = [(staged.c[name], session.fit.by_name[name].station) for name in session.fit.key]
    for first in range(0, len(keys), extract.KEYS_A_QUERY):
        session.control.execute(sa.delete(staged).where(among(keys[first : first + extract.KEYS_A_QUERY], own)))
    counts = keep(session, rows.take(pa.array(at, pa.int64())))
    apart = set(at)
    others = [i for i in range(rows.num_rows) if i not in apart]
    return rows.take(pa.array(others, pa.int64())), counts + Counts(read=len(at))


def keep(session: Session, rows: pa.Table) -> Counts:
    """In quarantine, until the next run."""
    why = [reasons.LOCKED] * rows.num_rows
    return books.quarantine_rows(session, Direction.UP, rows, why) + Counts(locked=rows.num_rows)


def _locked(session: Session, staged: sa.Table, news: sa.ColumnElement[bool]) -> list[Key]:
    """Keys of the stage that control has, and that are not free. Those that are free get locked."""
    conn, fit, base, control = session.control, session.fit, session.base, session.control_table
    columns = [sa.Column(c.name, c.type, primary_key=True, quote=True) for c in staged.primary_key.columns]
    free = sa.Table("stationsync_free", sa.MetaData(), *columns, **TEMPORARY)
    stage.recreate(conn, free)
    keys = [staged.c[name] for name in fit.key]
    there = staged.outerjoin(base, stage.same_key(fit, staged, base)).join(
        control, stage.same_key(fit, staged, control)
    )
    # In this order, so that no other row of control's is looked at.
    query = sa.select(*keys).select_from(there).where(news).prefix_with("STRAIGHT_JOIN")
    query = query.with_for_update(skip_locked=True)
    try:
        conn.execute(sa.insert(free).from_select([c.name for c in free.c], query))
    except sa.exc.DBAPIError:
        session.care.give_up()  # the whole table is locked
        raise
    printed = [session.dialect.readable(staged.c[n], fit.by_name[n].staged).label(n) for n in fit.key]
    taken = there.outerjoin(free, stage.same_key(fit, staged, free))
    rest = sa.select(*printed).select_from(taken).where(news, free.c[fit.key[0]].is_(None))
    families = {name: fit.families[name] for name in fit.key}
    found = session.dialect.read_all(conn, rest, families)
    drop_temporary(conn, free)
    return list(zip(*(found[name].to_pylist() for name in fit.key), strict=True)) if found.num_rows else []


def _table_of(session: Session, keys: Sequence[Key]) -> pa.Table:
    schema = extract.empty(session).schema
    columns = zip(session.fit.key, zip(*keys, strict=True), strict=True)
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns})


# --- going around locked rows

_NAMED = 20


def note(keys: Sequence[Sequence[str]], where: str, again: str) -> list[str]:
    """A warning that names the rows which were left, and the command that does them."""
    if not keys:
        return []
    named = ", ".join(json.dumps(list(key), ensure_ascii=False) for key in keys[:_NAMED])
    more = ", …" if len(keys) > _NAMED else ""
    what = f"{len(keys):,} rows were left, an application {where} keeps them locked: {named}{more}"
    return [f"{what}. Once it is done with them, run it again, which does just these: {again}"]


@dataclass(frozen=True)
class _Side:
    care: Care
    dialect: Dialect
    table: sa.Table
    key: tuple[tuple[sa.Column[Any], Column], ...]
    transaction: Callable[[], AbstractContextManager[sa.Connection]]


def around(
    session: Session,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], T],
    key: Callable[[Item], Key],
    *,
    station: bool = False,
) -> tuple[list[T], list[Item]]:
    """What `work` made of these rows, or, where somebody keeps some of them locked at control (or at the `station`), of
    all others, in one part or several; and those. Nothing of a part is done where `work` raises LockWait.

    Raises LockWait where all is locked."""
    sides = _sides(session, station=station)
    if not any(side.care.on for side in sides):
        try:
            return [work(items)], []
        except LockWait:
            for at_station in (False, True)[: len(sides)]:
                session.begin_care(station=at_station)
    keys = [key(item) for item in items]
    taken = {one for side in sides for one in _taken(side, keys)}
    free = [item for item, one in zip(items, keys, strict=True) if one not in taken]
    done, others = _halves(sides, free, work) if free else ([], [])
    left = taken | {key(item) for item in others}
    return done, [item for item, one in zip(items, keys, strict=True) if one in left]


def _halves(
    sides: Sequence[_Side], items: Sequence[Item], work: Callable[[Sequence[Item]], T]
) -> tuple[list[T], list[Item]]:
    """What SKIP LOCKED does not see (or the server does not have) is found by halving."""
    try:
        done = [work(items)]
    except LockWait:
        if any(side.care.over for side in sides):
            raise
        if len(items) == 1:
            return [], [*items]
        middle = len(items) // 2
        first, second = (_halves(sides, part, work) for part in (items[:middle], items[middle:]))
        return first[0] + second[0], first[1] + second[1]
    for side in sides:
        side.care.progressed()
    return done, []


def _sides(session: Session, *, station: bool) -> list[_Side]:
    fit, control = session.fit, session.control_table
    key = tuple((control.c[name], fit.by_name[name].control) for name in fit.key)

    @contextmanager
    def at_control() -> Iterator[sa.Connection]:
        with session.transaction():
            yield session.control

    found = [_Side(session.care, session.dialect, control, key, at_control)]
    if station:
        theirs, columns = session.station_table, [fit.by_name[name].station for name in fit.key]
        own = tuple((theirs.c[column.name], column) for column in columns)

        @contextmanager
        def at_station() -> Iterator[sa.Connection]:
            with session.station() as conn, conn.begin():
                yield conn

        found.append(_Side(session.station_care, session.pair.station.dialect, theirs, own, at_station))
    return found


def _taken(side: _Side, keys: Sequence[Key]) -> set[Key]:
    """Those of these rows that somebody has locked, as far as the server tells."""
    found: set[Key] = set()
    with side.transaction() as conn:
        if not side.dialect.skips_locked(conn):
            return found
        for first in range(0, len(keys), extract.KEYS_A_QUERY):
            where = among(keys[first : first + extract.KEYS_A_QUERY], list(side.key))
            columns = (side.dialect.readable(c, kind).label(f"k{i}") for i, (c, kind) in enumerate(side.key))
            query = sa.select(*columns).where(where)
            families = {f"k{i}": kind.family for i, (_, kind) in enumerate(side.key)}
            try:
                free = side.dialect.read_all(conn, query.with_for_update(skip_locked=True), families)
            except sa.exc.DBAPIError:
                side.care.give_up()  # the whole table is locked
                raise
            found |= _rows(side.dialect.read_all(conn, query, families)) - _rows(free)
    return found


def _rows(found: pa.Table) -> set[Key]:
    return set(zip(*(column.to_pylist() for column in found.columns), strict=True))
