"""Rows of a merge whose writer may not have seen what was known of them, where that is not certain: of a station whose
keys may have been given again (`went_back`), or whose table may be an older copy (`table_facts.Lacked`), and of rows
that its table lacked when somebody took it as it is (`pending`), or of whose keys its counter had not come to then
(`table_facts.Again`). What they replace at control is kept as a conflict."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync.pairing import stamp
from stationsync.pairing.decide import LACKED, MAYBE_COPY, MAYBE_OTHER
from stationsync.pairing.fit import Synced
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import pending
from stationsync.topology.model import TableDirection

UNSEEN = "unseen"


def cases(session: Session, staged: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    """When a row of the chunk may have been written by somebody who had not seen the base's."""
    if session.pair.options.direction is TableDirection.DOWN:
        return []
    fit, base = session.fit, session.base
    found: list[sa.ColumnElement[bool]] = [pending.is_lacked(base)]
    if session.known.doubtful:
        other = stage.Comparing(session).same(staged, base, [fit.made]) if fit.made else sa.false()
        found.append(sa.not_(other))
    again = session.known.remembered.again if session.known.remembered else None
    counted = _counted(session)
    if again is not None and counted is not None:
        free: sa.ColumnElement[Any] = base.c[counted.name] >= again.low
        found.append(sa.and_(free, stamp.of(fit, base) <= extract.as_text(again.until)))
    lacked = session.known.remembered.lacked if session.known.remembered else None
    if lacked is not None:
        at = stamp.of(fit, base)
        since: sa.ColumnElement[bool] = sa.true()
        if lacked.since is not None:
            text = extract.as_text(lacked.since)
            since = at >= text if lacked.inclusive else at > text
        found.append(sa.and_(since, at <= extract.as_text(lacked.until)))
    return found


def is_lacked(session: Session, at: datetime | None, row: Mapping[str, Any]) -> bool:
    """The same of a version that is in quarantine, and was stamped at this moment."""
    known = session.known.remembered
    if known is None or at is None:
        return False
    again, lacked, counted = known.again, known.lacked, _counted(session)
    if again is not None and counted is not None and int(row[counted.name]) >= again.low and at <= again.until:
        return True
    return lacked is not None and lacked.has(at)


def _counted(session: Session) -> Synced | None:
    fit = session.fit
    return next((c for c in fit.columns if c.name in fit.key and c.station.auto_increment), None)


def why(session: Session) -> str:
    """What is said of them."""
    if session.known.doubtful:
        return MAYBE_OTHER
    copy = session.known.remembered is not None and session.known.remembered.lacked is not None
    return MAYBE_COPY if copy else LACKED
