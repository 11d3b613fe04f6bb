"""Control's table was restored from an older backup, emptied or damaged, and our bookkeeping was not: control is given
back what it had of a station (`reseed`), or taken as it is (`trust`).

Given back is what the base has: the last version of each row that the station is known to have. So the station may
be off-line or paused; what it changed since comes with the next pull. Cut off anywhere, the same command goes on: each
page is one transaction of control's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.journal.recorder import new_run
from stationsync.keeping import books, replaced, trash
from stationsync.keeping.blocked import Blocked
from stationsync.keeping.replaced import Replaced
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.wire import Family, key_text, parse_key_text, wire_row
from stationsync.pairing import stamp
from stationsync.pairing.decide import moment
from stationsync.pairing.keys import Key, among, key_behind, ordered
from stationsync.pairing.pair import Pair
from stationsync.recovery.reseed import Found, cut
from stationsync.recovery.reseed_page import PAGE
from stationsync.recovery.reseed_rule import POLICY, Fate, take_back
from stationsync.rollback import rebuilding
from stationsync.session import stage
from stationsync.session.lease import held, with_retries
from stationsync.session.session import Session
from stationsync.store import kept, pending
from stationsync.store.bookkeeping import PENDING, STATION, key_hash
from stationsync.store.bookkeeping import trash as table
from stationsync.sync import merge, push
from stationsync.topology.model import Deletes, TableDirection
from stationsync.writing import locked

_OVERWRITTEN = "control's table went back in time, and reseed-control gave it what it had: this was there instead"
_EDITED = "control's table went back in time; control's row is stamped later, so it is an edit, and stays"
_TRUSTED = "control's table went back in time, and was trusted as it is: this version is to be replaced"
_WAITED = "control's table went back in time; this was an edit of control's that could not go down"
_LACKING = "stationsync_lacking"
_WRITES = (Fate.INSERT, Fate.REWRITE)


@dataclass(frozen=True)
class Refused:
    key: Key
    why: str
    words: str  # how its reason begins


@dataclass(frozen=True)
class Rows:
    """Rows that control has otherwise than the base, or lacks: both versions in wire form."""

    keys: list[Key]
    fates: list[Fate]
    control: pa.Table
    base: pa.Table

    def at(self, *fates: Fate) -> list[int]:
        return [i for i, fate in enumerate(self.fates) if fate in fates]

    def lost(self, i: int, result: pa.Table, loser: str, why: str) -> Replaced:
        """The station is not asked: it has what the base has, as far as we know."""
        base, control = wire_row(self.base, i), wire_row(self.control, i)
        after = wire_row(result, i)
        return Replaced(key_text(self.keys[i]), loser, why, base, control, base, after, policy=POLICY)


@dataclass(frozen=True)
class Given:
    """What was done with rows; those that control refused, and those that an application keeps locked there."""

    fates: tuple[tuple[Key, Fate], ...] = ()
    kept: int = 0
    refused: tuple[Refused, ...] = ()
    locked: tuple[Key, ...] = ()

    @classmethod
    def of(cls, rows: Rows) -> Given:
        return cls(tuple(zip(rows.keys, rows.fates, strict=True)), len(rows.at(Fate.REWRITE, Fate.NEWER)))

    def __add__(self, other: Given) -> Given:
        refused, locked = self.refused + other.refused, self.locked + other.locked
        return Given(self.fates + other.fates, self.kept + other.kept, refused, locked)


# --- reading


def _compared(session: Session) -> tuple[sa.FromClause, sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """The base beside control; rows of this station; rows that control has otherwise, or lacks."""
    base, control = session.base, session.control_table
    joined = base.outerjoin(control, stage.same_key(session.fit, base, control))
    unlike = sa.or_(_is_lacking(session), sa.not_(stage.Comparing(session).unedited(control, base)))
    return joined, base.c[STATION] == session.pair.name, unlike


def _is_lacking(session: Session) -> sa.ColumnElement[bool]:
    return session.control_table.c[session.fit.key[0]].is_(None)


def next_keys(session: Session, after: Key | None) -> list[Key]:
    fit, base = session.fit, session.base
    kinds = {name: fit.by_name[name].control for name in fit.key}
    joined, ours, differ = _compared(session)
    query = (
        sa.select(*(session.dialect.readable(base.c[name], kind).label(name) for name, kind in kinds.items()))
        .select_from(joined)
        .where(ours, differ)
        .order_by(*(ordered(base.c[name], kind) for name, kind in kinds.items()))
        .limit(PAGE)
    )
    if after is not None:
        query = query.where(key_behind(fit, base, after))
    families = {name: kind.family for name, kind in kinds.items()}
    with session.transaction():
        rows = session.read(query, families)
    return list(zip(*(rows[name].to_pylist() for name in fit.key), strict=True))


def look(session: Session, keys: Sequence[Key]) -> Rows:
    with session.transaction():
        return _read(session, keys)


def _read(session: Session, keys: Sequence[Key], *, unlike: bool = True, lock: bool = False) -> Rows:
    """These rows, or only those that are not alike."""
    fit, readable = session.fit, session.dialect.readable
    joined, ours, differ = _compared(session)
    own = [(session.base.c[name], fit.by_name[name].control) for name in fit.key]
    columns = [
        readable(table.c[c.name], c.control).label(f"{side}{i}")
        for side, table in (("b", session.base), ("c", session.control_table))
        for i, c in enumerate(fit.columns)
    ]
    flags = [sa.case((_is_lacking(session), "1"), else_="0").label(_LACKING), session.base.c[PENDING].label(PENDING)]
    query = sa.select(*columns, *flags).select_from(joined).where(ours, among(keys, own))
    query = query.where(differ) if unlike else query
    query = query.order_by(*(ordered(column, kind) for column, kind in own))
    query = query.with_for_update() if lock else query
    families = {f"{side}{i}": c.control.family for side in "bc" for i, c in enumerate(fit.columns)}
    families |= {_LACKING: Family.TEXT, PENDING: Family.INTEGER}
    rows = session.read(query, families)
    base, control = (pa.table({c.name: rows[f"{side}{i}"] for i, c in enumerate(fit.columns)}) for side in "bc")
    lacking, waits = rows[_LACKING].to_pylist(), [int(value) > 0 for value in rows[PENDING].to_pylist()]
    versions = [None if one == "1" else wire_row(control, i) for i, one in enumerate(lacking)]
    fates = [take_back(c, wire_row(base, i), fit.stamps, edit=waits[i]) for i, c in enumerate(versions)]
    found = list(zip(*(base[name].to_pylist() for name in fit.key), strict=True))
    return Rows(found, fates, control, base)


# --- control gets back what it had


def give(session: Session, keys: Sequence[Key]) -> Given:
    """Around rows that are locked. A row that control refuses is found by halving."""
    done, taken = locked.around(session, keys, partial(_give, session), lambda key: key)
    # What is as it should be by now is none of them.
    left = Given(locked=tuple(look(session, taken).keys)) if taken else Given()
    return sum([*done, left], Given())


def _give(session: Session, keys: Sequence[Key]) -> Given:
    try:
        with session.journaled(Direction.UP):
            rows = _read(session, keys, lock=True)
            _keep(session, rows, Fate.REWRITE, rows.base, _OVERWRITTEN, loser=replaced.CONTROL)
            _keep(session, rows, Fate.NEWER, rows.control, _EDITED, loser="station")
            _write(session, rows)
            _leave_edits(session, rows)
            return Given.of(rows)
    except RowRefused as refused:
        if isinstance(refused, Blocked) and (held := {one.key: one.why for one in refused.held}.keys() & set(keys)):
            # The others among which values are handed on stay together.
            why = {one.key: one.why for one in refused.held}
            waits = Given(refused=tuple(Refused(key, why[key], refused.words) for key in keys if key in held))
            rest = [key for key in keys if key not in held]
            return waits + give(session, rest) if rest else waits
        if len(keys) == 1:
            return Given(refused=(Refused(keys[0], refused.what, books.refused_words(refused)),))
    middle = len(keys) // 2
    return give(session, keys[:middle]) + give(session, keys[middle:])


def _keep(session: Session, rows: Rows, fate: Fate, result: pa.Table, why: str, *, loser: str) -> None:
    replaced.keep(session, [rows.lost(i, result, loser, why) for i in rows.at(fate)], once=True)


def _write(session: Session, rows: Rows) -> None:
    at = rows.at(*_WRITES)
    if not at:
        return
    back = stage.stage_table(session, "stationsync_back")
    stage.recreate(session.control, back)
    stage.fill(session, back, _at(rows.base, at))
    merge.overwrite(session, back)
    if rows.at(Fate.INSERT):
        _insert(session, back)
    base = session.base
    session.control.execute(
        sa.update(base)
        .where(stage.same_key(session.fit, back, base))
        .values({base.c[PENDING]: pending.becomes(base, 0)})
    )
    add = session.journal.add
    add(Records(Decided.INSERTED, after=_at(rows.base, rows.at(Fate.INSERT)), rule=POLICY))
    changed = rows.at(Fate.REWRITE)
    was = _at(rows.control, changed)
    add(Records(Decided.UPDATED, after=_at(rows.base, changed), before=was, rule=POLICY, loser="control"))


def _insert(session: Session, back: sa.Table) -> None:
    fit, control = session.fit, session.control_table
    values = [session.dialect.assigned(back.c[c.name], c.staged, c.control) for c in fit.columns]
    joined = back.outerjoin(control, stage.same_key(fit, back, control))
    query = sa.select(*values).select_from(joined).where(_is_lacking(session))
    session.control.execute(sa.insert(control).from_select(fit.names, query))
    session.dialect.refuse_changed_values(session.control, session.pair.place)


def _leave_edits(session: Session, rows: Rows) -> None:
    if session.pair.options.direction is not TableDirection.UP:
        push.mark_pending(session, [rows.keys[i] for i in rows.at(Fate.NEWER)])


def _at(rows: pa.Table, indexes: Sequence[int]) -> pa.Table:
    return rows.take(pa.array(indexes, pa.int64()))


def keep_waiting(session: Session) -> None:
    """Edits that could not go down. Quarantine has them only as long as control does, which lost them."""
    with session.transaction():
        waiting = {parse_key_text(text): row for text, (row, _) in books.open_entries(session, Direction.DOWN).items()}
    for keys in cut([key for key in waiting if len(key) == len(session.fit.key)]):
        with session.transaction():
            rows = _read(session, keys, unlike=False)
            all_rows = range(len(rows.keys))
            versions = [rows.lost(i, rows.control, replaced.CONTROL, _WAITED) for i in all_rows]
            edits = [kept.load(session.control, json.loads(waiting[key])) for key in rows.keys]
            lost = [replace(one, control=edit) for one, edit in zip(versions, edits, strict=True) if edit != one.result]
            replaced.keep(session, lost, once=True)


def give_up(session: Session, refused: Sequence[Refused]) -> None:
    """What control does not take back is the station's alone: kept, and unknown to the base, until it can be merged."""
    own = [(session.base.c[name], session.fit.by_name[name].control) for name in session.fit.key]
    for part in cut(list(refused)):
        why = {one.key: f"{one.words}: {one.why}" for one in part}
        with session.journaled(Direction.UP):
            rows = _read(session, [one.key for one in part])
            books.quarantine_rows(session, Direction.UP, rows.base, [[why[key]] for key in rows.keys])
            if rows.keys:
                session.control.execute(sa.delete(session.base).where(among(rows.keys, own)))


