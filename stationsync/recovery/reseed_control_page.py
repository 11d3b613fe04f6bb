"""Some rows that control gets back: what is replaced is kept, the rest written and told to the journal; one transaction
of control's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.keeping import books, replaced
from stationsync.keeping.blocked import Blocked, code_of
from stationsync.model import reasons
from stationsync.model.changes import Direction
from stationsync.model.reasons import Code
from stationsync.model.wire import Family, key_text, key_texts, parse_key_text, wire_row
from stationsync.pairing.keys import Key, among
from stationsync.reconcile import deletes
from stationsync.recovery.base_pages import PAGE
from stationsync.recovery.reseed_control_rows import BINARY, SEQ, Rows, Staged, Terms, is_lacking, read
from stationsync.recovery.reseed_control_rule import (
    EDITED,
    EDITS,
    FLAGGED,
    INSERTS,
    NO_OWNER,
    REWRITES,
    TOUCHED,
    WRITES,
    ControlOutcome,
    JournalState,
    Version,
    row_of,
    shape,
)
from stationsync.recovery.reseed_rule import POLICY
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store import kept, pending
from stationsync.store.bookkeeping import PENDING, STATION
from stationsync.sync import merge, push
from stationsync.topology.model import TableDirection
from stationsync.writing import locked
from stationsync.writing.halving import in_halves

_OVERWRITTEN = "control's table went back in time, and reseed-control gave it what it had: this was there instead"
_NEWER = "control's table went back in time; control's row is stamped later, so it is an edit, and stays"
_TRUSTED = "control's table went back in time, and was trusted as it is: this version is to be replaced"
_WAITED = "control's table went back in time; this was an edit of control's that could not go down"


@dataclass(frozen=True)
class Refusal:
    """A row that control does not take."""

    state: JournalState
    why: str
    code: Code


@dataclass(frozen=True)
class GivenToControl:
    """What became of rows; how many versions are superseded; and the rows that control refused, or that an application
    keeps locked there."""

    fates: tuple[tuple[JournalState, ControlOutcome], ...] = ()
    kept: int = 0
    refused: tuple[Refusal, ...] = ()
    locked: tuple[JournalState, ...] = ()

    def __add__(self, other: GivenToControl) -> GivenToControl:
        refused, taken = self.refused + other.refused, self.locked + other.locked
        return GivenToControl(self.fates + other.fates, self.kept + other.kept, refused, taken)


def look(session: Session, states: Sequence[JournalState], terms: Terms) -> GivenToControl:
    """What would become of these rows, whoever has them locked. Nothing is written."""

    def compare(alike: Sequence[JournalState]) -> GivenToControl:
        with session.transaction():
            rows = read(session, Staged(session, alike), terms)
        return _given(rows) + _idle(alike, rows)

    def some(alike: Sequence[JournalState]) -> GivenToControl:
        return _halving(alike, compare, some)

    return sum(map(some, _by_shape(states)), GivenToControl())


def give(session: Session, states: Sequence[JournalState], terms: Terms) -> GivenToControl:
    """Around rows that are locked. A row that control refuses is found by halving."""

    def some(alike: Sequence[JournalState]) -> GivenToControl:
        work = partial(_halving, work=partial(_give, session, terms=terms), again=some)
        done, taken = locked.around(session, alike, work, lambda state: state.key)
        return sum([*done, _left(session, taken, terms)], GivenToControl())

    return sum(map(some, _by_shape(states)), GivenToControl())


def _by_shape(states: Sequence[JournalState]) -> list[list[JournalState]]:
    return [list(alike) for _, alike in groupby(sorted(states, key=shape), key=shape)]


def _left(session: Session, states: Sequence[JournalState], terms: Terms) -> GivenToControl:
    """Locked rows; those with which nothing is to be done are none of them."""
    if not states:
        return GivenToControl()
    found = look(session, states, terms)
    idle = tuple(one for one in found.fates if one[1] not in TOUCHED)
    return GivenToControl(
        idle, refused=found.refused, locked=tuple(one for one, what in found.fates if what in TOUCHED)
    )


def _given(rows: Rows) -> GivenToControl:
    """Those about which something is done."""
    fates = tuple((rows.states[i], rows.fates[i]) for i in rows.at(*TOUCHED))
    return GivenToControl(fates, len(rows.at(*REWRITES, ControlOutcome.NEWER)))


def _idle(states: Sequence[JournalState], rows: Rows) -> GivenToControl:
    """Those with which nothing is to be done; what was not even read is as it should be."""
    read = {state.key for state in rows.states}
    fates = [one for one in zip(rows.states, rows.fates, strict=True) if one[1] not in TOUCHED]
    return GivenToControl((*fates, *((one, ControlOutcome.THERE) for one in states if one.key not in read)))


def _halving(
    states: Sequence[JournalState],
    work: Callable[[Sequence[JournalState]], GivenToControl],
    again: Callable[[Sequence[JournalState]], GivenToControl],
) -> GivenToControl:
    """`again`: on a part of them."""
    try:
        return work(states)
    except RowRefused as refused:
        code = code_of(refused)
        why = {one.key: one.why for one in refused.held} if isinstance(refused, Blocked) else {}
        if held := tuple(Refusal(one, why[one.key], code) for one in states if one.key in why):
            # The others among which values are handed on stay together.
            rest = [one for one in states if one.key not in why]
            return GivenToControl(refused=held) + (again(rest) if rest else GivenToControl())
        if len(states) == 1:
            return GivenToControl(refused=(Refusal(states[0], refused.what, code),))
    return in_halves(states, again)


def _give(session: Session, states: Sequence[JournalState], terms: Terms) -> GivenToControl:
    with session.journaled(Direction.UP):
        staged = Staged(session, states)
        looked = read(session, staged, terms)
        todo = [looked.numbers[i] for i in looked.at(*TOUCHED)]
        idle = _idle(states, looked)
        if not todo:
            return idle
        # Rows that need nothing are not locked, nor waited for.
        rows = read(session, staged, terms, todo, lock=True)
        _keep(session, rows, REWRITES, rows.new, _OVERWRITTEN, replaced.CONTROL)
        _keep(session, rows, [ControlOutcome.NEWER], lambda i: wire_row(rows.control, i), _NEWER, replaced.STATION)
        _write(session, staged, rows)
        _wait(session, [rows.states[i].key for i in rows.at(ControlOutcome.NEWER)])
        _tell(session, staged, rows, terms)
        return _given(rows) + _idle(rows.states, rows) + idle


def _keep(
    session: Session,
    rows: Rows,
    fates: Sequence[ControlOutcome],
    result: Callable[[int], Version],
    why: str,
    loser: str,
) -> None:
    replaced.keep(session, [rows.lost(i, result(i), loser, why) for i in rows.at(*fates)], once=True)


def _write(session: Session, staged: Staged, rows: Rows) -> None:
    """Whole rows through a table of their own, older ones first, so that values are handed on among them; then those
    that the journal alone tells of, in its columns: the others get control's defaults."""
    numbers = {fate: [rows.numbers[i] for i in rows.at(fate)] for fate in WRITES}
    fit, control, base, mine = session.fit, session.control_table, session.base, staged.control
    back = stage.to_be_table(session)
    stage.recreate(session.control, back)
    for fates, names in (((ControlOutcome.BASE, ControlOutcome.REWRITE), ()), (EDITS, staged.control_names)):
        if at := [number for fate in fates for number in numbers[fate]]:
            values = [(mine if name in names and name not in fit.key else base).c[name] for name in fit.names]
            query = sa.select(*values).select_from(mine.join(base, stage.same_key(fit, mine, base)))
            _run(session, sa.insert(back).from_select(fit.names, query.where(mine.c[SEQ].in_(at))))
    if rows.at(*REWRITES):
        merge.overwrite(session, back)
    if rows.at(ControlOutcome.BASE, ControlOutcome.EDIT):
        joined = back.outerjoin(control, stage.same_key(fit, back, control))
        query = sa.select(*(back.c[name] for name in fit.names)).select_from(joined).where(is_lacking(session))
        _run(session, sa.insert(control).from_select(fit.names, query))
    settled = sa.update(base).where(stage.same_key(fit, back, base))
    session.control.execute(settled.values({base.c[PENDING]: pending.becomes(base, 0)}))
    if alone := [*numbers[ControlOutcome.NEW], *numbers[ControlOutcome.ALONE], *numbers[ControlOutcome.FLAG]]:
        query = sa.select(*(mine.c[name] for name in staged.control_names)).where(mine.c[SEQ].in_(alone))
        _run(session, sa.insert(control).from_select(staged.control_names, query))
    if numbers[ControlOutcome.NEW]:
        _insert_base(session, staged, numbers[ControlOutcome.NEW])
    _flag(session, [rows.states[i] for i in rows.at(ControlOutcome.FLAG)])


