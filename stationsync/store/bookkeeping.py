"""The tables that we keep in the control database, all prefixed `stationsync_`. Stations get none."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.dialect import ColumnTypes, Dialect
from stationsync.database.statements import MYSQL, Id, LongBytes, LongText, Moment, names_no_column, names_no_table
from stationsync.errors import NotInitialised, SchemaRefused
from stationsync.model.schema import SHAPES, Column, RawType, TableShape, folded, sql_name
from stationsync.topology.notation import BASE_PREFIX, NAME_LIMIT

metadata = sa.MetaData()


PREFIX = "stationsync_"
_CUT = 48
STATION = "stationsync_station"
# 0; or the next push looks at control's row, whenever it was edited. SEEN: what it replaces is known to its writer.
# RESTAMPED: control's database stamped the row when we wrote it; that is no edit, unless another column differs.
# A row that the station lacked when its table was taken as it is has other values: see `pending`.
PENDING = "stationsync_pending"
SEEN = 2
RESTAMPED = -1

# Begins the owner of a base row that its station still has, but no longer lets through (`where`): no name of a station
# begins so, and no rule about a station's rows meets it.
_LEFT = "-"

# One row per (station, table, direction): how far we are, and how the last run went.
state = sa.Table(
    "stationsync_state",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("direction", sa.String(8), primary_key=True),
    # A digest of what the mark is about (database, tables, columns); of anything else it says nothing.
    sa.Column("about", sa.String(64)),
    # Everything stamped before it was seen. On the source's own clock.
    sa.Column("watermark", Moment),
    # Where a run was cut off: the next one goes on behind this place, and may raise the watermark to the bound.
    sa.Column("place", LongText),
    sa.Column("place_bound", Moment),
    # The filter of rows (`where`) that it was made under, or that `init` has accepted since; empty: none.
    sa.Column("row_filter", LongText),
    # The newest rows that were seen (direction up), or sent: who no longer has them went back in time.
    sa.Column("newest", LongText),
    # What the station's server said of the table then (direction up), and what follows from it: `table_facts`.
    sa.Column("table_facts", LongText),
    # Source clock minus control's, microseconds as measured; and whole seconds as conflicts use it.
    sa.Column("clock_measured", sa.BigInteger),
    sa.Column("clock_offset", sa.Integer, nullable=False, default=0),
    # The station's UTC minus control's, microseconds.
    sa.Column("skew", sa.BigInteger),
    # Rows that were stamped some hours off the clock: how far, how many, in how many runs.
    sa.Column("stamps", sa.String(64)),
    sa.Column("run_at", Moment),
    sa.Column("done_at", Moment),
    sa.Column("status", sa.String(16)),
    sa.Column("message", LongText),
    # Rows of the station with NULL in the key, which are not carried (direction up); as the last run counted them.
    sa.Column("without_key", sa.BigInteger),
    # Rows of the station without a date in `modified`, which only a reconcile brings (direction up).
    sa.Column("without_date", sa.BigInteger),
    # Rows that control has of before, and that the filter lets through no more (direction up).
    sa.Column("outside", sa.BigInteger),
    **MYSQL,
)

# Rows that could not be applied, one entry per key and direction.
quarantine = sa.Table(
    "stationsync_quarantine",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("key_hash", sa.String(64), nullable=False),
    sa.Column("key_text", LongText, nullable=False),
    sa.Column("row_json", LongText, nullable=False),
    sa.Column("reasons", LongText, nullable=False),
    # Why, for the program (`reasons.Code`), and whose key it is where another station owns it. An older version wrote
    # no code: `init` gives it.
    sa.Column("code", sa.String(24)),
    sa.Column("owner", sa.String(63)),
    sa.Column("state", sa.String(10), nullable=False),  # open, released, discarded
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("first_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.UniqueConstraint("station", "table_name", "direction", "key_hash", name="stationsync_quarantine_key"),
    sa.Index("stationsync_quarantine_state", "state", "station", "table_name"),
    **MYSQL,
)

# Every conflict with both versions; nothing but a person's answer is ever written into one.
conflict = sa.Table(
    "stationsync_conflict",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("key_hash", sa.String(64), nullable=False),
    sa.Column("key_text", LongText, nullable=False),
    sa.Column("policy", sa.String(8), nullable=False),
    sa.Column("loser", sa.String(8), nullable=False),
    sa.Column("reason", LongText, nullable=False),
    sa.Column("columns", LongText, nullable=False),
    sa.Column("clock_offset", sa.Integer, nullable=False),
    # None: the station deleted the row.
    sa.Column("station_row", LongText),
    sa.Column("control_row", LongText),
    sa.Column("base_row", LongText),
    sa.Column("result_row", LongText),
    # None while nobody has looked at it; "done", "taken".
    sa.Column("answer", sa.String(8)),
    sa.Column("answered_at", Moment),
    sa.Index("stationsync_conflict_key", "station", "table_name", "key_hash"),
    **MYSQL,
)

# Rows that were deleted because the other side deleted them: what stood there before.
trash = sa.Table(
    "stationsync_trash",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("key_hash", sa.String(64), nullable=False),
    sa.Column("key_text", LongText, nullable=False),
    sa.Column("side", sa.String(8), nullable=False),  # where the row was deleted, or flagged: control, station
    sa.Column("row_json", LongText, nullable=False),  # all its columns there
    sa.Column("reason", LongText, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # kept, flagged, restored
    # None while nobody has looked at it.
    sa.Column("answered_at", Moment),
    sa.Index("stationsync_trash_key", "station", "table_name", "key_hash"),
    **MYSQL,
)

# One row per (station, table): the sweep under way, and what the last one proved.
proof = sa.Table(
    "stationsync_proof",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("status", sa.String(16)),
    sa.Column("message", LongText),
    sa.Column("run_at", Moment),
    # The sweep under way, or cut off: the keys up to `place` are done.
    sa.Column("about", sa.String(64)),
    sa.Column("begun_at", Moment),
    sa.Column("bound", Moment),
    sa.Column("place", LongText),
    sa.Column("found", LongText),
    # The last sweep that came to its end: equal up to this moment of the station's clock, but for the exceptions.
    sa.Column("equal_up_to", Moment),
    sa.Column("equal_at", Moment),
    sa.Column("equal_rows", sa.BigInteger),
    sa.Column("equal_digest", sa.String(16)),
    sa.Column("exceptions", LongText),
    **MYSQL,
)

# Deletes that a sweep found: what `--allow-deletes` allows once.
planned_delete = sa.Table(
    "stationsync_planned_delete",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("side", sa.String(8), primary_key=True),  # where the row is to be deleted
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("key_text", LongText, nullable=False),
    **MYSQL,
)

# What both tables of a pair looked like in its last good run. A pair has its own entry for control's table too: it is
# written under the pair's lease, and each pair is told of a change once. Written only when something changed.
schema = sa.Table(
    "stationsync_schema",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("side", sa.String(8), primary_key=True),  # whose table: station, control
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("description", LongText, nullable=False),
    # The first run that saw this fingerprint; and what it was before, None at first.
    sa.Column("since", Moment, nullable=False),
    sa.Column("before", LongText),
    **MYSQL,
)

# What is wrong, and what was: see `incident_book`. `station` is empty for what is the fleet's.
incident = sa.Table(
    "stationsync_incident",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("station", sa.String(63), nullable=False),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("over_id", sa.BigInteger, nullable=False),  # 0 while it lasts, then its id: one of a kind at a time
    sa.Column("since", Moment, nullable=False),
    sa.Column("what", LongText, nullable=False),
    sa.Column("next_step", LongText, nullable=False),
    sa.Column("run", sa.String(36), nullable=False),
    *(sa.Column(name, Moment) for name in ("opened", "told", "closed", "told_over", "claimed")),
    sa.UniqueConstraint("station", "table_name", "kind", "over_id", name="stationsync_incident_one"),
    **MYSQL,
)

# Values of kept rows that are too long for their row's JSON: see `kept`.
value = sa.Table(
    "stationsync_value",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("content", LongBytes, nullable=False),
    sa.Column("at", Moment, nullable=False),
    **MYSQL,
)


# Versions that a row had before, and that are not older by their stamp than the one that it got: see `before`.
before = sa.Table(
    "stationsync_before",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),  # a digest of its values
    sa.Column("at", Moment, nullable=False),
    **MYSQL,
)


def left_owner(station: str) -> str:
    """The owner of rows that `station` no longer lets through."""
    return _LEFT + station


def station_of(owner: str) -> str:
    """Whose row it is, let through or not."""
    return owner.removeprefix(_LEFT)


def key_hash(key_text: str) -> str:
    return hashlib.sha256(key_text.encode()).hexdigest()


def base_name(control_table: str) -> str:
    """A long name is cut, with a digest that tells it from others that begin alike."""
    name = BASE_PREFIX + control_table
    return name if len(name) <= NAME_LIMIT else f"{name[:_CUT]}_{_short_digest(control_table)}"


def _owner_index(control_table: str) -> str:
    name = BASE_PREFIX + control_table
    if len(name) > NAME_LIMIT:
        return f"{name[: _CUT - 9]}_{_short_digest(control_table)}_owner"
    return f"{name[:_CUT]}_owner"


def _short_digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def base_table(dialect: Dialect, control: TableShape, key: tuple[str, ...], names: list[str]) -> sa.Table:
    """The base of a control table: key as control knows it, owner, `pending`, columns compared byte by byte."""
    return _base_table(dialect, control, key, tuple(names))


@lru_cache(SHAPES)
def _base_table(dialect: Dialect, control: TableShape, key: tuple[str, ...], names: tuple[str, ...]) -> sa.Table:
    by_key = [control[name] for name in key]
    others = [control[name] for name in names if name not in key]
    return sa.Table(
        base_name(control.name),
        sa.MetaData(),
        *(sa.Column(c.name, RawType(dialect.key_type(c, c)), primary_key=True, quote=True) for c in by_key),
        sa.Column(STATION, sa.String(63), nullable=False),
        sa.Column(PENDING, sa.SmallInteger, nullable=False),
        *(sa.Column(c.name, RawType(dialect.stage_type(c)), nullable=True, quote=True) for c in others),
        sa.Index(_owner_index(control.name), STATION, PENDING),
        quote=True,
        **MYSQL,
    )


def is_among(name: str, present: Collection[str]) -> bool:
    """Whether a table is `present`: a server may keep all names in lower case (lower_case_table_names)."""
    return name in present or folded(name) in present


def create(conn: sa.Connection) -> list[str]:
    """Create the general tables that are missing; their names."""
    present = set(sa.inspect(conn).get_table_names())
    missing = [t for t in metadata.sorted_tables if t.name not in present]
    metadata.create_all(conn, tables=missing)
    return [t.name for t in missing]


def require_books(conn: sa.Connection) -> None:
    """Raises NotInitialised where our general tables are missing."""
    present = set(sa.inspect(conn).get_table_names())
    if missing := [table.name for table in metadata.sorted_tables if table.name not in present]:
        raise NotInitialised("control", f"the bookkeeping tables are not there: {', '.join(missing)}.")


def require_transactions(conn: sa.Connection, dialect: Dialect) -> None:
    """Raises SchemaRefused where a table of ours was moved to an engine that has no transactions."""
    found = dialect.without_transactions(conn, PREFIX)
    if not found:
        return
    engines = ", ".join(sorted(set(found.values())))
    what = f"the bookkeeping table {', '.join(found)} has no transactions (its engine is {engines})."
    alter = " ".join(f"ALTER TABLE {sql_name(name)} ENGINE=InnoDB;" for name in found)
    raise SchemaRefused("control", what, next_step=f"Type at control: {alter}")


@contextmanager
def of_this_version() -> Iterator[None]:
    """Around statements that name our general tables alone. Raises NotInitialised where one of these is not there yet,
    or lacks a column."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if names_no_column(error) or names_no_table(error):
            raise NotInitialised("control", "the bookkeeping is of an older version.") from error
        raise


