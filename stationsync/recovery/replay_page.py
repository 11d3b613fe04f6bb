"""Some rows of a replay: compared with control and the base under lock, what control lacks written, and told to the
journal; one transaction of control's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.statements import TEMPORARY
from stationsync.errors import RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.keeping import books
from stationsync.model.changes import Direction
from stationsync.model.wire import Family, key_texts, wire_row
from stationsync.pairing.keys import among
from stationsync.reconcile import deletes
from stationsync.recovery.replay_rule import EDITED, FLAGGED, NO_OWNER, RULE, WRITES, Fate, State
from stationsync.recovery.replay_stage import SEQ, Staged, compare
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store import kept, pending
from stationsync.store.bookkeeping import PENDING, STATION
from stationsync.writing import locked

_FATE, _EDITED = "stationsync_fate", "stationsync_edited"
_FROM_JOURNAL = (Fate.EDIT, Fate.NEW, Fate.ALONE, Fate.FLAG)
# What is to be written, by the rows' numbers.
_fates = sa.Table(
    "stationsync_replay_fate",
    sa.MetaData(),
    sa.Column(SEQ, sa.Integer, primary_key=True, autoincrement=False),
    sa.Column(_FATE, sa.String(10), nullable=False),
    **TEMPORARY,
)


@dataclass(frozen=True)
class Refused:
    """A row that control does not take."""

    state: State
    why: str
    words: str  # how its reason begins


@dataclass(frozen=True)
class Done:
    """`locked`: rows that an application at control keeps locked."""

    fates: tuple[tuple[State, Fate], ...] = ()
    refused: tuple[Refused, ...] = ()
    locked: tuple[State, ...] = ()

    def __add__(self, other: Done) -> Done:
        return Done(self.fates + other.fates, self.refused + other.refused, self.locked + other.locked)


def replay(session: Session, states: Sequence[State], gap: int, *, dry_run: bool) -> Done:
    """Rows of one shape (`replay_rule.shape`), around those that are locked. A row that control refuses is found by
    halving."""
    give = partial(_replay, session, gap=gap, dry_run=dry_run)
    done, taken = locked.around(session, states, give, lambda state: state.key)
    return sum([*done, _left(session, taken, gap)], Done())


def _left(session: Session, states: Sequence[State], gap: int) -> Done:
    """Locked rows. Those that control has need nothing."""
    if not states:
        return Done()
    found = _replay(session, states, gap=gap, dry_run=True)
    idle = tuple(one for one in found.fates if one[1] not in WRITES)
    return Done(idle, found.refused, tuple(state for state, what in found.fates if what in WRITES))


def _replay(session: Session, states: Sequence[State], *, gap: int, dry_run: bool) -> Done:
    try:
        with session.pair.control.errors():
            return Done(tuple(_look(session, states, gap) if dry_run else _bring_back(session, states, gap)))
    except RowRefused as refused:
        if len(states) == 1:
            return Done(refused=(Refused(states[0], refused.what, books.refused_words(refused)),))
    middle = len(states) // 2
    first = replay(session, states[:middle], gap, dry_run=dry_run)
    return first + replay(session, states[middle:], gap, dry_run=dry_run)


def _look(session: Session, states: Sequence[State], gap: int) -> list[tuple[State, Fate]]:
    with session.control.begin() as transaction:
        found = compare(session, Staged(session, states), states, gap)
        transaction.rollback()
    return found


def _bring_back(session: Session, states: Sequence[State], gap: int) -> list[tuple[State, Fate]]:
    with session.journal.transaction(Direction.UP):
        staged = Staged(session, states)
        found = compare(session, staged, states, gap)
        chosen = [(i, what) for i, (_, what) in enumerate(found) if what in WRITES]
        if chosen:
            _choose(session, chosen)
            _write(session, staged, {what for _, what in chosen})
            _flag(session, [state for state, what in found if what is Fate.FLAG])
            _tell(session, staged.control)
    return found


def _choose(session: Session, chosen: Sequence[tuple[int, Fate]]) -> None:
    rows = pa.table({SEQ: [str(i) for i, _ in chosen], _FATE: [str(what) for _, what in chosen]})
    stage.recreate(session.control, _fates)
    families = {SEQ: Family.INTEGER, _FATE: Family.TEXT}
    session.dialect.fill(session.control, _fates, rows, families, session.pair.place)


def _write(session: Session, staged: Staged, here: set[Fate]) -> None:
    if here & set(_FROM_JOURNAL):
        _insert(session, staged.control, staged.control, staged.control_names, _FROM_JOURNAL)
    if Fate.BASE in here:
        _insert(session, staged.control, session.base, session.fit.names, [Fate.BASE])
    if Fate.NEW in here:
        _insert_base(session, staged)
    _mark(session, staged.control)


def _insert(session: Session, staged: sa.Table, source: sa.Table, names: Sequence[str], fates: Sequence[Fate]) -> None:
    """Into control; columns that are not named get its defaults."""
    columns = [session.fit.by_name[name].control for name in names]
    values = [session.dialect.assigned(source.c[c.name], c, c) for c in columns]
    joined = staged.join(_fates, staged.c[SEQ] == _fates.c[SEQ])
    if source is not staged:
        joined = joined.join(source, stage.same_key(session.fit, staged, source))
    query = sa.select(*values).select_from(joined).where(_fates.c[_FATE].in_([str(one) for one in fates]))
    _run(session, sa.insert(session.control_table).from_select(list(names), query))


def _insert_base(session: Session, staged: Staged) -> None:
    """What the station had; a column that the journal does not have is as control has it now: nobody edited it."""
    fit, control, station = session.fit, session.control_table, staged.station
    values = [station.c[name] if name in staged.station_names else control.c[name] for name in fit.names]
    joined = station.join(_fates, station.c[SEQ] == _fates.c[SEQ])
    joined = joined.join(control, stage.same_key(fit, station, control))
    query = sa.select(*values, sa.literal(session.pair.name), sa.literal(0)).select_from(joined)
    query = query.where(_fates.c[_FATE] == str(Fate.NEW))
    _run(session, sa.insert(session.base).from_select([*fit.names, STATION, PENDING], query))


def _mark(session: Session, staged: sa.Table) -> None:
    """`pending` where control has an edit of the station's row, and nowhere else."""
    fit, base, control = session.fit, session.base, session.control_table
    marks = stage.marks_table(session)
    stage.recreate(session.control, marks)
    editable = [c.name for c in fit.columns if c.editable]
    waits = pending.becomes(base, pending.WAITS, (stage.Comparing(session).same(control, base, editable), 0))
    joined = staged.join(_fates, staged.c[SEQ] == _fates.c[SEQ]).join(base, stage.same_key(fit, staged, base))
    query = (
        sa.select(*(staged.c[name] for name in fit.key), waits)
        .select_from(joined.join(control, stage.same_key(fit, staged, control)))
        .where(_fates.c[_FATE].not_in([Fate.ALONE, Fate.FLAG]))
    )
    # Apart: an UPDATE that reads control's rows would wait for those that an application has locked.
    session.control.execute(sa.insert(marks).from_select([c.name for c in marks.c], query))
    marked = sa.update(base).values({base.c[PENDING]: marks.c[PENDING]}).where(stage.same_key(fit, marks, base))
    session.control.execute(marked)


