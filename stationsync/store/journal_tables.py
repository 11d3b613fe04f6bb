"""The journal's two tables at control: what was written, and in which files it is.

A file belongs to the journal from the commit that names it on. `staged`: it still lies where nobody else looks for it;
`placed`: where everybody does; `doomed`: pruned, or merged into another one, and to be deleted."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.database.statements import MYSQL, LongText, Moment
from stationsync.store.metadata import metadata

journal_file = sa.Table(
    "stationsync_journal_file",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    # The journal's place when it was written, and both places of the file in it.
    sa.Column("root", LongText, nullable=False),
    sa.Column("staging", LongText, nullable=False),
    sa.Column("path", LongText, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("first_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.Index("stationsync_journal_file_state", "state", "station", "table_name"),
    sa.Index("stationsync_journal_file_age", "last_at"),
    **MYSQL,
)

# One row per transaction of control that changed something, in the order of `at`, which no two of a pair share.
journal = sa.Table(
    "stationsync_journal",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("run", sa.String(36), nullable=False),
    # The Prefect flow run, where there was one.
    sa.Column("flow_run", sa.String(36)),
    # What was read: from the watermark less the lookback, up to the safe bound; None for rows fetched by key.
    sa.Column("window_from", Moment),
    sa.Column("window_to", Moment),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("unchanged", sa.BigInteger, nullable=False),
    # JSON: decision -> rows.
    sa.Column("decisions", LongText, nullable=False),
    # None: the journal could not be written, and need not be (`required: false`).
    sa.Column("file", sa.String(32)),
    sa.Column("lost", LongText),
    sa.Index("stationsync_journal_pair", "station", "table_name", "at"),
    sa.Index("stationsync_journal_run", "run"),
    sa.Index("stationsync_journal_of_file", "file"),
    **MYSQL,
)
