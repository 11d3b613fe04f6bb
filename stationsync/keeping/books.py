"""Reading and writing our books: marks, run results, quarantine. Each call works in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.table_facts import Remembered
from stationsync.errors import DuplicateKey, NotInitialised, ParentMissing, RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.keeping import superseded
from stationsync.keeping.blocked import Blocked
from stationsync.model.changes import Counts, Direction, Position, Report, Seen, Status
from stationsync.model.wire import key_text, key_texts, parse_key_text, wire_row
from stationsync.pairing.decide import moment
from stationsync.pairing.pair import Pair
from stationsync.pairing.stamp_zone import Evidence
from stationsync.pairing.watermark import Mark
from stationsync.session.session import Session
from stationsync.store import kept
from stationsync.store.bookkeeping import key_hash, quarantine, state

# How the reason of a row begins that may go in by itself, later.
WAITS = "control refuses the row, it refers to a row that is not there yet"
WAITS_FOR_VALUE = "control refuses the row until a value is free"
WAITING_UP = (WAITS, WAITS_FOR_VALUE)
STATION_WAITS = "the station refuses the row until a value is free"
STATION_LACKS = "the station refuses the row, it refers to a row that is not there yet"
WAITING_DOWN = (STATION_WAITS, STATION_LACKS)
# And of a row that an application at control keeps locked.
LOCKED = "an application at control keeps the row locked; it is tried again with every run"
_AT_ONCE = 500
# How the reason of a row begins that a station does not take back: it waits for the next reseed, not for an edit.
NOT_BACK = "the station refuses to have the row back"
OPEN, RELEASED, DISCARDED = "open", "released", "discarded"
_MICROSECOND = timedelta(microseconds=1)


def _is(pair: Pair, direction: Direction) -> sa.ColumnElement[bool]:
    return sa.and_(state.c.station == pair.name, state.c.table_name == pair.table, state.c.direction == str(direction))


def read_mark(conn: sa.Connection, pair: Pair, direction: Direction) -> Mark:
    """What is remembered; an empty Mark before the first run."""
    row = read_state(conn, sa.select(state).where(_is(pair, direction))).mappings().first()
    if row is None:
        return Mark()
    measured = row["clock_measured"]
    return Mark(
        row["watermark"],
        _place_from(row["place"]),
        row["place_bound"],
        None if measured is None else measured * _MICROSECOND,
        timedelta(seconds=row["clock_offset"]),
        row["about"],
        newest_from(row["newest"]),
        stamps=Evidence.from_text(row["stamps"]),
        remembered=Remembered.from_json(row["table_facts"]),
    )


def read_state(conn: sa.Connection, query: sa.Select[Any]) -> sa.CursorResult[Any]:
    """Of the table of marks. Raises NotInitialised where it is of an older version and lacks a column."""
    try:
        return conn.execute(query)
    except sa.exc.DBAPIError as error:
        added = ("newest", "skew", "stamps", "without_key", "without_date", "table_facts")
        if any(column in str(error.orig) for column in added):
            raise NotInitialised("control", "the bookkeeping is of an older version.") from error
        raise


def write_mark(conn: sa.Connection, pair: Pair, direction: Direction, mark: Mark) -> None:
    _upsert(
        conn,
        pair,
        direction,
        {
            "watermark": mark.watermark,
            "place": None if mark.place is None else _place_text(mark.place),
            "place_bound": mark.place_bound,
            "clock_measured": None if mark.clock_measured is None else mark.clock_measured // _MICROSECOND,
            "clock_offset": int(mark.clock_offset.total_seconds()),
            "skew": None if mark.skew is None else mark.skew // _MICROSECOND,
            "about": mark.about,
            "newest": None if mark.newest is None else _newest_text(mark.newest),
            "stamps": None if mark.stamps is None else mark.stamps.as_text(),
            "table_facts": None if mark.remembered is None else mark.remembered.to_json(),
        },
    )


def read_newest(conn: sa.Connection, pair: Pair, words: str) -> tuple[dict[str, tuple[Position, ...]], bool]:
    """By direction: the newest rows that were seen at the station, and those that were sent to it. And whether the last
    run of any station was refused for this table in these words."""
    ours = state.c.station == pair.name
    refused = sa.and_(state.c.status == str(Status.FAILED), state.c.message.contains(words, autoescape=True))
    query = sa.select(ours, state.c.direction, state.c.newest, refused)
    found = conn.execute(query.where(state.c.table_name == pair.table, sa.or_(ours, refused))).all()
    newest = {direction: newest_from(text) or () for own, direction, text, _ in found if own}
    return newest, any(so for *_, so in found)


def write_newest(conn: sa.Connection, pair: Pair, direction: Direction, newest: Sequence[Position]) -> None:
    """Only that of the mark."""
    _upsert(conn, pair, direction, {"newest": _newest_text(newest)})


def write_result(conn: sa.Connection, pair: Pair, report: Report, at: datetime, counted: Mapping[str, int]) -> None:
    """How the run went; `done_at` only moves when it came to its end. `counted`: the station's rows `without_key` and
    `without_date`, where the run counted them."""
    values: dict[str, Any] = {"run_at": at, "status": str(report.status), "message": report.message}
    values |= counted
    if report.message == "":
        values["done_at"] = at
    _upsert(conn, pair, report.direction, values)


def write_without_key(conn: sa.Connection, pair: Pair, rows: int) -> None:
    _upsert(conn, pair, Direction.UP, {"without_key": rows})


def _upsert(conn: sa.Connection, pair: Pair, direction: Direction, values: dict[str, Any]) -> None:
    # The lease keeps runs of one pair apart, so there is no race between the two statements.
    if conn.scalar(sa.select(sa.func.count()).select_from(state).where(_is(pair, direction))):
        conn.execute(sa.update(state).where(_is(pair, direction)).values(values))
    else:
        identity = {"station": pair.name, "table_name": pair.table, "direction": str(direction)}
        conn.execute(sa.insert(state).values(identity | values))


def _place_text(place: Position) -> str:
    return json.dumps({"modified": place.modified, "key": key_text(place.key)})


def _place_from(text: str | None) -> Position | None:
    if text is None:
        return None
    data = json.loads(text)
    return Position(data["modified"], parse_key_text(data["key"]))


def _newest_text(newest: Sequence[Position]) -> str:
    made = (row.made if isinstance(row, Seen) else None for row in newest)
    return json.dumps([[row.modified, key_text(row.key), at] for row, at in zip(newest, made, strict=True)])


def newest_stamp(text: str | None) -> datetime | None:
    """Of the newest row that is remembered in this text."""
    newest = newest_from(text)
    return moment(newest[0].modified) if newest else None


def newest_from(text: str | None) -> tuple[Position, ...] | None:
    if text is None:
        return None
    # Books of an older version have two values of each.
    return tuple(Seen(modified, parse_key_text(key), *made) for modified, key, *made in json.loads(text))


def quarantine_rows(
    session: Session, direction: Direction, rows: pa.Table, reasons: Sequence[Sequence[str]], *, renew: bool = True
) -> Counts:
    """Keep rows (wire form) with their reasons: one entry a key, the newest version of the row.

    A version that is kept already, or was discarded by a person, is left as it is and not counted. `renew`: of one that
    waits, say for which row it does by now."""
    if rows.num_rows == 0:
        return Counts()
    texts = key_texts(rows, session.fit.key)
    hashes = [key_hash(text) for text in texts]
    known = _known(session, direction, hashes)
    new: dict[str, dict[str, Any]] = {}
    taken_over: list[superseded.Superseded] = []
    again: dict[str, dict[str, Any]] = {}
    written: list[kept.Kept] = []
    reasons_now: list[dict[str, Any]] = []
    for i, (text, digest) in enumerate(zip(texts, hashes, strict=True)):
        version = kept.keep(wire_row(rows, i))
        row = version.text
        why = json.dumps(list(reasons[i]), ensure_ascii=False)
        if _still_waits(known.get(digest), row, why):
            if renew and known[digest][2] != why:
                reasons_now.append({"b_hash": digest, "v_reasons": why})
        elif digest not in known:
            written.append(version)
            new[digest] = {"key_hash": digest, "key_text": text, "row_json": row, "reasons": why}
        elif known[digest] not in ((OPEN, row, why), (DISCARDED, row, why)):
            written.append(version)
            if known[digest][0] == OPEN and direction is Direction.UP:
                taken_over.append((text, known[digest][1], wire_row(rows, i)))
            again[digest] = {"b_hash": digest, "v_row_json": row, "v_reasons": why}
    kept.store(session.control, written, session.now)
    conflicts = superseded.keep(session, taken_over)
    _insert_entries(session, direction, list(new.values()))
    _update_entries(session, direction, list(again.values()))
    if reasons_now:
        of = (_of(session, direction), quarantine.c.key_hash == sa.bindparam("b_hash"))
        session.control.execute(sa.update(quarantine).where(*of).values(reasons=sa.bindparam("v_reasons")), reasons_now)
    written_down = pa.array([i for i, digest in enumerate(hashes) if digest in new or digest in again], pa.int64())
    why_each = ["; ".join(reasons[i]) for i in written_down.to_pylist()]
    session.journal.add(Records(Decided.QUARANTINED, came=rows.take(written_down), reason=why_each))
    return Counts(quarantined=len(new) + len(again), conflicts=conflicts)


def _still_waits(known: tuple[str, str, str] | None, row: str, why: str) -> bool:
    """For which row it waits depends on which others are written with it: that is no news."""
    if known is None or known[:2] != (OPEN, row):
        return False
    words = (*WAITING_UP, *WAITING_DOWN)
    return any(known[2].startswith(f'["{one}') and why.startswith(f'["{one}') for one in words)


def not_kept_yet(session: Session, direction: Direction, rows: pa.Table, reasons: Sequence[Sequence[str]]) -> list[int]:
    """The rows that `quarantine_rows` would count, by their index."""
    texts = key_texts(rows, session.fit.key)
    known = _known(session, direction, [key_hash(text) for text in texts])
    found = []
    for i, text in enumerate(texts):
        row, why = kept.keep(wire_row(rows, i)).text, json.dumps(list(reasons[i]), ensure_ascii=False)
        if known.get(key_hash(text)) not in ((OPEN, row, why), (DISCARDED, row, why)):
            found.append(i)
    return found


def _insert_entries(session: Session, direction: Direction, entries: list[dict[str, Any]]) -> None:
    if entries:
        pair, now = session.pair, session.now
        common: dict[str, Any] = {
            "station": pair.name,
            "table_name": pair.table,
            "direction": str(direction),
            "state": OPEN,
        }
        common |= {"times": 1, "first_at": now, "last_at": now}
        session.control.execute(sa.insert(quarantine), [common | entry for entry in entries])


def _update_entries(session: Session, direction: Direction, entries: list[dict[str, Any]]) -> None:
    if entries:
        update = (
            sa.update(quarantine)
            .where(_of(session, direction), quarantine.c.key_hash == sa.bindparam("b_hash"))
            .values(
                row_json=sa.bindparam("v_row_json"),
                reasons=sa.bindparam("v_reasons"),
                state=OPEN,
                times=quarantine.c.times + 1,
                last_at=session.now,
            )
        )
        session.control.execute(update, entries)


def _of(session: Session, direction: Direction) -> sa.ColumnElement[bool]:
    pair = session.pair
    return sa.and_(
        quarantine.c.station == pair.name,
        quarantine.c.table_name == pair.table,
        quarantine.c.direction == str(direction),
    )


def refused_words(error: RowRefused) -> str:
    """How the reason of a row begins that control does not take, by whether it may go in later."""
    if isinstance(error, Blocked):
        return error.words
    if isinstance(error, ParentMissing):
        return WAITS
    return WAITS_FOR_VALUE if isinstance(error, DuplicateKey) else "control refuses the row"


def _known(session: Session, direction: Direction, hashes: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """key_hash -> (state, row, reasons) of the entries that are there."""
    found: dict[str, tuple[str, str, str]] = {}
    columns = (quarantine.c.key_hash, quarantine.c.state, quarantine.c.row_json, quarantine.c.reasons)
    for start in range(0, len(hashes), 500):
        query = sa.select(*columns).where(
            _of(session, direction), quarantine.c.key_hash.in_(hashes[start : start + 500])
        )
        found |= {digest: (state, row, why) for digest, state, row, why in session.control.execute(query)}
    return found


def open_entries(session: Session, direction: Direction, *, discarded: bool = False) -> dict[str, tuple[str, str]]:
    """key_text -> (row_json, reasons) of what is in quarantine; where asked for, of what was discarded too."""
    states = (OPEN, DISCARDED) if discarded else (OPEN,)
    query = sa.select(quarantine.c.key_text, quarantine.c.row_json, quarantine.c.reasons).where(
        _of(session, direction), quarantine.c.state.in_(states)
    )
    return {text: (row, reasons) for text, row, reasons in session.control.execute(query)}


def waits_for_another() -> sa.ColumnElement[bool]:
    """An open entry of a row that goes in by itself once another row has come, or made way."""
    words = (f'["{one}' for one in (*WAITING_UP, *WAITING_DOWN))
    begins = (quarantine.c.reasons.startswith(one, autoescape=True) for one in words)
    return sa.and_(quarantine.c.state == OPEN, sa.or_(*begins))


def waiting(session: Session, why: str = WAITS, direction: Direction = Direction.UP) -> Iterator[list[tuple[str, str]]]:
    """(key_text, row_json) of open entries of rows that wait for another row, the oldest first, some at a time."""
    after = 0
    while True:
        query = (
            sa.select(quarantine.c.id, quarantine.c.key_text, quarantine.c.row_json)
            .where(_of(session, direction), quarantine.c.state == OPEN, quarantine.c.id > after)
            .where(quarantine.c.reasons.startswith(f'["{why}', autoescape=True))
            .order_by(quarantine.c.id)
            .limit(_AT_ONCE)
        )
        found = session.control.execute(query).all()
        if not found:
            return
        yield [(text, row) for _, text, row in found]
        after = found[-1].id


def release(session: Session, direction: Direction, rows: pa.Table, kept: Collection[str] = ()) -> Counts:
    """Rows that went through (all but `kept`, key texts): their entries, if any, are released."""
    entries = open_entries(session, direction)
    waiting = entries.keys() - set(kept)
    if not waiting:
        return Counts()
    gone_through = {text: i for i, text in enumerate(key_texts(rows, session.fit.key)) if text in waiting}
    conflicts = 0
    if direction is Direction.UP:
        conflicts = superseded.keep(
            session, ((text, entries[text][0], wire_row(rows, i)) for text, i in gone_through.items())
        )
    return Counts(released=set_state(session, direction, gone_through, RELEASED), conflicts=conflicts)


def set_state(session: Session, direction: Direction, texts: Iterable[str], to: str) -> int:
    changed = 0
    hashes = [key_hash(text) for text in texts]
    for start in range(0, len(hashes), 500):
        update = (
            sa.update(quarantine)
            .where(_of(session, direction), quarantine.c.key_hash.in_(hashes[start : start + 500]))
            .values(state=to, last_at=session.now)
        )
        changed += session.control.execute(update).rowcount
    return changed
