"""One page of a reseed: compared, what is superseded kept at control, written at the station, then in the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.database.statements import TEMPORARY, drop_temporary
from stationsync.errors import RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.keeping import before, books, lacked, replaced
from stationsync.keeping.blocked import Blocked
from stationsync.keeping.replaced import Replaced
from stationsync.model import reasons
from stationsync.model.changes import Direction
from stationsync.model.reasons import Code
from stationsync.model.schema import SHAPES, RawType
from stationsync.model.wire import Family, key_text, wire_row
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import Key
from stationsync.recovery.base_pages import PAGE
from stationsync.recovery.reseed_compare import Compared, compare, look, read, staged_present
from stationsync.recovery.reseed_rule import POLICY, StationOutcome
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.sync import push
from stationsync.sync.journal_rows import rows_at
from stationsync.writing import locked, references, unique_moves
from stationsync.writing.halving import in_halves
from stationsync.writing.target import N, at_station
from stationsync.writing.unique_moves import Moves, Only

_WRITES = (StationOutcome.INSERT, StationOutcome.REWRITE)
_NEW, _SEQ = "stationsync_new", "stationsync_seq"
_WENT_BACK = "the station went back in time, and reseed gave it control's version"
_SINCE = "the station went back in time; its row was written since, and is to replace this version"


class RefusedRow(NamedTuple):
    """A row that the station refused, and why; `waits`: for a row that it refers to."""

    key: Key
    why: str
    waits: bool = False


@dataclass(frozen=True)
class GivenToStation:
    """What was done with a page; the rows that the station refused; and the keys of those that an application keeps
    locked, at either side."""

    fates: tuple[tuple[Key, StationOutcome], ...] = ()
    kept: int = 0
    refused: tuple[RefusedRow, ...] = ()
    locked: tuple[Key, ...] = ()

    def __add__(self, other: GivenToStation) -> GivenToStation:
        refused, locked = self.refused + other.refused, self.locked + other.locked
        return GivenToStation(self.fates + other.fates, self.kept + other.kept, refused, locked)


def give(session: Session, keys: Sequence[Key]) -> GivenToStation:
    """Write these rows back, around those that are locked. A row that the station refuses is found by halving, and kept
    in quarantine.

    Cut off anywhere, the next reseed, or the next pull, finds the station's row equal and only moves the base."""
    done, taken = locked.around(session, keys, partial(_give, session), lambda key: key, station=True)
    return sum([*done, _left(session, taken)], GivenToStation())


def _left(session: Session, keys: Sequence[Key]) -> GivenToStation:
    """Locked rows. Those with which nothing is to be done are none of them."""
    if not keys:
        return GivenToStation()
    found = look(session, keys)
    idle = {*found.at(StationOutcome.VANISHED)}
    idle |= {i for i in found.at(StationOutcome.EQUAL) if wire_row(found.base, i) == wire_row(found.new, i)}
    fates = tuple((found.keys[i], found.fates[i]) for i in sorted(idle))
    return GivenToStation(fates, locked=tuple(key for i, key in enumerate(found.keys) if i not in idle))


def _give(session: Session, keys: Sequence[Key]) -> GivenToStation:
    try:
        done = _transaction(session, keys)
    except RowRefused as refused:
        why = {one.key: one.why for one in refused.held} if isinstance(refused, Blocked) else {}
        waits = isinstance(refused, Blocked) and refused.code is Code.WAITS_FOR_ROW
        if why.keys() & set(keys):
            # The others among which values are handed on stay together.
            rest = [key for key in keys if key not in why]
            given = GivenToStation(refused=tuple(RefusedRow(key, why[key], waits) for key in keys if key in why))
            return given + give(session, rest) if rest else given
        if len(keys) > 1:
            return in_halves(keys, lambda some: give(session, some))
        return GivenToStation(refused=(RefusedRow(keys[0], refused.what),))
    return _settle(session, done)


