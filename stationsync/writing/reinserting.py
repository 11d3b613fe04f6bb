"""Rows that are taken out of their table, whole, and put back with other values of its unique indexes: for values that
are handed on where none is free to park a row on.

All columns come along, also those that are not synchronised, so that no trace is left. Within the caller's
transaction; where it cannot be done, `why_not` says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import sqlalchemy as sa

from stationsync.database import reinserting
from stationsync.database.statements import create_temporary, delete_joined, drop_temporary
from stationsync.writing.target import N, Target

_AWAY = "stationsync_away"


def why_not(to: Target, final: sa.Table) -> str | None:
    return reinserting.why_not(to.conn, to.shape, _changing(to, final))


def reinsert(to: Target, final: sa.Table, numbers: Sequence[int], *, checked: bool) -> None:
    """These rows of `final` get its values of the columns that are written. `checked`: what they refer to has to be
    there. Raises RowRefused."""
    conn, table, changing = to.conn, to.table, _changing(to, final)
    names = [c.name for c in to.shape.columns if not c.generated]
    away = sa.Table(_AWAY, sa.MetaData(), *(sa.Column(name, quote=True) for name in names))
    mine = final.c[N].in_(numbers)
    drop_temporary(conn, away)
    whole = sa.select(*(table.c[name] for name in names))
    create_temporary(conn, _AWAY, whole)
    # Locked: what somebody wrote into them a moment ago comes along as well.
    rows = whole.select_from(table.join(final, _same_key(to, final, table))).where(mine).with_for_update()
    conn.execute(sa.insert(away).from_select(names, rows))
    with to.dialect.unchecked(conn):
        delete_joined(conn, table, final, sa.and_(_same_key(to, final, table), mine))
    back = sa.select(*(final.c[name] if name in changing else away.c[name] for name in names))
    back = back.select_from(away.join(final, _same_key(to, final, away))).where(mine)
    with nullcontext() if checked else to.dialect.unchecked(conn):
        conn.execute(sa.insert(table).from_select(names, back))
    to.dialect.refuse_changed_values(conn, to.place)
    drop_temporary(conn, away)


def _changing(to: Target, final: sa.Table) -> set[str]:
    return {c.name for c in final.c if c.name in to.written and c.name not in to.key and not to.shape[c.name].generated}


def _same_key(to: Target, final: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(*(final.c[name] == other.c[name] for name in to.key))