def missing_columns(conn: sa.Connection) -> list[sa.Column[Any]]:
    """Columns that general tables of an older version do not have yet."""
    inspector = sa.inspect(conn)
    present = set(inspector.get_table_names())
    return [
        column
        for table in metadata.sorted_tables
        if table.name in present
        for column in table.columns
        if column.name not in {known["name"] for known in inspector.get_columns(table.name)}
    ]


def require(control: Database, table: TableShape, present: ColumnTypes, names: list[str], key: tuple[str, ...]) -> None:
    """Raises NotInitialised where a table's base is not there (`present`: its columns and types), lacks a column, or
    has one of another type, which could cut what it has to remember; SchemaRefused where it has another key."""
    if not present:
        raise NotInitialised(control.place, f"the bookkeeping of table {table.name} is not there.")
    require_key(control, table.name, present, key)
    missing = [name for name in names if name not in present]
    if missing:
        raise NotInitialised(control.place, f"the base of table {table.name} has no column {', '.join(missing)} yet.")
    if changed := [name for name in names if differs(present, table[name])]:
        what = f"column {', '.join(changed)} of table {table.name} has another type, or character set, than its base."
        raise NotInitialised(control.place, what)


def require_key(control: Database, table: str, base: ColumnTypes, key: tuple[str, ...]) -> None:
    """Raises SchemaRefused where a base that is there was made for another key: it would take two rows for one."""
    if not base or [name.lower() for name in base.key] == [name.lower() for name in key]:
        return
    what = f"the key of table {table} is [{', '.join(key)}], but its base was made for [{', '.join(base.key)}]."
    name = base_name(table)
    away = f"ALTER TABLE {sql_name(name)} RENAME TO {sql_name(f'old_{name}'[:64])}"
    if not control.dialect.is_server:  # an index keeps its name, which no other may have
        away = f"DROP INDEX {sql_name(_owner_index(table))}; {away}"
    next_step = (
        "Write the old key again in deployments/stations.yaml. To change it: with the old key, push what is waiting"
        " (stationsync push STATION, for all stations); then write the new key, rename the base away"
        f" ({away}), and take the rows over again: stationsync init"
    )
    raise SchemaRefused(control.place, what, not_done="Nothing was changed.", next_step=next_step)


def differs(present: ColumnTypes, column: Column) -> bool:
    """Whether a column of a base is of another type than control's, or of another character set, and could not be
    compared with it byte by byte."""
    charset = present.charsets.get(column.name)
    return bool(present[column.name]) and (present[column.name] != column.type or charset not in (None, column.charset))


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


# One row per (station, table), while rows of it are missing at control that nobody deleted.
rebuilding = sa.Table(
    "stationsync_rebuilding",
    metadata,
    sa.Column("station", sa.String(63), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("since", Moment, nullable=False),
    **MYSQL,
)
