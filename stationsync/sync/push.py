"""The push: control's edits to the row's own station, by compare-and-set (DESIGN.md, section 2).

A push never decides. It writes a station row only where that row still is what the base says; whatever it finds
otherwise is brought up and decided by the merge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.keeping import before, books, replaced
from stationsync.keeping.replaced import Replaced
from stationsync.model.changes import Counts, Direction, Position
from stationsync.model.reasons import GONE, WAITING, Code, Reason
from stationsync.model.wire import Family, key_text, key_texts, parse_key_text, wire_row
from stationsync.pairing import stamp
from stationsync.pairing.decide import is_older
from stationsync.pairing.keys import Key, among, key_behind, native, ordered
from stationsync.pairing.watermark import Reading
from stationsync.rollback import remembered
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import kept, pending
from stationsync.store.bookkeeping import PENDING, SEEN, STATION
from stationsync.sync import journal_rows, stamps_seen
from stationsync.sync.send import ALTERED, CHANGED, EQUAL, LOCKED, MISSING, REFUSED, SENT, WAITS, Sent, send


def settle(session: Session) -> Counts:
    """In the caller's transaction."""
    _forget(session)
    return _release(session)


def _forget(session: Session) -> None:
    """Rows that waited with an edit that was taken back wait for nothing more."""
    fit, c, b = session.fit, session.control_table, session.base
    equal = sa.exists().where(stage.same_key(fit, c, b), stage.Comparing(session).same(c, b))
    waiting = sa.update(b).where(b.c[STATION] == session.pair.name, sa.not_(pending.says(b, 0)), equal)
    session.control.execute(waiting.values({b.c[PENDING]: pending.becomes(b, 0)}))


def _release(session: Session) -> Counts:
    """Entries of edits that are no more: the station's version won, control's was taken back, or the row, which this
    station had deleted, is another's by now."""
    fit, c, b = session.fit, session.control_table, session.base
    entries = books.open_entries(session, Direction.DOWN).items()
    waiting = (parse_key_text(text) for text, held in entries if held.reason.code is not Code.NOT_BACK)
    keys = [key for key in waiting if len(key) == len(fit.key)]  # an old entry may be of an old key
    kinds = {name: fit.by_name[name].control for name in fit.key}
    families = {name: kind.family for name, kind in kinds.items()}
    settled = sa.or_(b.c[STATION] != session.pair.name, stage.Comparing(session).unedited(c, b))
    query = (
        sa.select(*(session.dialect.readable(c.c[name], kind).label(name) for name, kind in kinds.items()))
        .select_from(c.join(b, stage.same_key(fit, c, b)))
        .where(settled)
    )
    counts = Counts()
    for start in range(0, len(keys), extract.KEYS_A_QUERY):
        part = among(keys[start : start + extract.KEYS_A_QUERY], [(c.c[n], kind) for n, kind in kinds.items()])
        rows, _ = session.dialect.read(session.control, query.where(part), families, extract.MAX_BYTES)
        counts += books.release(session, Direction.DOWN, rows)
    return counts + _keep_newest(session, keys, {text: held.reason for text, held in entries})


def _keep_newest(session: Session, keys: Sequence[tuple[str | bytes, ...]], reasons: Mapping[str, Reason]) -> Counts:
    """Rows that control has alone since their station deleted them: no base tells of their next edit, so that the entry
    of the first that could not go down is kept up to date."""
    fit, c, b = session.fit, session.control_table, session.base
    columns = [session.dialect.readable(c.c[x.name], x.control).label(x.name) for x in fit.columns]
    query = sa.select(*columns).select_from(c.outerjoin(b, stage.same_key(fit, c, b))).where(b.c[STATION].is_(None))
    own = [(c.c[name], fit.by_name[name].control) for name in fit.key]
    families = {x.name: x.control.family for x in fit.columns}
    counts = Counts()
    for start in range(0, len(keys), extract.KEYS_A_QUERY):
        alone = query.where(among(keys[start : start + extract.KEYS_A_QUERY], own))
        rows = session.read(alone, families)
        why = [reasons[text] for text in key_texts(rows, fit.key)]
        counts += books.quarantine_rows(session, Direction.DOWN, rows, why)
    return counts


