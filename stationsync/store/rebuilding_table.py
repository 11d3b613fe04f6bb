"""The table at control of pairs whose rows are being brought back to control: see `rebuilding`."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.database.statements import MYSQL, Moment
from stationsync.store.metadata import metadata

# One row per (station, table), while rows of it are missing at control that nobody deleted.
rebuilding = sa.Table(
    "stationsync_rebuilding",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("since", Moment, nullable=False),
    **MYSQL,
)
