"""Rows that a station's filter (`where`) lets through no more, and those that come back.

Control keeps a row that left as it was last. The base says so by its owner (`bookkeeping.left_owner`), and no rule
about the station's rows meets it any more: nothing of it is sent, compared or missed. Once the filter lets it through
again, it is the station's as before, and what control edited meanwhile travels, or is a conflict.

A pull looks for them before it reads its pages, in the same window and by the same order: a row that leaves later is in
the window of the next run, as one that is edited later. A reconcile finds those that no watermark does."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import SchemaRefused
from stationsync.keeping import books
from stationsync.model.changes import Counts, Direction
from stationsync.model.wire import key_texts
from stationsync.pairing.keys import Key, among
from stationsync.pairing.watermark import Mark, Reading
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import pending
from stationsync.store.bookkeeping import PENDING, STATION, left_owner
from stationsync.topology.model import TableDirection

KEYS_A_PAGE = 50_000


def require_accepted(session: Session, mark: Mark) -> None:
    """Raises SchemaRefused where rows were read under another filter, and nobody has seen what the new one changes."""
    pair = session.pair
    now, before = pair.options.where or "", mark.row_filter or ""
    if now == before or (mark.watermark is None and mark.place is None):
        return
    raise SchemaRefused(
        pair.place,
        f"the filter of its rows was changed, from {_shown(before)} to {_shown(now)}.",
        next_step="See how many rows come and leave: stationsync init --dry-run; then take it: stationsync init",
    )


def _shown(where: str) -> str:
    return f"where: {where}" if where else "none"


def any_left(session: Session) -> bool:
    """Whether control has rows that left; in the caller's transaction."""
    return _any(session, left_owner(session.pair.name))


def _any(session: Session, owner: str) -> bool:
    query = sa.select(sa.literal(1)).where(session.base.c[STATION] == owner).limit(1)
    return session.control.execute(query).first() is not None


def count_left(session: Session) -> int:
    """Rows that control has of before."""
    owner = left_owner(session.pair.name)
    query = sa.select(sa.func.count()).select_from(session.base).where(session.base.c[STATION] == owner)
    with session.transaction():
        return int(session.control.scalar(query) or 0)


def leave(session: Session, reading: Reading) -> Counts:
    """What a pull does before its pages: rows in its window that left are control's alone from now on."""
    return _each_page(session, reading, write=True)


def count_leaving(session: Session, reading: Reading) -> Counts:
    """On a dry run: how many would."""
    return _each_page(session, reading, write=False)


def _each_page(session: Session, reading: Reading, *, write: bool) -> Counts:
    if session.pair.options.where is None:
        return Counts()
    with session.transaction():
        if not _any(session, session.pair.name):
            return Counts()  # before the first rows came, none can leave
    counts, after = Counts(), reading.after
    while True:
        rows = extract.read_places(session, session.outside, reading.start, after, KEYS_A_PAGE)
        if rows.num_rows == 0:
            return counts
        counts += Counts(outside=mark(session, rows) if write else count_known(session, rows))
        after = extract.position(rows, session.fit)


def mark_keys(session: Session, keys: Sequence[Key]) -> Counts:
    """Those of these rows that the station has, and its filter keeps back."""
    counts = Counts()
    for first in range(0, len(keys), KEYS_A_PAGE):
        counts += Counts(outside=mark(session, extract.outside_among(session, keys[first : first + KEYS_A_PAGE])))
    return counts


def left_keys(session: Session, most: int) -> tuple[Key, ...]:
    """Rows that left before; so many at most."""
    fit, base = session.fit, session.base
    readable = session.dialect.readable
    kinds = {name: fit.by_name[name].control for name in fit.key}
    query = sa.select(*(readable(base.c[name], kind).label(name) for name, kind in kinds.items()))
    query = query.where(base.c[STATION] == left_owner(session.pair.name)).limit(most)
    with session.transaction():
        rows = session.read(query, {name: kind.family for name, kind in kinds.items()})
    return tuple(zip(*(rows[name].to_pylist() for name in fit.key), strict=True))


def take_back_all(session: Session) -> None:
    """Before control gets its rows back: those that left are the station's again, until the filter is asked."""
    update = sa.update(session.base).where(session.base.c[STATION] == left_owner(session.pair.name))
    with session.transaction():
        session.control.execute(update.values({session.base.c[STATION]: session.pair.name}))


def take_back(session: Session, keys: Sequence[Key]) -> Counts:
    """Rows that left are the station's again, so that what follows deletes them as such."""
    base, fit = session.base, session.fit
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    for first in range(0, len(keys), extract.KEYS_A_QUERY):
        chosen = among(keys[first : first + extract.KEYS_A_QUERY], own)
        update = sa.update(base).where(base.c[STATION] == left_owner(session.pair.name), chosen)
        with session.transaction():
            session.control.execute(update.values({base.c[STATION]: session.pair.name}))
    return Counts()


def mark(session: Session, rows: pa.Table) -> int:
    """Rows of these keys leave, in one transaction; how many the base knew. Of others, and of what could not travel,
    the quarantine is released: the filter keeps it back."""
    base, texts = session.base, key_texts(rows, session.fit.key)
    with session.transaction():
        staged = _staged(session, rows)
        same = stage.same_key(session.fit, staged, base)
        update = sa.update(base).where(same, base.c[STATION] == session.pair.name)
        changed = session.control.execute(update.values({base.c[STATION]: left_owner(session.pair.name)}))
        for direction in (Direction.UP, Direction.DOWN):
            ended = sorted(books.open_entries(session, direction).keys() & set(texts))
            books.set_state(session, direction, ended, books.RELEASED)
        return int(changed.rowcount)


def count_known(session: Session, rows: pa.Table) -> int:
    """How many of these keys the base knows as the station's."""
    base = session.base
    with session.transaction():
        staged = _staged(session, rows)
        joined = staged.join(base, stage.same_key(session.fit, staged, base))
        query = sa.select(sa.func.count()).select_from(joined).where(base.c[STATION] == session.pair.name)
        return int(session.control.scalar(query) or 0)


def count_edited(session: Session, rows: pa.Table) -> int:
    """How many of these rows of the station's have an edit of control's that has not gone down."""
    base, control, fit = session.base, session.control_table, session.fit
    with session.transaction():
        staged = _staged(session, rows)
        joined = staged.join(base, stage.same_key(fit, staged, base)).join(control, stage.same_key(fit, base, control))
        edited = sa.not_(stage.Comparing(session).unedited(control, base))
        query = sa.select(sa.func.count()).select_from(joined)
        return int(session.control.scalar(query.where(base.c[STATION] == session.pair.name, edited)) or 0)


def _staged(session: Session, rows: pa.Table) -> sa.Table:
    staged = stage.keys_table(session)
    stage.recreate(session.control, staged)
    stage.fill(session, staged, rows.select(session.fit.key))
    return staged


def came_back(session: Session, staged: sa.Table) -> None:
    """Rows of a chunk that had left are the station's again; in the caller's transaction. The next push looks at
    control's, for edits meanwhile went nowhere."""
    if not session.known.left and session.pair.options.where is None:
        return
    base, name = session.base, session.pair.name
    waits = pending.becomes(base, pending.WAITS)
    up = session.pair.options.direction is TableDirection.UP
    back = sa.update(base).where(stage.same_key(session.fit, staged, base), base.c[STATION] == left_owner(name))
    values = {base.c[STATION]: name} if up else {base.c[STATION]: name, base.c[PENDING]: waits}
    session.control.execute(back.values(values))