_OLDER = "control's version is older than the one that the station had: a restored table, or a clock that was set back"
_TRAVELS, _REFUSED, _SEEN = 1, 2, 4
# Rows in one transaction at the station: few, for its application may wait for them; fewer at first, so that both
# databases are soon at work.
_FIRST, _AT_ONCE = 500, 2_000
# Edits that wait for each other, in one transaction.
_MOST_WAITING = 5_000

Sender = Callable[[Session, pa.Table, pa.Table, Sequence[bool]], Sent]


@dataclass(frozen=True)
class Edits:
    """A page of rows that control edited, in wire form under control's column names: what the station has
    (`old`), what it is to have (`new`), per row whether something goes down and what may not, and whose text the
    station could not have as it is (`unfit`). `unseen`: rows whose writer cannot be assumed to have seen what the
    station has."""

    old: pa.Table
    new: pa.Table
    travels: list[bool]
    refused: list[bool]
    unfit: dict[int, Reason]
    last: Position | None
    more: bool
    unseen: tuple[int, ...] = ()

    def __len__(self) -> int:
        return int(self.new.num_rows)


@dataclass(frozen=True)
class Pushed:
    """One page done. `look_again` are keys of rows that the station changed meanwhile: to be pulled."""

    counts: Counts
    last: Position | None
    more: bool
    look_again: tuple[Key, ...] = ()


def push_page(session: Session, reading: Reading | None, after: Position | None) -> Pushed:
    """Read, send and settle the next page: of rows edited since the watermark, or, with no `reading`, of those
    marked `pending`. Raises StationOffline, DatabaseBusy, GrantMissing, LeaseLost."""
    counts = Counts()
    again: list[Key] = []
    last, more = after, False
    kept_now: list[int] = []
    for edits, sent in sent_pages(session, reading, after, before=lambda edits: kept_now.append(_keep(session, edits))):
        with session.journaled(Direction.DOWN, reading):
            counts += _settle(session, edits, sent)
            if reading is not None:
                mark = replace(reading.remember(edits.last, more=edits.more), newest=session.known.sent)
                books.write_mark(session.control, session.pair, Direction.DOWN, mark)
            elif not edits.more:
                counts += settle(session)
            if reading is None and sent.now_there:
                books.write_newest(session.control, session.pair, Direction.DOWN, session.known.sent)
        again += keys_of(session, edits.old, sent.look_again)
        last, more = edits.last, edits.more
    counts += Counts(conflicts=sum(kept_now))
    if reading is not None and not more:
        waited, seen = _push_waiting(session)
        counts, again = counts + waited, again + seen
    return Pushed(counts, last, more, tuple(again))


def _push_waiting(session: Session) -> tuple[Counts, list[Key]]:
    """Edits that wait for another row, as long as some go down: it may have come, or given up its value, and rows of
    several pages may wait for each other."""
    counts, again = Counts(), list[Key]()
    # Apart, since those that lack a row would split up the others, among which values are handed on.
    todo = list(WAITING)
    while todo:
        with session.transaction():
            edits = _waiting_edits(session, todo[0])
        if edits is None or not len(edits):
            todo.pop(0)
            continue
        counts += Counts(conflicts=_keep(session, edits))
        sent = send(session, edits.old, edits.new, edits.travels)
        with session.journaled(Direction.DOWN):
            counts += replace(_settle(session, edits, sent), read=0)
        again += keys_of(session, edits.old, sent.look_again)
        if not sent.now_there:
            todo.pop(0)
    return counts, again


def _waiting_edits(session: Session, code: Code) -> Edits | None:
    base, fit = session.base, session.fit
    entries = [one for some in books.waiting(session, code, Direction.DOWN) for one in some]
    keys = [key for text, _ in entries[:_MOST_WAITING] if len(key := parse_key_text(text)) == len(fit.key)]
    if not keys:
        return None
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    query = _query(session, None, None, _MOST_WAITING).where(among(keys, own))
    return _edits(session, query, _MOST_WAITING, again=True)


