"""The pull's merge: one chunk of station rows into control, in one transaction (DESIGN.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database import statements
from stationsync.errors import GrantMissing, LockWait, RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.journal.recorder import together
from stationsync.keeping import before, books, lacked, unseen
from stationsync.keeping.before import BEFORE, CAME_AGAIN
from stationsync.keeping.blocked import Blocked, code_of
from stationsync.keeping.unseen import UNSEEN
from stationsync.model import reasons
from stationsync.model.changes import Checked, Chunk, Counts, Direction
from stationsync.model.reasons import Reason
from stationsync.model.wire import Family, key_text, key_texts
from stationsync.pairing.decide import Action
from stationsync.pairing.watermark import Reading
from stationsync.session import stage
from stationsync.session.extract import position
from stationsync.session.session import Session
from stationsync.session.stage import ACTION, HAS_BASE
from stationsync.store.bookkeeping import PENDING, STATION
from stationsync.sync import (
    classify,
    given_again,
    journal_rows,
    key_clashes,
    leaving,
    restamped,
    straight,
)
from stationsync.sync.classify import CONFLICT, FOREIGN, OLDER, STAMPED, Classifier, foreign_rows
from stationsync.sync.conflicts import Combined, settle_conflicts, to_be
from stationsync.sync.given_again import AGAIN
from stationsync.sync.page_books import move_mark, quarantine_bad
from stationsync.topology.model import Deletes
from stationsync.writing import locked, references, unique_moves
from stationsync.writing.target import N, at_control, keeping
from stationsync.writing.unique_moves import Moves, Only

_REPLACED = (str(Action.UPDATE), str(Action.COMBINE))
_WHOLE = {Family.INTEGER, Family.UNSIGNED}
_WRITTEN = (str(Action.INSERT), str(Action.UPDATE), str(Action.SETTLE), AGAIN)


def merge_chunk(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    """Merge a checked chunk, quarantine its bad rows, and move the watermark; all or nothing.

    A row that control refuses is found by halving the chunk and quarantined. `reading` is None for rows that were
    fetched by key: they move no watermark. Raises DatabaseBusy, LeaseLost; never a row's fault."""
    with session.pair.control.errors():
        if reading is not None and (counts := straight.merge_new(session, checked, reading)) is not None:
            return counts
        if session.ahead is not None:
            session.ahead.drop()
        return _merge(session, key_clashes.set_apart(session, checked), reading)


