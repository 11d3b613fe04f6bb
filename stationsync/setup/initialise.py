"""`init`: the bookkeeping tables, and adopting control rows that an older set-up has already filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.dialect import ColumnTypes
from stationsync.database.mariadb import limits
from stationsync.errors import Refused, SchemaRefused, StationSyncError, Unexpected, guarded
from stationsync.model.schema import TableShape
from stationsync.pairing.fitting import alone
from stationsync.pairing.pair import Pair
from stationsync.setup import reason_codes
from stationsync.store import bookkeeping


@dataclass(frozen=True)
class Initialised:
    """What was made (or, on a dry run, would be): table names, and columns added to bases ("base.column")."""

    tables: tuple[str, ...]
    columns: tuple[str, ...]
    # Control tables that could not be looked at, or given a base.
    errors: Mapping[str, StationSyncError] = field(default_factory=dict)


def initialise(control: Database, pairs: Sequence[Pair], *, dry_run: bool = False) -> Initialised:
    """Create the bookkeeping tables and a base for each control table that `pairs` name.

    A base has every column of control's table that any station may synchronise, so none need be reachable. Of a column
    that is new to it, it knows no value: see `adopt_columns`.
    A control table that is missing, does not fit or has a base for another key stops none of the others.
    Raises SchemaRefused where our own tables have no transactions."""
    tables: list[str] = []
    columns: list[str] = []
    errors: dict[str, StationSyncError] = {}
    with control.connect() as conn, control.errors():
        with conn.begin():
            bookkeeping.require_transactions(conn, control.dialect)
            shapes: dict[str, TableShape] = {}
            for pair in pairs:
                with _alone(control, pair.control_table, errors):
                    shapes[pair.control_table] = _control_shape(conn, pair)
        shapes = {name: shape for name, shape in shapes.items() if name not in errors}
        pairs = [one.spelled(shapes[one.control_table]) for one in pairs if one.control_table in shapes]
        if errors and not shapes:
            return Initialised((), (), errors)
        with conn.begin():
            tables += _missing_general(conn) if dry_run else bookkeeping.create(conn)
            for column in bookkeeping.missing_columns(conn):
                columns.append(f"{column.table.name}.{column.name}")
                if not dry_run:
                    _alter(conn, column.table, "ADD", column)
            if not dry_run:
                reason_codes.give(conn)
        for name, shape in shapes.items():
            sharing = [pair for pair in pairs if pair.control_table == name]
            with _alone(control, name, errors):
                made, added = _base(conn, sharing, shape, dry_run)
                tables += made
                columns += added
    return Initialised(tuple(tables), tuple(columns), errors)


@contextmanager
def _alone(control: Database, table: str, errors: dict[str, StationSyncError]) -> Iterator[None]:
    """What is wrong with one table stops none of the others."""
    try:
        with guarded(f"control/{table}"), control.errors():
            yield
    except (Refused, Unexpected) as error:
        errors.setdefault(table, error)


def _missing_general(conn: sa.Connection) -> list[str]:
    present = set(sa.inspect(conn).get_table_names())
    return [t.name for t in bookkeeping.metadata.sorted_tables if t.name not in present]


def _control_shape(conn: sa.Connection, pair: Pair) -> TableShape:
    shape = pair.control.dialect.reflect(conn, pair.control_table)
    if shape is None:
        what = f"there is no table {pair.control_table}."
        raise SchemaRefused("control", what, next_step="Create it at control, then run: stationsync init")
    # The key and the types must be right at control whatever the stations have.
    alone(f"control/{pair.control_table}", shape, pair.options, None).require()
    base = pair.control.dialect.column_types(conn, bookkeeping.base_name(pair.control_table))
    bookkeeping.require_key(pair.control, pair.control_table, base, pair.options.key)
    return shape


def _base(
    conn: sa.Connection, sharing: Sequence[Pair], shape: TableShape, dry_run: bool
) -> tuple[list[str], list[str]]:
    pair = sharing[0]
    table = base_of(sharing, shape)
    with limits.explained(f"control/{shape.name}", pair.options.key), conn.begin():
        present = pair.control.dialect.column_types(conn, table.name)
        if not present:
            if not dry_run:
                table.create(conn)
            return [table.name], []
        missing = [c for c in table.columns if c.name not in present]
        changed = [c for c in table.columns if c.name in shape and _changed(c.name, shape, present)]
        if not dry_run:
            for column in missing:
                _alter(conn, table, "ADD", column)
            for column in changed:
                _alter(conn, table, "MODIFY", column)
    return [], [f"{table.name}.{c.name}" for c in [*missing, *changed]]


def base_of(sharing: Sequence[Pair], shape: TableShape) -> sa.Table:
    """The base of a control table, as the pairs that share it need it."""
    names = [c.name for c in shape.columns if any(_may_be_synced(c.name, shape, one) for one in sharing)]
    return bookkeeping.base_table(sharing[0].control.dialect, shape, sharing[0].options.key, names)


def _changed(name: str, shape: TableShape, present: ColumnTypes) -> bool:
    return name in present and bookkeeping.differs(present, shape[name])


def _may_be_synced(name: str, shape: TableShape, pair: Pair) -> bool:
    column = shape[name]
    return column.supported and not column.generated and name not in pair.options.exclude


def _alter(conn: sa.Connection, table: sa.Table, how: str, column: sa.Column[Any]) -> None:
    quote = conn.dialect.identifier_preparer.quote
    kind = column.type.compile(conn.dialect) + ("" if column.nullable else " NOT NULL")
    # Not as text(): it takes a : (in a label of an ENUM) for a parameter.
    conn.exec_driver_sql(f"ALTER TABLE {quote(table.name)} {how} COLUMN {quote(column.name)} {kind}")