def sent_pages(
    session: Session,
    reading: Reading | None,
    after: Position | None,
    how: Sender | None = None,
    before: Callable[[Edits], None] | None = None,
) -> Iterator[tuple[Edits, Sent]]:
    """The page, part by part, each after it was sent. Meanwhile the next part is read, and the one before settled.
    `before`: what is to be done before a part is sent."""

    def go(edits: Edits) -> Sent:
        return (how or send)(session, edits.old, edits.new, edits.travels)

    def read(after: Position | None, limit: int) -> Edits:
        edits = _read(session, reading, after, limit)
        if before is not None:
            before(edits)
        return edits

    limit = extract.page_rows(session)
    edits = read(after, min(limit, _FIRST))
    if not edits.more:
        yield edits, go(edits)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="send-ahead") as ahead:
        going: Future[Sent] = ahead.submit(go, edits)
        while True:
            limit -= len(edits)
            more = edits.more and limit > 0
            following = read(edits.last, min(limit, _AT_ONCE)) if more else None
            sent = going.result()
            if following is not None:
                going = ahead.submit(go, following)
            yield edits, sent
            if following is None:
                return
            edits = following


def _read(session: Session, reading: Reading | None, after: Position | None, limit: int) -> Edits:
    with session.transaction():
        return _edits(session, _query(session, reading, after, limit), limit)


def _edits(session: Session, query: sa.Select[Any], limit: int, *, again: bool = False) -> Edits:
    """`again`: those too that are in quarantine as they are."""
    rows, stopped = session.dialect.read(session.control, query, _families(session), extract.MAX_BYTES)
    columns = session.fit.columns
    old = pa.table({c.name: rows[f"o{i}"] for i, c in enumerate(columns)})
    new = pa.table({c.name: rows[f"n{i}" if c.editable else f"o{i}"] for i, c in enumerate(columns)})
    skipped = set() if again else _in_quarantine(session, new)
    unfit = extract.unfit_text(session, new, up=False)
    flags = [int(value) for value in rows["flags"].to_pylist()]
    last = None
    # Control's own modified column says where the page ended; `new` may have the base's.
    stamps = rows["place"].to_pylist()
    if flags:
        last = Position(stamps[-1], tuple(old[name][len(flags) - 1].as_py() for name in session.fit.key))
    stamps_seen.of_edits(session, rows["place"], stamp.of_rows(session.fit, old))
    travels = [bool(flag & _TRAVELS) and i not in skipped and i not in unfit for i, flag in enumerate(flags)]
    refused = [bool(flag & _REFUSED) for flag in flags]
    known = zip(stamps, stamp.of_rows(session.fit, old).to_pylist(), strict=True)
    older = (is_older(stamp, was, session.known.clock_offset) for stamp, was in known)
    unseen = tuple(i for i, so in enumerate(older) if so and travels[i] and not flags[i] & _SEEN)
    return Edits(old, new, travels, refused, unfit, last, stopped or len(flags) == limit, unseen)


def _families(session: Session) -> dict[str, Family]:
    families = {f"{side}{i}": c.control.family for side in "on" for i, c in enumerate(session.fit.columns)}
    return families | {"flags": Family.INTEGER, "place": Family.DATETIME}


def _query(session: Session, reading: Reading | None, after: Position | None, limit: int) -> sa.Select[Any]:
    """Rows of this station whose C is not B: B as o0…, control's editable columns as n0…, what is to become of them."""
    fit, c, b = session.fit, session.control_table, session.base
    readable = session.dialect.readable
    old = [readable(b.c[x.name], x.control).label(f"o{i}") for i, x in enumerate(fit.columns)]
    new = [readable(c.c[x.name], x.control, x.station).label(f"n{i}") for i, x in enumerate(fit.columns) if x.editable]
    query = (
        sa.select(*old, *new, _flags(session).label("flags"), stamp.of(fit, c).label("place"))
        .select_from(c.join(b, stage.same_key(fit, c, b)))
        .where(b.c[STATION] == session.pair.name, sa.not_(stage.Comparing(session).unedited(c, b)))
        .limit(limit)
    )
    if reading is None:
        return _pending(session, query, after)
    columns = extract.with_stamp(fit, {x.name: ordered(c.c[x.name], x.control) for x in fit.columns})
    where = extract.behind(session, columns, reading.start, after)
    return query.where(where).order_by(columns[fit.modified], *(columns[name] for name in fit.key))


