"""Deletes that travel: a row that one side deleted goes at the other, into the trash, unless it was edited there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database import references
from stationsync.errors import LockWait, RowRefused
from stationsync.keeping import books, replaced, superseded, trash
from stationsync.keeping.replaced import Replaced, Version
from stationsync.model.changes import Chunk, Counts, Direction, Policy
from stationsync.model.reasons import Code, Reason, not_deleted
from stationsync.model.schema import Column
from stationsync.model.wire import Family, key_text, key_texts, wire_row
from stationsync.pairing.keys import Key, among, native
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import kept
from stationsync.store.bookkeeping import STATION
from stationsync.sync import given_again, journal_rows
from stationsync.sync.send import CHANGED, EQUAL, LOCKED, MISSING, REFUSED, delete
from stationsync.topology.model import Deletes, TableDirection
from stationsync.topology.row_filter import Leaving
from stationsync.writing.halving import in_halves

COMES_BACK = "control deleted the row; the station had changed it, and its version comes back"


def by_station(session: Session, control: Version, base: Version) -> tuple[str, str]:
    """The station deleted a row that control had edited. A delete has no date: but for the policy `station`, control's
    edit stays, at control alone. Who lost, and why."""
    names = session.fit.names
    edited = {name: control[name] for name in names}
    policy = session.pair.options.conflicts
    deleted = policy is Policy.STATION
    if deleted:
        loser, reason = replaced.CONTROL, "the station deleted the row; the policy of this table is: station"
    else:
        loser, reason = replaced.STATION, "the station deleted the row; control had edited it and keeps it, alone"
    columns = [name for name in names if edited[name] != base[name]]
    result = None if deleted else edited
    row = Replaced(_key(session, base), loser, reason, None, edited, base, result, columns)
    replaced.keep(session, [row])
    return loser, reason


def by_control(session: Session, base: Version) -> None:
    """Control deleted a row that the station has changed since: the station's version comes back."""
    row = Replaced(_key(session, base), replaced.CONTROL, COMES_BACK, None, None, base, None, [])
    replaced.keep(session, [row])


def _key(session: Session, row: Version) -> str:
    return key_text([row[name] for name in session.fit.key])


_AT_ONCE = 500
_SAME, _EDITED, _LACKING = "same", "edited", "lacking"
_WHAT = "stationsync_what"
_LOCKED_HERE = Reason(
    Code.DELETE_LOCKED,
    ("the station deleted the row, an application at control keeps it locked: the next reconcile takes it",),
)
_LOCKED_THERE = Reason(
    Code.DELETE_LOCKED,
    ("control deleted the row, an application at the station keeps it locked: the next reconcile takes it",),
)
_ALL_LOCKED = "rows of control's table are locked, and what is not locked could not be told apart in time."


@dataclass(frozen=True)
class _Rows:
    """Rows to be deleted, in wire form: control's whole rows, the base's, and how control stands to the base."""

    control: pa.Table
    base: pa.Table
    what: list[str]

    def at(self, kind: str) -> list[int]:
        return [i for i, what in enumerate(self.what) if what == kind]

    def only(self, kind: str) -> _Rows:
        return self.take(self.at(kind))

    def take(self, indexes: list[int]) -> _Rows:
        chosen = pa.array(indexes, pa.int64())
        return _Rows(self.control.take(chosen), self.base.take(chosen), [self.what[i] for i in indexes])


def follow_station(session: Session, keys: Sequence[Key]) -> Counts:
    """Rows that the station deleted: looked for there once more, then taken from control and the base by the
    table's policy. Held by the lease of `session`. Raises StationOffline, DatabaseBusy, LeaseLost."""
    counts, held = _in_passes(keys, partial(_follow, session))
    return counts + _keep_held(session, Direction.UP, held)


