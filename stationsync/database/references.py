"""Foreign keys that would take further rows along, and whether our user may see them; what SHOW GRANTS says of its
rights.

Rows that are deleted or emptied along with one (ON DELETE CASCADE, SET NULL) were compared with nothing and kept
nowhere, so a row that they refer to is not deleted while they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from stationsync.database.statements import once_more
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


_FOLLOWING = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})
Id = TypeVar("Id")


@dataclass(frozen=True)
class _Child:
    """A foreign key that refers to a table: [(its column, the column referred to)]."""

    schema: str
    table: str
    columns: tuple[tuple[str, str], ...]
    follows: bool

    def rows(self, *key: str) -> sa.FromClause:
        names = dict.fromkeys((*(own for own, _ in self.columns), *key))
        columns: list[sa.Column[Any]] = [sa.Column(name, quote=True) for name in names]
        return sa.Table(self.table, sa.MetaData(), *columns, schema=self.schema, quote=True).alias()

    def refers(self, row: sa.FromClause, to: sa.FromClause) -> sa.ColumnElement[bool]:
        return sa.and_(*(row.c[own] == to.c[referred] for own, referred in self.columns))


def following(conn: sa.Connection, table: sa.Table) -> sa.ColumnElement[Any]:
    """The table whose rows refer to a row of `table` and would go, or be changed, with it; NULL where there is none.
    To be selected beside the table.

    Raises GrantMissing where such keys may be hidden from the user: nothing may be deleted then."""
    children = [child for child in _children(conn, table.name) if child.follows]
    cases = [(_any(child, table), sa.literal(child.table)) for child in children]
    return sa.case(*cases, else_=sa.null()) if cases else sa.cast(sa.null(), sa.String(64))


def _any(child: _Child, table: sa.FromClause) -> sa.ColumnElement[bool]:
    theirs = child.rows()
    query = sa.select(sa.literal(1)).select_from(theirs).where(child.refers(theirs, table))
    return query.correlate(table).exists()


Ask = Callable[[sa.Select[Any]], list[Id]]


def staying(
    conn: sa.Connection, table: sa.Table, key: Sequence[str], batch: sa.Subquery, ask: Ask[Id]
) -> tuple[dict[Id, str], bool]:
    """Of rows that are to be deleted together: those that must stay, since a row of the named table refers to them
    that stays itself; and whether others refer to each other, so that they go only with the checks off.

    `batch` has their keys, and behind these what tells one from another, which `ask` reads. The rows are locked:
    nobody begins to refer to them. Raises GrantMissing as `following`."""
    children = _children(conn, table.name)
    own = [child for child in children if child.table == table.name]
    other = once_more(conn, batch, "stationsync_going") if own else batch
    pairs = [pair for child in own for pair in _pairs(table, key, batch, other, child, ask)]
    wants = {(referring, referred) for referring, referred in pairs if referring != referred}
    found: dict[Id, str] = {}
    for child in children:
        # What the server refuses anyway, it says itself; with the checks off it would not.
        if child.follows or wants:
            found |= dict.fromkeys(ask(_referred_from_outside(table, key, batch, other, child)), child.table)
    while more := {referred for referring, referred in wants if referring in found} - found.keys():
        found |= dict.fromkeys(more, table.name)
    return found, any(referring not in found for referring, _ in wants)


def _pairs(
    table: sa.Table, key: Sequence[str], batch: sa.Subquery, other: sa.FromClause, child: _Child, ask: Ask[Id]
) -> list[tuple[Id, Id]]:
    """Which rows of the batch (`other`: once more) refer to which, in the order in which the database gives both."""
    theirs = child.rows(*key)
    joined = table.join(batch, _same(key, table, batch)).join(theirs, child.refers(theirs, table))
    joined = joined.join(other, _same(key, theirs, other))
    referring, referred = ([c for c in one.c if c.name not in key] for one in (other, batch))
    order = [*referring, *referred]
    queries = (sa.select(*columns).select_from(joined).order_by(*order) for columns in (referring, referred))
    return list(zip(*map(ask, queries), strict=True))


def _referred_from_outside(
    table: sa.Table, key: Sequence[str], batch: sa.Subquery, other: sa.FromClause, child: _Child
) -> sa.Select[Any]:
    mutual = child.table == table.name
    theirs = child.rows(*(key if mutual else ()))
    joined = table.join(batch, _same(key, table, batch)).join(theirs, child.refers(theirs, table))
    query = sa.select(*(c for c in batch.c if c.name not in key))
    if not mutual:
        return query.select_from(joined)
    return query.select_from(joined.outerjoin(other, _same(key, theirs, other))).where(other.c[key[0]].is_(None))


def _same(key: Sequence[str], a: sa.FromClause, b: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(*(a.c[name] == b.c[name] for name in key))


def _children(conn: sa.Connection, table: str) -> list[_Child]:
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
        sa.select(*(usage.c[name] for name in parts), rules.c.delete_rule)
        .select_from(rules.join(usage, sa.and_(*same)))
        .where(rules.c.constraint_schema == sa.func.database(), rules.c.referenced_table_name == table)
        .order_by(usage.c.constraint_name, usage.c.ordinal_position)
    )
    found: dict[tuple[str, str, str, bool], list[tuple[str, str]]] = {}
    for schema, name, child, own, referred, rule in conn.execute(query):
        found.setdefault((schema, child, name, rule in _FOLLOWING), []).append((own, referred))
    return [_Child(schema, child, tuple(columns), follows) for (schema, child, _, follows), columns in found.items()]


def reason(child: str) -> str:
    return f"rows of {child} refer to it and would go, or be changed, with it: it stays until they are gone"


def _blind(table: str) -> GrantMissing:
    what = f"the user may not see which tables refer to {table}, so a delete could take rows of theirs along unseen."
    step = "GRANT SELECT, REFERENCES on the whole database (stationsync check prints the statement), then run again."
    return GrantMissing(f"table {table}", what, not_done="Nothing was deleted.", next_step=step)
