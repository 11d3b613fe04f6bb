"""Rows of a merge that may be others than those that were known, where that is not certain: of a station whose keys may
have been given again (`went_back`), and of keys that its table had free when somebody took it as it is
(`table_facts.Again`). What they replace at control is kept as a conflict."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from stationsync import extract, stage, stamp
from stationsync.session import Session
from stationsync.topology import TableDirection

UNSEEN = "unseen"


def cases(session: Session, staged: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    """When a row of the chunk may be another than the base's."""
    if session.pair.options.direction is TableDirection.DOWN:
        return []
    found: list[sa.ColumnElement[bool]] = []
    fit, base = session.fit, session.base
    if session.doubtful:
        other = stage.Comparing(session).same(staged, base, [fit.made]) if fit.made else sa.false()
        found.append(sa.not_(other))
    again = session.remembered.again if session.remembered else None
    counted = next((c for c in fit.columns if c.name in fit.key and c.station.auto_increment), None)
    if again is not None and counted is not None:
        free: sa.ColumnElement[Any] = base.c[counted.name] >= again.low
        found.append(sa.and_(free, stamp.of(fit, base) <= extract.as_text(again.until)))
    return found
