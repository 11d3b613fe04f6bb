"""What the merge of a backfill does otherwise than a pull's: rows that control lost are brought back, and a row that
is older at the station than the base knows it is left, because a backfill never turns anything back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from stationsync.model.wire import key_texts
from stationsync.pairing import stamp
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.topology.model import ControlDeletes, TableDirection

OLDER = "older"


def lost(session: Session) -> sa.ColumnElement[bool]:
    """A row that the base knows and control lacks, where nobody is to carry that delete to the station."""
    options = session.pair.options
    if not session.backfill or options.direction is TableDirection.DOWN:
        return sa.false()
    if options.control_deletes is ControlDeletes.SEND and options.direction is TableDirection.BOTH:
        return sa.false()
    return session.control_table.c[session.fit.key[0]].is_(None)


def older(session: Session, staged: sa.FromClause) -> list[tuple[sa.ColumnElement[bool], str]]:
    """A row that went back: a restore, or an application that sets its dates back. Reconcile judges those."""
    older = stamp.of(session.fit, staged) < stamp.of(session.fit, session.base)
    return [(older, OLDER)] if session.backfill else []


def older_keys(session: Session, staged: sa.Table, decided: sa.Table) -> set[str]:
    """The texts of the keys of the rows that were left."""
    fit = session.fit
    columns: list[sa.ColumnElement[Any]] = [
        session.dialect.readable(staged.c[name], fit.by_name[name].staged).label(name) for name in fit.key
    ]
    query = (
        sa.select(*columns)
        .select_from(staged.join(decided, stage.same_key(fit, staged, decided)))
        .where(decided.c[stage.ACTION] == OLDER)
    )
    rows = session.read(query, {n: fit.families[n] for n in fit.key})
    return set(key_texts(rows, fit.key))
