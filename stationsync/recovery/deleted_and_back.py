"""Rows that had been deleted, and that a restore of control's table brought back: they are in the trash, control has
them, and the base does not. It is told of them again, so that the next reconcile deletes them as before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.journal.format import Decided, Records
from stationsync.keeping import trash
from stationsync.model.changes import Direction
from stationsync.model.wire import key_text, parse_key_text
from stationsync.pairing import stamp
from stationsync.pairing.decide import moment
from stationsync.pairing.keys import Key, among
from stationsync.recovery.base_pages import PAGE
from stationsync.recovery.reseed_rule import POLICY
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import PENDING, STATION, key_hash
from stationsync.store.bookkeeping import trash as table
from stationsync.topology.model import Deletes, TableDirection
from stationsync.writing import locked

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