def _in_passes(keys: Sequence[Key], work: Callable[..., Counts]) -> tuple[Counts, dict[Key, Reason]]:
    """Rows that others hold on to go once these are gone: tried again, as long as any of them goes. And what is left,
    with the reason. `work(keys, held=…)` does some, and puts those that could not go into `held`."""
    counts = Counts()
    while True:
        held: dict[Key, Reason] = {}
        counts += _in_batches(keys, partial(work, held=held))
        if len(held) in (0, len(keys)):
            return counts, held
        keys = list(held)


def _keep_held(session: Session, direction: Direction, held: Mapping[Key, Reason]) -> Counts:
    def keep(keys: Sequence[Key]) -> Counts:
        with session.journaled(direction):
            rows = _known(session, keys)
            reasons = [held[key] for key in _keys(session, rows)]
            return books.quarantine_rows(session, direction, rows, reasons)

    return _in_batches(list(held), keep)


def _in_batches(keys: Sequence[Key], work: Callable[[Sequence[Key]], Counts]) -> Counts:
    counts = Counts()
    for start in range(0, len(keys), _AT_ONCE):
        counts += work(keys[start : start + _AT_ONCE])
    return counts


def _follow(session: Session, keys: Sequence[Key], held: dict[Key, Reason]) -> Counts:
    there = _there(session, keys)
    staying: dict[Key, Reason] = {}
    try:
        with session.journaled(Direction.UP):
            rows = _deleted(session, keys, there)
            counts = _take(session, rows, staying)
    except LockWait:
        return _follow_around_locks(session, keys, held)
    except RowRefused as refused:
        # Something at control holds on to a row: found by halving, kept with the reason, everything else goes on.
        if len(keys) > 1:
            return in_halves(keys, lambda some: _follow(session, some, held))
        held[keys[0]] = not_deleted(f"the station deleted the row, control refuses to: {refused.what}")
        return Counts()
    held |= staying
    return counts


def _follow_around_locks(session: Session, keys: Sequence[Key], held: dict[Key, Reason]) -> Counts:
    """An application at control has rows of these locked: found by halving, kept for the next sweep."""
    if session.care.over:
        raise LockWait(session.pair.place, _ALL_LOCKED)
    if not session.care.on:
        session.begin_care()
        return _follow(session, keys, held)
    if len(keys) > 1:
        return in_halves(keys, lambda some: _follow(session, some, held))
    with session.journaled(Direction.UP):
        rows = _known(session, keys)
        kept = books.quarantine_rows(session, Direction.UP, rows, [_LOCKED_HERE] * rows.num_rows)
    return kept + Counts(locked=rows.num_rows)


def _there(session: Session, keys: Sequence[Key]) -> Chunk:
    """The station's rows of these keys. One that its filter keeps back is no deleted one, unless it is to count as such
    (`leaving: delete`)."""
    return extract.read_keys(session, keys, unfiltered=session.pair.options.leaving is Leaving.KEEP)


def _deleted(session: Session, keys: Sequence[Key], there: Chunk) -> _Rows:
    """Those of the rows that the base knows and the station does not have, locked at control."""
    fit, base, control = session.fit, session.base, session.control_table
    present = stage.stage_table(session, "stationsync_present")
    stage.recreate(session.control, present)
    stage.fill(session, present, there.rows)
    if there.unreadable_rows is not None:
        # They are there, whatever else they have; of a key that control cannot have, the base has none.
        of_them = there.unreadable_rows.select(fit.key)
        unfit = extract.unfit_text(session, of_them, up=True)
        at = [i for i in range(of_them.num_rows) if i not in unfit]
        stage.fill(session, present, of_them.take(pa.array(at, pa.int64())))
    lacking = control.c[fit.key[0]].is_(None)
    what = sa.case((lacking, _LACKING), (stage.Comparing(session).unedited(control, base), _SAME), else_=_EDITED)
    own = _all_columns(session)
    readable = session.dialect.readable
    query = (
        sa.select(
            *(readable(control.c[c.name], c).label(f"c{i}") for i, c in enumerate(own)),
            *(readable(base.c[c.name], c.control).label(f"b{i}") for i, c in enumerate(fit.columns)),
            what.label(_WHAT),
        )
        .select_from(
            base.outerjoin(control, stage.same_key(fit, base, control)).outerjoin(
                present, stage.same_key(fit, base, present)
            )
        )
        .where(base.c[STATION] == session.pair.name, present.c[fit.key[0]].is_(None))
        .where(among(keys, _base_key(session)))
        .with_for_update()
    )
    families = {f"c{i}": trash.family(c) for i, c in enumerate(own)} | {_WHAT: Family.TEXT}
    families |= {f"b{i}": c.control.family for i, c in enumerate(fit.columns)}
    found = session.read(query, families)
    return _Rows(
        pa.table({c.name: found[f"c{i}"] for i, c in enumerate(own)}),
        pa.table({c.name: found[f"b{i}"] for i, c in enumerate(fit.columns)}),
        found[_WHAT].to_pylist(),
    )