def _flag(session: Session, states: Sequence[State]) -> None:
    control = session.control_table
    own = [(control.c[name], session.fit.by_name[name].control) for name in session.fit.key]
    for state in states:
        assert state.control is not None
        at = datetime.fromtimestamp(state.control.at // 1_000_000, UTC).replace(tzinfo=None)
        column, value = deletes.flag_of(session, at)
        values = {column: value, **session.fit.control.own_stamps(control, session.fit.names)}
        session.control.execute(sa.update(control).where(among([state.key], own)).values(values))


def _run(session: Session, statement: sa.Insert) -> None:
    session.control.execute(statement)
    session.dialect.refuse_changed_values(session.control, session.pair.place)


def _tell(session: Session, staged: sa.Table) -> None:
    """The rows as they are now; and entries of the quarantine that kept one of them are over."""
    fit, control, base = session.fit, session.control_table, session.base
    columns = [
        session.dialect.readable(table.c[c.name], c.control).label(f"{side}{i}")
        for side, table in (("c", control), ("b", base))
        for i, c in enumerate(fit.columns)
    ]
    same = stage.Comparing(session).same(control, base)
    alone = base.c[STATION].is_(None)
    edited = sa.case((_fates.c[_FATE] == str(Fate.FLAG), FLAGGED), (alone, NO_OWNER), (same, ""), else_=EDITED)
    joined = staged.join(_fates, staged.c[SEQ] == _fates.c[SEQ]).join(control, stage.same_key(fit, staged, control))
    joined = joined.outerjoin(base, stage.same_key(fit, staged, base))
    query = sa.select(*columns, edited.label(_EDITED)).select_from(joined).order_by(staged.c[SEQ])
    families = {f"{side}{i}": c.control.family for side in "cb" for i, c in enumerate(fit.columns)}
    rows = session.read(query, families | {_EDITED: Family.TEXT})
    now, was = (pa.table({c.name: rows[f"{side}{i}"] for i, c in enumerate(fit.columns)}) for side in "cb")
    how = rows[_EDITED].to_pylist()
    for reason in ("", EDITED, NO_OWNER, FLAGGED):
        at = pa.array([i for i, one in enumerate(how) if one == reason], pa.int64())
        came = was.take(at) if reason == EDITED else None
        decided = Decided.FLAGGED if reason == FLAGGED else Decided.INSERTED
        session.journal.add(Records(decided, after=now.take(at), came=came, rule=RULE, reason=reason or None))
    _release(session, now)


def _release(session: Session, rows: pa.Table) -> None:
    waiting = books.open_entries(session, Direction.UP)
    if waiting:
        texts = {text: i for i, text in enumerate(key_texts(rows, session.fit.key)) if text in waiting}
        same = [text for text, i in texts.items() if waiting[text][0] == kept.keep(wire_row(rows, i)).text]
        books.set_state(session, Direction.UP, same, books.RELEASED)