# --- control is right


def accept(session: Session, keys: Sequence[Key]) -> Given:
    """Marked as edits, whatever their stamp. Rows that control lacks are marked too: deletes are a reconcile's."""
    with session.journaled(Direction.DOWN):
        rows = _read(session, keys)
        _keep(session, rows, Fate.REWRITE, rows.control, _TRUSTED, loser="station")
        _keep(session, rows, Fate.NEWER, rows.control, _TRUSTED, loser="station")
        push.mark_pending(session, rows.keys)
        return Given.of(rows)


_REASON = "it was deleted before, and control's table went back"


def returned(session: Session, *, write: bool) -> tuple[int, tuple[Key, ...]]:
    """How many there are, and those that are locked. A row that was written since it was deleted, by its stamp, is none
    of them."""
    options = session.pair.options
    if options.deletes is Deletes.IGNORE and options.direction is not TableDirection.DOWN:
        return 0, ()
    look_at, remember = (partial(_page, session, write=one) for one in (False, True))
    number, left = 0, list[Key]()
    for keys in _deleted(session):
        if not write:
            number += len(look_at(keys))
            continue
        done, taken = locked.around(session, keys, remember, lambda key: key)
        number += sum(map(len, done))
        left += look_at(taken)
    return number, tuple(left)


def _deleted(session: Session) -> Iterator[list[Key]]:
    """Keys of rows that are in the trash, each once or more."""
    pair = session.pair
    ours = (table.c.station == pair.name, table.c.table_name == pair.table, table.c.state != trash.RESTORED)
    after = 0
    while True:
        query = sa.select(table.c.id, table.c.key_text).where(*ours, table.c.id > after).order_by(table.c.id)
        with session.transaction():
            found = session.control.execute(query.limit(PAGE)).all()
        if not found:
            return
        after = found[-1].id
        keys = dict.fromkeys(parse_key_text(text) for _, text in found)
        yield [key for key in keys if len(key) == len(session.fit.key)]


