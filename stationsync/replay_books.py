"""Which replays into control are under way, or were cut off: until they have come to their end, rows that control
lacks are not deletes of control's. In the caller's transaction."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from stationsync.pair import Pair
from stationsync.replay_table import replay


def _is(pair: Pair) -> sa.ColumnElement[bool]:
    return sa.and_(replay.c.station == pair.name, replay.c.table_name == pair.table)


def command(pair: Pair) -> str:
    return f"stationsync journal replay {pair.name} --table {pair.table}"


def is_open(conn: sa.Connection, pair: Pair) -> bool:
    return conn.execute(sa.select(replay.c.at).where(_is(pair))).first() is not None


def begin(conn: sa.Connection, pair: Pair, now: datetime) -> None:
    if not is_open(conn, pair):
        conn.execute(sa.insert(replay).values(station=pair.name, table_name=pair.table, at=now))


def end(conn: sa.Connection, pair: Pair) -> None:
    conn.execute(sa.delete(replay).where(_is(pair)))
