"""What is remembered of a station's table with the mark of its pull, so that one that goes back in time is recognised
(`went_back`): the newest rows that were seen, and what the server said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import Clock
from stationsync.database.table_facts import Again, Remembered
from stationsync.keeping import books, lacked
from stationsync.model.changes import Chunk, Direction, Position, SeenRow
from stationsync.pairing import stamp
from stationsync.pairing.decide import moment
from stationsync.pairing.fit import Fit
from stationsync.pairing.watermark import Mark
from stationsync.pairing.went_back_rule import Window
from stationsync.session import extract
from stationsync.session.session import Session

MODIFIED, MADE = "stationsync_modified", "stationsync_made"
_SECOND = timedelta(seconds=1)
# Rows remembered: more than may be deleted before the base is asked.
NEWEST = 32
# How many of a chunk's last rows are looked through for them: some may be stamped in the future.
_TAIL = 500


def horizon(station: Clock, control: Clock) -> datetime:
    """What is stamped later is in the future by both clocks, on the wall clock that stamps the station's rows. Such
    stamps are mistakes that an application mends: they say nothing about a restore."""
    return max(station.now, control.utc + (station.now - station.utc))


def newest_with(session: Session, chunk: Chunk) -> tuple[Position, ...]:
    """The newest rows that were seen, with those of a chunk that is read in the order of `modified`."""
    tail = chunk.rows.slice(max(0, len(chunk) - _TAIL))
    rows = seen_in(session.fit, tail, stamp.of_rows(session.fit, tail))
    return newest_of((*(session.known.newest or ()), *rows), horizon(session.station_clock, session.control_clock))


def newest_of(rows: Sequence[Position], until: datetime) -> tuple[Position, ...]:
    """The newest of these rows, each once, in its last version; none of the future. Of one moment, those that come
    last."""
    dated = {row.key: (at, i, row) for i, row in enumerate(rows) if (at := moment(row.modified)) and at <= until}
    ordered = sorted(dated.values(), key=lambda one: one[:2], reverse=True)
    return tuple(row for *_, row in ordered[:NEWEST])


def present(session: Session) -> tuple[Position, ...]:
    """The station's newest rows as they are now."""
    fit, dialect = session.fit, session.pair.station.dialect
    names = [name for name in dict.fromkeys((*fit.key, fit.made)) if name]
    own = {name: session.station_table.c[fit.by_name[name].station.name] for name in names}
    at = stamp.at_station(fit, session.station_table)
    columns = [dialect.readable(own[n], fit.by_name[n].station).label(n) for n in own]
    query = (
        sa.select(*columns, at.label(MODIFIED))
        .where(at <= until(session), session.identified)
        .order_by(at.desc())
        .limit(NEWEST)
    )
    with session.station() as conn, conn.begin():
        families = fit.families | {MODIFIED: fit.families[fit.modified]}
        rows, _ = dialect.read(conn, query, families, extract.MAX_BYTES)
    return tuple(seen_in(fit, rows, rows[MODIFIED]))


def seen_in(fit: Fit, rows: pa.Table, at: pa.ChunkedArray) -> list[SeenRow]:
    stamps = at.to_pylist()
    keys = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
    made = rows[fit.made].to_pylist() if fit.made else [None] * len(stamps)
    return [SeenRow(*row) for row in zip(stamps, keys, made, strict=True)]


def accept(session: Session) -> None:
    """Take the station as it is from now on: its newest rows are remembered, and the next pull reads everything. What
    is known of keys that its table has free again is of rows that it lost: see `table_facts.Again`, and `lacked` of
    those that the base has."""
    ask_the_server(session)
    newest = present(session)
    counter = session.known.facts.counter
    again = None if counter is None or counted(session) is None else Again(counter, session.station_clock.now)
    with session.transaction():
        mark = books.read_mark(session.control, session.pair, Direction.UP)
        doubts = mark.remembered.doubts + 1 if mark.remembered else 0
        remembered = Remembered(session.known.facts, doubts=doubts, again=again, lacks=lacked.any_marked(session))
        anew = Mark(
            clock_measured=mark.clock_measured, clock_offset=mark.clock_offset, newest=newest, remembered=remembered
        )
        books.write_mark(session.control, session.pair, Direction.UP, anew)


def to_remember(session: Session, *, more: bool) -> Remembered:
    """With the mark of a chunk; `more` of this run are to come."""
    known = session.known.remembered or Remembered()
    return replace(known, facts=session.known.facts, doubtful=session.known.doubtful and more)


def remember(session: Session) -> None:
    """Of a run that moves no watermark. Rows may be known, from a reconcile or a backfill, before any pull has looked:
    then what the server says of the table, which one that is put back differs from. And where the table may be an older
    copy, which versions it may lack: what this run merges may be what told so."""
    known = session.known.remembered
    if known is not None and known.lacked is None:
        return
    mark = books.read_mark(session.control, session.pair, Direction.UP)
    if mark.remembered is None:
        found = to_remember(session, more=False)
    elif known is not None and known.lacked != mark.remembered.lacked:
        found = replace(mark.remembered, lacked=known.lacked)
    else:
        return
    books.write_mark(session.control, session.pair, Direction.UP, replace(mark, remembered=found))


def until(session: Session) -> str:
    return extract.as_text(horizon(session.station_clock, session.control_clock))


def window_of(up: Mark, before: datetime | None, settle: timedelta, station: Clock, control: Clock) -> Window:
    """`before`: the watermark until now, on the station's clock as it is now."""
    measured = station.now - control.utc
    steady = up.clock_measured is None or up.clock_measured - measured <= _SECOND
    since = None if before is None else before - settle - _SECOND
    return Window(since, station.now + timedelta(seconds=5), steady)


def counted(session: Session) -> str | None:
    """The key column that the station's table counts, if it counts one."""
    names = (name for name in session.fit.key if session.fit.by_name[name].station.auto_increment)
    return next(names, None)


def ask_the_server(session: Session) -> None:
    with session.station() as conn, conn.begin():
        session.known = replace(
            session.known, facts=session.pair.station.dialect.table_facts(conn, session.station_table.name)
        )
