"""The table that backfills are remembered in."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.database.statements import MYSQL, Id, LongText, Moment
from stationsync.store.metadata import metadata

# One row per backfill: what was asked for, and how far it is.
backfill = sa.Table(
    "stationsync_backfill",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("asked", LongText, nullable=False),
    sa.Column("asked_hash", sa.String(64), nullable=False),
    # A digest of what its place is about: database, tables, columns, and the order that rows are read in.
    sa.Column("about", sa.String(64), nullable=False),
    sa.Column("limits", LongText, nullable=False),
    # Everything up to this row was merged.
    sa.Column("place", LongText),
    sa.Column("expected", sa.BigInteger),
    sa.Column("rows_read", sa.BigInteger, nullable=False),
    sa.Column("counts", LongText, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # open, done, dropped
    sa.Column("begun_at", Moment, nullable=False),
    sa.Column("moved_at", Moment, nullable=False),
    # By a person; `moved_at` says up to when it wrote.
    sa.Column("given_up_at", Moment),
    # Why it stopped.
    sa.Column("message", LongText, nullable=False),
    sa.Index("stationsync_backfill_asked", "station", "table_name", "asked_hash"),
    **MYSQL,
)
