"""Rows that somebody keeps locked, an application at either side: they wait for the next run, the others go through.

The first wait of a run is an ordinary one. If it was in vain, the run goes on carefully: waits are short, rows that
are locked are left out (SKIP LOCKED), and what still waits is found by halving. A locked row of a station that could
not be merged is kept in quarantine in the transaction that moves the watermark past it, and is read by its key with
every run until it went in; an edit of control's stays `pending`."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.statements import TEMPORARY, drop_temporary
from stationsync.errors import LockWait
from stationsync.keeping import books
from stationsync.model.changes import Counts, Direction
from stationsync.model.wire import key_texts
from stationsync.pairing.keys import among
from stationsync.session import extract, stage
from stationsync.session.session import Session

Key = tuple[str | bytes, ...]


def leave_out(
    session: Session, staged: sa.Table, rows: pa.Table, news: sa.ColumnElement[bool]
) -> tuple[pa.Table, Counts]:
    """The staged rows without those that are `news` (told from stage and base) and whose row at control is locked:
    they are taken out of the stage and kept."""
    if not (session.care.on and session.dialect.skips_locked(session.control)):
        return rows, Counts()
    keys = _locked(session, staged, news)
    if not keys:
        return rows, Counts()
    texts = set(key_texts(_table_of(session, keys), session.fit.key))
    at = [i for i, text in enumerate(key_texts(rows, session.fit.key)) if text in texts]
    if len(at) != len(keys):
        what = "rows are locked that cannot be told from the others by their keys"
        raise LockWait(session.pair.place, what)
    own = [(staged.c[name], session.fit.by_name[name].station) for name in session.fit.key]
    for first in range(0, len(keys), extract.KEYS_A_QUERY):
        session.control.execute(sa.delete(staged).where(among(keys[first : first + extract.KEYS_A_QUERY], own)))
    counts = keep(session, rows.take(pa.array(at, pa.int64())))
    apart = set(at)
    others = [i for i in range(rows.num_rows) if i not in apart]
    return rows.take(pa.array(others, pa.int64())), counts + Counts(read=len(at))


def keep(session: Session, rows: pa.Table) -> Counts:
    """In quarantine, until the next run."""
    reasons = [[books.LOCKED]] * rows.num_rows
    return books.quarantine_rows(session, Direction.UP, rows, reasons) + Counts(locked=rows.num_rows)


def _locked(session: Session, staged: sa.Table, news: sa.ColumnElement[bool]) -> list[Key]:
    """Keys of the stage that control has, and that are not free. Those that are free get locked."""
    conn, fit, base, control = session.control, session.fit, session.base, session.control_table
    columns = [sa.Column(c.name, c.type, primary_key=True, quote=True) for c in staged.primary_key.columns]
    free = sa.Table("stationsync_free", sa.MetaData(), *columns, **TEMPORARY)
    stage.recreate(conn, free)
    keys = [staged.c[name] for name in fit.key]
    there = staged.outerjoin(base, stage.same_key(fit, staged, base)).join(
        control, stage.same_key(fit, staged, control)
    )
    # In this order, so that no other row of control's is looked at.
    query = sa.select(*keys).select_from(there).where(news).prefix_with("STRAIGHT_JOIN")
    query = query.with_for_update(skip_locked=True)
    try:
        conn.execute(sa.insert(free).from_select([c.name for c in free.c], query))
    except sa.exc.DBAPIError:
        session.care.give_up()  # the whole table is locked
        raise
    printed = [session.dialect.readable(staged.c[n], fit.by_name[n].staged).label(n) for n in fit.key]
    taken = there.outerjoin(free, stage.same_key(fit, staged, free))
    rest = sa.select(*printed).select_from(taken).where(news, free.c[fit.key[0]].is_(None))
    families = {name: fit.families[name] for name in fit.key}
    found = session.dialect.read_all(conn, rest, families)
    drop_temporary(conn, free)
    return list(zip(*(found[name].to_pylist() for name in fit.key), strict=True)) if found.num_rows else []


def _table_of(session: Session, keys: Sequence[Key]) -> pa.Table:
    schema = extract.empty(session).schema
    columns = zip(session.fit.key, zip(*keys, strict=True), strict=True)
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns})
