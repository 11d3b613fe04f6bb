"""Recognising a station that went back in time: restored from a backup, rebuilt, or emptied.

A pull remembers the newest rows that it saw, and every run looks for them first: one query at the station. An edit
only makes a row newer and a new row changes nothing, so an application that writes on after a restore hides nothing.
Only where they are gone the base is asked how much is older or missing (the rules are pure, the rest reads)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from stationsync import books, extract, stage
from stationsync.bookkeeping import PENDING, STATION
from stationsync.brake import RESTORED, limit
from stationsync.changes import Chunk, Direction, Position
from stationsync.decide import moment
from stationsync.dialects import Clock
from stationsync.errors import StationWentBack
from stationsync.pair import Pair
from stationsync.ranges import Key
from stationsync.session import Session
from stationsync.watermark import Mark
from stationsync.wire import key_text

# Rows remembered. So many of them may be deleted before the base is asked: fewer than any table may lose.
_NEWEST, _FEW = 32, 20
# How many of a chunk's last rows are looked through for them: some may be stamped in the future.
_TAIL = 500
# Rows of the base that a closer look compares: more than any limit.
_CLOSER = 10_000
_SECOND = timedelta(seconds=1)

Stamps = Mapping[str, str | None]


def require_present(session: Session) -> None:
    """Raises StationWentBack where too many of the rows that were seen are older or missing at the station."""
    newest = session.newest
    if newest is not None and not suspicious(newest, _stamps(session, newest)):
        return
    _look_closer(session)
    session.newest = present(session)


def suspicious(newest: Sequence[Position], stamps: Stamps) -> bool:
    """Of the newest rows that were seen more are gone than any table may lose, or all."""
    gone = len(lost(newest, stamps))
    return gone > _FEW or 0 < gone == len(newest)


def lost(seen: Sequence[Position], stamps: Stamps) -> list[Position]:
    """Those that are missing (`stamps`: the station's `modified` by key), or older by more than a second."""
    return [place for place in seen if _is_lost(moment(place.modified), stamps, key_text(place.key))]


def turned_back(newest: Sequence[Position], stamps: Stamps, most: int, *, deletes_usual: bool) -> int:
    """How many of the base's newest rows (the newest first) a restore or a rebuild has taken; 0 where none is likely.

    More than `most` must be lost, and all of the newest: a restore leaves none of those, while an application that
    deletes rows mostly does. Where deletes are usual, only older versions count."""
    gone = lost(newest, stamps)
    older = [place for place in gone if key_text(place.key) in stamps]
    if len(older) > most:
        return len(gone)
    if deletes_usual or len(gone) <= most:
        return 0
    last = moment(newest[min(most, len(newest) - 1)].modified)
    keys = {place.key for place in gone}
    kept = any(place.key not in keys for place in newest if last is None or (moment(place.modified) or last) >= last)
    return 0 if kept else len(gone)


def _is_lost(was: datetime | None, stamps: Stamps, key: str) -> bool:
    if key not in stamps:
        return True
    now = moment(stamps[key])
    return was is not None and (now is None or was - now > _SECOND)


def horizon(station: Clock, control: Clock) -> datetime:
    """What is stamped later is in the future by both clocks, on the wall clock that stamps the station's rows. Such
    stamps are mistakes that an application mends: they say nothing about a restore."""
    return max(station.now, control.utc + (station.now - station.utc))


def newest_with(session: Session, chunk: Chunk) -> tuple[Position, ...]:
    """The newest rows that were seen, with those of a chunk that is read in the order of `modified`."""
    fit = session.fit
    tail = chunk.rows.slice(max(0, len(chunk) - _TAIL))
    stamps = tail[fit.modified].to_pylist()
    keys = zip(*(tail[name].to_pylist() for name in fit.key), strict=True)
    rows = [Position(stamp, key) for stamp, key in zip(stamps, keys, strict=True)]
    return newest_of((*(session.newest or ()), *rows), horizon(session.station_clock, session.control_clock))


def newest_of(rows: Sequence[Position], until: datetime) -> tuple[Position, ...]:
    """The newest of these rows, each once, in its last version; none of the future."""
    dated = {row.key: (at, row) for row in rows if (at := moment(row.modified)) is not None and at <= until}
    ordered = sorted(dated.values(), key=lambda one: one[0], reverse=True)
    return tuple(row for _, row in ordered[:_NEWEST])


def present(session: Session) -> tuple[Position, ...]:
    """The station's newest rows as they are now."""
    fit, dialect = session.fit, session.pair.station.dialect
    own = {name: session.station_table.c[fit.by_name[name].station.name] for name in (fit.modified, *fit.key)}
    query = (
        sa.select(*(dialect.readable(own[n], fit.by_name[n].station).label(n) for n in own))
        .where(own[fit.modified] <= until(session), session.identified)
        .order_by(own[fit.modified].desc())
        .limit(_NEWEST)
    )
    with session.station() as conn, conn.begin():
        rows, _ = dialect.read(conn, query, fit.families, extract.MAX_BYTES)
    stamps = rows[fit.modified].to_pylist()
    keys = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
    return tuple(Position(stamp, key) for stamp, key in zip(stamps, keys, strict=True))


def accept(session: Session) -> None:
    """Take the station as it is from now on: its newest rows are remembered, and the next pull reads everything."""
    newest = present(session)
    with session.pair.control.errors(), session.control.begin():
        mark = books.read_mark(session.control, session.pair, Direction.UP)
        anew = Mark(clock_measured=mark.clock_measured, clock_offset=mark.clock_offset, newest=newest)
        books.write_mark(session.control, session.pair, Direction.UP, anew)


def until(session: Session) -> str:
    return extract.as_text(horizon(session.station_clock, session.control_clock))


def _stamps(session: Session, rows: Sequence[Position]) -> Stamps:
    """The station's `modified` of these rows, by their keys' texts."""
    fit, dialect = session.fit, session.pair.station.dialect
    kinds = [fit.by_name[name].station for name in fit.key]
    own = [session.station_table.c[kind.name] for kind in kinds]
    stamp = session.station_table.c[fit.by_name[fit.modified].station.name]
    columns = [dialect.readable(c, kind).label(n) for c, kind, n in zip(own, kinds, fit.key, strict=True)]
    query = sa.select(*columns, stamp.label("stationsync_modified"))
    families = fit.families | {"stationsync_modified": fit.families[fit.modified]}
    # After the key was changed in the topology, what is remembered is of another one: gone, so the base is asked.
    keys = [row.key for row in rows if len(row.key) == len(fit.key)]
    found: dict[str, str | None] = {}
    for first in range(0, len(keys), extract.KEYS_A_QUERY):
        among = extract.among(keys[first : first + extract.KEYS_A_QUERY], list(zip(own, kinds, strict=True)))
        with session.station() as conn, conn.begin():
            part, _ = dialect.read(conn, query.where(among), families, extract.MAX_BYTES)
        texts = map(key_text, zip(*(part[name].to_pylist() for name in fit.key), strict=True))
        found |= dict(zip(texts, part["stationsync_modified"].to_pylist(), strict=True))
    return found


def _look_closer(session: Session) -> None:
    known, newest = _base(session)
    if not known:
        return
    table = session.station_table
    modified = table.c[session.fit.by_name[session.fit.modified].station.name]
    with session.station() as conn, conn.begin():
        any_row = sa.select(sa.literal(1)).select_from(table).where(session.identified).limit(1)
        has_rows = conn.execute(any_row).first() is not None
        last = conn.scalar(sa.select(sa.func.max(modified)).where(modified <= until(session))) if has_rows else None
    stamps = _stamps(session, newest)
    sent = sent_by_us(session, [place.key for place in lost(newest, stamps)], stamps)
    newest = tuple(place for place in newest if place.key not in sent)
    usual, most = session.pair.options.short_lived, limit(known)
    if not has_rows:
        # It counts from 1 again: its next rows would overwrite.
        gone = known if known > most and not usual else 0
    else:
        gone = turned_back(newest, stamps, most, deletes_usual=usual)
    if gone:
        raise _refusal(session, last, newest[0].modified if newest else "-", gone, known)


def sent_by_us(session: Session, keys: Sequence[Key], stamps: Stamps | None = None) -> frozenset[Key]:
    """Those of these rows that are older at the station than the base because a push made them so and was cut off
    before the base followed: an edit of control's waits, and the station has its stamp by now."""
    waiting = _waiting(session, keys) if keys else {}
    if not waiting:
        return frozenset()
    now = _stamps(session, list(waiting.values())) if stamps is None else stamps
    return frozenset(
        key
        for key, edit in waiting.items()
        if (text := key_text(key)) in now and moment(now[text]) == moment(edit.modified)
    )


def _waiting(session: Session, keys: Sequence[Key]) -> dict[Key, Position]:
    """Those that wait to be sent, with the stamp that control has."""
    fit, base, control = session.fit, session.base, session.control_table
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    columns = [session.dialect.readable(column, kind).label(n) for (column, kind), n in zip(own, fit.key, strict=True)]
    query = (
        sa.select(*columns, control.c[fit.modified].label("stationsync_modified"))
        .select_from(base.join(control, stage.same_key(fit, base, control)))
        .where(base.c[STATION] == session.pair.name, base.c[PENDING] > 0)
    )
    families = {name: fit.by_name[name].control.family for name in (*fit.key, fit.modified)}
    families["stationsync_modified"] = families.pop(fit.modified)
    found: dict[Key, Position] = {}
    with session.pair.control.errors(), session.control.begin():
        for first in range(0, len(keys), extract.KEYS_A_QUERY):
            among = extract.among(keys[first : first + extract.KEYS_A_QUERY], own)
            rows, _ = session.dialect.read(session.control, query.where(among), families, extract.MAX_BYTES)
            stamps = rows["stationsync_modified"].to_pylist()
            texts = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
            found |= {key: Position(stamp, key) for key, stamp in zip(texts, stamps, strict=True)}
    return found


def _base(session: Session) -> tuple[int, tuple[Position, ...]]:
    """How many rows the base knows of this station, and the newest of them."""
    fit, base = session.fit, session.base
    ours = base.c[STATION] == session.pair.name
    columns = {name: session.dialect.readable(base.c[name], fit.by_name[name].control) for name in fit.key}
    query = (
        sa.select(*(c.label(n) for n, c in columns.items()), base.c[fit.modified].label("stationsync_modified"))
        .where(ours, base.c[fit.modified] <= until(session))
        .order_by(base.c[fit.modified].desc())
        .limit(_CLOSER)
    )
    families = {c.name: c.control.family for c in fit.columns}
    families["stationsync_modified"] = families[fit.modified]
    with session.pair.control.errors(), session.control.begin():
        known = session.control.scalar(sa.select(sa.func.count()).select_from(base).where(ours))
        rows, _ = session.dialect.read(session.control, query, families, extract.MAX_BYTES * 8)
    keys = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
    stamps = rows["stationsync_modified"].to_pylist()
    return int(known or 0), tuple(Position(stamp, key) for stamp, key in zip(stamps, keys, strict=True))


def _refusal(session: Session, last: object, seen: str, gone: int, known: int) -> StationWentBack:
    here = f"its newest row is of {last}" if last is not None else "its table is empty"
    least = "at least " if gone == _CLOSER < known else ""
    pair = session.pair
    return StationWentBack(
        pair.place,
        f"the station {RESTORED} or emptied: {here}, rows up to {seen} were seen;"
        f" {least}{gone:,} of {known:,} rows known are older or missing there.",
        next_step=which_side(pair),
    )


def which_side(pair: Pair) -> str:
    """The two ways on, as commands."""
    of = f"{pair.name} --table {pair.table}"
    usual = "where its application deletes rows all the time, short_lived: true in the topology"
    return f"Who is right? Control: stationsync reseed {of}; the station, as it is: stationsync trust {of}; {usual}."
