"""Reading a station's rows: pages in the order (`modified`, key), or single rows by their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import MistypedValue
from stationsync.errors import SchemaRefused
from stationsync.model import stored_text
from stationsync.model.changes import BadRow, Chunk, Position
from stationsync.model.reasons import Code, Reason
from stationsync.model.schema import Column, sql_name
from stationsync.model.wire import Family, table_of
from stationsync.pairing import stamp
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import among, in_order_behind, ordered
from stationsync.session.session import Session

# A page is cut here whatever `page_rows` says: blobs must not fill the memory.
MAX_BYTES = 32 * 1024 * 1024
KEYS_A_QUERY = 500
# Rows with a zero or NULL `modified` are reconcile's.
_FIRST = {Family.DATETIME: "0001-01-01 00:00:00", Family.TIMESTAMP: "1970-01-01 00:00:01"}


def read_page(session: Session, start: datetime | None, after: Position | None) -> Chunk:
    """The next page of rows stamped at or after `start` and behind `after`; whole station, no upper limit.

    Raises StationOffline, DatabaseBusy, GrantMissing."""
    fit = session.fit
    columns = own_columns(session)
    return read_ordered(session, behind(session, columns, start, after), (fit.modified, *fit.key), page_rows(session))


def read_ordered(session: Session, where: sa.ColumnElement[bool], order: Sequence[str], limit: int) -> Chunk:
    """The first `limit` rows in this order of columns, fewer where they are large."""
    fit, columns = session.fit, own_columns(session)
    query = _columns(session).where(session.carried, where).order_by(*(columns[name] for name in order)).limit(limit)
    with session.station() as conn, conn.begin():
        odd: list[MistypedValue] = []
        rows, stopped = session.pair.station.dialect.read(conn, query, fit.families, MAX_BYTES, odd)
    more = stopped or rows.num_rows == limit
    session.row_bytes = max(session.row_bytes, rows.nbytes // max(1, rows.num_rows))
    return _apart(session, Chunk(rows, position(rows, fit), more), odd)


def own_columns(session: Session) -> dict[str, sa.ColumnElement[Any]]:
    """The station's columns by control's names, so that they sort as they compare."""
    own = {c.name: ordered(_own(session, c.name), c.station) for c in session.fit.columns}
    return with_stamp(session.fit, own)


class StampedColumns(dict[str, sa.ColumnElement[Any]]):
    """Columns with the row's stamp under the name of `modified`, in whose order rows are walked through; `plain` are
    those without it."""

    plain: Mapping[str, sa.ColumnElement[Any]]


def with_stamp(fit: Fit, columns: dict[str, sa.ColumnElement[Any]]) -> dict[str, sa.ColumnElement[Any]]:
    if len(fit.stamps) == 1:
        return columns
    found = StampedColumns({**columns, fit.modified: stamp.column(fit, columns.__getitem__)})
    found.plain = columns
    return found


def read_places(
    session: Session, which: sa.ColumnElement[bool], start: datetime | None, after: Position | None, limit: int
) -> pa.Table:
    """Keys and stamps of the next rows of a kind (`Session.carried`, `outside`), in the order of `read_page`."""
    fit, columns = session.fit, own_columns(session)
    names = list(dict.fromkeys((*fit.key, *fit.stamps)))
    where = sa.and_(which, behind(session, columns, start, after))
    query = _columns(session, names).where(where).order_by(columns[fit.modified], *(columns[n] for n in fit.key))
    with session.station() as conn, conn.begin():
        rows, _ = session.pair.station.dialect.read(conn, query.limit(limit), fit.families, MAX_BYTES)
    return rows


def outside_among(session: Session, keys: Sequence[tuple[str | bytes, ...]]) -> pa.Table:
    """Those of these keys whose rows the station has, and its filter keeps back."""
    return _by_key(session, keys, _columns(session, session.fit.key).where(session.outside), [])


def read_keys(session: Session, keys: Sequence[tuple[str | bytes, ...]], *, unfiltered: bool = False) -> Chunk:
    """The station's rows of these keys, whatever their `modified`; keys it does not have are left out, and unless
    `unfiltered` those of rows that its filter keeps back."""
    odd: list[MistypedValue] = []
    query = _columns(session).where(session.identified if unfiltered else session.carried)
    return _apart(session, Chunk(_by_key(session, keys, query, odd), None, more=False), odd)


def _by_key(
    session: Session, keys: Sequence[tuple[str | bytes, ...]], query: sa.Select[Any], odd: list[MistypedValue]
) -> pa.Table:
    fit = session.fit
    tables: list[pa.Table] = []
    own = [(_own(session, name), fit.by_name[name].station) for name in fit.key]
    for first in range(0, len(keys), KEYS_A_QUERY):
        with session.station() as conn, conn.begin():
            some = query.where(among(keys[first : first + KEYS_A_QUERY], own))
            here: list[MistypedValue] = []
            rows, _ = session.pair.station.dialect.read(conn, some, fit.families, MAX_BYTES * 8, here)
        before = sum(table.num_rows for table in tables)
        odd += [one._replace(row=before + one.row) for one in here]
        tables.append(rows)
    return pa.concat_tables(tables or [empty(session).select(query.selected_columns.keys())]).combine_chunks()


def _apart(session: Session, chunk: Chunk, odd: Sequence[MistypedValue]) -> Chunk:
    """Rows that cannot be carried stand apart: a value is of another type than its column's (without key and `modified`
    there is no row), or text that control's column could not give back as it is."""
    reasons = _unfit_text(session, chunk.rows, up=True)
    if not odd and not reasons:
        return chunk
    for row, name, stored in odd:
        own = session.fit.by_name[name].station
        what = f"column {own.name}: the value is stored as {stored}, but the column is declared {own.type or 'blob'}"
        step = f"mend it at the station (SELECT typeof({sql_name(own.name)}) shows it)"
        if name in (*session.fit.key, *session.fit.stamps):
            next_step = f"{step[0].upper()}{step[1:]}, then run again."
            raise SchemaRefused(session.pair.place, f"key or modified {what}.", next_step=next_step)
        reasons.setdefault(row, []).append(f"{what}; {step}")
    apart = sorted(reasons)
    good = pa.array([i for i in range(len(chunk)) if i not in reasons], pa.int64())
    unreadable = tuple(BadRow(index, Reason(Code.UNREADABLE, tuple(reasons[index]))) for index in apart)
    return replace(chunk, rows=chunk.rows.take(good), unreadable=unreadable, unreadable_rows=chunk.rows.take(apart))


