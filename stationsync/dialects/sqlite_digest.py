"""Checksums of rows on SQLite, which has none: functions of ours, registered with each connection."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Sequence

import sqlalchemy as sa

from stationsync.dialects import Twin

_Value = str | bytes | int | float | None


def register(connection: sqlite3.Connection) -> None:
    connection.create_function("stationsync_digest", -1, _digest, deterministic=True)
    connection.create_function("stationsync_crc32", -1, _crc32, deterministic=True)
    connection.create_aggregate("stationsync_xor", 1, _Xor)


def digest(columns: Sequence[Twin]) -> sa.ColumnElement[int]:
    return sa.Function("stationsync_digest", *(c.expression for c in columns), type_=sa.BigInteger())


def bucket(columns: Sequence[Twin], number: int) -> sa.ColumnElement[int]:
    return sa.Function("stationsync_crc32", *(c.expression for c in columns), type_=sa.BigInteger()).op("%")(number)


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