def _all_columns(session: Session) -> list[Column]:
    """Control's own columns too: a row comes back from the trash as it was."""
    return [c for c in session.fit.control.columns if not c.generated]


def _take(session: Session, rows: _Rows, staying: dict[Key, Reason]) -> Counts:
    """Delete or flag; where control had edited the row, both versions are kept as a conflict. `staying` is told which
    rows others refer to."""
    checked = True
    options = session.pair.options
    if options.deletes is Deletes.IGNORE or options.direction is TableDirection.DOWN:
        rows = rows.only(_LACKING)
    elif options.deletes is Deletes.ARCHIVE:
        found, mutual = _referred(session, rows)
        staying |= found
        checked = not mutual
        rows = rows.take([i for i, key in enumerate(_keys(session, rows.base)) if key not in found])
    why = "the station deleted the row"
    if options.leaving is Leaving.DELETE:
        why = "the station deleted the row, or its filter keeps it back"
    _keep_quarantined(session, rows.base, why)
    edited = rows.at(_EDITED)
    conflicts = {i: by_station(session, wire_row(rows.control, i), wire_row(rows.base, i)) for i in edited}
    goes = _going(session, rows)
    _away(session, rows, goes, why, checked=checked)
    lost = rows.at(_LACKING)
    both = journal_rows.BOTH_DELETED
    trash.keep(session, "control", rows.base.take(pa.array(lost, pa.int64())), both, "kept")
    journal_rows.gone_at_station(session, rows.control, rows.base, goes, lost, conflicts)
    _forget(session, rows.base)
    released = books.set_state(session, Direction.UP, key_texts(rows.base, session.fit.key), books.RELEASED)
    # An edit that could not go down has ended with its row; where it had lost, the conflict keeps it.
    ended = key_texts(rows.base.take(pa.array([*goes, *lost], pa.int64())), session.fit.key)
    released += books.set_state(session, Direction.DOWN, ended, books.RELEASED)
    return Counts(conflicts=len(conflicts), deleted=len(goes) + len(lost), released=released)


def _keep_quarantined(session: Session, rows: pa.Table, why: str) -> None:
    """Versions that control never took; what the station deleted was this one."""
    entries = books.open_entries(session, Direction.UP)
    texts = {text: i for i, text in enumerate(key_texts(rows, session.fit.key)) if text in entries}
    newer = [(text, entries[text][0]) for text, i in texts.items() if _kept_text(rows, i) != entries[text][0]]
    superseded.deleted(session, newer, why)


def _kept_text(rows: pa.Table, i: int) -> str:
    return kept.keep(wire_row(rows, i)).text


def _going(session: Session, rows: _Rows) -> list[int]:
    """Rows that control deletes, or flags, after the station."""
    return rows.at(_SAME) + (rows.at(_EDITED) if session.pair.options.conflicts is Policy.STATION else [])