def unfit_text(session: Session, rows: pa.Table, *, up: bool) -> dict[int, Reason]:
    """Of rows that are to go up, or down: row number -> what is wrong with their text, as the other side would have
    it. Bytes travel as they are where both columns have the same character set."""
    found = _unfit_text(session, rows, up=up)
    return {i: Reason(Code.UNREADABLE, tuple(words)) for i, words in found.items()}


def _unfit_text(session: Session, rows: pa.Table, *, up: bool) -> dict[int, list[str]]:
    reasons: dict[int, list[str]] = {}
    for column in (one for one in session.fit.columns if one.name in rows.column_names):
        own, other = (column.station, column.control) if up else (column.control, column.station)
        for i, stored in stored_text.found_in(rows[column.name]).items():
            if not stored_text.travels(stored, own.charset, other.charset):
                reasons.setdefault(i, []).append(_unfit(own, other, stored, "the station" if up else "control"))
    return reasons


def _unfit(own: Column, other: Column, stored: stored_text.Stored, side: str) -> str:
    if own.charset is None or (own.charset in stored_text.UTF8 and not stored.is_utf8):
        why = f"its text is not UTF-8: {stored.shown}"
    else:
        why = f"its {own.charset} text would not come back from {other.charset} as it is: {stored.shown}"
    return f"column {own.name}: {why}; mend it at {side} (SELECT HEX({sql_name(own.name)}) shows it)"


def count_undated(session: Session) -> int:
    """Rows that no page will ever have: `modified` is NULL or zero."""
    undated = stamp.missing(session.fit, lambda name: _own(session, name), first_moment(session))
    with session.station() as conn, conn.begin():
        query = sa.select(sa.func.count()).select_from(session.station_table).where(undated, session.carried)
        return int(conn.scalar(query) or 0)


def first_moment(session: Session) -> str:
    """Rows with a zero date are stamped before it."""
    return _FIRST[session.fit.by_name[session.fit.modified].station.family]


def empty(session: Session) -> pa.Table:
    """No rows, with the columns of a chunk."""
    return table_of([], session.fit.families)


def page_rows(session: Session) -> int:
    """Rows a page: the option's, fewer where the rows are wide by the server's statistics or as we saw them."""
    wide = MAX_BYTES // 2 // max(1, session.fit.station.row_bytes, session.row_bytes)
    return min(session.pair.options.page_rows, max(100, wide))


def position(rows: pa.Table, fit: Fit) -> Position | None:
    """The place of the last row, None of no rows."""
    if rows.num_rows == 0:
        return None
    last = rows.slice(rows.num_rows - 1).to_pylist()[0]
    return Position(stamp.of_row(last, fit.stamps), tuple(last[name] for name in fit.key))


def behind(
    session: Session,
    columns: Mapping[str, sa.ColumnElement[Any]],
    start: datetime | None,
    after: Position | None,
) -> sa.ColumnElement[bool]:
    """Rows behind `after` in the order (modified, key), or from `start` on. Written as the ranges an index knows."""
    fit = session.fit
    first = first_moment(session) if start is None else as_text(start)
    first = first if after is None else after.modified
    plain = columns.plain if isinstance(columns, StampedColumns) else columns
    from_there = stamp.not_before(fit, plain.__getitem__, first)
    if after is None:
        return from_there
    place = behind_place(session, columns, (fit.modified, *fit.key), (after.modified, *after.key))
    return place if plain is columns else sa.and_(from_there, place)


def behind_place(
    session: Session, columns: Mapping[str, sa.ColumnElement[Any]], order: Sequence[str], place: Sequence[str | bytes]
) -> sa.ColumnElement[bool]:
    """Rows of the station behind these values of the columns of `order`, in that order."""
    return in_order_behind(session.fit, order, [columns[name] for name in order], place)


def as_text(moment: datetime) -> str:
    return moment.isoformat(sep=" ")


def _own(session: Session, name: str) -> sa.ColumnElement[Any]:
    return session.station_table.c[session.fit.by_name[name].station.name]


def _columns(session: Session, names: Iterable[str] | None = None) -> sa.Select[Any]:
    """Of the station's table, in wire form; all that are synchronised, or these."""
    readable, fit = session.pair.station.dialect.readable, session.fit
    chosen = fit.columns if names is None else [fit.by_name[name] for name in names]
    return sa.select(*(readable(_own(session, c.name), c.station, c.control).label(c.name) for c in chosen))
