"""Reading and writing our books: marks, run results, quarantine. Each call works in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.table_facts import Remembered
from stationsync.errors import NotInitialised
from stationsync.journal.format import Decided, Records
from stationsync.keeping import superseded
from stationsync.model.changes import Counts, Direction, Position, Report, SeenRow, Status
from stationsync.model.reasons import WAITING, Code, Reason
from stationsync.model.wire import key_text, key_texts, parse_key_text, wire_row
from stationsync.pairing.decide import moment
from stationsync.pairing.pair import Pair
from stationsync.pairing.stamp_zone import Evidence
from stationsync.pairing.watermark import Mark
from stationsync.session.session import Session
from stationsync.store import kept
from stationsync.store.bookkeeping import key_hash, of_this_version, quarantine, state

_AT_ONCE = 500
OPEN, RELEASED, DISCARDED = "open", "released", "discarded"
_MICROSECOND = timedelta(microseconds=1)


def _is(pair: Pair, direction: Direction) -> sa.ColumnElement[bool]:
    return sa.and_(state.c.station == pair.name, state.c.table_name == pair.table, state.c.direction == str(direction))


def read_mark(conn: sa.Connection, pair: Pair, direction: Direction) -> Mark:
    """What is remembered; an empty Mark before the first run."""
    return read_marks(conn, pair)[direction]


def read_marks(conn: sa.Connection, pair: Pair) -> dict[Direction, Mark]:
    """Of both directions."""
    query = sa.select(state).where(state.c.station == pair.name, state.c.table_name == pair.table)
    found = {row["direction"]: _mark(row) for row in read_state(conn, query).mappings()}
    return {direction: found.get(str(direction), Mark()) for direction in (Direction.UP, Direction.DOWN)}


def _mark(row: sa.RowMapping) -> Mark:
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
        row_filter=row["row_filter"],
    )


def read_state(conn: sa.Connection, query: sa.Select[Any]) -> sa.CursorResult[Any]:
    """Of the table of marks. Raises NotInitialised where it is of an older version and lacks a column."""
    with of_this_version():
        return conn.execute(query)


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
            "row_filter": pair.options.where or "",
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
    """How the run went; `done_at` only moves when it came to its end. `counted`: rows that are not carried
    (`without_key`, `without_date`, `outside`), where the run counted them."""
    values: dict[str, Any] = {"run_at": at, "status": str(report.status), "message": report.message}
    values |= counted
    if report.message == "":
        values["done_at"] = at
    _upsert(conn, pair, report.direction, values)


def write_equal(conn: sa.Connection, places: Collection[tuple[str, str]], at: datetime) -> None:
    """Of these stations and tables nothing was to be done at this moment. What a run left that failed stays."""
    good = state.c.status.in_((str(Status.DONE), str(Status.NOTHING)))
    for table in {table for _, table in places}:
        stations = sorted(station for station, one in places if one == table)
        for start in range(0, len(stations), _AT_ONCE):
            some = state.c.station.in_(stations[start : start + _AT_ONCE])
            values = {"run_at": at, "done_at": at, "status": str(Status.NOTHING)}
            conn.execute(sa.update(state).where(some, state.c.table_name == table, good).values(values))


def accept_filter(conn: sa.Connection, pair: Pair) -> None:
    """Somebody has seen what the pair's filter of rows changes: the next run reads by it."""
    _upsert(conn, pair, Direction.UP, {"row_filter": pair.options.where or ""})


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
    made = (row.made if isinstance(row, SeenRow) else None for row in newest)
    return json.dumps([[row.modified, key_text(row.key), at] for row, at in zip(newest, made, strict=True)])


def newest_stamp(text: str | None) -> datetime | None:
    """Of the newest row that is remembered in this text."""
    newest = newest_from(text)
    return moment(newest[0].modified) if newest else None


def newest_from(text: str | None) -> tuple[Position, ...] | None:
    if text is None:
        return None
    # Books of an older version have two values of each.
    return tuple(SeenRow(modified, parse_key_text(key), *made) for modified, key, *made in json.loads(text))


class HeldRow(NamedTuple):
    """A row in quarantine: a kept row's JSON, and why it is there."""

    row: str
    reason: Reason


class _Known(NamedTuple):
    state: str
    row: str
    reason: Reason

    def says(self, row: str, reason: Reason) -> bool:
        """Of an entry that is open, or was discarded: the same."""
        return self.state in (OPEN, DISCARDED) and (self.row, self.reason.words) == (row, reason.words)

    def still_waits(self, row: str, reason: Reason) -> bool:
        """For which row it waits depends on which others are written with it: that is no news."""
        same = (self.state, self.row, self.reason.code) == (OPEN, row, reason.code)
        return same and reason.code in WAITING


