"""One page of a reseed compared: what the station, control and the base have of its rows, and what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.model.wire import Family
from stationsync.pairing.decide import differing
from stationsync.pairing.keys import Key, among, ordered
from stationsync.recovery.reseed_rule import Return, StationOutcome, give_back
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION
from stationsync.sync.conflicts import rule_of

_FATE, _LOOK = "stationsync_fate", "look"


@dataclass(frozen=True)
class Compared:
    """Rows of the base with what becomes of them: the station's, control's and the base's versions in wire form
    under control's names, and what the station is to have (`new`)."""

    keys: list[Key]
    fates: list[StationOutcome]
    kept: list[int]
    station: pa.Table
    control: pa.Table
    base: pa.Table
    new: pa.Table

    def at(self, *fates: StationOutcome) -> list[int]:
        return [i for i, fate in enumerate(self.fates) if fate in fates]


def look(session: Session, keys: Sequence[Key]) -> Compared:
    """Compare only, whoever has rows locked."""
    with session.station() as conn, conn.begin():
        there = read(session, conn, keys)
    with session.transaction():
        present = staged_present(session, there)
    with session.snapshot():
        return compare(session, keys, present, lock=False)


def read(session: Session, conn: sa.Connection, keys: Sequence[Key], *, lock: bool = False) -> pa.Table:
    dialect, table = session.pair.station.dialect, session.station_table
    columns = session.fit.columns
    own = [(table.c[c.station.name], c.station) for c in (session.fit.by_name[name] for name in session.fit.key)]
    query = sa.select(*(dialect.readable(table.c[c.station.name], c.station).label(c.name) for c in columns))
    query = query.where(among(keys, own))
    return dialect.read_all(conn, query.with_for_update() if lock else query, session.fit.families)


def staged_present(session: Session, there: pa.Table) -> sa.Table:
    present = stage.stage_table(session, "stationsync_present")
    stage.recreate(session.control, present)
    stage.fill(session, present, there)
    return present


def compare(session: Session, keys: Sequence[Key], present: sa.Table, *, lock: bool) -> Compared:
    columns, readable = session.fit.columns, session.dialect.readable
    lacking, same = session.control_table.c[session.fit.key[0]].is_(None), stage.Comparing(session).same
    fate = sa.case(
        (lacking, str(StationOutcome.VANISHED)),
        (present.c[session.fit.key[0]].is_(None), str(StationOutcome.INSERT)),
        (same(present, session.control_table), str(StationOutcome.EQUAL)),
        else_=_LOOK,
    )
    sides = (("s", present), ("c", session.control_table), ("b", session.base))
    wire = [
        readable(table.c[c.name], c.staged if side == "s" else c.control).label(f"{side}{i}")
        for side, table in sides
        for i, c in enumerate(columns)
    ]
    query = _of(session, keys, present, [*wire, fate.label(_FATE)], lock=lock)
    families = {
        f"{side}{i}": (c.station if side == "s" else c.control).family
        for side, _ in sides
        for i, c in enumerate(columns)
    }
    rows = session.read(query, families | {_FATE: Family.TEXT})
    fates = rows[_FATE].to_pylist()
    looked = _looked_at(session, keys, present, lock=lock) if _LOOK in fates else []
    s, c, b = (pa.table({x.name: rows[f"{side}{i}"] for i, x in enumerate(columns)}) for side in "scb")
    found = dict(zip((i for i, what in enumerate(fates) if what == _LOOK), looked, strict=True))
    return Compared(
        list(zip(*(b[name].to_pylist() for name in session.fit.key), strict=True)),
        [found[i][0].fate if i in found else StationOutcome(what) for i, what in enumerate(fates)],
        [i for i, (decided, _) in found.items() if decided.keep],
        s,
        c,
        b,
        _mixed(c, b, {i: from_base for i, (_, from_base) in found.items()}),
    )


def _of(
    session: Session, keys: Sequence[Key], present: sa.Table, columns: Sequence[sa.ColumnElement[Any]], *, lock: bool
) -> sa.Select[Any]:
    """Rows of these keys that the base knows of this station, in the order of the key. `lock`: so that control's
    application changes none of them between two of our looks."""
    fit, base, control = session.fit, session.base, session.control_table
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    joined = base.outerjoin(control, stage.same_key(fit, base, control))
    query = (
        sa.select(*columns)
        .select_from(joined.outerjoin(present, stage.same_key(fit, base, present)))
        .where(base.c[STATION] == session.pair.name, among(keys, own))
        .order_by(*(ordered(column, kind) for column, kind in own))
    )
    return query.with_for_update() if lock else query


def _looked_at(
    session: Session, keys: Sequence[Key], present: sa.Table, *, lock: bool
) -> list[tuple[Return, frozenset[str]]]:
    """Rows that both sides have, in different versions: decided by the rule, as values of one and the same server;
    and the columns that come from the base."""
    fit, control = session.fit, session.control_table
    sides = (("s", present), ("c", control), ("b", session.base))
    columns = [
        session.dialect.readable(table.c[c.name], c.staged if side == "s" else c.control).label(f"{side}{i}")
        for side, table in sides
        for i, c in enumerate(fit.columns)
    ]
    both = [t.c[fit.key[0]].is_not(None) for t in (present, control)]
    differ = sa.not_(stage.Comparing(session).same(present, control))
    query = _of(session, keys, present, columns, lock=lock).where(*both, differ)
    rule = rule_of(session)
    found = []
    for row in session.control.execute(query).mappings():
        s, c, b = ({n: row[f"{side}{i}"] for i, n in enumerate(fit.names)} for side in "scb")
        decided = give_back(s, c, b, rule)
        found.append((decided, frozenset(differing(decided.row, c)) if decided.row else frozenset()))
    return found


def _mixed(control: pa.Table, base: pa.Table, from_base: dict[int, frozenset[str]]) -> pa.Table:
    """Control's rows, some columns of some rows from the base."""
    mixed = control
    for name in frozenset().union(*from_base.values()):
        ours, theirs = control[name].to_pylist(), base[name].to_pylist()
        values = [theirs[i] if name in from_base.get(i, ()) else value for i, value in enumerate(ours)]
        column = pa.array(values, control.schema.field(name).type)
        mixed = mixed.set_column(mixed.column_names.index(name), name, column)
    return mixed