def _insert_base(session: Session, staged: Staged, numbers: Sequence[int]) -> None:
    """What the station had; a column that the journal does not have is as control has it now: nobody edited it."""
    fit, control, theirs = session.fit, session.control_table, staged.station
    values = [theirs.c[name] if name in staged.station_names else control.c[name] for name in fit.names]
    joined = theirs.join(control, stage.same_key(fit, theirs, control))
    query = sa.select(*values, sa.literal(session.pair.name), sa.literal(0)).select_from(joined)
    query = query.where(theirs.c[SEQ].in_(numbers))
    _run(session, sa.insert(session.base).from_select([*fit.names, STATION, PENDING], query))


def _flag(session: Session, states: Sequence[JournalState]) -> None:
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


def _wait(session: Session, keys: list[Key]) -> None:
    """Edits of control's go down with the next push."""
    if session.pair.options.direction is not TableDirection.UP:
        push.mark_pending(session, keys)


def _tell(session: Session, staged: Staged, was: Rows, terms: Terms) -> None:
    """The journal has the rows as they are now; edits among them wait to go down; and entries of the quarantine that
    kept one of them are over."""
    at = was.at(*WRITES)
    if not at:
        return
    now = read(session, staged, terms, [was.numbers[i] for i in at])
    names = [c.name for c in session.fit.columns if c.editable]
    told: dict[tuple[Decided, str], list[int]] = {}
    waits = []
    for n, i in enumerate(at):
        fate, reason = was.fates[i], ""
        if fate in (ControlOutcome.ALONE, ControlOutcome.FLAG):
            reason = FLAGGED if fate is ControlOutcome.FLAG else NO_OWNER
        elif (control := wire_row(now.control, n)) != (base := wire_row(now.base, n)):
            reason = EDITED
            waits += [now.states[n].key] if any(control[name] != base[name] for name in names) else []
        decided = Decided.INSERTED if fate in INSERTS else Decided.UPDATED
        told.setdefault((Decided.FLAGGED if fate is ControlOutcome.FLAG else decided, reason), []).append(n)
    _wait(session, waits)
    for (decided, reason), some in told.items():
        before = _take(was.control, [at[n] for n in some]) if decided is Decided.UPDATED else None
        came = _take(now.base, some) if reason == EDITED else None
        loser = replaced.CONTROL if before is not None else None
        after = _take(now.control, some)
        session.journal.add(Records(decided, after, before, came, rule=POLICY, loser=loser, reason=reason or None))
    _release(session, now.control)


