"""What a MariaDB table looks like, from information_schema: the types in the server's own words."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from pymysql.constants import ER

from stationsync.database.dialect import ColumnTypes
from stationsync.database.mariadb.numbers import number_of
from stationsync.database.mariadb.server import is_mariadb
from stationsync.database.table_facts import TableFacts
from stationsync.model import stored_text
from stationsync.model.schema import ByName, Column, TableShape, UniqueIndex
from stationsync.model.wire import Family

_FAMILIES = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), Family.INTEGER),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), Family.TEXT),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Family.BINARY),
    **dict.fromkeys(("float", "double"), Family.FLOAT),
    **{name: Family(name) for name in ("decimal", "bit", "date", "datetime", "timestamp", "time", "year")},
    **{name: Family(name) for name in ("enum", "set", "json", "uuid")},
    **dict.fromkeys(("inet4", "inet6"), Family.OTHER),
}


# What a server may say of a type: these words go into statements of ours at control, so nothing else is taken.
_LABEL = r"'(?:[^'\\]|''|\\.)*'"
_TYPE = re.compile(
    rf"([a-z][a-z0-9_]*)(?:\((?:\d{{1,10}}(?:,\d{{1,10}})?|{_LABEL}(?:,{_LABEL})*)\))?(?: unsigned)?(?: zerofill)?"
    r"(?: /\*M?!\d{5,6} COMPRESSED(?:=[a-z0-9]+)?\*/| /\* (?:mariadb|mysql)-\d\.\d \*/)?",
    re.DOTALL,
)
_IDENTIFIER = re.compile(r"[A-Za-z0-9_]{1,64}")


# Of a system-versioned table, statements see the rows of now, unless they ask for others.
_TABLES = ("BASE TABLE", "SYSTEM VERSIONED")
_ENGINES = "{0}.tables t LEFT JOIN {0}.engines e ON e.engine = t.engine".format("information_schema")


def reflect(conn: sa.Connection, table: str) -> TableShape | None:
    """The shape of `table` in the connection's database, None where there is nothing of that name, or nothing of it
    that our user may read."""
    query = (
        f"SELECT t.table_type, t.engine, e.transactions, t.avg_row_length FROM {_ENGINES}"
        " WHERE t.table_schema = DATABASE() AND t.table_name = :table"
    )
    found = conn.execute(sa.text(query), {"table": table}).first()
    columns = _columns(conn, table)
    if found is None or not columns:
        return None
    table_type, engine, transactions, row_bytes = found
    unique, prefixes, indexes, whole = _keys(conn, table)
    triggers = _rows(
        conn,
        "SELECT trigger_name FROM {}.triggers WHERE event_object_schema = DATABASE()"
        " AND event_object_table = :table ORDER BY 1",
        table,
    )
    return TableShape(
        table,
        columns,
        unique,
        indexes,
        tuple(str(t[0]) for t in triggers),
        prefixes,
        kind="table" if table_type in _TABLES else table_type.lower(),
        engine=engine or "",
        # A table that the server cannot open has no engine.
        transactional=transactions == "YES" or engine is None,
        row_bytes=int(row_bytes or 0),
        unique_indexes=whole,
        server="MariaDB" if is_mariadb(conn) else "MySQL",
    )


def without_transactions(conn: sa.Connection, prefix: str) -> dict[str, str]:
    """Tables whose names begin so, and whose engine has no transactions: with their engine."""
    query = (
        f"SELECT t.table_name, t.engine FROM {_ENGINES} WHERE t.table_schema = DATABASE()"
        " AND t.table_name LIKE :prefix AND t.engine IS NOT NULL AND COALESCE(e.transactions, 'NO') <> 'YES'"
        " ORDER BY 1"
    )
    escaped = prefix.replace("_", r"\_") + "%"
    return {str(name): str(engine) for name, engine in conn.execute(sa.text(query), {"prefix": escaped})}


def column_types(conn: sa.Connection, table: str) -> ColumnTypes:
    columns = "column_name, column_type, column_key, character_set_name"
    rows = _rows(conn, f"SELECT {columns} FROM {{}}.columns WHERE {{}} ORDER BY ordinal_position", table)
    found = ColumnTypes((str(name), str(type_)) for name, type_, *_ in rows)
    found.key = tuple(str(name) for name, _, key, _ in rows if key == "PRI")
    found.charsets = ByName((str(name), str(charset)) for name, _, _, charset in rows if charset is not None)
    return found


def generated_from(conn: sa.Connection, table: str) -> dict[str, str]:
    rows = _rows(conn, "SELECT column_name, generation_expression FROM {}.columns WHERE {}", table)
    return {str(name): str(text) for name, text in rows if text}


# TRUNCATE leaves a table's creation time, and gives it another number: that only who may PROCESS can see.
_FACTS = (
    "SELECT t.auto_increment, t.create_time, CONCAT_WS('/', @@hostname, @@datadir, @@port, DATABASE()),"
    " {number}"
    " FROM information_schema.tables t {join} WHERE t.table_schema = DATABASE() AND t.table_name = :table"
)
_NUMBERED = (
    "LEFT JOIN information_schema.innodb_sys_tables n ON CAST(n.name AS BINARY) = CONCAT(CAST(CONVERT(t.table_schema"
    " USING filename) AS BINARY), '/', CAST(CONVERT(t.table_name USING filename) AS BINARY))"
)


# MySQL has no character set for names of files: a name with other signs has no number.
_NUMBERED_AT_MYSQL = (
    "LEFT JOIN information_schema.innodb_tables n ON n.name = CONCAT(t.table_schema, '/', t.table_name)"
)


def table_facts(conn: sa.Connection, table: str) -> TableFacts:
    try:
        join = _NUMBERED if is_mariadb(conn) else _NUMBERED_AT_MYSQL
        found = conn.execute(sa.text(_FACTS.format(number="n.table_id", join=join)), {"table": table}).first()
    except sa.exc.DBAPIError as error:
        if number_of(error) != ER.SPECIFIC_ACCESS_DENIED_ERROR:
            raise
        found = conn.execute(sa.text(_FACTS.format(number="NULL", join="")), {"table": table}).first()
    if found is None:
        return TableFacts()
    counter, made, server, number = found
    when = None if made is None else f"{made}, number {number}"
    return TableFacts(int(counter) if counter else None, when, str(server))


def _rows(conn: sa.Connection, query: str, table: str) -> list[Any]:
    text = query.replace("{}.", "information_schema.")
    text = text.replace("{}", "table_schema = DATABASE() AND table_name = :table")
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
    # A name, or a label of an ENUM, that is no UTF-8 cannot be said in SQL.
    sayable = not stored_text.parsed(name) and not stored_text.parsed(type_)
    if not is_type(type_, data_type):
        sayable = False
    elif not (is_identifier(charset) and is_identifier(collation)):
        # It is only told: no statement has it.
        type_, charset, collation, sayable = f"{type_} CHARACTER SET {charset} COLLATE {collation}", None, None, False
    return Column(
        name=stored_text.told(name, whole=True),
        type=type_ if sayable else _as_far_as_readable(type_),
        family=family or Family.OTHER,
        nullable=nullable == "YES",
        charset=charset,
        collation=collation,
        generated=bool(expression) or bool(re.search(r"(virtual|stored|persistent) generated", extra)),
        auto_increment="auto_increment" in extra,
        on_update="on update" in extra,
        required=nullable == "NO" and default is None and "auto_increment" not in extra and not expression,
        scale=int((fraction if family in _TIMES else scale) or 0),
        supported=family is not None and sayable,
    )


def is_type(text: str, data_type: str | None = None) -> bool:
    """Whether a server's words for a column's type are those of a type, and of this one."""
    match = _TYPE.fullmatch(text)
    return match is not None and data_type in (None, match[1])


def is_identifier(name: str | None) -> bool:
    """Whether a character set or collation, where there is one, may be called so."""
    return name is None or _IDENTIFIER.fullmatch(name) is not None


def _as_far_as_readable(type_: str) -> str:
    stored = stored_text.parsed(type_)
    return type_ if stored is None else stored.readable


_TIMES = (Family.DATETIME, Family.TIMESTAMP, Family.TIME)


_ColumnLists = tuple[tuple[str, ...], ...]


def _keys(conn: sa.Connection, table: str) -> tuple[_ColumnLists, _ColumnLists, _ColumnLists, tuple[UniqueIndex, ...]]:
    """Unique keys over whole columns, unique keys over the beginning of a column, and all indexes over whole columns:
    each as its column names in order; and all unique indexes."""
    rows = _rows(
        conn,
        "SELECT index_name, non_unique, column_name, sub_part FROM {}.statistics WHERE {}"
        # A system-versioned table has the end of a row's life in its unique keys: the same for all rows of now.
        " AND column_name NOT IN (SELECT column_name FROM {}.columns WHERE {} AND generation_expression = 'ROW END')"
        " ORDER BY index_name, seq_in_index",
        table,
    )
    columns: dict[str, list[str]] = defaultdict(list)
    parts: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
    partial: set[str] = set()
    unique: set[str] = set()
    without: set[str] = set()
    for index, non_unique, column, part in rows:
        if column is None:  # MySQL's, of an expression
            without.add(index)
            continue
        columns[index].append(column)
        parts[index].append((column, None if part is None else int(part)))
        if part is not None:
            partial.add(index)
        if not int(non_unique):
            unique.add(index)
    for index in without:
        columns.pop(index, None)
    return (
        tuple(tuple(columns[i]) for i in columns if i in unique - partial),
        tuple(tuple(columns[i]) for i in columns if i in unique & partial),
        tuple(tuple(columns[i]) for i in columns if i not in partial),
        tuple(UniqueIndex(i, tuple(parts[i])) for i in columns if i in unique),
    )
