"""The pull's merge: one chunk of station rows into control, in one transaction (DESIGN.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync import (
    backfill_rule,
    books,
    given_again,
    journal_merge,
    locked,
    references,
    restamped,
    stage,
    stamp,
    stamps_seen,
    unique_moves,
    unseen,
    went_back,
)
from stationsync.backfill_rule import OLDER
from stationsync.blocked import Blocked
from stationsync.bookkeeping import PENDING, RESTAMPED, STATION
from stationsync.changes import BadRow, Checked, Chunk, Counts, Direction
from stationsync.conflicts import settle_conflicts
from stationsync.decide import Action
from stationsync.errors import GrantMissing, LockWait, RowRefused
from stationsync.extract import position
from stationsync.given_again import AGAIN
from stationsync.journal import together
from stationsync.journal_format import Decided, Records
from stationsync.session import Session
from stationsync.stage import ACTION, HAS_BASE
from stationsync.topology import Deletes, TableDirection
from stationsync.unique_moves import Moves, N, Only
from stationsync.unseen import UNSEEN
from stationsync.watermark import Mark, Reading
from stationsync.wire import key_text, key_texts

FOREIGN = "foreign"
# Control's own database stamped the row when we wrote it, and nothing else is new: only the base moves.
STAMPED = "stamped"
_WRITTEN = (str(Action.INSERT), str(Action.UPDATE), str(Action.SETTLE), AGAIN)
CONFLICT = "conflict"


def merge_chunk(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    """Merge a checked chunk, quarantine its bad rows, and move the watermark; all or nothing.

    A row that control refuses is found by halving the chunk and quarantined. `reading` is None for rows that were
    fetched by key: they move no watermark. Raises DatabaseBusy, LeaseLost; never a row's fault."""
    with session.pair.control.errors():
        return _merge(session, checked, reading)