def _take(rows: pa.Table, indexes: Sequence[int]) -> pa.Table:
    return rows.take(pa.array(indexes, pa.int64()))


def _release(session: Session, rows: pa.Table) -> None:
    waiting = books.open_entries(session, Direction.UP)
    if waiting:
        texts = {text: i for i, text in enumerate(key_texts(rows, session.fit.key)) if text in waiting}
        same = [text for text, i in texts.items() if waiting[text][0] == kept.keep(wire_row(rows, i)).text]
        books.set_state(session, Direction.UP, same, books.RELEASED)


def keep_waiting(session: Session) -> None:
    """Edits that could not go down. Quarantine has them only as long as control does, which may have lost them."""
    with session.transaction():
        waiting = {parse_key_text(text): row for text, (row, _) in books.open_entries(session, Direction.DOWN).items()}
    states = [JournalState(key) for key in waiting if len(key) == len(session.fit.key)]

    def keep(part: Sequence[JournalState]) -> GivenToControl:
        with session.transaction():
            rows = read(session, Staged(session, part), Terms(), range(len(part)))
            lost = []
            for i in rows.at(ControlOutcome.BASE, ControlOutcome.REWRITE, ControlOutcome.NEWER, ControlOutcome.THERE):
                edit = kept.load(session.control, json.loads(waiting[rows.states[i].key]))
                if edit != (now := wire_row(rows.control, i)):
                    lost.append(replace(rows.lost(i, now, replaced.CONTROL, _WAITED), control=edit))
            replaced.keep(session, lost, once=True)
        return GivenToControl()

    def some(part: Sequence[JournalState]) -> GivenToControl:
        return _halving(part, keep, some)

    for start in range(0, len(states), PAGE):
        some(states[start : start + PAGE])