def _settle(session: Session, done: Compared) -> GivenToStation:
    with session.journaled(Direction.DOWN):
        rows = done.new.take(pa.array(done.at(*_WRITES, StationOutcome.EQUAL), pa.int64()))
        if rows.num_rows:
            before.remember(session, done.station, done.new, done.at(StationOutcome.REWRITE), at_station=True)
            push.move_base(session, rows)
            books.release(session, Direction.DOWN, rows)
            _tell(session, done)
    return GivenToStation(tuple(zip(done.keys, done.fates, strict=True)), len(done.kept))


def give_together(parts: Sequence[tuple[Session, Sequence[Key]]]) -> list[GivenToStation]:
    """Rows of several tables of a station that refer to each other: written back in one transaction, with every
    reference looked for before its commit. Those that refer to what is not there are left out.

    Raises RowRefused, with nothing written, where the station refuses one of them for another reason."""
    left = [list(keys) for _, keys in parts]
    while any(left):
        held, done = _all(list(zip((session for session, _ in parts), left, strict=True)))
        if held is None:
            return [
                sum((_settle(session, one) for one in some), GivenToStation())
                for (session, _), some in zip(parts, done, strict=True)
            ]
        left = [[key for key in keys if key not in out] for keys, out in zip(left, held, strict=True)]
    return [GivenToStation() for _ in parts]


def _all(parts: Sequence[tuple[Session, Sequence[Key]]]) -> tuple[list[set[Key]] | None, list[list[Compared]]]:
    """By table the keys of rows that cannot stay: nothing was written then; or None, and what was."""
    first = parts[0][0]
    held: list[set[Key]] = [set() for _ in parts]
    done: list[list[Compared]] = []
    with first.station() as conn:
        conn.execution_options(stationsync_write=True)
        transaction = conn.begin()
        try:
            with first.pair.station.dialect.unchecked(conn):
                for session, keys in parts:
                    pages = (keys[start : start + PAGE] for start in range(0, len(keys), PAGE))
                    done.append([_write_page(session, conn, page) for page in pages])
            for (session, _), some, out in zip(parts, done, held, strict=True):
                for compared in some:
                    out |= _lacking(session, conn, compared)
            if any(held):
                transaction.rollback()
                return held, []
            transaction.commit()
        finally:
            if transaction.is_active:
                transaction.rollback()
            conn.execution_options(stationsync_write=False)
    return None, done


def _lacking(session: Session, conn: sa.Connection, compared: Compared) -> set[Key]:
    """Rows that were written, and refer to what is not there."""
    if not compared.at(*_WRITES):
        return set()
    staged = _fill(session, conn, compared)
    try:
        references.require(at_station(session, conn, ()), _rows(session, staged))
    except Blocked as blocked:
        return {one.key for one in blocked.held}
    finally:
        drop_temporary(conn, staged)
    return set()


def quarantine(session: Session, refused: Sequence[RefusedRow]) -> int:
    """Keep what the station does not take back, with its reasons."""
    counted = 0
    for start in range(0, len(refused), PAGE):
        part = refused[start : start + PAGE]
        why_by_key = {key_text(one.key): reasons.refused(reasons.STATION, Code.NOT_BACK, one.why) for one in part}
        rows = look(session, [one.key for one in part])
        with session.journaled(Direction.DOWN):
            why = [why_by_key[key_text(key)] for key in rows.keys]
            counted += books.quarantine_rows(session, Direction.DOWN, rows.control, why).quarantined
    return counted


def lacks(session: Session, keys: Sequence[Key]) -> None:
    """The station has not control's version of these rows: whoever writes them there has not seen it."""
    if keys:
        with session.transaction():
            lacked.mark(session, keys)


def _transaction(session: Session, keys: Sequence[Key]) -> Compared:
    """The station's: lock and read, compare and keep at control, write. What is kept is committed first."""
    with session.station() as conn:
        conn.execution_options(stationsync_write=True)
        try:
            with conn.begin():
                return _write_page(session, conn, keys)
        finally:
            conn.execution_options(stationsync_write=False)


