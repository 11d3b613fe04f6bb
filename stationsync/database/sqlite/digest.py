"""Checksums of rows on SQLite, which has none: functions of ours, registered with each connection."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from stationsync.database.dialect import ComparedColumn
from stationsync.model.wire import Family

_NEVER_TEXT = frozenset({Family.BINARY, Family.INTEGER, Family.FLOAT})
_Value = str | bytes | int | float | None


def register(connection: sqlite3.Connection) -> None:
    connection.create_function("stationsync_digest", -1, _digest, deterministic=True)
    connection.create_function("stationsync_crc32", -1, _crc32, deterministic=True)
    connection.create_aggregate("stationsync_xor", 1, _Xor)


def digest(columns: Sequence[ComparedColumn]) -> sa.ColumnElement[int]:
    return sa.Function("stationsync_digest", *map(_argument, columns), type_=sa.BigInteger())


def bucket(columns: Sequence[ComparedColumn], number: int) -> sa.ColumnElement[int]:
    return sa.Function("stationsync_crc32", *map(_argument, columns), type_=sa.BigInteger()).op("%")(number)


def _argument(column: ComparedColumn) -> sa.ColumnElement[Any]:
    """As bytes where it is text: a function of ours cannot be called with text that is no UTF-8."""
    value = column.expression
    if column.own.family in _NEVER_TEXT:
        return value
    text, blob = sa.cast(sa.literal("t").concat(value), sa.LargeBinary), sa.literal("b").concat(sa.func.hex(value))
    return sa.case((sa.func.typeof(value) == "text", text), (sa.func.typeof(value) == "blob", blob), else_=value)


def combined(digests: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.Function("stationsync_xor", digests, type_=sa.BigInteger())


class _Xor:
    def __init__(self) -> None:
        self._value = 0

    def step(self, value: int | None) -> None:
        self._value ^= value or 0

    def finalize(self) -> int:
        return self._value


def _digest(*values: _Value) -> int:
    # SQLite's integers have a sign.
    return int.from_bytes(hashlib.sha1(_joined(values), usedforsecurity=False).digest()[:8], signed=True)


def _crc32(*values: _Value) -> int:
    return zlib.crc32(_joined(values))


def _joined(values: Sequence[_Value]) -> bytes:
    return b",".join(map(_part, values))


def _part(value: _Value) -> bytes:
    """As the database compares: 1 and 1.0 are the same, 1 and '1' are not."""
    if value is None:
        return b"N"
    if isinstance(value, bytes):
        return b"b%d:%s" % (len(value), value)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return b"t%d:%s" % (len(data), data)
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).encode()