# --- what control does not take


def give_up(session: Session, refused: Sequence[Refusal]) -> None:
    """It is the station's alone: kept, and unknown to the base, so that it is neither a delete nor an edit of
    control's, and the station's row is merged as a new one."""
    fit, base = session.fit, session.base
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    for start in range(0, len(refused), PAGE):
        part = refused[start : start + PAGE]
        where = (base.c[STATION] == session.pair.name, among([one.state.key for one in part], own))
        why = [reasons.refused(reasons.CONTROL, one.code, one.why) for one in part]
        with session.journaled(Direction.UP):
            books.quarantine_rows(session, Direction.UP, _refused(session, part, sa.and_(*where)), why)
            session.control.execute(sa.delete(base).where(*where))


def _refused(session: Session, refused: Sequence[Refusal], where: sa.ColumnElement[bool]) -> pa.Table:
    """As the journal has them; where it does not, or the base is newer, as the base."""
    fit, base = session.fit, session.base
    columns = [session.dialect.readable(base.c[c.name], c.control).label(c.name) for c in fit.columns]
    found = session.read(sa.select(*columns).where(where), fit.families)
    of_base = {text: wire_row(found, i) for i, text in enumerate(key_texts(found, fit.key))}
    rows = []
    for one in refused:
        known, then, told = (
            of_base.get(key_text(one.state.key), {}),
            row_of(one.state.station),
            row_of(one.state.control),
        )
        newer = any(known[name] != then[name] for name in known.keys() & then.keys())
        rows.append({**dict(zip(fit.key, one.state.key, strict=True)), **(known if newer or not told else told)})
    return pa.table({name: _fitting(fit.families[name], [row.get(name) for row in rows]) for name in fit.names})


def _fitting(family: Family, values: Sequence[Any]) -> pa.Array:
    """A value that was text and is bytes now, or the other way round, may be why the row is refused."""
    if family in BINARY:
        return pa.array([value.encode() if isinstance(value, str) else value for value in values], pa.binary())
    return pa.array([value.hex() if isinstance(value, bytes) else value for value in values], pa.string())


# --- control is right


def accept(session: Session, states: Sequence[JournalState], terms: Terms) -> GivenToControl:
    """Marked as edits, whatever their stamp. Rows that control lacks are marked too: deletes are a reconcile's."""
    with session.journaled(Direction.DOWN):
        rows = read(session, Staged(session, states), terms)
        there = [ControlOutcome.REWRITE, ControlOutcome.NEWER]
        _keep(session, rows, there, lambda i: wire_row(rows.control, i), _TRUSTED, replaced.STATION)
        push.mark_pending(session, [state.key for state in rows.states])
        return _given(rows)
