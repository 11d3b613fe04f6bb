"""A new table in MariaDB's words, and what tells more of a table than its shape."""

from __future__ import annotations

import re

import sqlalchemy as sa

from stationsync.database.mariadb.server import is_mariadb
from stationsync.database.new_table import KEY_INDEX, MODIFIED_INDEX, NewColumn, NewTable
from stationsync.model.schema import Column

# Of an index of InnoDB.
_MOST_BYTES = 3072
_BYTES_A_LETTER = {"utf8mb4": 4, "utf8mb3": 3, "utf8": 3, "utf16": 4, "utf16le": 4, "utf32": 4, "ucs2": 2}
_LENGTH = re.compile(r"(?:var)?(?:char|binary)\((\d+)\)")
_NOTE = re.compile(r" /\*.*?\*/")


def json_columns(conn: sa.Connection, table: str) -> frozenset[str]:
    """Columns declared as JSON: the server has them as LONGTEXT with a check of the column's own name."""
    if not is_mariadb(conn):
        return frozenset()  # it has a type of its own for them
    query = (
        "SELECT constraint_name, check_clause FROM information_schema.check_constraints"
        " WHERE constraint_schema = DATABASE() AND table_name = :table"
    )
    found = conn.execute(sa.text(query), {"table": table}).all()
    return frozenset(str(name) for name, clause in found if str(clause) == f"json_valid({_quoted(str(name))})")


def collations(conn: sa.Connection) -> frozenset[str]:
    """All that the server knows, by their full names. (From 10.10 on, some are listed without their character set.)"""
    rows = conn.execute(sa.text("SELECT collation_name FROM information_schema.collations")).scalars()
    found = {str(name) for name in rows}
    some = {name for name in found if name.startswith("uca1400")}
    return frozenset(found | {f"{charset}_{name}" for name in some for charset in _BYTES_A_LETTER})


def create_statements(new: NewTable) -> tuple[str, ...]:
    """One statement, for which the right to CREATE is enough."""
    lines = [f"{_quoted(new.surrogate)} bigint NOT NULL AUTO_INCREMENT"]
    lines += [_column(column) for column in new.columns]
    lines += [f"PRIMARY KEY ({_quoted(new.surrogate)})", f"UNIQUE KEY {KEY_INDEX} ({_list(new.key)})"]
    lines.append(f"KEY {MODIFIED_INDEX} ({_list(_indexed(new))})")
    body = ",\n".join(f"  {line}" for line in lines)
    return (f"CREATE TABLE {_quoted(new.name)} (\n{body}\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",)


def _indexed(new: NewTable) -> tuple[str, ...]:
    """With the key, as far as an index can be so long."""
    by_name = {column.like.name: column.like for column in new.columns}
    sizes = [_bytes(by_name[name]) for name in (new.modified, *new.key)]
    fits = None not in sizes and sum(filter(None, sizes)) <= _MOST_BYTES
    return (new.modified, *new.key) if fits else (new.modified,)


def _bytes(column: Column) -> int | None:
    """At most, in an index; None of one that only its beginning can be indexed of."""
    if re.match(r"(?:tiny|medium|long)?(?:text|blob)|json", column.type):
        return None
    match = _LENGTH.match(column.type)
    return (
        int(match[1]) * _BYTES_A_LETTER.get(column.charset or "", 1 if column.charset is None else 2) if match else 32
    )


def _column(column: NewColumn) -> str:
    like = column.like
    words = [_quoted(like.name), "json" if column.json else _NOTE.sub("", like.type)]
    if like.charset and not column.json:
        words.append(f"CHARACTER SET {like.charset} COLLATE {like.collation}")
    # Older servers give the first TIMESTAMP that says nothing an ON UPDATE, and NOT NULL.
    words.append("NOT NULL" if column.required else "NULL")
    instant = like.type.startswith("timestamp")
    now = f"current_timestamp({like.scale})" if like.scale else "current_timestamp()"
    if column.stamped or (instant and column.required):
        words.append(f"DEFAULT {now}")
    if column.stamped:
        words.append(f"ON UPDATE {now}")
    return " ".join(words)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
