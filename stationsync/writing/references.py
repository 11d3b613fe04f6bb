"""Rows that refer to each other, in chains and circles: they are written with the server's checks off, and every
reference of theirs is looked for before the transaction may be committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.database.statements import once_more, referred_columns
from stationsync.errors import ParentMissing, RowRefused
from stationsync.keeping.blocked import Blocked, BlockedRow
from stationsync.model.reasons import Code
from stationsync.model.wire import Family
from stationsync.writing import unique_order
from stationsync.writing.target import N, Target

Rows = Callable[[Sequence[str]], sa.Select[Any]]


def is_missing(dialect: Dialect, place: str, error: BaseException) -> bool:
    """Whether a write failed because of a row that is not there."""
    known = error if isinstance(error, RowRefused) else dialect.explain_error(error, place, station=False)
    return isinstance(known, ParentMissing)


def follows(to: Target, rows: Rows) -> bool:
    """Whether these rows change a value that others refer to: with checks off, those would not follow."""
    names = sorted((referred_columns(to.conn, to.table.name) & to.synced) - set(to.key))
    if not names:
        return False
    new = rows([*to.key, *names]).subquery("rows_to_be")
    same = sa.and_(*(to.table.c[name] == new.c[name] for name in to.key))
    # Its own notion of sameness is finer than any reference's.
    sides = ([sa.cast(table.c[name], sa.LargeBinary) for table in (new, to.table)] for name in names)
    # Nobody refers to NULL.
    differs = sa.or_(*(sa.and_(b.is_not(None), a.is_distinct_from(b)) for a, b in sides))
    found = sa.select(sa.literal(1)).select_from(new.join(to.table, same)).where(differs).limit(1)
    return to.conn.execute(found).first() is not None


def require(to: Target, rows: Rows) -> None:
    """Raises Blocked for rows that refer to rows which are not there, or cannot stay. What they refer to is locked."""
    t, mine = to.table, rows(to.key).subquery("written")
    written = t.join(mine, sa.and_(*(t.c[name] == mine.c[name] for name in to.key)))
    missing: dict[int, str] = {}
    wants: dict[int, set[int]] = {}
    by: dict[tuple[int, int], str] = {}
    for one in sa.inspect(to.conn).get_foreign_keys(t.name):
        own, theirs = one["constrained_columns"], one["referred_columns"]
        columns: list[sa.Column[Any]] = [sa.Column(name, quote=True) for name in dict.fromkeys((*theirs, *to.key))]
        known = sa.Table(one["referred_table"], sa.MetaData(), *columns, schema=one["referred_schema"], quote=True)
        parent = known.alias("referred")
        same = sa.and_(*(parent.c[name] == t.c[mine_] for mine_, name in zip(own, theirs, strict=True)))
        whole = [t.c[name].is_not(None) for name in own]
        # All rows are asked for, not only those that lack something: what a query leaves out it does not keep locked.
        query = sa.select(mine.c[N], sa.case((parent.c[theirs[0]].is_(None), 1), else_=0))
        query = query.select_from(written.outerjoin(parent, same)).where(*whole).with_for_update(read=True)
        columns_ = f"{', '.join(own)}): no such row in {one['referred_table']} ({', '.join(theirs)})"
        why = f"foreign key {one['name']} ({columns_}"
        missing |= {int(n): why for n, lacks in to.conn.execute(query) if lacks}
        if one["referred_table"] == t.name and one["referred_schema"] is None:
            other = once_more(to.conn, mine, "stationsync_also_written")
            theirs_too = sa.and_(*(parent.c[name] == other.c[name] for name in to.key))
            query = sa.select(mine.c[N], other.c[N]).select_from(written.join(parent, same).join(other, theirs_too))
            for n, holder in to.conn.execute(query):
                if n != holder:
                    wants.setdefault(int(n), set()).add(int(holder))
                    by[int(n), int(holder)] = why
    if missing:
        behind = unique_order.cannot(wants, missing.keys())
        held = {**dict.fromkeys(behind, "it refers to a row that waits itself"), **missing}
        keys = _keys(to, mine)
        raise Blocked(to.place, [BlockedRow(n, keys[n], why) for n, why in sorted(held.items())], Code.WAITS_FOR_ROW)


def _keys(to: Target, mine: sa.Subquery) -> dict[int, tuple[str | bytes, ...]]:
    families = {N: Family.INTEGER} | {name: to.shape[name].family for name in to.key}
    read = to.dialect.read_all(to.conn, sa.select(*(mine.c[name] for name in (N, *to.key))), families)
    return {int(row[N]): tuple(row[name] for name in to.key) for row in read.to_pylist()}
