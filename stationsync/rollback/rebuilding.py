"""Rows that control lost are being brought back to it. Until all are there, those that are missing are no deletes
of control's: where `control_deletes: send`, no reconcile carries them to the station.

Its brake sees to that while many are missing. As they come back they are few, and whoever brings them may be cut
off."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.pairing.pair import Pair
from stationsync.rollback import brake
from stationsync.rollback.brake import BrakeFacts
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION, of_this_version, rebuilding
from stationsync.topology.model import ControlDeletes, TableDirection


def command(pair: Pair) -> str:
    """What brings back the rest."""
    return f"stationsync reseed-control {pair.name} --table {pair.table}"


def begin(session: Session) -> None:
    """Where more rows are missing than the brake lets go."""
    pair, options = session.pair, session.pair.options
    if options.control_deletes is not ControlDeletes.SEND or options.direction is TableDirection.UP:
        return
    with session.transaction():
        known, missing = _count(session)
        refused = brake.judge(BrakeFacts(known, known, at_station=missing), options.max_deletes)
        if refused and not is_open(session.control, pair):
            values = {"station": pair.name, "table_name": pair.table, "since": session.now}
            session.control.execute(sa.insert(rebuilding).values(values))


def end(session: Session) -> list[str]:
    """Once all are back; a warning where some are not."""
    pair = session.pair
    with session.transaction():
        if not is_open(session.control, pair):
            return []
        _, missing = _count(session)
        if not missing:
            close(session.control, pair)
            return []
    until = (
        f"{missing:,} more rows are missing at control; until they are back, no reconcile deletes rows at the station"
    )
    return [f"{until}: {command(pair)}"]


def is_open(conn: sa.Connection, pair: Pair) -> bool:
    with of_this_version():
        return conn.execute(sa.select(rebuilding.c.since).where(_is(pair))).first() is not None


def forget(session: Session) -> None:
    """Somebody said that control is right as it is."""
    with session.transaction():
        close(session.control, session.pair)


def close(conn: sa.Connection, pair: Pair) -> None:
    """In the caller's transaction."""
    with of_this_version():
        conn.execute(sa.delete(rebuilding).where(_is(pair)))


def _is(pair: Pair) -> sa.ColumnElement[bool]:
    return sa.and_(rebuilding.c.station == pair.name, rebuilding.c.table_name == pair.table)


def _count(session: Session) -> tuple[int, int]:
    """Rows that the base knows of this station, and how many of them control lacks."""
    fit, base, control = session.fit, session.base, session.control_table
    lacks = sa.func.sum(sa.case((control.c[fit.key[0]].is_(None), 1), else_=0))
    joined = base.outerjoin(control, stage.same_key(fit, base, control))
    query = sa.select(sa.func.count(), lacks).select_from(joined).where(base.c[STATION] == session.pair.name)
    known, missing = session.control.execute(query).one()
    return int(known), int(missing or 0)
