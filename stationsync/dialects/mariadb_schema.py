"""What a MariaDB table looks like, from information_schema: the types in the server's own words."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from stationsync.dialects import ColumnTypes
from stationsync.schema import Column, TableShape
from stationsync.wire import Family

_FAMILIES = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), Family.INTEGER),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), Family.TEXT),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Family.BINARY),
    **dict.fromkeys(("float", "double"), Family.FLOAT),
    **{name: Family(name) for name in ("decimal", "bit", "date", "datetime", "timestamp", "time", "year")},
    **{name: Family(name) for name in ("enum", "set", "json", "uuid")},
    **dict.fromkeys(("inet4", "inet6"), Family.OTHER),
}


def reflect(conn: sa.Connection, table: str) -> TableShape | None:
    """The shape of `table` in the connection's database, None where there is no such base table."""
    found = _rows(
        conn, "SELECT table_name, avg_row_length FROM {}.tables WHERE {} AND table_type = 'BASE TABLE'", table
    )
    if not found:
        return None
    unique, prefixes, indexes = _keys(conn, table)
    triggers = _rows(
        conn,
        "SELECT trigger_name FROM {}.triggers WHERE event_object_schema = DATABASE()"
        " AND event_object_table = :table ORDER BY 1",
        table,
    )
    return TableShape(
        table,
        _columns(conn, table),
        unique,
        indexes,
        tuple(str(t[0]) for t in triggers),
        prefixes,
        int(found[0][1] or 0),
    )


def column_types(conn: sa.Connection, table: str) -> ColumnTypes:
    rows = _rows(
        conn, "SELECT column_name, column_type, column_key FROM {}.columns WHERE {} ORDER BY ordinal_position", table
    )
    found = ColumnTypes((str(name), str(type_)) for name, type_, _ in rows)
    found.key = tuple(str(name) for name, _, key in rows if key == "PRI")
    return found


def _rows(conn: sa.Connection, query: str, table: str) -> list[Any]:
    text = query.format("information_schema", "table_schema = DATABASE() AND table_name = :table")
    return list(conn.execute(sa.text(text), {"table": table}))


def _columns(conn: sa.Connection, table: str) -> tuple[Column, ...]:
    rows = _rows(
        conn,
        "SELECT column_name, column_type, data_type, is_nullable, character_set_name, collation_name, extra,"
        " generation_expression, column_default, numeric_scale, datetime_precision FROM {}.columns WHERE {}"
        " ORDER BY ordinal_position",
        table,
    )
    return tuple(_column(*row) for row in rows)


def _column(
    name: str, type_: str, data_type: str, nullable: str, charset: str | None, collation: str | None,
    extra: str, expression: str | None, default: str | None, scale: int | None, fraction: int | None,
) -> Column:  # fmt: skip
    family = _FAMILIES.get(data_type)
    if family is Family.INTEGER and "unsigned" in type_:
        family = Family.UNSIGNED
    if family is Family.OTHER or family is Family.UUID:
        charset = collation = None
    extra = extra.lower()
    return Column(
        name=name,
        type=type_,
        family=family or Family.OTHER,
        nullable=nullable == "YES",
        charset=charset,
        collation=collation,
        generated=bool(expression) or bool(re.search(r"(virtual|stored|persistent) generated", extra)),
        auto_increment="auto_increment" in extra,
        on_update="on update" in extra,
        required=nullable == "NO" and default is None and "auto_increment" not in extra and not expression,
        scale=int((fraction if family in _TIMES else scale) or 0),
        supported=family is not None,
    )


_TIMES = (Family.DATETIME, Family.TIMESTAMP, Family.TIME)


_ColumnLists = tuple[tuple[str, ...], ...]


def _keys(conn: sa.Connection, table: str) -> tuple[_ColumnLists, _ColumnLists, _ColumnLists]:
    """Unique keys over whole columns, unique keys over the beginning of a column, and all indexes over whole columns:
    each as its column names in order."""
    rows = _rows(
        conn,
        "SELECT index_name, non_unique, column_name, sub_part FROM {}.statistics WHERE {}"
        " ORDER BY index_name, seq_in_index",
        table,
    )
    columns: dict[str, list[str]] = defaultdict(list)
    partial: set[str] = set()
    unique: set[str] = set()
    for index, non_unique, column, part in rows:
        columns[index].append(column)
        if part is not None:
            partial.add(index)
        if not int(non_unique):
            unique.add(index)
    return (
        tuple(tuple(columns[i]) for i in columns if i in unique - partial),
        tuple(tuple(columns[i]) for i in columns if i in unique & partial),
        tuple(tuple(columns[i]) for i in columns if i not in partial),
    )
