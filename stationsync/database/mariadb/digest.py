"""Checksums of rows that two MariaDB servers compute alike: of values, not of how a column happens to store them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from stationsync.database.dialect import ComparedColumn
from stationsync.database.mariadb.text import Utf8mb4, may_be_lost, text_of
from stationsync.model.schema import Column
from stationsync.model.wire import Family

_OURS = "utf8mb4_nopad_bin"
# Their values may be larger than what one string function lets through.
_LARGE = ("tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "json")


def digest(columns: Sequence[ComparedColumn]) -> sa.ColumnElement[int]:
    """64 bits of a row's SHA-256, which every server has (MySQL 9 has no SHA1). Not linear: two rows that swap values
    do not cancel out."""
    left = sa.func.left(sa.func.sha2(_joined(columns), 256), 16)
    return sa.cast(sa.func.conv(left, 16, 10), mysql.BIGINT(unsigned=True))


def bucket(columns: Sequence[ComparedColumn], number: int) -> sa.ColumnElement[int]:
    return sa.func.crc32(_joined(columns)).op("%")(number)


def _joined(columns: Sequence[ComparedColumn]) -> sa.ColumnElement[str]:
    """The values as one string that no other row has: NULL is not the empty text, and no value runs into the next."""
    return sa.func.concat_ws(",", *map(_or_null, columns))


def _or_null(column: ComparedColumn) -> sa.ColumnElement[Any]:
    part = _part(*column)
    return sa.func.ifnull(part, "N") if column.own.nullable or column.other.nullable else part


def _part(expression: sa.ColumnElement[Any], own: Column, other: Column) -> sa.ColumnElement[Any]:
    """Numbers and times have no comma in them. Text does, so its length comes first."""
    family, scale = own.family, max(own.scale, other.scale)
    if family in (Family.INTEGER, Family.UNSIGNED, Family.BIT):
        return expression if _prints_plainly(own) else expression + 0
    if family is Family.FLOAT:
        return sa.cast(expression, sa.Double())
    if family is Family.DECIMAL:
        return expression if own.type == other.type else sa.cast(expression, sa.DECIMAL(65, scale))
    if family in (Family.DATETIME, Family.TIMESTAMP, Family.TIME) and own.scale != other.scale:
        return sa.cast(expression, mysql.TIME(fsp=scale) if family is Family.TIME else mysql.DATETIME(fsp=scale))
    if family in (Family.DATE, Family.DATETIME, Family.TIMESTAMP, Family.TIME, Family.YEAR):
        return expression
    if family in (Family.UUID, Family.OTHER):
        return sa.cast(expression, sa.CHAR())
    return _text(_carried(expression, own, other), own, other)


def _carried(expression: sa.ColumnElement[Any], own: Column, other: Column) -> sa.ColumnElement[Any]:
    """Text so that both databases have the same bytes for the same value: as it is stored, where both have the same
    character set; where something could be lost between them, as it is read."""
    if own.charset is None or own.charset == "utf8mb4" == other.charset:
        return _mixable(expression, own)
    if own.charset == other.charset:
        return sa.cast(expression, sa.BINARY())
    if may_be_lost(own.charset, other.charset):
        return text_of(expression, own, other)
    return _mixable(expression, own) if own.charset == "utf8mb4" else Utf8mb4(expression)


def _mixable(expression: sa.ColumnElement[Any], own: Column) -> sa.ColumnElement[Any]:
    """The server joins text of any two collations into one, but not of two binary ones: a key in its own, say, and a
    column of the base, whose collation is ours. (Given a collation, it would lose what is no text beside it.)"""
    foreign = own.collation is not None and own.collation.endswith("_bin") and own.collation != _OURS
    return sa.cast(expression, sa.BINARY()) if foreign else expression


def _prints_plainly(own: Column) -> bool:
    return own.family is not Family.BIT and "zerofill" not in own.type


def _text(expression: sa.ColumnElement[Any], own: Column, other: Column) -> sa.ColumnElement[Any]:
    if own.type.startswith(_LARGE) or other.type.startswith(_LARGE):
        return sa.func.sha2(expression, 256)
    return sa.func.concat(sa.func.octet_length(expression), ":", expression)