def _merge(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    chunk = checked.chunk
    try:
        with session.journal.transaction(Direction.UP, reading):
            counts = _quarantine_bad(session, checked, reading)
            counts += _merge_rows(session, chunk)
            _move(session, chunk, reading)
            session.journal.unchanged(counts.unchanged)
            return counts
    except Blocked as blocked:
        rest = without(session, checked, blocked)
        return _halve(session, checked, reading, blocked) if rest is None else _merge(session, rest, reading)
    except Exception as error:
        refused = session.pair.control.dialect.explain_error(error, session.pair.place, station=False)
        refused = error if isinstance(error, RowRefused | LockWait) else refused
        if isinstance(refused, LockWait):
            return _around_locks(session, checked, reading, refused)
        if not isinstance(refused, RowRefused):
            raise
        return _halve(session, checked, reading, refused)


def without(session: Session, checked: Checked, blocked: Blocked) -> Checked | None:
    """The chunk without rows that cannot have their values yet: they wait in quarantine, and the rest goes on."""
    rows = checked.chunk.rows
    index = {text: i for i, text in enumerate(key_texts(rows, session.fit.key))}
    why = {index.get(key_text(held.key)): held.why for held in blocked.held}
    if None in why:
        return None
    session.in_the_way |= blocked.holders
    at = [i for i in range(rows.num_rows) if i in why]
    waits = tuple(BadRow(i, (f"{blocked.words}: {why[i]}",)) for i in at)
    rest = rows.take(pa.array([i for i in range(rows.num_rows) if i not in why], pa.int64()))
    apart = pa.concat_tables([checked.bad_rows, rows.take(pa.array(at, pa.int64()))])
    chunk = replace(checked.chunk, rows=rest)
    return replace(checked, chunk=chunk, bad=(*checked.bad, *waits), bad_rows=apart)


def _around_locks(session: Session, checked: Checked, reading: Reading | None, waited: LockWait) -> Counts:
    """Once more, carefully; what still waits then is found by halving."""
    if session.care.over:
        raise waited
    if session.care.on:
        return _halve(session, checked, reading, waited)
    session.care.begin(session.dialect, session.control)
    return _merge(session, checked, reading)


def only_good(rest: Checked, before: Checked) -> Checked:
    """Without the rows that `without` has set apart: they are in quarantine as they are."""
    return replace(rest, bad=before.bad, bad_rows=before.bad_rows)


def merge_together(parts: Sequence[tuple[Session, Checked]]) -> list[Counts]:
    """Chunks of several tables of a station, on one connection of control's, that refer to each other: all in one
    transaction, every reference looked for before it is committed. Raises Blocked, with the place of the table whose
    rows cannot stay, and RowRefused: nothing was written."""
    first = parts[0][0]
    counts = []
    with first.pair.control.errors(), ExitStack() as stack:
        stack.enter_context(together([session.journal for session, _ in parts], first.control, Direction.UP))
        stack.enter_context(first.dialect.unchecked(first.control))
        for session, checked in parts:
            session.unchecked = True
            stack.callback(setattr, session, "unchecked", False)
            counts.append(_quarantine_bad(session, checked, None) + _merge_rows(session, checked.chunk))
        for session, checked in parts:
            written = stage.stage_table(session, "stationsync_written")
            stage.recreate(session.control, written)
            stage.fill(session, written, checked.chunk.rows)
            references.require(unique_moves.at_control(session), _rows(session, written))
    return counts


def _halve(session: Session, checked: Checked, reading: Reading | None, refused: RowRefused | LockWait) -> Counts:
    chunk = checked.chunk
    if len(chunk) == 0:
        raise refused
    if len(chunk) == 1:
        with session.journal.transaction(Direction.UP, reading):
            counts = _quarantine_bad(session, checked, reading)
            if isinstance(refused, LockWait):
                counts += locked.keep(session, chunk.rows)
                _move(session, chunk, reading)
                return counts + Counts(read=1)
            reasons = [[f"{books.refused_words(refused)}: {refused.what}"]]
            counts += books.quarantine_rows(session, Direction.UP, chunk.rows, reasons)
            _move(session, chunk, reading)
            return counts + Counts(read=1)
    middle = len(chunk) // 2
    left = _part(session, chunk, 0, middle, last=False)
    right = _part(session, chunk, middle, len(chunk) - middle, last=True)
    counts = _merge(session, replace(checked, chunk=left), reading)
    nothing_bad = replace(checked, chunk=right, bad=(), bad_rows=checked.bad_rows.slice(0, 0))
    return counts + _merge(session, nothing_bad, reading)


def _part(session: Session, chunk: Chunk, start: int, length: int, *, last: bool) -> Chunk:
    rows = chunk.rows.slice(start, length)
    if last:
        return Chunk(rows, chunk.last, chunk.more)
    return Chunk(rows, position(rows, session.fit), more=True)


def _quarantine_bad(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    reasons = [list(bad.reasons) for bad in checked.bad]
    # A page knows less than what is read by key: all rows that wait for each other.
    kept = books.quarantine_rows(session, Direction.UP, checked.bad_rows, reasons, renew=reading is None)
    return kept + Counts(read=len(reasons))


def _move(session: Session, chunk: Chunk, reading: Reading | None) -> None:
    if reading is not None:
        session.newest = went_back.newest_with(session, chunk)
        stamps = stamps_seen.after(session, chunk, reading)
        remembered = went_back.to_remember(session, more=chunk.more)
        mark: Mark = reading.remember(chunk.last, more=chunk.more)
        mark = replace(mark, newest=session.newest, stamps=stamps, remembered=remembered)
        books.write_mark(session.control, session.pair, Direction.UP, mark)


def _merge_rows(session: Session, chunk: Chunk) -> Counts:
    if len(chunk) == 0:
        return Counts()
    staged = stage.stage_table(session)
    stage.recreate(session.control, staged)
    stage.fill(session, staged, chunk.rows)
    sorter = Sorter(session, staged)
    rows, left = locked.leave_out(session, staged, chunk.rows, sorter.news)
    if sorter.all_new():
        session.journal.add(Records(Decided.INSERTED, after=rows))
        counts, kept = _insert_all(session, staged, rows.num_rows), set[str]()
        counts += restamped.settle(session, staged, rows.num_rows)
    else:
        counts, kept = _decide_and_write(session, sorter, rows)
    return counts + left + books.release(session, Direction.UP, rows, kept)


class Sorter:
    """The comparison of stage, base and control: what the rule says, for all rows of a chunk at once.

    After `sort`, `based` is how many of the decided rows the base knows, `vanished` how many of those control lacks."""

    based = 0
    vanished = 0

    def __init__(self, session: Session, staged: sa.Table) -> None:
        self.session = session
        self.staged = staged
        self.decided = stage.decided_table(session)
        self._fit = session.fit
        self._same = stage.Comparing(session).same
        self._unedited = stage.Comparing(session).unedited

    def all_new(self) -> bool:
        """Neither control nor the base has any of these keys."""
        for known in (self.session.base, self.session.control_table):
            join = self.staged.join(known, stage.same_key(self._fit, self.staged, known))
            if self.session.control.execute(sa.select(sa.literal(1)).select_from(join).limit(1)).first():
                return False
        return self.session.pair.options.direction is not TableDirection.DOWN

    @property
    def news(self) -> sa.ColumnElement[bool]:
        """The row is not as the base has it."""
        base = self.session.base
        as_known = sa.and_(base.c[STATION] == self.session.pair.name, self._same(self.staged, base))
        return sa.or_(base.c[STATION].is_(None), sa.not_(as_known), backfill_rule.lost(self.session))

    def sort(self) -> dict[str, int]:
        """Fill `decided` with every row that is not as the base has it, locking control's rows; rows per action."""
        conn = self.session.control
        stage.recreate(conn, self.decided)
        keys = [self.staged.c[name] for name in self._fit.key]
        base, control = self.session.base, self.session.control_table
        has_base = base.c[STATION].is_not(None)
        query = (
            sa.select(*keys, self._action(), sa.case((has_base, 1), else_=0), self._pending())
            .select_from(
                self.staged.outerjoin(base, stage.same_key(self._fit, self.staged, base)).outerjoin(
                    control, stage.same_key(self._fit, self.staged, control)
                )
            )
            .where(self.news)
            # The base first: rows that are as known are not looked at at control, and not locked there.
            .prefix_with("STRAIGHT_JOIN", dialect="mysql")
            .with_for_update()
        )
        conn.execute(sa.insert(self.decided).from_select(list(self.decided.c), query))
        based = sa.func.sum(self.decided.c[HAS_BASE])
        per_action = sa.select(self.decided.c[ACTION], sa.func.count(), based).group_by(self.decided.c[ACTION])
        found = conn.execute(per_action).all()
        self.based = sum(int(n) for _, _, n in found)
        self.vanished = sum(int(n) for name, _, n in found if name == Action.INSERT)
        return {str(name): int(n) for name, n, _ in found}

    def _pending(self) -> sa.ColumnElement[int]:
        stamped = [(condition, RESTAMPED) for condition, _ in self._stamped()]
        return sa.case(*stamped, else_=0) if stamped else sa.literal(0)

    def _action(self) -> sa.ColumnElement[str]:
        """The easy cases of `decide.decide`; everything else is a conflict, decided there row by row."""
        s, c, b = self.staged, self.session.control_table, self.session.base
        same = self._same
        here, there = c.c[self._fit.key[0]].is_(None), b.c[STATION]
        down = self.session.pair.options.direction is TableDirection.DOWN
        return sa.case(
            (there != self.session.pair.name, FOREIGN),
            *((sa.and_(other, sa.not_(same(s, c))), what) for other, what in given_again.action(self.session, s)),
            *backfill_rule.older(self.session, s),
            (here, str(Action.LEAVE if down else Action.INSERT)),
            (same(s, c), str(Action.SETTLE)),
            *self._stamped(),
            *((sa.and_(there.is_not(None), other), UNSEEN) for other in unseen.cases(self.session, s)),
            (self._may_be_older(stamp.of(self._fit, s), stamp.of(self._fit, b)), CONFLICT),
            (sa.and_(there.is_not(None), self._unedited(c, b)), CONFLICT if down else str(Action.UPDATE)),
            else_=CONFLICT,
        )

    def _stamped(self) -> list[tuple[sa.ColumnElement[bool], str]]:
        """What we wrote to the station, and its database stamped: control's would do so as well, and again."""
        if not (self.session.our_write and self._fit.control.triggers):
            return []
        s, c, b = self.staged, self.session.control_table, self.session.base
        values = [name for name in self._fit.names if name not in self._fit.stamps]
        return [(sa.and_(b.c[STATION].is_not(None), self._same(s, c, values)), STAMPED)]

    def _may_be_older(self, now: sa.ColumnElement[Any], known: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """What it replaces is kept then (`decide.is_older`). What we wrote ourselves replaces nothing."""
        if self.session.our_write:
            return sa.false()
        return sa.or_(now < known, sa.and_(now.is_(None), known.is_not(None)))


def _insert_all(session: Session, staged: sa.Table, rows: int) -> Counts:
    names = session.fit.names
    everything = [staged.c[name] for name in names]
    insert = sa.insert(session.control_table).from_select(names, sa.select(*_assigned(session, staged)))
    _referring(session, _rows(session, staged), lambda: _insert(session, insert, lambda: _moves(session, staged)))
    base = sa.select(*everything, sa.literal(session.pair.name), sa.literal(0))
    _write(session, sa.insert(session.base).from_select([*names, STATION, PENDING], base))
    return Counts(read=rows, applied=rows)


def _assigned(session: Session, staged: sa.Table) -> list[sa.ColumnElement[Any]]:
    return [session.dialect.assigned(staged.c[c.name], c.staged, c.control) for c in session.fit.columns]


def _write(session: Session, statement: sa.Insert | sa.Update) -> None:
    session.control.execute(statement)
    session.dialect.refuse_changed_values(session.control, session.pair.place)


def overwrite(session: Session, staged: sa.Table) -> None:
    """Control's rows of these keys get these values. Raises RowRefused."""
    update = sa.update(session.control_table).where(stage.same_key(session.fit, staged, session.control_table))
    _update(session, staged, update, lambda: _moves(session, staged))


def _update(session: Session, staged: sa.Table, update: sa.Update, moves: Callable[[], Moves]) -> None:
    """Control's rows get the staged values, also such values of a unique index as are handed on among them."""
    control, names = session.control_table, session.fit.names
    values: dict[Any, Any] = dict(zip((control.c[name] for name in names), _assigned(session, staged), strict=True))
    try:
        _write(session, update.values(values))
        return
    except (sa.exc.DBAPIError, RowRefused) as error:
        if not unique_moves.is_duplicate(session.dialect, session.pair.place, error):
            raise
        some = moves()
        values |= unique_moves.keeping(some.target)

        def write(only: Only) -> None:
            mine = () if only is None else (stage.same_key(session.fit, some.final, control), only)
            _write(session, update.where(*mine).values(values))

        if not some.make_way(write):
            raise


def _insert(session: Session, insert: sa.Insert, moves: Callable[[], Moves]) -> None:
    """Into control. Raises Blocked where others have the rows' values of a unique index."""
    if any(c.auto_increment for c in session.fit.control.columns) and unique_moves.at_control(session).indexes:
        # An insert that fails would have taken numbers.
        moves().require_free()
    try:
        _write(session, insert)
    except (sa.exc.DBAPIError, RowRefused) as error:
        if unique_moves.is_duplicate(session.dialect, session.pair.place, error):
            moves().require_free()
        raise


def _referring(
    session: Session, rows: references.Rows, insert: Callable[[], None], update: Callable[[], None] | None = None
) -> None:
    """Write rows, such as refer to each other too. Raises Blocked for those that refer to rows which are not there."""
    dialect, place, to = session.dialect, session.pair.place, unique_moves.at_control(session)
    if session.unchecked and update is not None and references.follows(to, rows):
        raise RowRefused(place, "a value changes that other rows refer to")
    try:
        if update is not None:
            update()
        insert()
        return
    except (sa.exc.DBAPIError, RowRefused) as error:
        if not references.is_missing(dialect, place, error):
            raise
        first = error
    try:
        checked = update is not None and references.follows(to, rows)
        with dialect.unchecked(session.control):
            if update is not None and not checked:
                update()
            insert()
        if update is not None and checked:
            update()
        references.require(to, rows)
    except sa.exc.DBAPIError as error:
        if isinstance(dialect.explain_error(error, place, station=False), GrantMissing):
            raise first from None
        raise


def _moves(session: Session, staged: sa.Table, decided: sa.Table | None = None) -> Moves:
    return Moves(unique_moves.at_control(session), _rows(session, staged, decided))


def _rows(session: Session, staged: sa.Table, decided: sa.Table | None = None) -> references.Rows:
    """The rows that are to be written."""
    fit = session.fit

    def rows(names: Sequence[str]) -> sa.Select[Any]:
        number = sa.func.row_number().over(order_by=[staged.c[name] for name in fit.key])
        own = [(staged.c[name], fit.by_name[name]) for name in names]
        query = sa.select(
            number.label(N), *(session.dialect.assigned(s, c.staged, c.control).label(c.name) for s, c in own)
        )
        if decided is None:
            return query
        query = query.select_from(staged.join(decided, stage.same_key(fit, staged, decided)))
        return query.where(decided.c[ACTION].in_([str(Action.UPDATE), str(Action.INSERT), AGAIN]))

    return rows


def _decide_and_write(session: Session, sorter: Sorter, rows: pa.Table) -> tuple[Counts, set[str]]:
    """The counts, and the keys of rows that went into quarantine."""
    found = sorter.sort()
    changed = sum(found.values())
    unchanged = rows.num_rows - changed + found.get(Action.LEAVE, 0)
    counts = Counts(read=rows.num_rows, unchanged=unchanged, older=found.get(OLDER, 0))
    kept: set[str] = set()
    if not changed:
        return counts, kept
    journal_merge.easy(session, sorter, found, rows)
    if found.get(FOREIGN):
        quarantined, kept = _quarantine_foreign(session, sorter)
        counts += quarantined
    if found.get(OLDER):
        kept |= backfill_rule.older_keys(session, sorter.staged, sorter.decided)
    if sorter.vanished:
        inserted = sorter.decided.c[ACTION] == Action.INSERT
        own = sa.exists().where(stage.same_key(session.fit, sorter.staged, sorter.decided), inserted)
        given_again.keep_vanished(session, sorter.staged, own.correlate(sorter.staged))
    if found.get(AGAIN):
        given_again.make_room(session, sorter)
    if found.get(CONFLICT):
        counts += settle_conflicts(session, sorter.staged, sorter.decided, CONFLICT)
    if found.get(UNSEEN):
        counts += settle_conflicts(session, sorter.staged, sorter.decided, UNSEEN, unseen.why(session))
    counts += _write_control(session, sorter, found)
    _write_base(session, sorter, changed)
    _unflag(session, sorter)
    written = stage.same_key(session.fit, sorter.staged, sorter.decided) & sorter.decided.c[ACTION].in_(_WRITTEN)
    counts += restamped.settle(session, sorter.staged, changed, written)
    return counts + Counts(settled=found.get(Action.SETTLE, 0) + found.get(STAMPED, 0)), kept


def _write_control(session: Session, sorter: Sorter, found: dict[str, int]) -> Counts:
    staged, decided, control, fit = sorter.staged, sorter.decided, session.control_table, session.fit
    updates = any(found.get(what) for what in (Action.UPDATE, CONFLICT, UNSEEN, AGAIN))
    inserts = found.get(Action.INSERT, 0) + found.get(AGAIN, 0)

    def update() -> None:
        chosen = sa.and_(stage.same_key(fit, staged, decided), decided.c[ACTION] == Action.UPDATE)
        statement = stage.update_joined(session, control, staged, decided, chosen)
        _update(session, staged, statement, lambda: _moves(session, staged, decided))

    def insert() -> None:
        query = (
            sa.select(*_assigned(session, staged))
            .join(decided, stage.same_key(fit, staged, decided))
            .where(decided.c[ACTION].in_([str(Action.INSERT), AGAIN]))
        )
        statement = sa.insert(control).from_select(fit.names, query)
        _insert(session, statement, lambda: _moves(session, staged, decided))

    if updates or inserts:
        rows = _rows(session, staged, decided)
        _referring(session, rows, insert if inserts else lambda: None, update if updates else None)
    return Counts(applied=(found.get(Action.UPDATE, 0) if updates else 0) + inserts)


def _write_base(session: Session, sorter: Sorter, rows: int) -> None:
    """B := S for every row that was decided, with its `pending`."""
    staged, decided, base, fit = sorter.staged, sorter.decided, session.base, session.fit
    ours = decided.c[ACTION].not_in([FOREIGN, OLDER, str(Action.LEAVE)])
    if sorter.based:
        values: dict[Any, Any] = {base.c[name]: staged.c[name] for name in fit.names}
        values[base.c[PENDING]] = decided.c[PENDING]
        update = (
            sa.update(base)
            .values(values)
            .where(stage.same_key(fit, staged, base), stage.same_key(fit, staged, decided))
            .where(ours, decided.c[HAS_BASE] == 1)
        )
        _write(session, update)
    if sorter.based < rows:
        query = (
            sa.select(*(staged.c[n] for n in fit.names), sa.literal(session.pair.name), decided.c[PENDING])
            .join(decided, stage.same_key(fit, staged, decided))
            .where(ours, decided.c[HAS_BASE] == 0)
        )
        _write(session, sa.insert(base).from_select([*fit.names, STATION, PENDING], query))


def _unflag(session: Session, sorter: Sorter) -> None:
    """A row that is at the station again is not a deleted one."""
    name = session.pair.options.flag_column
    if session.pair.options.deletes is not Deletes.FLAG or name is None:
        return
    fit, control = session.fit, session.control_table
    flag, none = control.c[name], None if fit.control[name].nullable else 0
    back = stage.same_key(fit, sorter.decided, control)
    ours = sorter.decided.c[ACTION] != FOREIGN
    # A column that stamps itself would do so, unless it is given its value.
    values: dict[Any, Any] = {flag: none, **fit.control.own_stamps(control, fit.names)}
    _write(session, sa.update(control).where(back, ours, flag.is_distinct_from(none)).values(values))


def _quarantine_foreign(session: Session, sorter: Sorter) -> tuple[Counts, set[str]]:
    rows, reasons = foreign_rows(session, sorter)
    return books.quarantine_rows(session, Direction.UP, rows, reasons), set(key_texts(rows, session.fit.key))


def owned_by(station: str) -> str:
    """The reason why a row is in quarantine whose key is another station's."""
    return f"station {station} owns this key"


def foreign_rows(session: Session, sorter: Sorter) -> tuple[pa.Table, list[list[str]]]:
    """Rows whose key another station owns: kept, with the owner named; nothing of the owner's is touched."""
    staged, decided, base, fit = sorter.staged, sorter.decided, session.base, session.fit
    readable = session.dialect.readable
    columns = [readable(staged.c[c.name], c.staged).label(c.name) for c in fit.columns]
    joined = staged.join(decided, stage.same_key(fit, staged, decided)).join(base, stage.same_key(fit, staged, base))
    order = [staged.c[name] for name in fit.key]
    where = decided.c[ACTION] == FOREIGN
    query = sa.select(*columns).select_from(joined).where(where).order_by(*order)
    rows, _ = session.dialect.read(session.control, query, fit.families, 1 << 40)
    owners = session.control.scalars(sa.select(base.c[STATION]).select_from(joined).where(where).order_by(*order)).all()
    return rows, [[f"{owned_by(owner)}; its row was left as it is"] for owner in owners]