def _referred(session: Session, rows: _Rows) -> tuple[dict[Key, Reason], bool]:
    """Rows that cannot go as long as others refer to them, with the reason; and whether of the others some refer to
    each other."""
    fit, control = session.fit, session.control_table
    going = rows.take(_going(session, rows))
    if not going.what:
        return {}, False
    # As control has it: the base may spell a key in another way.
    keys = dict(zip(_keys(session, going.control), _keys(session, going.base), strict=True))
    key = [(control.c[name], fit.by_name[name].control) for name in fit.key]
    named = [session.dialect.readable(c, kind).label(f"i{i}") for i, (c, kind) in enumerate(key)]
    batch = sa.select(*(c for c, _ in key), *named).where(among(list(keys), key)).subquery("going")

    def ask(query: sa.Select[Any]) -> list[Key]:
        found = session.read(query, {f"i{i}": trash.family(kind) for i, (_, kind) in enumerate(key)})
        return list(zip(*(found[f"i{i}"].to_pylist() for i in range(len(key))), strict=True))

    found, mutual = references.staying(session.control, control, fit.key, batch, ask)
    return {keys[one]: not_deleted(references.reason(child)) for one, child in found.items()}, mutual


def _away(session: Session, rows: _Rows, indexes: list[int], why: str, *, checked: bool) -> None:
    gone = rows.control.take(pa.array(indexes, pa.int64()))
    flag = session.pair.options.deletes is Deletes.FLAG
    trash.keep(session, "control", gone, why, "flagged" if flag else "kept")
    control = session.control_table
    keys = _parameters(session, gone)
    if not keys:
        return
    where = _key_is(session, control)
    if flag:
        column, value = flag_of(session)
        # A column that stamps itself would do so, unless it is given its value.
        values: dict[Any, Any] = {column: value, **session.fit.control.own_stamps(control, session.fit.names)}
        session.control.execute(sa.update(control).where(where).values(values), keys)
    else:
        with nullcontext() if checked else session.dialect.unchecked(session.control):
            session.control.execute(sa.delete(control).where(where), keys)


def flag_of(session: Session, at: datetime | None = None) -> tuple[sa.Column[Any], Any]:
    """The column that says "deleted at the station", and what is written there: the moment (now), the day, or 1."""
    name = session.pair.options.flag_column or ""
    family = session.fit.control[name].family
    moment = extract.as_text((at or session.now).replace(microsecond=0))
    dated = {Family.DATE: moment[:10], Family.DATETIME: moment, Family.TIMESTAMP: moment}
    return session.control_table.c[name], dated.get(family, 1)


def _forget(session: Session, rows: pa.Table) -> None:
    """The base knows these rows no longer: nobody believes that the station has them."""
    keys = _parameters(session, rows)
    if keys:
        session.control.execute(sa.delete(session.base).where(_key_is(session, session.base)), keys)


def _key_is(session: Session, table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == sa.bindparam(f"k{i}") for i, name in enumerate(session.fit.key)))


def _keys(session: Session, rows: pa.Table) -> list[Key]:
    return list(zip(*(rows[name].to_pylist() for name in session.fit.key), strict=True))


def _parameters(session: Session, rows: pa.Table) -> list[dict[str, Any]]:
    kinds = [session.fit.by_name[name].control for name in session.fit.key]
    return [
        {f"k{i}": native(value, kind) for i, (value, kind) in enumerate(zip(key, kinds, strict=True))}
        for key in _keys(session, rows)
    ]


def bring_back(session: Session, keys: Sequence[Key]) -> Counts:
    """Rows that vanished from control: the base forgets them, so that the merge that follows brings them back. What
    the station deleted meanwhile goes into the trash: nobody else has it any more."""

    def forget(batch: Sequence[Key]) -> Counts:
        there = _there(session, batch)
        with session.journaled(Direction.UP):
            counts = _take(session, _deleted(session, batch, there).only(_LACKING), {})
            present = stage.stage_table(session, "stationsync_present")  # `_deleted` has filled it
            given_again.keep_vanished(session, present, among(batch, _base_key(session)))
            vanished = _vanished(session, batch)
            journal_rows.forgotten(session, vanished)
            _forget(session, vanished)
        return counts

    return _in_batches(keys, forget)


