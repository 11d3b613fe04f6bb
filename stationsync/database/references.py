"""Foreign keys that would take further rows along, and whether our user may see them; what SHOW GRANTS says of its
rights.

Rows that are deleted or emptied along with one (ON DELETE CASCADE, SET NULL) were compared with nothing and kept
nowhere, so a row that they refer to is not deleted while they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from stationsync.errors import GrantMissing

_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<where>.+?) TO ")
# Any of these on a table, and information_schema shows its foreign keys; SELECT alone does not.
_SHOWING = frozenset(
    {"ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "TRIGGER"}
)


def granted(conn: sa.Connection, table: str | None = None) -> set[str]:
    """The rights on our whole database and on everything; with `table`, also those on the whole of that table."""
    database = str(conn.scalar(sa.text("SELECT DATABASE()")))
    found: set[str] = set()
    for line in conn.scalars(sa.text("SHOW GRANTS")):
        match = _GRANT.match(str(line))
        if match and covers(match["where"], database, table):
            found |= {right.strip() for right in match["rights"].split(",")}
    return found


def covers(where: str, database: str, table: str | None = None) -> bool:
    """*.*, or a pattern of database names: % and _ are wild, but behind a backslash. Of a table, the name."""
    name, _, of = where.replace("`", "").rpartition(".")
    if of != "*":
        return table is not None and (name.lower(), of.lower()) == (database.lower(), table.lower())
    wild = {"%": ".*", "_": ".", "*": ".*"}
    parts = re.findall(r"\\.|.", name)
    pattern = "".join(wild.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.fullmatch(pattern, database, re.IGNORECASE) is not None


def sees_references(conn: sa.Connection) -> bool:
    """Whether no foreign key of our database is hidden from us: a table without any right on it hides its own."""
    return not _SHOWING.isdisjoint(granted(conn))


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
