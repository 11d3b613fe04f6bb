"""`check`: the newest stamps at both sides against the clocks of their servers (`stamp_zone` judges)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.dialect import Clock, Dialect
from stationsync.keeping import books
from stationsync.model.changes import Direction, Level, Note
from stationsync.model.wire import Family
from stationsync.pairing import stamp, stamp_zone
from stationsync.pairing.decide import moment
from stationsync.pairing.fit import MODIFIED_FAMILIES, Fit
from stationsync.pairing.pair import Pair
from stationsync.pairing.stamp_zone import Evidence, StampsSeen
from stationsync.store import bookkeeping
from stationsync.store.bookkeeping import STATION, state

_NEWEST = 32
_MAX_BYTES = 1 << 20
# No zone is farther ahead.
_FARTHEST = timedelta(hours=15)


@dataclass(frozen=True)
class Looked:
    """What the last run of a pair saw: up to when, the newest stamp, and stamps off the clock."""

    since: datetime | None = None
    newest: datetime | None = None
    evidence: Evidence | None = None


def read_all(conn: sa.Connection) -> Mapping[tuple[str, str], Looked]:
    """By station and table; nothing where the bookkeeping is not there, or of an older version."""
    if state.c.stamps.name not in {c["name"] for c in _columns(conn)}:
        return {}
    columns = (state.c.station, state.c.table_name, state.c.watermark, state.c.newest, state.c.stamps)
    query = sa.select(*columns).where(state.c.direction == str(Direction.UP))
    return {
        (station, table): Looked(watermark, books.newest_stamp(newest), Evidence.from_text(stamps))
        for station, table, watermark, newest, stamps in conn.execute(query)
    }


def _columns(conn: sa.Connection) -> list[Any]:
    found = sa.inspect(conn)
    return list(found.get_columns(state.name)) if found.has_table(state.name) else []


def at_station(conn: sa.Connection, pair: Pair, fit: Fit, looked: Looked) -> Iterator[Note]:
    column = fit.by_name.get(fit.modified)
    if not set(fit.stamps) <= set(fit.names) or column is None or column.station.family not in MODIFIED_FAMILIES:
        return
    yield from _without_date(conn, pair, fit)
    clock = pair.station.dialect.clock(conn, column.station.family, pair.options.modified_zone)
    names = [fit.by_name[name].station.name for name in fit.stamps if name in fit.by_name]
    own = stamp.at_station(fit, sa.table(pair.station_table, *map(sa.column, names)))
    query = sa.select(own.label("m")).where(own <= _until(clock)).order_by(own.desc()).limit(_NEWEST)
    seen = _seen(conn, pair.station.dialect, query, column.station.family, clock, looked)
    evidence = stamp_zone.judge(looked.evidence, seen, clock, looked.since)
    what = f"the newest stamps in {fit.modified}"
    yield from _note(pair.place, evidence, clock, what, pair.options.modified_zone, column.station.family)


def _without_date(conn: sa.Connection, pair: Pair, fit: Fit) -> Iterator[Note]:
    own = {name: fit.by_name[name].station for name in fit.stamps}
    if not all(c.nullable for c in own.values()):
        return
    table = sa.table(pair.station_table, *(sa.column(c.name) for c in own.values()))
    first = "1970-01-01 00:00:01" if own[fit.modified].family is Family.TIMESTAMP else "0001-01-01 00:00:00"
    missing = stamp.missing(fit, lambda name: table.c[own[name].name], first)
    if rows := conn.scalar(sa.select(sa.func.count()).select_from(table).where(missing)):
        what = (
            f"{rows:,} rows have no date in {' or '.join(fit.stamps)}: only a reconcile brings them and their changes."
        )
        step = f"Name further columns of dates, the first that is not NULL counts: modified: [{fit.modified}, …]"
        yield Note(Level.WARNING, pair.place, what, step)


def at_control(conn: sa.Connection, pair: Pair, family: Family) -> Iterator[Note]:
    """Of edits of control's that wait: they are stamped by its own application."""
    modified, key = pair.options.modified, pair.options.key
    if family not in MODIFIED_FAMILIES:
        return
    clock = pair.control.dialect.clock(conn, family, pair.control_zone)
    control = sa.table(pair.control_table, *map(sa.column, {*key, modified}))
    base = sa.table(bookkeeping.base_name(pair.control_table), *map(sa.column, {*key, modified, STATION}))
    own = control.c[modified]
    query = (
        sa.select(own.label("m"))
        .select_from(control.join(base, sa.and_(*(control.c[name] == base.c[name] for name in key))))
        .where(own > (clock.now.isoformat(sep=" ")), own <= _until(clock), own.is_distinct_from(base.c[modified]))
        .order_by(own.desc())
        .limit(_NEWEST)
    )
    seen = _seen(conn, pair.control.dialect, query, family, clock, Looked())
    what = f"the newest stamps of control's edits in {modified}"
    evidence = stamp_zone.judge(None, seen, clock, None)
    yield from _note(f"control/{pair.control_table}", evidence, clock, what, pair.control_zone, family)


def _until(clock: Clock) -> str:
    return (clock.now + _FARTHEST).isoformat(sep=" ")


def _seen(
    conn: sa.Connection, dialect: Dialect, query: sa.Select[Any], family: Family, clock: Clock, looked: Looked
) -> StampsSeen:
    rows, _ = dialect.read(conn, query, {"m": family}, _MAX_BYTES)
    stamps = [at for at in map(moment, rows["m"].to_pylist()) if at is not None]
    return StampsSeen().with_stamps(stamps, clock.now, looked.since, looked.newest)


def _note(place: str, evidence: Evidence | None, clock: Clock, what: str, zone: str, family: Family) -> Iterator[Note]:
    instants = family is Family.TIMESTAMP
    if told := stamp_zone.warning(evidence, clock, what, zone, instants=instants):
        yield Note(Level.WARNING, place, told)