def _base_key(session: Session) -> list[tuple[sa.ColumnElement[Any], Column]]:
    return [(session.base.c[name], session.fit.by_name[name].control) for name in session.fit.key]


def _vanished(session: Session, keys: Sequence[Key]) -> pa.Table:
    """The base's rows of these keys that control lacks."""
    fit, base, control = session.fit, session.base, session.control_table
    lacking = sa.exists().where(stage.same_key(fit, base, control)).correlate(base)
    return _known(session, keys, sa.not_(lacking))


def _known(session: Session, keys: Sequence[Key], where: sa.ColumnElement[bool] | None = None) -> pa.Table:
    """The base's rows of these keys."""
    fit, base = session.fit, session.base
    readable = session.dialect.readable
    query = (
        sa.select(*(readable(base.c[c.name], c.control).label(c.name) for c in fit.columns))
        .where(base.c[STATION] == session.pair.name, sa.true() if where is None else where)
        .where(among(keys, _base_key(session)))
    )
    families = {c.name: c.control.family for c in fit.columns}
    return session.read(query, families)


def follow_control(session: Session, keys: Sequence[Key]) -> tuple[Counts, list[Key]]:
    """Rows that control deleted go at the station, where they still are as the base says; and the keys of those that
    are not, which the merge brings back. Held by the lease. Needs DELETE at the station."""
    again: list[Key] = []
    counts, held = _in_passes(keys, partial(_send, session, again=again))
    return counts + _keep_held(session, Direction.DOWN, held), again


def _send(session: Session, keys: Sequence[Key], held: dict[Key, Reason], again: list[Key]) -> Counts:
    def halves() -> Counts:
        return in_halves(keys, lambda some: _send(session, some, held, again))

    with session.transaction():
        old = _vanished(session, keys)
    if not old.num_rows:
        return Counts()
    try:
        sent = delete(session, old)
    except LockWait:
        if session.station_care.over:
            raise
        if old.num_rows > 1:
            return halves()
        with session.journaled(Direction.DOWN):
            kept = books.quarantine_rows(session, Direction.DOWN, old, [_LOCKED_THERE])
        return kept + Counts(locked=1)
    except RowRefused as refused:
        if old.num_rows > 1:
            return halves()
        held[_keys(session, old)[0]] = not_deleted(f"control deleted the row, the station refuses to: {refused.what}")
        return Counts()
    with session.journaled(Direction.DOWN):
        kinds = (EQUAL, MISSING, CHANGED, LOCKED)
        gone, lost, changed, locked = (old.take(pa.array(sent.at(kind), pa.int64())) for kind in kinds)
        trash.keep(session, "station", gone, "control deleted the row", "kept")
        trash.keep(session, "station", lost, journal_rows.BOTH_DELETED, "kept")
        journal_rows.gone_at_control(session, gone, lost, changed, COMES_BACK)
        for i in range(changed.num_rows):
            by_control(session, wire_row(changed, i))
        for rows in (gone, lost, changed):
            _forget(session, rows)
        books.set_state(session, Direction.DOWN, key_texts(gone, session.fit.key), books.RELEASED)
        kept = books.quarantine_rows(session, Direction.DOWN, locked, [_LOCKED_THERE] * locked.num_rows)
    every = _keys(session, old)
    held |= {every[i]: sent.reasons[i] for i in sent.at(REFUSED)}
    again += _keys(session, changed)
    return kept + Counts(deleted=gone.num_rows, conflicts=changed.num_rows, locked=locked.num_rows)
