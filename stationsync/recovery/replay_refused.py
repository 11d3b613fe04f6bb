"""Rows of a replay that control does not take: kept in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.keeping import books
from stationsync.model.changes import Direction
from stationsync.model.wire import Family, key_text, key_texts, wire_row
from stationsync.pairing.keys import among
from stationsync.recovery.replay_page import Refused
from stationsync.recovery.replay_stage import row_of
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION

AT_ONCE = 500


def give_up(session: Session, refused: Sequence[Refused]) -> None:
    """The base forgets them, so that they are neither deletes nor edits of control's, and the station's row is merged
    as a new one."""
    fit, base = session.fit, session.base
    for start in range(0, len(refused), AT_ONCE):
        part = refused[start : start + AT_ONCE]
        own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
        where = (base.c[STATION] == session.pair.name, among([one.state.key for one in part], own))
        why = [[f"{one.words}: {one.why}"] for one in part]
        with session.journaled(Direction.UP):
            books.quarantine_rows(session, Direction.UP, _rows(session, part, sa.and_(*where)), why)
            session.control.execute(sa.delete(base).where(*where))


def _rows(session: Session, refused: Sequence[Refused], where: sa.ColumnElement[bool]) -> pa.Table:
    """As the journal has them; where it does not, as the base."""
    fit, base = session.fit, session.base
    columns = [session.dialect.readable(base.c[c.name], c.control).label(c.name) for c in fit.columns]
    known = session.read(sa.select(*columns).where(where), fit.families)
    of_base = {text: wire_row(known, i) for i, text in enumerate(key_texts(known, fit.key))}
    rows = []
    for one in refused:
        version = row_of(one.state.control) or of_base.get(key_text(one.state.key), {})
        rows.append({**dict(zip(fit.key, one.state.key, strict=True)), **version})
    return pa.table({name: _array(fit.families[name], [row.get(name) for row in rows]) for name in fit.names})


def _array(family: Family, values: Sequence[Any]) -> pa.Array:
    """A value that was text and is bytes now, or the other way round, may be why the row is refused."""
    if family in (Family.BINARY, Family.BIT):
        return pa.array([value.encode() if isinstance(value, str) else value for value in values], pa.binary())
    return pa.array([value.hex() if isinstance(value, bytes) else value for value in values], pa.string())