def _write_page(session: Session, conn: sa.Connection, keys: Sequence[Key]) -> Compared:
    there = read(session, conn, keys, lock=True)
    with session.transaction():
        compared = compare(session, keys, staged_present(session, there), lock=True)
        replaced.keep(session, [_lost(compared, i) for i in compared.kept], once=True)
    if compared.at(*_WRITES):
        _write(session, conn, compared)
    return compared


# --- comparing, in control's transaction


def _lost(compared: Compared, i: int) -> Replaced:
    tables = (compared.station, compared.control, compared.base, compared.new)
    station, control, base, new = (wire_row(rows, i) for rows in tables)
    key = key_text(compared.keys[i])
    if compared.fates[i] is StationOutcome.NEWER:
        return Replaced(key, replaced.CONTROL, _SINCE, station, control, base, station, policy=POLICY)
    return Replaced(key, replaced.STATION, _WENT_BACK, station, control, base, new, policy=POLICY)


# --- writing, in the station's transaction


@lru_cache(SHAPES)
def _table(dialect: Dialect, fit: Fit) -> sa.Table:
    def kind(name: str) -> str:
        column = fit.by_name[name].station
        return dialect.key_type(column, column) if name in fit.key else dialect.stage_type(column)

    columns = (sa.Column(f"n{i}", RawType(kind(name)), nullable=True) for i, name in enumerate(fit.names))
    new = sa.Column(_NEW, sa.Integer, nullable=False)
    seq = sa.Column(_SEQ, sa.Integer, primary_key=True, autoincrement=False)
    return sa.Table("stationsync_reseed", sa.MetaData(), seq, new, *columns, **TEMPORARY)


def _write(session: Session, conn: sa.Connection, compared: Compared) -> None:
    """The rows are locked, and were just compared. Only columns that differ in some row are rewritten."""
    dialect, target, place = session.pair.station.dialect, session.station_table, session.pair.place
    staged = _fill(session, conn, compared)
    own = {i: target.c[c.station.name] for i, c in enumerate(session.fit.columns)}

    def insert() -> None:
        if not compared.at(StationOutcome.INSERT):
            return
        # What the station makes itself cannot be given to it.
        given = [i for i, c in enumerate(session.fit.columns) if not c.station.generated]
        query = sa.select(*(staged.c[f"n{i}"] for i in given)).where(staged.c[_NEW] == 1)
        conn.execute(sa.insert(target).from_select([own[i].name for i in given], query))
        dialect.refuse_changed_values(conn, place)

    values = _rewritten(session, compared, own, staged)
    key = [own[i] == staged.c[f"n{i}"] for i, c in enumerate(session.fit.columns) if c.name in session.fit.key]

    def rewrite(*only: sa.ColumnElement[bool]) -> None:
        if values:
            conn.execute(sa.update(target).values(values).where(*key, staged.c[_NEW] == 0, *only))
            dialect.refuse_changed_values(conn, place)

    together = bool(conn.info.get("unchecked"))
    if together and values and references.follows(at_station(session, conn, ()), _rows(session, staged)):
        raise RowRefused(place, "a value changes that other rows refer to")
    try:
        # Some engines without transactions do not even let a savepoint be set.
        with conn.begin_nested() if session.fit.station.transactional else nullcontext():
            insert()
            rewrite()
    except (sa.exc.DBAPIError, RowRefused) as error:
        if not session.fit.station.transactional:
            raise
        written = {column.name for column in values}
        if unique_moves.is_duplicate(dialect, place, error):
            _hand_on(session, conn, staged, written, rewrite)
            insert()
        elif references.is_missing(dialect, place, error):
            _with_references(session, conn, staged, written, insert, rewrite)
        else:
            raise
    drop_temporary(conn, staged)


