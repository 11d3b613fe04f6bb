"""A column that is synchronised from today on: added at both sides one after the other, taken out of `exclude`, or
given another counterpart by `rename`. Nobody knows who is right, so it is adopted as rows are (DESIGN.md, section 2).

The base is made to know no value of it (NULL), and everything is read again. The rest is the rule, as ever: equal at
both sides is base; NULL at the station is control's edit, which goes down; NULL at control is the station's, which
comes up; two values are a conflict, with both rows kept.

The books remember which columns of both sides the base is about. One transaction, before a run does anything; a run
whose columns are the remembered ones only compares that."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa

from stationsync.database.statements import insert_ignore
from stationsync.model.schema import Side, folded
from stationsync.pairing.drift import column_names
from stationsync.pairing.fit import Fit
from stationsync.session.session import Session
from stationsync.store import bookkeeping, known_shapes
from stationsync.store.bookkeeping import STATION


def carried(fit: Fit) -> tuple[str, ...]:
    """Which columns the base is about: control's name and the station's, a line each, in lower case."""
    return tuple(sorted(_lines(fit)))


def adopt(session: Session) -> None:
    """Raises what a write at control raises."""
    lines = carried(session.fit)
    if session.seen.carried == lines:
        return
    with session.transaction():
        known = _remembered(session)
        if known != lines:
            _forget(session, _new(session, known, lines))
            _remember(session, lines)
    session.seen.carried = lines


def doubt(session: Session) -> None:
    """A column is gone at one side, and the run was refused. What comes back by its name may have other values."""
    if session.seen.carried is None or session.seen.fit is None:
        return
    lines = carried(session.seen.fit)
    left = [line for line in session.seen.carried if line in lines]
    if len(left) < len(session.seen.carried):
        values = {"description": "\n".join(left)}
        with session.transaction():
            session.control.execute(sa.update(bookkeeping.schema).where(_ours(session)).values(values))


def _remembered(session: Session) -> tuple[str, ...]:
    """Locked: a sweep and a run may begin at once."""
    table = bookkeeping.schema
    entry = _identity(session) | {"fingerprint": "", "description": "", "since": session.now}
    insert = insert_ignore(table)
    session.control.execute(insert.values(entry))
    text = session.control.scalar(sa.select(table.c.description).where(_ours(session)).with_for_update())
    return known_shapes.carried_lines(text) if text else ()


def _remember(session: Session, lines: Sequence[str]) -> None:
    text = "\n".join(lines)
    values = {
        "description": text,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:12],
        "since": session.now,
    }
    session.control.execute(sa.update(bookkeeping.schema).where(_ours(session)).values(values))


def _new(session: Session, known: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Control's names of columns that the base was not about, those of the key excepted."""
    before = set(known) or _of_the_last_run(session)
    if before is None:
        return []
    names = [column.name for column in session.fit.columns if column.name not in session.fit.key]
    new = {line.partition("\t")[0] for line in lines if line not in before}
    return [name for name in names if folded(name) in new]


def _of_the_last_run(session: Session) -> set[str] | None:
    """Books that do not tell yet: what both tables had in the last good run. None: there was none."""
    known = session.seen.known or {}
    if not {Side.STATION, Side.CONTROL} <= known.keys():
        return None
    own, control = (set(map(folded, column_names(known[side].description))) for side in (Side.STATION, Side.CONTROL))
    return {
        line
        for line, column in zip(_lines(session.fit), session.fit.columns, strict=True)
        if folded(column.name) in control and folded(column.station.name) in own
    }


def _lines(fit: Fit) -> list[str]:
    return [folded(f"{column.name}\t{column.station.name}") for column in fit.columns]


def _forget(session: Session, names: Sequence[str]) -> None:
    """The base knows no value of these columns, and the next pull and push read everything."""
    if not names:
        return
    pair, base, state = session.pair, session.base, bookkeeping.state
    has_one = sa.or_(*(base.c[name].is_not(None) for name in names))
    values = {base.c[name]: None for name in names}
    session.control.execute(sa.update(base).where(base.c[STATION] == pair.name, has_one).values(values))
    ours = (state.c.station == pair.name, state.c.table_name == pair.table)
    session.control.execute(sa.update(state).where(*ours).values(watermark=None, place=None, place_bound=None))


def _identity(session: Session) -> dict[str, str]:
    pair = session.pair
    return {"station": pair.name, "table_name": pair.table, "side": known_shapes.CARRIED}


def _ours(session: Session) -> sa.ColumnElement[bool]:
    return sa.and_(*(bookkeeping.schema.c[name] == value for name, value in _identity(session).items()))