def _merge(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    chunk = checked.chunk
    try:
        with session.journal.transaction(Direction.UP, reading):
            counts = quarantine_bad(session, checked, reading)
            counts += _merge_rows(session, chunk)
            move_mark(session, chunk, reading)
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
    why: dict[int, Reason] = {}
    for held in blocked.held:
        if (i := index.get(key_text(held.key))) is None:
            return None
        why[i] = reasons.refused(reasons.CONTROL, blocked.code, held.why)
    session.known = replace(session.known, in_the_way=session.known.in_the_way | blocked.holders)
    return checked.set_apart(why)


def _around_locks(session: Session, checked: Checked, reading: Reading | None, waited: LockWait) -> Counts:
    """Once more, carefully; what still waits then is found by halving."""
    if session.care.over:
        raise waited
    if session.care.on:
        return _halve(session, checked, reading, waited)
    session.begin_care()
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
            counts.append(quarantine_bad(session, checked, None) + _merge_rows(session, checked.chunk, together=True))
        for session, checked in parts:
            written = stage.stage_table(session, "stationsync_written")
            stage.recreate(session.control, written)
            stage.fill(session, written, checked.chunk.rows)
            references.require(at_control(session), _rows(session, written))
    return counts


def _halve(session: Session, checked: Checked, reading: Reading | None, refused: RowRefused | LockWait) -> Counts:
    chunk = checked.chunk
    if len(chunk) == 0:
        raise refused
    if len(chunk) == 1:
        with session.journal.transaction(Direction.UP, reading):
            counts = quarantine_bad(session, checked, reading)
            if isinstance(refused, LockWait):
                counts += locked.keep(session, chunk.rows)
                move_mark(session, chunk, reading)
                return counts + Counts(read=1)
            reason = reasons.refused(reasons.CONTROL, code_of(refused), refused.what)
            counts += books.quarantine_rows(session, Direction.UP, chunk.rows, [reason])
            move_mark(session, chunk, reading)
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
        return replace(chunk, rows=rows)
    return replace(chunk, rows=rows, last=position(rows, session.fit), more=True)


def _merge_rows(session: Session, chunk: Chunk, *, together: bool = False) -> Counts:
    """`together`: with rows of other tables, and the server's checks of references off: looked for afterwards."""
    if len(chunk) == 0:
        return Counts()
    staged = stage.stage_table(session)
    stage.recreate(session.control, staged)
    stage.fill(session, staged, chunk.rows)
    leaving.came_back(session, staged)
    classifier = Classifier(session, staged, chunk.origin)
    lacked.came_back(session, staged)
    rows, left = locked.leave_out(session, staged, chunk.rows, classifier.news)
    if classifier.all_new():
        session.journal.add(Records(Decided.INSERTED, after=rows))
        counts, kept = _insert_all(session, staged, rows.num_rows), set[str]()
        counts += restamped.settle(session, staged, rows.num_rows, chunk.origin)
    else:
        counts, kept = _decide_and_write(session, classifier, rows, together=together)
    return counts + left + books.release(session, Direction.UP, rows, kept)


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
    both = zip(names, _assigned(session, staged), strict=True)
    values: dict[Any, Any] = {control.c[name]: value for name, value in both if not _is_as_found(session, name)}
    try:
        _write(session, update.values(values))
        return
    except (sa.exc.DBAPIError, RowRefused) as error:
        if not unique_moves.is_duplicate(session.dialect, session.pair.place, error):
            raise
        some = moves()
        values |= keeping(some.target)

        def write(only: Only) -> None:
            mine = () if only is None else (stage.same_key(session.fit, some.final, control), only)
            _write(session, update.where(*mine).values(values))

        if not some.make_way(write):
            raise


def _is_as_found(session: Session, name: str) -> bool:
    """A column of the key by which the row was found, of a kind that has no two spellings of a value."""
    column = session.fit.by_name[name]
    return name in session.fit.key and {column.station.family, column.control.family} <= _WHOLE


def _insert(session: Session, insert: sa.Insert, moves: Callable[[], Moves]) -> None:
    """Into control. Raises Blocked where others have the rows' values of a unique index."""
    if any(c.auto_increment for c in session.fit.control.columns) and at_control(session).indexes:
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
    dialect, place, to = session.dialect, session.pair.place, at_control(session)
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
    return Moves(at_control(session), _rows(session, staged, decided))


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
        return query.where(decided.c[ACTION].in_([*_REPLACED, str(Action.INSERT), AGAIN]))

    return rows


def _decide_and_write(
    session: Session, classifier: Classifier, rows: pa.Table, *, together: bool
) -> tuple[Counts, set[str]]:
    """The counts, and the keys of rows that went into quarantine."""
    found = classifier.classify(rows)
    changed = sum(found.values())
    unchanged = rows.num_rows - changed + found.get(Action.LEAVE, 0)
    counts = Counts(read=rows.num_rows, unchanged=unchanged, older=found.get(OLDER, 0))
    kept: set[str] = set()
    if not changed:
        return counts, kept
    journal_rows.easy(session, classifier.staged, classifier.decided, found, rows)
    if found.get(FOREIGN):
        quarantined, kept = _quarantine_foreign(session, classifier)
        counts += quarantined
    if found.get(OLDER):
        kept |= classify.older_keys(session, classifier.staged, classifier.decided)
    if classifier.vanished:
        inserted = classifier.decided.c[ACTION] == Action.INSERT
        own = sa.exists().where(stage.same_key(session.fit, classifier.staged, classifier.decided), inserted)
        given_again.keep_vanished(session, classifier.staged, own.correlate(classifier.staged))
    if found.get(AGAIN):
        given_again.make_room(session, classifier.staged, classifier.decided)
    combined: list[Combined] = []
    for marked, why in ((CONFLICT, None), (UNSEEN, unseen.why(session)), (BEFORE, CAME_AGAIN)):
        if found.get(marked):
            counts += settle_conflicts(session, classifier.staged, classifier.decided, marked, combined, why)
    counts += _write_control(session, classifier, found, combined, together=together)
    _write_base(session, classifier, changed)
    _unflag(session, classifier)
    staged, decided = classifier.staged, classifier.decided
    written = None
    if not classifier.all_updates:
        written = stage.same_key(session.fit, staged, decided) & decided.c[ACTION].in_(_WRITTEN)
    counts += restamped.settle(session, staged, changed, classifier.origin, written)
    return counts + Counts(settled=found.get(Action.SETTLE, 0) + found.get(STAMPED, 0)), kept


def _write_control(
    session: Session, classifier: Classifier, found: dict[str, int], combined: list[Combined], *, together: bool
) -> Counts:
    staged, decided, control, fit = classifier.staged, classifier.decided, session.control_table, session.fit
    if combined:
        staged = to_be(session, staged, decided, combined)
    updates = any(found.get(what) for what in (Action.UPDATE, CONFLICT, UNSEEN, BEFORE, AGAIN))
    inserts = found.get(Action.INSERT, 0) + found.get(AGAIN, 0)

    def update() -> None:
        if classifier.all_updates:
            statement = statements.update_joined(
                session.control, control, staged, stage.same_key(fit, staged, control), sa.true()
            )
        else:
            chosen = sa.and_(stage.same_key(fit, staged, decided), decided.c[ACTION].in_(_REPLACED))
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
        if together and updates and references.follows(at_control(session), rows):
            raise RowRefused(session.pair.place, "a value changes that other rows refer to")
        _referring(session, rows, insert if inserts else lambda: None, update if updates else None)
    return Counts(applied=(found.get(Action.UPDATE, 0) if updates else 0) + inserts)


def _write_base(session: Session, classifier: Classifier, rows: int) -> None:
    """B := S for every row that was decided, with its `pending`."""
    staged, decided, base, fit = classifier.staged, classifier.decided, session.base, session.fit
    ours = decided.c[ACTION].not_in([FOREIGN, OLDER, str(Action.LEAVE)])
    if classifier.based:
        found = stage.same_key(fit, staged, base)
        values: dict[Any, Any] = {base.c[n]: staged.c[n] for n in fit.names if not _is_as_found(session, n)}
        chosen = sa.exists().where(stage.same_key(fit, staged, decided), ours, decided.c[HAS_BASE] == 1)
        written = sa.true() if classifier.all_updates else chosen.correlate(staged)
        before.remember_replaced(session, staged, written)
        if classifier.all_updates:
            update = statements.update_joined(session.control, base, staged, found, sa.true())
            _write(session, update.values({**values, base.c[PENDING]: 0}))
            return
        values[base.c[PENDING]] = decided.c[PENDING]
        update = sa.update(base).values(values).where(found, stage.same_key(fit, staged, decided))
        _write(session, update.where(ours, decided.c[HAS_BASE] == 1))
    if classifier.based < rows:
        query = (
            sa.select(*(staged.c[n] for n in fit.names), sa.literal(session.pair.name), decided.c[PENDING])
            .join(decided, stage.same_key(fit, staged, decided))
            .where(ours, decided.c[HAS_BASE] == 0)
        )
        _write(session, sa.insert(base).from_select([*fit.names, STATION, PENDING], query))


def _unflag(session: Session, classifier: Classifier) -> None:
    """A row that is at the station again is not a deleted one."""
    name = session.pair.options.flag_column
    if session.pair.options.deletes is not Deletes.FLAG or name is None:
        return
    fit, control = session.fit, session.control_table
    flag, none = control.c[name], None if fit.control[name].nullable else 0
    back = stage.same_key(fit, classifier.decided, control)
    ours = classifier.decided.c[ACTION] != FOREIGN
    # A column that stamps itself would do so, unless it is given its value.
    values: dict[Any, Any] = {flag: none, **fit.control.own_stamps(control, fit.names)}
    _write(session, sa.update(control).where(back, ours, flag.is_distinct_from(none)).values(values))


def _quarantine_foreign(session: Session, classifier: Classifier) -> tuple[Counts, set[str]]:
    rows, why = foreign_rows(session, classifier.staged, classifier.decided)
    return books.quarantine_rows(session, Direction.UP, rows, why), set(key_texts(rows, session.fit.key))