def _page(session: Session, keys: Sequence[Key], *, write: bool) -> list[Key]:
    with session.journaled(Direction.UP):
        rows = _unknown(session, keys, lock=write) if keys else None
        if rows is None or not rows.num_rows:
            return []
        then, names = _stamps(session, rows), session.fit.key
        found = list(zip(*(rows[name].to_pylist() for name in names), strict=True))
        now = stamp.of_rows(session.fit, rows)
        at = [i for i, key in enumerate(found) if _as_old(now, i, then.get(key_text(key), ""))]
        if write and at:
            _remember(session, rows.take(pa.array(at, pa.int64())))
        return [found[i] for i in at]


def _as_old(stamps: pa.ChunkedArray, i: int, then: str | None) -> bool:
    now, known = moment(stamps[i].as_py()), moment(then)
    return then != "" and (now is None or (known is not None and now <= known))


def _unknown(session: Session, keys: Sequence[Key], *, lock: bool) -> pa.Table:
    """Those of these rows that control has, without a flag, and no base knows."""
    fit, base, control = session.fit, session.base, session.control_table
    own = [(control.c[name], fit.by_name[name].control) for name in fit.key]
    joined = control.outerjoin(base, stage.same_key(fit, control, base))
    query = (
        sa.select(*(session.dialect.readable(control.c[c.name], c.control).label(c.name) for c in fit.columns))
        .select_from(joined)
        .where(base.c[STATION].is_(None), among(keys, own))
    )
    query = query.with_for_update() if lock else query
    flag = session.pair.options.flag_column
    if session.pair.options.deletes is Deletes.FLAG and flag is not None:
        query = query.where(control.c[flag].is_not_distinct_from(trash.unset(fit.control, flag)))
    families = {c.name: c.control.family for c in fit.columns}
    return session.read(query, families)


