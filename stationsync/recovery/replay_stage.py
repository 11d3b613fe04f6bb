"""Rows of a replay beside control's and the base's: the journal's versions in temporary tables, and what becomes of
each row. Only reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.database.statements import TEMPORARY
from stationsync.errors import RowRefused
from stationsync.model.schema import SHAPES, RawType
from stationsync.model.wire import Family
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import key_behind, ordered
from stationsync.recovery.replay_rule import Facts, Fate, Key, State, Told, Version, fate, shape
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION

SEQ = "stationsync_seq"
_CONTROL, _STATION = "stationsync_replay_control", "stationsync_replay_station"
_BINARY = (Family.BINARY, Family.BIT)


class Staged:
    """The versions that the journal has of these rows, all of one shape: control's (`control`), the station's
    (`station`), and their columns. Where there is none, `control` has the keys all the same."""

    def __init__(self, session: Session, states: Sequence[State]) -> None:
        fit = session.fit
        control, station = (set(names) for names in shape(states[0]))
        self.control_names = [name for name in fit.names if name in control]
        self.station_names = [name for name in fit.names if name in station]
        self.control = _table(session.dialect, fit, _CONTROL)
        self.station = _table(session.dialect, fit, _STATION)
        _fill(session, self.control, states, [row_of(one.control) for one in states], self.control_names)
        if self.station_names:
            _fill(session, self.station, states, [row_of(one.station) for one in states], self.station_names)


@lru_cache(SHAPES)
def _table(dialect: Dialect, fit: Fit, name: str) -> sa.Table:
    """The values are control's, whoever printed them: its types hold whatever may come from a station."""
    by_key = [fit.by_name[name].control for name in fit.key]
    keys = (sa.Column(c.name, RawType(dialect.key_type(c, c)), quote=True) for c in by_key)
    others = (
        sa.Column(c.name, RawType(dialect.stage_type(c.control)), nullable=True, quote=True)
        for c in fit.columns
        if c.name not in fit.key
    )
    seq = sa.Column(SEQ, sa.Integer, primary_key=True, autoincrement=False)
    return sa.Table(name, sa.MetaData(), seq, *keys, *others, **TEMPORARY)


def row_of(told: Told | None) -> Version:
    return (told.row if told is not None else None) or {}


def _fill(
    session: Session, table: sa.Table, states: Sequence[State], rows: Sequence[Version], names: Sequence[str]
) -> None:
    fit = session.fit
    columns: dict[str, Any] = {SEQ: pa.array([str(i) for i in range(len(states))])}
    for i, name in enumerate(fit.key):
        columns[name] = _array(fit.families[name], name, [one.key[i] for one in states])
    for name in names:
        if name not in fit.key:
            columns[name] = _array(fit.families[name], name, [row[name] for row in rows])
    stage.recreate(session.control, table)
    families = fit.families | {SEQ: Family.INTEGER}
    session.dialect.fill(session.control, table, pa.table(columns), families, session.pair.place)


def _array(family: Family, name: str, values: Sequence[str | bytes | None]) -> pa.Array:
    try:
        return pa.array(values, pa.binary() if family in _BINARY else pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RowRefused("control", f"column {name} was of another type when the journal was written") from error


def compare(session: Session, staged: Staged, states: Sequence[State], gap: int) -> list[tuple[State, Fate]]:
    """What becomes of each row, in their order. Nothing is locked: a row that control gets meanwhile is a duplicate of
    what is to be inserted, and looked at again."""
    fit, control, base = session.fit, session.control_table, session.base
    joined = staged.control.outerjoin(control, stage.same_key(fit, staged.control, control))
    joined = joined.outerjoin(base, stage.same_key(fit, staged.control, base))
    if staged.station_names:
        joined = joined.outerjoin(staged.station, staged.station.c[SEQ] == staged.control.c[SEQ])
    flags = [control.c[fit.key[0]].is_not(None), _known(session, staged), *_then(session, staged)]
    numbers = (sa.case((flag, 1), else_=0) for flag in flags)
    query = sa.select(staged.control.c[SEQ], base.c[STATION], *numbers).select_from(joined)
    found = {}
    for seq, owner, *facts in session.control.execute(query):
        here, known, as_then, edited = map(bool, facts)
        state = states[int(seq)]
        found[int(seq)] = fate(state, Facts(here, owner, known, as_then, edited), session.pair.name, gap)
    return [(state, found[i]) for i, state in enumerate(states)]


def _known(session: Session, staged: Staged) -> sa.ColumnElement[bool]:
    """Whether control's row is as the base or the journal has it."""
    same, control, base = stage.Comparing(session).same, session.control_table, session.base
    of_base = sa.and_(base.c[STATION].is_not(None), same(control, base))
    versions = ((staged.control, staged.control_names), (staged.station, staged.station_names))
    return sa.or_(of_base, *(same(control, table, names) for table, names in versions if names))


def _then(session: Session, staged: Staged) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Whether the base is as the journal has the station's row; and whether it has another one of control's."""
    same = stage.Comparing(session).same
    both = [name for name in staged.control_names if name in staged.station_names]
    if not both:
        return sa.false(), sa.false()
    as_then = same(session.base, staged.station, staged.station_names)
    return as_then, sa.not_(same(staged.control, staged.station, both))


# --- rows that the base knows and control lacks


def _lacking(session: Session) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
    fit, base, control = session.fit, session.base, session.control_table
    joined = base.outerjoin(control, stage.same_key(fit, base, control))
    return joined, sa.and_(base.c[STATION] == session.pair.name, control.c[fit.key[0]].is_(None))


def lacking_after(session: Session, after: Key | None, rows: int) -> list[State]:
    """The next of them, in the order of the key."""
    fit, base = session.fit, session.base
    joined, lacks = _lacking(session)
    kinds = {name: fit.by_name[name].control for name in fit.key}
    query = (
        sa.select(*(session.dialect.readable(base.c[name], kind).label(name) for name, kind in kinds.items()))
        .select_from(joined)
        .where(lacks)
        .order_by(*(ordered(base.c[name], kind) for name, kind in kinds.items()))
        .limit(rows)
    )
    if after is not None:
        query = query.where(key_behind(fit, base, after))
    families = {name: kind.family for name, kind in kinds.items()}
    with session.transaction():
        found = session.read(query, families)
    return [State(key) for key in zip(*(found[name].to_pylist() for name in fit.key), strict=True)]


def count_lacking(session: Session) -> int:
    joined, lacks = _lacking(session)
    with session.transaction():
        return int(session.control.scalar(sa.select(sa.func.count()).select_from(joined).where(lacks)) or 0)