def _flags(session: Session) -> sa.ColumnElement[int]:
    """An edit of a column that control may not edit is refused; its new `modified` alone does not travel then."""
    fit, c, b = session.fit, session.control_table, session.base
    same = stage.Comparing(session).same
    fixed = same(c, b, [x.name for x in fit.columns if not x.editable])
    edited = sa.not_(same(c, b, [x.name for x in fit.columns if x.editable and x.name not in fit.stamps]))
    return sa.case((fixed, _TRAVELS), (edited, _TRAVELS | _REFUSED), else_=_REFUSED) + sa.case(
        (pending.says(b, SEEN), _SEEN), else_=0
    )


def _pending(session: Session, query: sa.Select[Any], after: Position | None) -> sa.Select[Any]:
    base, fit = session.base, session.fit
    query = query.where(base.c[PENDING] > 0).order_by(
        *(ordered(base.c[name], fit.by_name[name].control) for name in fit.key)
    )
    return query if after is None else query.where(key_behind(fit, base, after.key))


def _in_quarantine(session: Session, new: pa.Table) -> set[int]:
    """Rows that the station refused before, or a person discarded, in the very version that we have now: not sent."""
    waiting = books.open_entries(session, Direction.DOWN, discarded=True) if new.num_rows else {}
    if not waiting:
        return set()
    skipped = set()
    for i, text in enumerate(key_texts(new, session.fit.key)):
        held = waiting.get(text)
        # What was kept because the row was gone, or for a column's sake, may go down by now.
        if held is None or held.reason.code in (Code.GONE, Code.NOT_EDITABLE):
            continue
        if held.row == kept.keep(wire_row(new, i)).text:
            skipped.add(i)
    return skipped


def _keep(session: Session, edits: Edits) -> int:
    """Keep what is replaced unseen, before anything is sent: of a push that is cut off behind the station's commit the
    next run only finds both sides equal. A version that lost in the merge before is kept already."""
    if not edits.unseen:
        return 0
    rows = []
    for i, key in zip(edits.unseen, keys_of(session, edits.old, list(edits.unseen)), strict=True):
        old, new = wire_row(edits.old, i), wire_row(edits.new, i)
        rows.append(Replaced(key_text(key), replaced.STATION, _OLDER, old, new, old, new))
    with session.transaction():
        return replaced.keep(session, rows, once=True)


def _settle(session: Session, edits: Edits, sent: Sent) -> Counts:
    counts = Counts(read=len(edits))
    now_there = edits.new.take(pa.array(sent.now_there, pa.int64()))
    if now_there.num_rows:
        before.remember(session, edits.old, edits.new, sent.now_there)
        move_base(session, now_there)
        counts += books.release(session, Direction.DOWN, now_there)
        journal_rows.pushed(session, edits.old, edits.new, sent)
        altered = session.known.altered.union(keys_of(session, edits.new, sent.at(ALTERED)))
        session.known = replace(session.known, sent=_newest_sent(session, edits, sent), altered=altered)
    waits = [*sent.at(CHANGED, MISSING, REFUSED, WAITS, LOCKED), *edits.unfit]
    mark_pending(session, keys_of(session, edits.old, waits))
    counts += books.quarantine_rows(session, Direction.DOWN, *cannot_go_down(session, edits, sent))
    counts += _release_outdated(session, edits, sent)
    return counts + Counts(
        applied=len(sent.applied),
        settled=len(sent.now_there) - len(sent.applied),
        missing=len(sent.at(MISSING)),
        changed=len(sent.look_again),
        locked=len(sent.at(LOCKED)),
    )


def _release_outdated(session: Session, edits: Edits, sent: Sent) -> Counts:
    """Of rows that could not be tried now, since the station changed them or somebody keeps them locked: entries of an
    older edit. Control has it no more, and the newer one, which waits, was not refused."""
    at = sent.at(CHANGED, LOCKED)
    entries = books.open_entries(session, Direction.DOWN) if at else {}
    if not entries:
        return Counts()
    texts = key_texts(edits.new, session.fit.key)
    changed = set(sent.at(CHANGED))
    outdated = []
    for i in (i for i in at if texts[i] in entries):
        row, reason = entries[texts[i]]
        there_again = i in changed and reason.code is Code.GONE
        if there_again or row != kept.keep(wire_row(edits.new, i)).text:
            outdated.append(texts[i])
    return Counts(released=books.set_state(session, Direction.DOWN, outdated, books.RELEASED))


