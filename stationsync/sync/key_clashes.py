"""Rows that are several at the station and would be one at control, because both compare the text of their keys by
other rules (collations: each version of a server has another default). One of them travels; the others are kept in
quarantine with its key, and go in by themselves once that one is gone.

The one that the base knows goes first. A row of which the base knows another spelling is the same row, given another
key, where the station has that spelling no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.statements import TEMPORARY
from stationsync.model.changes import Checked
from stationsync.model.reasons import Code, Reason
from stationsync.model.schema import RawType
from stationsync.model.wire import Family, key_text, key_texts
from stationsync.pairing.fitting import keys_may_clash
from stationsync.pairing.keys import Key, sameness
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION, left_owner

_SEQ = "stationsync_seq"


def set_apart(session: Session, checked: Checked) -> Checked:
    """With the rows that may not travel among the bad ones. Reads the station where the base has another spelling."""
    if not keys_may_clash(session.fit):
        return checked
    return checked.set_apart(held(session, checked.chunk.rows))


def held(session: Session, rows: pa.Table, *, based: bool = True) -> Mapping[int, Reason]:
    """Of rows in wire form: number -> why it may not travel. `based`: there is a base to ask."""
    if not rows.num_rows or not keys_may_clash(session.fit):
        return {}
    with session.transaction():
        staged = _staged(session, rows)
        several, spelled = _several(session, staged), _spelled_otherwise(session, staged) if based else {}
    there = _at_station(session, list(dict.fromkeys(spelled.values())))
    texts, found = key_texts(rows, session.fit.key), dict[int, Reason]()
    in_several = {i for group in several for i in group}
    for group in (*several, *([i] for i in spelled if i not in in_several)):
        known = next((spelled[i] for i in group if i in spelled), None)
        # Where the base has one of them, that is spelled as it is.
        first = None if known is None else next((i for i in group if i not in spelled), None)
        if first is None and known not in there:
            first = group[0]
        taken = texts[first] if first is not None else key_text(known or ())
        found |= {i: _reason(taken) for i in group if i != first}
    return found


def _reason(taken: str) -> Reason:
    what = f"control takes its key for that of another row of the station, {taken}"
    return Reason(Code.KEY_CLASH, (f"{what}: the collations of the key differ; that row travels, this one does not",))


def _staged(session: Session, rows: pa.Table) -> sa.Table:
    """The keys with their numbers; none of them is refused for being there twice."""
    fit, key_type = session.fit, session.dialect.key_type
    kinds = {name: RawType(key_type(fit.by_name[name].station, fit.by_name[name].control)) for name in fit.key}
    staged = sa.Table(
        "stationsync_clashes",
        sa.MetaData(),
        sa.Column(_SEQ, sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, kind, nullable=False, quote=True) for name, kind in kinds.items()),
        **TEMPORARY,
    )
    stage.recreate(session.control, staged)
    numbers = pa.array([str(i) for i in range(rows.num_rows)])
    numbered = rows.select(fit.key).append_column(_SEQ, numbers)
    session.dialect.fill(session.control, staged, numbered, {**fit.families, _SEQ: Family.INTEGER}, session.pair.place)
    return staged


def _several(session: Session, staged: sa.Table) -> list[list[int]]:
    """Numbers of the rows that control takes for one, in their order."""
    key = [staged.c[name] for name in session.fit.key]
    first = sa.func.min(staged.c[_SEQ]).over(partition_by=key).label("first")
    number = sa.func.count().over(partition_by=key).label("rows")
    found = sa.select(staged.c[_SEQ], first, number).subquery()
    query = sa.select(found.c[_SEQ], found.c.first).where(found.c.rows > 1).order_by(found.c[_SEQ])
    groups = defaultdict[int, list[int]](list)
    for number_of_row, of in session.control.execute(query):
        groups[int(of)].append(int(number_of_row))
    return list(groups.values())


def _spelled_otherwise(session: Session, staged: sa.Table) -> dict[int, Key]:
    """Number -> the key of the base's row that control takes it for, where that is spelled in another way."""
    fit, base, dialect = session.fit, session.base, session.dialect
    kinds = {name: fit.by_name[name].control for name in fit.key}
    alike = [dialect.exact(staged.c[n], kind) == dialect.exact(base.c[n], kind) for n, kind in kinds.items()]
    query = (
        sa.select(staged.c[_SEQ].label(_SEQ), *(dialect.readable(base.c[n], k).label(n) for n, k in kinds.items()))
        .select_from(staged.join(base, stage.same_key(fit, staged, base)))
        .where(base.c[STATION].in_([session.pair.name, left_owner(session.pair.name)]), sa.not_(sa.and_(*alike)))
    )
    rows = session.read(query, {_SEQ: Family.INTEGER, **{name: kind.family for name, kind in kinds.items()}})
    keys = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
    return dict(zip(map(int, rows[_SEQ].to_pylist()), keys, strict=True))


def _at_station(session: Session, keys: Sequence[Key]) -> set[Key | None]:
    """Those of the base's keys of which the station has a row, spelled so."""
    if not keys:
        return set()
    columns = [session.fit.by_name[name] for name in session.fit.key]
    ours = [sameness(column.control, column.station) for column in columns]
    theirs = [sameness(column.station, column.control) for column in columns]
    rows = extract.read_keys(session, keys, unfiltered=True).rows
    there = zip(*(rows[name].to_pylist() for name in session.fit.key), strict=True)
    spelled = {tuple(same(part) for same, part in zip(theirs, key, strict=True)) for key in there}
    return {key for key in keys if tuple(same(part) for same, part in zip(ours, key, strict=True)) in spelled}