def _stamps(session: Session, rows: pa.Table) -> Mapping[str, str | None]:
    """When they were written last, before they were deleted, by their keys' texts."""
    pair, fit = session.pair, session.fit
    texts = [key_text(key) for key in zip(*(rows[name].to_pylist() for name in fit.key), strict=True)]
    hashes = [key_hash(text) for text in texts]
    query = sa.select(table.c.key_text, table.c.row_json).order_by(table.c.id)
    ours: list[Any] = [table.c.station == pair.name, table.c.table_name == pair.table]
    query = query.where(*ours, table.c.state != trash.RESTORED, table.c.key_hash.in_(hashes))
    return {text: stamp.of_row(json.loads(row), fit.stamps) for text, row in session.control.execute(query)}


def _remember(session: Session, rows: pa.Table) -> None:
    back, fit = stage.stage_table(session, "stationsync_back"), session.fit
    stage.recreate(session.control, back)
    stage.fill(session, back, rows)
    values = [*(back.c[name] for name in fit.names), sa.literal(session.pair.name), sa.literal(0)]
    names = [*fit.names, STATION, PENDING]
    session.control.execute(sa.insert(session.base).from_select(names, sa.select(*values)))
    session.journal.add(Records(Decided.SETTLED, after=rows, rule=POLICY, reason=_REASON))


