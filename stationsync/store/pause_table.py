"""The table that pauses are remembered in."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.database.statements import MYSQL, LongText, Moment
from stationsync.store.metadata import metadata

# One row per station that was ever paused: its last pause.
pause = sa.Table(
    "stationsync_pause",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("since", Moment, nullable=False),
    sa.Column("who", LongText, nullable=False),
    sa.Column("reason", LongText, nullable=False),
    # None while it lasts.
    sa.Column("resumed", Moment),
    **MYSQL,
)
