"""The table at control of replays that are under way, or were cut off: see `replay_books`."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.bookkeeping_kinds import MYSQL, Moment, metadata

# One row per (station, table), while rows of it are missing at control that nobody deleted.
replay = sa.Table(
    "stationsync_replay",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    **MYSQL,
)
