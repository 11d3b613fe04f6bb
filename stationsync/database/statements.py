"""Statements that both databases have, and spell differently."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from pymysql.constants import ER
from sqlalchemy.dialects import mysql

from stationsync.database.mariadb.numbers import number_of
from stationsync.database.mariadb.server import is_mariadb

# For tables that we make, whatever the server's and the database's defaults are.
MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_row_format": "DYNAMIC",
}
# Tables of one session, at either side.
TEMPORARY: dict[str, Any] = {"prefixes": ["TEMPORARY"], **MYSQL}
LongText = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")
LongBytes = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def insert_ignore(table: sa.Table) -> sa.Insert:
    """INSERT that leaves a row which is there already as it is."""
    return sa.insert(table).prefix_with("IGNORE", dialect="mysql").prefix_with("OR IGNORE", dialect="sqlite")


def in_order(query: sa.Select[Any]) -> sa.Select[Any]:
    """The tables of a join are read, and so locked, in the order in which they are written."""
    return query.prefix_with("STRAIGHT_JOIN", dialect="mysql")


def drop_temporary(conn: sa.Connection, table: sa.Table) -> None:
    """Only ever a temporary table: a real one of this name would hide behind it, and must stay."""
    if conn.dialect.name == "sqlite":
        conn.execute(sa.text(f"DROP TABLE IF EXISTS temp.{table.name}"))
    else:
        conn.execute(sa.text(f"DROP TEMPORARY TABLE IF EXISTS {table.name}"))


def create_temporary(conn: sa.Connection, name: str, query: sa.Select[Any]) -> None:
    """A temporary table with the columns of a query, of exactly their types, and no rows."""
    empty = query.where(sa.false()).compile(conn, compile_kwargs={"literal_binds": True})
    conn.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} AS {str(empty).replace('%', '%%')}")


def once_more(conn: sa.Connection, rows: sa.FromClause, name: str) -> sa.FromClause:
    """The same rows for a statement that names them twice. MySQL opens a temporary table once in a statement: there
    they are copied into another one."""
    if conn.dialect.name == "sqlite" or is_mariadb(conn):
        return rows.alias()
    copy = sa.table(name, *(sa.column(c.name, c.type) for c in rows.c))
    compiled = sa.select(*rows.c).compile(conn, compile_kwargs={"render_postcompile": True})
    conn.exec_driver_sql(f"DROP TEMPORARY TABLE IF EXISTS {name}")
    conn.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} AS {compiled}", compiled.params)
    return copy


def delete_joined(conn: sa.Connection, target: sa.Table, with_: sa.Table, where: sa.ColumnElement[bool]) -> None:
    """Delete the rows of `target` that meet a row of `with_`."""
    if conn.dialect.name == "sqlite":
        where = sa.select(sa.literal(1)).select_from(with_).where(where).correlate(target).exists()
    conn.execute(sa.delete(target).where(where))


def update_joined(
    conn: sa.Connection,
    target: sa.Table,
    source: sa.Join | sa.Table,
    same: sa.ColumnElement[bool],
    chosen: sa.ColumnElement[bool],
) -> sa.Update:
    """UPDATE of the rows of `target` that meet (`same`) a row of `source`: a table, or a join on `chosen`.

    The server must not begin with `target`: it would lock, and wait for, rows of it that are not even meant. An outer
    join fixes the order; rows of which `target` has none are no rows to be updated."""
    if conn.dialect.name == "sqlite":
        return sa.update(target).where(same, chosen)
    return sa.update(source.outerjoin(target, same))


def referred_columns(conn: sa.Connection, table: str) -> set[str]:
    """Columns of `table` that foreign keys refer to; on SQLite none are enforced."""
    if conn.dialect.name == "sqlite":
        return set()
    names = ("referenced_table_schema", "referenced_table_name", "referenced_column_name")
    usage = sa.table("key_column_usage", *map(sa.column, names), schema="information_schema")
    query = sa.select(usage.c.referenced_column_name).where(
        usage.c.referenced_table_schema == sa.func.database(), usage.c.referenced_table_name == table
    )
    return {str(name) for name in conn.scalars(query)}


def names_no_column(error: sa.exc.DBAPIError) -> bool:
    """Whether a statement failed because a table has no such column."""
    words = ("no such column", "has no column named")
    return number_of(error) == ER.BAD_FIELD_ERROR or any(one in str(error.orig) for one in words)


def names_no_table(error: sa.exc.DBAPIError) -> bool:
    """Whether a statement failed because there is no such table. The connection may be lost: it is not asked."""
    return number_of(error) == ER.NO_SUCH_TABLE or "no such table" in str(error.orig)
