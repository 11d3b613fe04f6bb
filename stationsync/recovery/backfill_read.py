"""The station's side of a backfill: the limits of what it will read, how many rows that is, and page after page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from stationsync.model.changes import Chunk
from stationsync.model.wire import Family
from stationsync.pairing import keys, stamp
from stationsync.pairing.keys import Key, Typed
from stationsync.recovery.backfill_range import Asked, walk_order
from stationsync.session import extract
from stationsync.session.session import Session
from stationsync.topology import zones
from stationsync.topology.zones import SERVER

# Rows are counted up to here: counting more would burden the station.
COUNTED = 1_000_000
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Limits:
    """Fixed when a backfill begins, so that it ends however fast the station writes: what comes later is live sync's.

    `order` are columns, `first` and `last` the first and last row in that order, None where there is none."""

    order: tuple[str, ...]
    since: datetime | None = None
    until: datetime | None = None
    first: Key | None = None
    last: Key | None = None


def begin(session: Session, asked: Asked) -> tuple[Limits, int | None]:
    """The limits, and how many rows there are; None where they are more than are counted."""
    until = wall_clock(session, asked.until, end=True)
    if asked.by_time and until is None:
        until = session.station_clock.now.replace(microsecond=0) + _SECOND
    order = walk_order(asked, session.fit)
    limits = Limits(order, wall_clock(session, asked.since), until)
    where = _where(session, asked, limits)
    limits = Limits(order, limits.since, until, *(_end(session, where, order, last=last) for last in (False, True)))
    found = sa.select(sa.literal(1)).select_from(session.station_table).where(where).limit(COUNTED + 1).subquery()
    with session.station() as conn, conn.begin():
        rows = int(conn.scalar(sa.select(sa.func.count()).select_from(found)) or 0)
    return limits, rows if rows <= COUNTED else None


def read(session: Session, asked: Asked, limits: Limits, after: Key | None, most: int) -> tuple[Chunk, Key | None]:
    """The next page behind `after`, and the place of its last row."""
    where = _where(session, asked, limits)
    if after is not None:
        where = sa.and_(where, extract.behind_place(session, extract.own_columns(session), limits.order, after))
    chunk = extract.read_ordered(session, where, limits.order, min(most, extract.page_rows(session)))
    if chunk.last is None:
        return chunk, after
    values = dict(zip(session.fit.key, chunk.last.key, strict=True))
    # An undated row has a key, and is met in the order of the key only.
    values.setdefault(session.fit.modified, chunk.last.modified)
    return chunk, tuple(values[name] for name in limits.order)


def wall_clock(session: Session, asked: datetime | None, *, end: bool = False) -> datetime | None:
    """On the clock that stamps the station's rows; a moment without a zone is on it already. Where that clock is put
    back about then, the range (whose end this is, or its beginning) is the wider one."""
    if asked is None or asked.tzinfo is None:
        return asked
    utc = asked.astimezone(UTC).replace(tzinfo=None)
    stamped = session.fit.by_name[session.fit.modified].station.family
    if stamped is Family.TIMESTAMP:
        return utc
    widest = zones.latest if end else zones.earliest
    zone = session.pair.options.modified_zone
    if zone != SERVER:
        return widest(zones.wall_of(zone), utc)
    with session.station() as conn, conn.begin():
        return widest(partial(session.pair.station.dialect.server_wall, conn), utc)


def _where(session: Session, asked: Asked, limits: Limits) -> sa.ColumnElement[bool]:
    columns = extract.own_columns(session)
    found: list[sa.ColumnElement[bool]] = [session.identified]
    if asked.by_time:
        modified = columns[session.fit.modified]
        found.append(extract.behind(session, columns, limits.since, None))
        found += [modified < extract.as_text(limits.until)] if limits.until else []
        return sa.and_(*found)
    typed = [(columns[name], session.fit.by_name[name].station) for name in session.fit.key]
    found += [keys.at_least(typed[: len(asked.from_key)], asked.from_key)] if asked.from_key else []
    found += [_up_to(typed, asked.to_key)] if asked.to_key else []
    if limits.last is not None:
        found.append(_up_to([(columns[n], session.fit.by_name[n].station) for n in limits.order], limits.last))
    return sa.and_(*found)


def _up_to(columns: list[Typed], key: Key) -> sa.ColumnElement[bool]:
    return keys.Span(upto=key).where(columns[: len(key)])


def _end(session: Session, where: sa.ColumnElement[bool], order: tuple[str, ...], *, last: bool) -> Key | None:
    fit, dialect, columns = session.fit, session.pair.station.dialect, extract.own_columns(session)
    own: dict[str, sa.ColumnElement[Any]] = {
        name: session.station_table.c[fit.by_name[name].station.name] for name in order
    }
    own |= {fit.modified: stamp.at_station(fit, session.station_table)} if fit.modified in own else {}
    query = (
        sa.select(*(dialect.readable(own[n], fit.by_name[n].station).label(n) for n in order))
        .where(where)
        .order_by(*(columns[name].desc() if last else columns[name] for name in order))
        .limit(1)
    )
    with session.station() as conn, conn.begin():
        rows, _ = dialect.read(conn, query, {name: fit.families[name] for name in order}, extract.MAX_BYTES)
    return tuple(rows.to_pylist()[0][name] for name in order) if rows.num_rows else None
