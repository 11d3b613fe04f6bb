"""Rows that control's own database changes while we write them: a trigger stamps them, counts, or rewrites text.

What it makes of a row goes down with the next push. Where the station's database changes that, and control's the
answer again, nobody can make both sides equal. If only the stamps differ then, that is no edit of anybody's: the base
marks the row (`RESTAMPED`), and control's version counts as the base's as long as nothing else differs
(`Comparing.unedited`). A row that differs in more is kept in quarantine, as it is at control, until somebody edits it.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.keeping import books
from stationsync.model.changes import Counts, Direction, Origin
from stationsync.model.reasons import Code, Reason
from stationsync.model.wire import Family
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import PENDING, RESTAMPED, SEEN, STATION

# Where no trigger is seen (that takes a right of its own), this many rows of a chunk are looked at first.
_SAMPLE = 200


def settle(
    session: Session, staged: sa.Table, rows: int, origin: Origin, written: sa.ColumnElement[bool] | None = None
) -> Counts:
    """After rows of a chunk were written, `rows` in all; `written`: which, by default all of the chunk."""
    changed = _joined(session, staged, written)
    some = rows > _SAMPLE and not session.fit.control.triggers
    if rows == 0 or (some and not _any(session, staged, changed, _SAMPLE)):
        return Counts()
    stamp_only: sa.ColumnElement[bool] = _but_stamp(session, staged)
    query = sa.select(sa.func.count(), sa.func.sum(sa.case((stamp_only, 0), else_=1))).where(*changed)
    number, more = session.control.execute(query).one()
    if not number:
        return Counts()
    base = session.base
    waits: sa.ColumnElement[int] = sa.literal(SEEN)
    counts = Counts()
    if origin is Origin.OURS:
        waits = sa.case((stamp_only, RESTAMPED), else_=0)
        counts = _quarantine_disputed(session, staged, changed) if more else counts
    session.control.execute(sa.update(base).values({base.c[PENDING]: waits}).where(*changed))
    return counts


def is_any(session: Session, staged: sa.Table) -> bool:
    """Whether control has a staged row, of which the base has the same, otherwise than it was written."""
    query = sa.select(sa.literal(1)).where(*_joined(session, staged, None)).limit(1)
    return session.control.execute(query).first() is not None


def _joined(
    session: Session, staged: sa.Table, written: sa.ColumnElement[bool] | None
) -> tuple[sa.ColumnElement[bool], ...]:
    """Rows of the chunk that control does not have as they were written."""
    fit, base, control = session.fit, session.base, session.control_table
    ours = base.c[STATION] == session.pair.name
    keys = (stage.same_key(fit, staged, base), stage.same_key(fit, staged, control))
    differs = sa.not_(stage.Comparing(session).same(control, staged))
    return (*keys, ours, differs) if written is None else (*keys, ours, written, differs)


def _any(session: Session, staged: sa.Table, changed: tuple[sa.ColumnElement[bool], ...], rows: int) -> bool:
    name = session.fit.key[0]
    if session.fit.by_name[name].station.family is Family.BIT:
        return True  # the server compares it with numbers only
    key = staged.c[name]
    last = session.control.scalar(sa.select(key).order_by(key).offset(rows - 1).limit(1))
    query = sa.select(sa.literal(1)).where(key <= sa.bindparam(None, last, key.type), *changed).limit(1)
    return session.control.execute(query).first() is not None


def _but_stamp(session: Session, staged: sa.Table) -> sa.ColumnElement[bool]:
    fit = session.fit
    return stage.Comparing(session).same(session.control_table, staged, [n for n in fit.names if n not in fit.stamps])


def _quarantine_disputed(session: Session, staged: sa.Table, changed: tuple[sa.ColumnElement[bool], ...]) -> Counts:
    """What the station's database made of an edit, control's changed again."""
    fit, control = session.fit, session.control_table
    readable, same = session.dialect.readable, stage.Comparing(session).same
    sides = [(c, control if c.editable else staged) for c in fit.columns]
    columns = [readable(t.c[c.name], c.control, c.station).label(f"c{i}") for i, (c, t) in enumerate(sides)]
    others = [c.name for c in fit.columns if c.name not in fit.stamps]
    flags = [sa.case((same(control, staged, [name]), "0"), else_="1").label(f"d{i}") for i, name in enumerate(others)]
    query = sa.select(*columns, *flags).where(*changed, sa.not_(_but_stamp(session, staged)))
    families: dict[str, Family] = {f"c{i}": c.control.family for i, c in enumerate(fit.columns)}
    families |= {f"d{i}": Family.TEXT for i in range(len(others))}
    found = session.read(query, families)
    rows = pa.table({c.name: found[f"c{i}"] for i, c in enumerate(fit.columns)})
    which = zip(*(found[f"d{i}"].to_pylist() for i in range(len(others))), strict=True)
    return books.quarantine_rows(session, Direction.DOWN, rows, [_why(others, flags) for flags in which])


def _why(names: list[str], flags: tuple[Any, ...]) -> Reason:
    columns = ", ".join(name for name, flag in zip(names, flags, strict=True) if flag == "1")
    words = (
        f"the databases of both sides change {columns} whenever the row is written (triggers), so that it never becomes"
        " equal; each side keeps its own until somebody edits the row. Name the column under exclude:, or let the"
        " trigger spare our user"
    )
    return Reason(Code.DISPUTED, (words,))
