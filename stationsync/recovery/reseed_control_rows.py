"""Rows that control is to get back, read: what the journal tells of them, in temporary tables, beside control and the
base; and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.database.statements import TEMPORARY
from stationsync.errors import RowRefused
from stationsync.keeping.replaced import Replaced
from stationsync.model.schema import SHAPES, RawType
from stationsync.model.wire import Family, key_text, wire_row
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import Key
from stationsync.recovery import base_pages
from stationsync.recovery.reseed_control_rule import (
    EDITS,
    ControlOutcome,
    ControlRowFacts,
    JournalState,
    Version,
    fate,
    is_edit,
    row_of,
    shape,
)
from stationsync.recovery.reseed_rule import POLICY
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import PENDING, STATION, station_of

SEQ, _OWNER, _LACKING = "stationsync_seq", "stationsync_owner", "stationsync_lacking"
BINARY = (Family.BINARY, Family.BIT)


@dataclass(frozen=True)
class Terms:
    """How rows are given back. `gap`: as in `reseed_control_rule.fate`; `missing`: only rows that control lacks."""

    gap: int = 0
    missing: bool = False


@dataclass(frozen=True)
class Rows:
    """Rows that control has otherwise than the base, or lacks, and what becomes of them; `control`, `base`: both
    versions in wire form, where there is one."""

    states: Sequence[JournalState]
    # Their numbers in the stage.
    numbers: Sequence[int]
    fates: Sequence[ControlOutcome]
    control: pa.Table
    base: pa.Table

    def at(self, *fates: ControlOutcome) -> list[int]:
        return [i for i, one in enumerate(self.fates) if one in fates]

    def new(self, i: int) -> Version:
        """What control is to have, of a row that the base knows."""
        base, edit = wire_row(self.base, i), row_of(self.states[i].control)
        return base | {name: edit[name] for name in base if name in edit} if self.fates[i] in EDITS else base

    def lost(self, i: int, result: Version, loser: str, why: str) -> Replaced:
        """The station is not asked: it has what the base has, as far as we know."""
        base, control = wire_row(self.base, i), wire_row(self.control, i)
        return Replaced(key_text(self.states[i].key), loser, why, base, control, base, result, policy=POLICY)


def is_lacking(session: Session) -> sa.ColumnElement[bool]:
    return session.control_table.c[session.fit.key[0]].is_(None)


def next_keys(session: Session, after: Key | None, *, missing: bool, left: bool) -> list[Key]:
    """The next rows of the base that control has otherwise, or lacks; with `missing`, only these. With `left`, also of
    rows that left the station's filter."""
    differs = sa.false() if missing else sa.not_(stage.Comparing(session).unedited(session.control_table, session.base))
    return base_pages.next_keys(session, after, sa.or_(is_lacking(session), differs), left=left)


class Staged:
    """The versions that the journal has of these rows, all of one shape, in temporary tables: control's (`control`),
    the station's (`station`), and their columns. Where there is none, `control` has the keys all the same."""

    def __init__(self, session: Session, states: Sequence[JournalState]) -> None:
        fit = session.fit
        control, station = (set(names) for names in shape(states[0]))
        self.states = states
        self.control_names = [name for name in fit.names if name in control]
        self.station_names = [name for name in fit.names if name in station]
        self.control = _table(session.dialect, fit, "stationsync_told_control")
        self.station = _table(session.dialect, fit, "stationsync_told_station")
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
    number = sa.Column(SEQ, sa.Integer, primary_key=True, autoincrement=False)
    return sa.Table(name, sa.MetaData(), number, *keys, *others, **TEMPORARY)


def _fill(
    session: Session, table: sa.Table, states: Sequence[JournalState], rows: Sequence[Version], names: Sequence[str]
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
        return pa.array(values, pa.binary() if family in BINARY else pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RowRefused("control", f"column {name} was of another type when the journal was written") from error


def read(
    session: Session, staged: Staged, terms: Terms, at: Sequence[int] | None = None, *, lock: bool = False
) -> Rows:
    """Those of the rows that the base does not have just as control does; or those with the numbers `at`."""
    fit, control, base, mine = session.fit, session.control_table, session.base, staged.control
    joined = mine.outerjoin(control, stage.same_key(fit, mine, control))
    joined = joined.outerjoin(base, stage.same_key(fit, mine, base))
    if staged.station_names:
        joined = joined.outerjoin(staged.station, staged.station.c[SEQ] == mine.c[SEQ])
    flags = _flags(session, staged)
    columns = [
        session.dialect.readable(table.c[c.name], c.control).label(f"{side}{i}")
        for side, table in (("b", base), ("c", control))
        for i, c in enumerate(fit.columns)
    ]
    query = sa.select(
        mine.c[SEQ].label(SEQ),
        base.c[STATION].label(_OWNER),
        base.c[PENDING].label(PENDING),
        *(sa.case((flag, "1"), else_="0").label(name) for name, flag in flags.items()),
        *columns,
    ).select_from(joined)
    if at is None:
        query = query.where(sa.or_(base.c[STATION].is_distinct_from(session.pair.name), sa.not_(flags["same"])))
    else:
        query = query.where(mine.c[SEQ].in_(at))
    query = query.order_by(mine.c[SEQ])
    families = {f"{side}{i}": c.control.family for side in "bc" for i, c in enumerate(fit.columns)}
    families |= dict.fromkeys([_OWNER, *flags], Family.TEXT) | {SEQ: Family.INTEGER, PENDING: Family.INTEGER}
    found = session.read(query.with_for_update() if lock else query, families)
    was, now = (pa.table({c.name: found[f"{side}{i}"] for i, c in enumerate(fit.columns)}) for side in "bc")
    numbers = [int(number) for number in found[SEQ].to_pylist()]
    states = [staged.states[number] for number in numbers]
    fates = []
    for i, told in enumerate(found.select([_OWNER, PENDING, *flags]).to_pylist()):
        known = {name: told[name] == "1" for name in flags}
        here = not known.pop(_LACKING)
        waits = int(told[PENDING] or 0) > 0
        stays = here and is_edit(wire_row(now, i), wire_row(was, i), fit.stamps, waits=waits)
        owner = station_of(told[_OWNER]) if told[_OWNER] else None
        facts = ControlRowFacts(here, owner, stays=stays, **known)
        fates.append(fate(states[i], facts, session.pair.name, terms.gap, missing=terms.missing))
    return Rows(states, numbers, fates, now, was)


def _flags(session: Session, staged: Staged) -> Mapping[str, sa.ColumnElement[bool]]:
    """The comparisons of `ControlRowFacts`, by their names there."""
    comparing, control, base = stage.Comparing(session), session.control_table, session.base
    same, mine, theirs = comparing.same, staged.control, staged.station
    both = [name for name in staged.control_names if name in staged.station_names]
    no = sa.false()
    return {
        _LACKING: is_lacking(session),
        "same": sa.and_(base.c[STATION].is_not(None), comparing.unedited(control, base)),
        "as_control": same(control, mine, staged.control_names) if staged.control_names else no,
        "as_station": same(control, theirs, staged.station_names) if staged.station_names else no,
        "as_then": same(base, theirs, staged.station_names) if both else no,
        "edited": sa.not_(same(mine, theirs, both)) if both else no,
    }
