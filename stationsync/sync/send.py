"""The station's part of a push: one transaction that writes a row only where it still is what the base says."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database import references
from stationsync.database.statements import delete_joined
from stationsync.errors import DuplicateKey, LockWait, RowRefused
from stationsync.keeping.blocked import Blocked, code_of
from stationsync.model.reasons import STATION, WAITING, Code, Reason, not_deleted, refused
from stationsync.pairing.fit import Fit
from stationsync.session.session import Session
from stationsync.writing.push_stage import PushStage
from stationsync.writing.target import N, at_station
from stationsync.writing.unique_moves import Moves, Only, is_duplicate

SENT, EQUAL, ALTERED, CHANGED, MISSING, REFUSED = "sent", "equal", "altered", "changed", "missing", "refused"
WAITS, LOCKED = "waits", "locked"
_ONE_BY_ONE = "rows cannot change places in a table without transactions, where each is written by itself"


@dataclass(frozen=True)
class Sent:
    """What became of each row (by its index in the page): sent; equal already; altered by the station while it was
    written (a trigger); changed at the station since; missing there; refused by its database, with the reason; waiting
    until another row gives up a value, with the reason; locked there by somebody else, so that nobody knows."""

    outcome: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, Reason] = field(default_factory=dict)

    def at(self, *outcomes: str) -> list[int]:
        return [i for i, outcome in self.outcome.items() if outcome in outcomes]

    @property
    def applied(self) -> list[int]:
        return self.at(SENT, ALTERED)

    @property
    def now_there(self) -> list[int]:
        """Rows that the station was given, or had: the base follows."""
        return self.at(SENT, EQUAL, ALTERED)

    @property
    def look_again(self) -> list[int]:
        return self.at(CHANGED, ALTERED)

    def __or__(self, other: Sent) -> Sent:
        return Sent(self.outcome | other.outcome, self.reasons | other.reasons)


def send(session: Session, old: pa.Table, new: pa.Table, travels: Sequence[bool]) -> Sent:
    """Send the rows whose `travels` is set. Nothing is opened at the station where there is nothing to send."""
    indexes = [i for i, goes in enumerate(travels) if goes]
    return _send(session, old, new, indexes) if indexes else Sent()


def _send(session: Session, old: pa.Table, new: pa.Table, indexes: list[int]) -> Sent:
    try:
        return _transaction(session, old, new, indexes)
    except RowRefused as error:
        # As in the merge: the row that is refused is found by halving, everything else goes on.
        if len(indexes) == 1:
            outcome, reason = _refused(error)
            return Sent({indexes[0]: outcome}, {indexes[0]: reason})
        return _send_halves(session, old, new, indexes)
    except LockWait:
        care = session.station_care
        if care.over:
            raise
        if not care.on:
            session.begin_care(station=True)
            return _send(session, old, new, indexes)
        # What SKIP LOCKED does not see (or the server does not have).
        if len(indexes) == 1:
            return Sent({indexes[0]: LOCKED})
        return _send_halves(session, old, new, indexes)


def _refused(error: RowRefused) -> tuple[str, Reason]:
    """What becomes of a row that the station does not take, and why."""
    code = code_of(error)
    return WAITS if code in WAITING else REFUSED, refused(STATION, code, error.what)


def _send_halves(session: Session, old: pa.Table, new: pa.Table, indexes: list[int]) -> Sent:
    middle = len(indexes) // 2
    return _send(session, old, new, indexes[:middle]) | _send(session, old, new, indexes[middle:])


def _transaction(session: Session, old: pa.Table, new: pa.Table, indexes: list[int]) -> Sent:
    if len(indexes) < old.num_rows:
        take = pa.array(indexes, pa.int64())
        old, new = old.take(take), new.take(take)
    sender = _Sender(session, _edited(session.fit, old, new), new)
    reasons: dict[int, Reason] = {}
    with session.station() as conn:
        conn.execution_options(stationsync_write=True)
        try:
            with conn.begin():
                sender.staged.create(conn)
                sender.staged.fill(conn, old, new, indexes)
                if session.fit.station.transactional:
                    outcome = sender.write_all(conn, indexes) or sender.look_and_write(conn, reasons)
                else:
                    outcome, reasons = sender.write_each(conn, indexes)
                if SENT in outcome.values():
                    outcome |= dict.fromkeys(sender.altered(conn, outcome), ALTERED)
                sender.staged.drop(conn)
        finally:
            conn.execution_options(stationsync_write=False)
    return Sent(outcome, reasons)


def look(session: Session, old: pa.Table, new: pa.Table, travels: Sequence[bool]) -> Sent:
    """What `send` would do, with nothing written and no row locked."""
    indexes = [i for i, goes in enumerate(travels) if goes]
    if not indexes:
        return Sent()
    take = pa.array(indexes, pa.int64())
    old, new = old.take(take), new.take(take)
    sender = _Sender(session, _edited(session.fit, old, new), new)
    with session.station() as conn:
        conn.execution_options(stationsync_write=True)
        try:
            with conn.begin():
                sender.staged.create(conn)
                sender.staged.fill(conn, old, new, indexes)
                outcome = sender.look(conn, lock=False)
                sender.staged.drop(conn)
        finally:
            conn.execution_options(stationsync_write=False)
    return Sent(outcome)


def delete(session: Session, old: pa.Table) -> Sent:
    """Delete rows that still are as the base says (`equal`); the others are `changed`, `missing`, `locked`, or
    `refused` because other rows would go with them.

    Raises RowRefused where the station's database refuses one of them: nothing was deleted then."""
    try:
        return _delete(session, old)
    except LockWait:
        if session.station_care.on:
            raise
        session.begin_care(station=True)
        return _delete(session, old)