def _rewritten(
    session: Session, compared: Compared, own: dict[int, sa.Column[Any]], staged: sa.Table
) -> dict[Any, Any]:
    rewritten = compared.at(StationOutcome.REWRITE)
    if not rewritten:
        return {}
    old, new = (t.take(pa.array(rewritten, pa.int64())) for t in (compared.station, compared.new))
    # A column that stamps itself would do so, unless it is given its value.
    return {
        own[i]: staged.c[f"n{i}"]
        for i, c in enumerate(session.fit.columns)
        if not c.station.generated
        and c.name not in session.fit.key
        and (c.station.on_update or not old[c.name].equals(new[c.name]))
    }


def _rows(session: Session, staged: sa.Table) -> references.Rows:
    at = {c.station.name: i for i, c in enumerate(session.fit.columns)}

    def rows(names: Sequence[str]) -> sa.Select[Any]:
        return sa.select(staged.c[_SEQ].label(N), *(staged.c[f"n{at[name]}"].label(name) for name in names))

    return rows


def _with_references(
    session: Session,
    conn: sa.Connection,
    staged: sa.Table,
    written: set[str],
    insert: Callable[[], None],
    rewrite: Callable[..., None],
) -> None:
    """Write rows that refer to each other. Raises Blocked for those that refer to rows which are not there."""
    to, rows = at_station(session, conn, written), _rows(session, staged)
    checked = references.follows(to, rows)
    with session.pair.station.dialect.unchecked(conn):
        insert()
        if not checked:
            rewrite()
    if checked:
        rewrite()
    references.require(to, rows)


def _hand_on(
    session: Session, conn: sa.Connection, staged: sa.Table, written: set[str], rewrite: Callable[..., None]
) -> None:
    """Rewrite rows among which values of unique indexes are handed on. Raises Blocked."""
    moves = Moves(at_station(session, conn, written), _rows(session, staged))

    def write(only: Only) -> None:
        rewrite(*(() if only is None else (moves.final.c[N] == staged.c[_SEQ], only)))

    if not moves.make_way(write):
        write(None)


def _fill(session: Session, conn: sa.Connection, compared: Compared) -> sa.Table:
    dialect, fit = session.pair.station.dialect, session.fit
    staged = _table(dialect, fit)
    indexes = compared.at(*_WRITES)
    rows = compared.new.take(pa.array(indexes, pa.int64()))
    flags = pa.array(["1" if compared.fates[i] is StationOutcome.INSERT else "0" for i in indexes], pa.string())
    seqs = pa.array([str(i) for i in indexes], pa.string())
    parts: dict[str, Any] = {_SEQ: seqs, _NEW: flags} | {f"n{i}": rows[name] for i, name in enumerate(fit.names)}
    families = dict.fromkeys((_SEQ, _NEW), Family.INTEGER)
    families |= {f"n{i}": c.station.family for i, c in enumerate(fit.columns)}
    stage.recreate(conn, staged)
    dialect.fill(conn, staged, pa.table(parts), families, session.pair.place)
    return staged


def _tell(session: Session, done: Compared) -> None:
    """The journal, of rows that were written at the station, or found there in another version than the base had."""
    inserted, rewritten = done.at(StationOutcome.INSERT), done.at(StationOutcome.REWRITE)
    settled = [i for i in done.at(StationOutcome.EQUAL) if wire_row(done.base, i) != wire_row(done.new, i)]
    losers = ["station" if i in set(done.kept) else None for i in rewritten]
    add = session.journal.add
    add(Records(Decided.INSERTED, after=rows_at(done.new, inserted), rule=POLICY))
    before = rows_at(done.station, rewritten)
    add(Records(Decided.UPDATED, after=rows_at(done.new, rewritten), before=before, rule=POLICY, loser=losers))
    add(Records(Decided.SETTLED, after=rows_at(done.new, settled), before=rows_at(done.base, settled), rule=POLICY))