def _newest_sent(session: Session, edits: Edits, sent: Sent) -> tuple[Position, ...]:
    """Control has these versions for certain."""
    at = sent.at(SENT, EQUAL)
    stamps = stamp.of_rows(session.fit, edits.new).take(pa.array(at, pa.int64())).to_pylist()
    rows = [Position(stamp, key) for stamp, key in zip(stamps, keys_of(session, edits.new, at), strict=True)]
    return remembered.newest_of(
        (*session.known.sent, *rows), remembered.horizon(session.station_clock, session.control_clock)
    )


def move_base(session: Session, rows: pa.Table) -> None:
    """B := what the station now has; `pending` where control was edited again meanwhile."""
    pushed = stage.stage_table(session, "stationsync_pushed")
    stage.recreate(session.control, pushed)
    stage.fill(session, pushed, rows)
    fit, base, control = session.fit, session.base, session.control_table
    there = stage.marks_table(session)
    stage.recreate(session.control, there)
    editable = [c.name for c in fit.columns if c.editable]
    again = sa.case((stage.Comparing(session).same(control, pushed, editable), 0), else_=1)
    keys = [pushed.c[name] for name in fit.key]
    # Apart: an UPDATE that reads control's rows would wait for those that an application has locked.
    query = sa.select(*keys, again).select_from(pushed.join(control, stage.same_key(fit, pushed, control)))
    session.control.execute(sa.insert(there).from_select([c.name for c in there.c], query))
    values: dict[Any, Any] = {base.c[name]: pushed.c[name] for name in fit.names}
    session.control.execute(
        sa.update(base)
        .values({**values, base.c[PENDING]: there.c[PENDING]})
        .where(stage.same_key(fit, pushed, base), stage.same_key(fit, pushed, there))
    )


def mark_pending(session: Session, keys: list[tuple[str | bytes, ...]]) -> None:
    """The next push looks at these rows, whenever they were edited; what is equal by now has nothing to wait for."""
    base, fit, control = session.base, session.fit, session.control_table
    if not keys:
        return
    where = [base.c[name] == sa.bindparam(f"k{i}") for i, name in enumerate(fit.key)]
    kinds = [fit.by_name[name].control for name in fit.key]
    rows = [{f"k{i}": native(v, k) for i, (v, k) in enumerate(zip(key, kinds, strict=True))} for key in keys]
    equal = sa.and_(stage.same_key(fit, control, base), stage.Comparing(session).unedited(control, base))
    where += [base.c[PENDING] <= 0, sa.not_(sa.exists().where(equal))]
    session.control.execute(
        sa.update(base).where(*where).values({base.c[PENDING]: pending.becomes(base, pending.WAITS)}), rows
    )


def cannot_go_down(session: Session, edits: Edits, sent: Sent) -> tuple[pa.Table, list[Reason]]:
    """Edits that cannot go down: the row is gone, the station refuses it, or control may not edit the column."""
    kept = [(i, GONE) for i in sent.at(MISSING)]
    kept += [(i, sent.reasons[i]) for i in sent.at(REFUSED, WAITS)]
    kept += list(edits.unfit.items())
    fixed = [c.name for c in session.fit.columns if not c.editable and c.name not in session.fit.key]
    columns = ", ".join(fixed or session.fit.key)
    why = Reason(Code.NOT_EDITABLE, (f"control may not edit these columns: {columns}",))
    already = {i for i, _ in kept}
    kept += [(i, why) for i, no in enumerate(edits.refused) if no and i not in already]
    rows = edits.new.take(pa.array([i for i, _ in kept], pa.int64()))
    return rows, [reason for _, reason in kept]


def keys_of(session: Session, rows: pa.Table, indexes: list[int]) -> list[tuple[str | bytes, ...]]:
    columns = [rows[name].take(pa.array(indexes, pa.int64())).to_pylist() for name in session.fit.key]
    return list(zip(*columns, strict=True)) if indexes else []