def _delete(session: Session, old: pa.Table) -> Sent:
    sender = _Sender(session, (), old)
    indexes = list(range(old.num_rows))
    with session.station() as conn:
        conn.execution_options(stationsync_write=True)
        try:
            with conn.begin():
                sender.staged.create(conn)
                sender.staged.fill(conn, old, old, indexes)
                outcome = sender.look(conn)
                held, mutual = sender.held(conn, outcome)
                outcome |= dict.fromkeys(held, REFUSED)
                if EQUAL in outcome.values():
                    sender.delete(conn, checked=not mutual)
                sender.staged.drop(conn)
        finally:
            conn.execution_options(stationsync_write=False)
    return Sent(outcome, held)


def _edited(fit: Fit, old: pa.Table, new: pa.Table) -> tuple[int, ...]:
    """Indexes of the columns that any of these rows has an edit in."""
    return tuple(i for i, c in enumerate(fit.columns) if c.editable and not old[c.name].equals(new[c.name]))


class _Sender:
    """The statements of one push transaction."""

    def __init__(self, session: Session, edited: tuple[int, ...], new: pa.Table) -> None:
        self._session = session
        self._dialect = session.pair.station.dialect
        self._columns = session.fit.columns
        self._edited = edited
        self._target = session.station_table
        self.staged = PushStage(session, edited, new)

    def write_all(self, conn: sa.Connection, indexes: list[int]) -> dict[int, str]:
        """Mostly every row still is as the base says: all are written. Otherwise none is, and the answer is empty."""
        if self._session.station_care.on:
            return {}
        tried = conn.begin_nested()
        try:
            if self._write(conn) == len(indexes):
                tried.commit()
                return dict.fromkeys(indexes, SENT)
        except (sa.exc.DBAPIError, RowRefused) as error:
            if not self._is_duplicate(error):
                raise
        tried.rollback()
        return {}

    def look_and_write(self, conn: sa.Connection, reasons: dict[int, Reason]) -> dict[int, str]:
        """Lock the rows and say what each is; those that are as the base says are written, in an order in which they
        can have their values of unique indexes. Those that cannot wait, for `reasons`."""
        outcome = self.look(conn)
        if SENT not in outcome.values():
            return outcome
        tried = conn.begin_nested()
        try:
            self._write(conn)
            tried.commit()
        except (sa.exc.DBAPIError, RowRefused) as error:
            if not self._is_duplicate(error):
                raise
            tried.rollback()
            self._only(conn, [seq for seq, what in outcome.items() if what == SENT])
            while not self._hand_on(conn, outcome, reasons):
                self._only(conn, [seq for seq, what in outcome.items() if what == SENT])
        return outcome

    def write_each(self, conn: sa.Connection, indexes: list[int]) -> tuple[dict[int, str], dict[int, Reason]]:
        """Where nothing can be rolled back and no row be locked: a row a statement, and only what a statement says that
        it wrote counts as sent. What each row is, and why it was refused."""
        outcome: dict[int, str] = {}
        reasons: dict[int, Reason] = {}
        for i in indexes:
            try:
                if self._write(conn, self.staged.seq == i):
                    outcome[i] = SENT
            except (RowRefused, sa.exc.DBAPIError) as error:
                known = self._dialect.explain_error(error, self._session.pair.place, station=True)
                known = error if isinstance(error, RowRefused) else known
                if not isinstance(known, RowRefused):
                    raise
                outcome[i], reasons[i] = _refused(known)
                if isinstance(known, DuplicateKey):
                    reasons[i] = reasons[i].also(f"{_ONE_BY_ONE} ({self._session.fit.station.engine})")
        if len(outcome) < len(indexes):
            # As the base says by now, but not when we wrote: the station is at work on it.
            found = {i: CHANGED if what == SENT else what for i, what in self.look(conn, lock=False).items()}
            outcome = found | outcome
        return outcome, reasons

    def _is_duplicate(self, error: BaseException) -> bool:
        return is_duplicate(self._dialect, self._session.pair.place, error)

    def _only(self, conn: sa.Connection, seqs: list[int]) -> None:
        """They are locked, and were just looked at."""
        conn.execute(sa.delete(self.staged.rows).where(self.staged.seq.not_in(seqs)))

    def _hand_on(self, conn: sa.Connection, outcome: dict[int, str], reasons: dict[int, Reason]) -> bool:
        """Write what is staged. False where some have to wait: then nothing was written."""
        names = [self._columns[i].station.name for i in self._edited]
        moves = Moves(at_station(self._session, conn, names), self._rows)
        values = self._values()

        def write(only: Only) -> None:
            mine = () if only is None else (moves.final.c[N] == self.staged.seq, only)
            conn.execute(self.staged.update().values(values).where(*mine))
            self._dialect.refuse_changed_values(conn, self._session.pair.place)

        try:
            if not moves.make_way(write):
                write(None)
        except Blocked as blocked:
            for held in blocked.held:
                outcome[held.n], reasons[held.n] = WAITS, refused(STATION, Code.WAITS_FOR_VALUE, held.why)
            return False
        return True

    def _rows(self, names: Sequence[str]) -> sa.Select[Any]:
        at = {c.station.name: i for i, c in enumerate(self._columns)}
        own = (self.staged.staged(at[name], "n").label(name) for name in names)
        return sa.select(self.staged.seq.label(N), *own).select_from(self.staged.source)

    def look(self, conn: sa.Connection, *, lock: bool = True) -> dict[int, str]:
        """Compare the rows, locked; `sent` stands for "still as the base says"."""
        if lock and self._session.station_care.on and self._dialect.skips_locked(conn):
            return self._look_at_free(conn)
        first = self._session.fit.by_name[self._session.fit.key[0]].station.name
        outcome = sa.case(
            (self._target.c[first].is_(None), MISSING),
            (self.staged.is_("n"), EQUAL),
            (self.staged.is_("o"), SENT),
            else_=CHANGED,
        )
        join = self.staged.met(outer=True)
        query = sa.select(self.staged.seq, outcome).select_from(join)
        found = conn.execute(query.with_for_update() if lock else query)
        return {int(seq): str(what) for seq, what in found}

    def _look_at_free(self, conn: sa.Connection) -> dict[int, str]:
        """The same of the rows that nobody else has locked; the others are taken out of what is staged."""
        outcome = sa.case((self.staged.is_("n"), EQUAL), (self.staged.is_("o"), SENT), else_=CHANGED)
        met = self.staged.met()
        free = sa.select(self.staged.seq, outcome).select_from(met).prefix_with("STRAIGHT_JOIN")
        try:
            found = {int(seq): str(what) for seq, what in conn.execute(free.with_for_update(skip_locked=True))}
        except sa.exc.DBAPIError:
            self._session.station_care.give_up()  # the whole table is locked
            raise
        present = {int(seq) for seq in conn.scalars(sa.select(self.staged.seq).select_from(met))}
        taken = sorted(present - found.keys())
        if taken:
            conn.execute(sa.delete(self.staged.rows).where(self.staged.seq.in_(taken)))
        missing = [int(seq) for seq in conn.scalars(sa.select(self.staged.seq)) if seq not in found]
        return found | dict.fromkeys(taken, LOCKED) | dict.fromkeys(missing, MISSING)

    def _write(self, conn: sa.Connection, *which: sa.ColumnElement[bool]) -> int:
        """The compare-and-set itself: only rows that are as the base says, only columns that control edited."""
        values = self._values()
        if not values:
            return 0
        update = self.staged.update().values(values).where(self.staged.is_("o"), *which)
        written = conn.execute(update).rowcount
        self._dialect.refuse_changed_values(conn, self._session.pair.place)
        return written

    def _values(self) -> dict[Any, Any]:
        # A column that stamps itself would do so, unless it is given its value.
        return {
            self._target.c[c.station.name]: self.staged.to_be(i)
            for i, c in enumerate(self._columns)
            if i in self._edited or (c.editable and c.station.on_update)
        }

    def held(self, conn: sa.Connection, outcome: dict[int, str]) -> tuple[dict[int, Reason], bool]:
        """Rows that are not to be deleted, with the reason: taken out of what is staged. And whether others refer to
        each other."""
        key = [self._session.fit.by_name[name].station.name for name in self._session.fit.key]
        going = [seq for seq, what in outcome.items() if what == EQUAL]
        query = sa.select(*(self._target.c[name] for name in key), self.staged.seq).select_from(self.staged.met())
        batch = query.where(self.staged.seq.in_(going)).subquery("going")
        found, mutual = references.staying(
            conn, self._target, key, batch, lambda query: [int(seq) for seq in conn.scalars(query)]
        )
        if found:
            conn.execute(sa.delete(self.staged.rows).where(self.staged.seq.in_(sorted(found))))
        return {seq: not_deleted(references.reason(child)) for seq, child in found.items()}, mutual

    def delete(self, conn: sa.Connection, *, checked: bool) -> None:
        where = sa.and_(self.staged.delete(), self.staged.is_("o"))
        with nullcontext() if checked else self._dialect.unchecked(conn):
            delete_joined(conn, self._target, self.staged.rows, where)

    def altered(self, conn: sa.Connection, outcome: dict[int, str]) -> list[int]:
        """Rows that do not read back as they were written: something at the station changed them."""
        join = self.staged.met()
        query = sa.select(self.staged.seq).select_from(join).where(sa.not_(self.staged.is_("n")))
        return [int(seq) for seq in conn.scalars(query) if outcome[int(seq)] == SENT]
