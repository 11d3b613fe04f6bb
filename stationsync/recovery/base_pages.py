"""The rows that the base knows of a station, by their keys, a page after the other."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.pairing.keys import Key, key_behind, ordered
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION, left_owner

PAGE = 500


def next_keys(session: Session, after: Key | None, *where: sa.ColumnElement[bool], left: bool = False) -> list[Key]:
    """The next keys that the base knows of this station; those too that `left` its filter, where asked for. `where` may
    ask what control has of them."""
    owners = [session.pair.name, *([left_owner(session.pair.name)] if left else [])]
    fit, base, control = session.fit, session.base, session.control_table
    kinds = {name: fit.by_name[name].control for name in fit.key}
    query = (
        sa.select(*(session.dialect.readable(base.c[name], kind).label(name) for name, kind in kinds.items()))
        .select_from(base.outerjoin(control, stage.same_key(fit, base, control)) if where else base)
        .where(base.c[STATION].in_(owners), *where)
        .order_by(*(ordered(base.c[name], kind) for name, kind in kinds.items()))
        .limit(PAGE)
    )
    if after is not None:
        query = query.where(key_behind(fit, base, after))
    families = {name: kind.family for name, kind in kinds.items()}
    with session.transaction():
        rows = session.read(query, families)
    return list(zip(*(rows[name].to_pylist() for name in fit.key), strict=True))