def _reason(words: str, code: str | None, owner: str | None) -> Reason:
    """Of an entry. Raises NotInitialised for one that an older version wrote."""
    if code is None:
        raise NotInitialised("control", "an older version wrote entries of the quarantine, which have no code yet.")
    return Reason(Code(code), tuple(json.loads(words)), owner)


def quarantine_rows(
    session: Session, direction: Direction, rows: pa.Table, reasons: Sequence[Reason], *, renew: bool = True
) -> Counts:
    """Keep rows (wire form), each with its reason: one entry a key, the newest version of the row.

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
        row, why = version.text, reasons[i]
        there = known.get(digest)
        said = {"reasons": why.stored, "code": str(why.code), "owner": why.owner}
        if there is None:
            written.append(version)
            new[digest] = {"key_hash": digest, "key_text": text, "row_json": row, **said}
        elif there.still_waits(row, why):
            if renew and there.reason.words != why.words:
                reasons_now.append({"b_hash": digest, "v_reasons": why.stored})
        elif not there.says(row, why):
            written.append(version)
            if there.state == OPEN and direction is Direction.UP:
                taken_over.append((text, there.row, wire_row(rows, i)))
            again[digest] = {"b_hash": digest, "v_row_json": row, **{f"v_{name}": one for name, one in said.items()}}
    kept.store(session.control, written, session.now)
    conflicts = superseded.keep(session, taken_over)
    _insert_entries(session, direction, list(new.values()))
    _update_entries(session, direction, list(again.values()))
    if reasons_now:
        of = (_of(session, direction), quarantine.c.key_hash == sa.bindparam("b_hash"))
        session.control.execute(sa.update(quarantine).where(*of).values(reasons=sa.bindparam("v_reasons")), reasons_now)
    written_down = pa.array([i for i, digest in enumerate(hashes) if digest in new or digest in again], pa.int64())
    why_each = [str(reasons[i]) for i in written_down.to_pylist()]
    session.journal.add(Records(Decided.QUARANTINED, came=rows.take(written_down), reason=why_each))
    return Counts(quarantined=len(new) + len(again), conflicts=conflicts)


def not_kept_yet(session: Session, direction: Direction, rows: pa.Table, reasons: Sequence[Reason]) -> list[int]:
    """The rows that `quarantine_rows` would count, by their index."""
    texts = key_texts(rows, session.fit.key)
    known = _known(session, direction, [key_hash(text) for text in texts])
    found = []
    for i, text in enumerate(texts):
        there = known.get(key_hash(text))
        if there is None or not there.says(kept.keep(wire_row(rows, i)).text, reasons[i]):
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
                code=sa.bindparam("v_code"),
                owner=sa.bindparam("v_owner"),
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


_WHY = (quarantine.c.reasons, quarantine.c.code, quarantine.c.owner)


def _known(session: Session, direction: Direction, hashes: Sequence[str]) -> dict[str, _Known]:
    """key_hash -> the entry that is there."""
    found: dict[str, _Known] = {}
    columns = (quarantine.c.key_hash, quarantine.c.state, quarantine.c.row_json, *_WHY)
    for start in range(0, len(hashes), 500):
        query = sa.select(*columns).where(
            _of(session, direction), quarantine.c.key_hash.in_(hashes[start : start + 500])
        )
        with of_this_version():
            entries = session.control.execute(query)
        found |= {digest: _Known(state, row, _reason(*why)) for digest, state, row, *why in entries}
    return found


def open_entries(session: Session, direction: Direction, *, discarded: bool = False) -> dict[str, HeldRow]:
    """By key_text what is in quarantine; where asked for, what was discarded too."""
    states = (OPEN, DISCARDED) if discarded else (OPEN,)
    query = sa.select(quarantine.c.key_text, quarantine.c.row_json, *_WHY).where(
        _of(session, direction), quarantine.c.state.in_(states)
    )
    with of_this_version():
        return {text: HeldRow(row, _reason(*why)) for text, row, *why in session.control.execute(query)}


def waits_for_another() -> sa.ColumnElement[bool]:
    """An open entry of a row that goes in by itself once another row has come, or made way."""
    return sa.and_(quarantine.c.state == OPEN, quarantine.c.code.in_(map(str, WAITING)))


def waiting(session: Session, code: Code, direction: Direction = Direction.UP) -> Iterator[list[tuple[str, str]]]:
    """(key_text, row_json) of open entries of rows that wait for another row, the oldest first, some at a time."""
    after = 0
    while True:
        query = (
            sa.select(quarantine.c.id, quarantine.c.key_text, quarantine.c.row_json)
            .where(_of(session, direction), quarantine.c.state == OPEN, quarantine.c.id > after)
            .where(quarantine.c.code == str(code))
            .order_by(quarantine.c.id)
            .limit(_AT_ONCE)
        )
        with of_this_version():
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