def plan(pair: Pair) -> Report:
    """What a reseed of control would do. Nothing is written."""
    begun = time.monotonic()
    found = Found()
    with held(pair, at_control=True) as session:
        for keys in _pages(session):
            rows = with_retries(look)(session, keys)
            found.add(zip(rows.keys, rows.fates, strict=True), len(rows.at(Fate.REWRITE, Fate.NEWER)))
        back, _ = returned(session, write=False)
    return _told(found.report(pair, begun, dry_run=True), back)


def reseed(pair: Pair) -> Report:
    """Give control back what it had. Rows that it refuses are tried again at the end, and then kept in quarantine: the
    base forgets them, so that they are no edits of control's."""
    return _each(pair, give, give_back=True)


def trust(pair: Pair) -> Report:
    """What control has is right, and waits to go down. Versions of the station that it replaces are kept."""
    return _each(pair, accept)


def _each(pair: Pair, work: Callable[[Session, Sequence[Key]], Given], *, give_back: bool = False) -> Report:
    begun, run = time.monotonic(), new_run()
    found = Found()
    with held(pair, at_control=True) as session:
        session.journal.run = run
        session.journal.tidy()
        (rebuilding.begin if give_back else rebuilding.forget)(session)
        refused: list[Refused] = []
        todo: Iterator[list[Key]] = _pages(session)
        while True:
            before, refused = len(refused), []
            for keys in todo:
                given = with_retries(work)(session, keys)
                found.add(given.fates, given.kept)
                found.locked += given.locked
                refused += given.refused
            if not refused or len(refused) == before:
                break
            todo = cut([one.key for one in refused])
        give_up(session, refused)
        back = 0
        if give_back:
            keep_waiting(session)
            back, left = returned(session, write=True)
            found.locked += left
        rebuilding.end(session)
    found.refused = len(refused)
    report = replace(found.report(pair, begun), run=run, status=Status.DONE if found.any else Status.NOTHING)
    again = f"stationsync reseed-control {pair.name} --table {pair.table}"
    notes = locked.note(report.details["locked_keys"], "at control", again)
    return _told(replace(report, warnings=tuple(notes)), back)


def _told(report: Report, back: int) -> Report:
    """`back`: rows that had been deleted, and are there again."""
    status = Status.DONE if back else report.status
    return replace(report, direction=Direction.UP, status=status, details={**report.details, "returned": back})


def _pages(session: Session) -> Iterator[list[Key]]:
    after: Key | None = None
    while keys := with_retries(next_keys)(session, after):
        yield keys
        after = keys[-1]
