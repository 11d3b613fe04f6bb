"""Foreign keys that would delete or empty further rows along with one (ON DELETE CASCADE, SET NULL).

Those rows were compared with nothing and kept nowhere, so a row that they refer to is not deleted while they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from stationsync.database.rights import sees_references
from stationsync.errors import GrantMissing

_FOLLOWING = ("CASCADE", "SET NULL", "SET DEFAULT")


def following(conn: sa.Connection, table: sa.Table) -> sa.ColumnElement[Any]:
    """The table whose rows refer to a row of `table` and would go, or be changed, with it; NULL where there is none.
    To be selected beside the table.

    Raises GrantMissing where such keys may be hidden from the user: nothing may be deleted then."""
    cases = [(_refers(table, child, columns), sa.literal(child[1])) for child, columns in _children(conn, table.name)]
    return sa.case(*cases, else_=sa.null()) if cases else sa.cast(sa.null(), sa.String(64))


def _refers(table: sa.Table, child: tuple[str, str], columns: Sequence[tuple[str, str]]) -> sa.ColumnElement[bool]:
    named: list[sa.Column[Any]] = [sa.Column(own, quote=True) for own, _ in columns]
    theirs = sa.Table(child[1], sa.MetaData(), *named, schema=child[0], quote=True).alias()
    same = (theirs.c[own] == table.c[referred] for own, referred in columns)
    return sa.select(sa.literal(1)).select_from(theirs).where(*same).correlate(table).exists()


def _children(conn: sa.Connection, table: str) -> list[tuple[tuple[str, str], list[tuple[str, str]]]]:
    """((schema, table), [(column, referred column)]) of each such foreign key."""
    if conn.dialect.name == "sqlite":
        return []  # it enforces none on our connections
    if not sees_references(conn):
        raise _blind(table)
    names = ("constraint_schema", "constraint_name", "table_name", "delete_rule", "referenced_table_name")
    rules = sa.table("referential_constraints", *map(sa.column, names), schema="information_schema")
    parts = ("constraint_schema", "constraint_name", "table_name", "column_name", "referenced_column_name")
    usage = sa.table("key_column_usage", *map(sa.column, (*parts, "ordinal_position")), schema="information_schema")
    same = (rules.c[name] == usage.c[name] for name in parts[:3])
    query = (
        sa.select(*(usage.c[name] for name in parts))
        .select_from(rules.join(usage, sa.and_(*same)))
        .where(rules.c.constraint_schema == sa.func.database(), rules.c.referenced_table_name == table)
        .where(rules.c.delete_rule.in_(_FOLLOWING))
        .order_by(usage.c.constraint_name, usage.c.ordinal_position)
    )
    found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for schema, name, child, own, referred in conn.execute(query):
        found.setdefault((schema, child, name), []).append((own, referred))
    return [((schema, child), columns) for (schema, child, _), columns in found.items()]


def reason(child: str) -> str:
    return f"rows of {child} refer to it and would go, or be changed, with it: it stays until they are gone"


def _blind(table: str) -> GrantMissing:
    what = f"the user may not see which tables refer to {table}, so a delete could take rows of theirs along unseen."
    step = "GRANT SELECT, REFERENCES on the whole database (stationsync check prints the statement), then run again."
    return GrantMissing(f"table {table}", what, not_done="Nothing was deleted.", next_step=step)
