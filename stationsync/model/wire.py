"""Wire rows: every value is the text that the database printed, or bytes. The wire form is what is
merged; the typed view is made for validation only, so what it cannot hold is lost to rules, never to data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from json.encoder import encode_basestring as quoted
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stationsync.model import stored_text


class Family(StrEnum):
    """What a column holds, whichever database names it."""

    INTEGER = "integer"
    UNSIGNED = "unsigned"
    DECIMAL = "decimal"
    FLOAT = "float"
    TEXT = "text"
    BINARY = "binary"
    BIT = "bit"
    DATE = "date"
    DATETIME = "datetime"
    TIMESTAMP = "timestamp"
    TIME = "time"
    YEAR = "year"
    ENUM = "enum"
    SET = "set"
    JSON = "json"
    UUID = "uuid"
    OTHER = "other"


DATED = frozenset({Family.DATE, Family.DATETIME, Family.TIMESTAMP})

_DATE_SHAPE = r"^\d{4}-\d{2}-\d{2}($|[ T])"
_ZERO_MONTH_OR_DAY = r"^\d{4}-(00-\d{2}|\d{2}-00)($|[ T])"
_WIDEST_DECIMAL = 76


def typed(rows: pa.Table, families: Mapping[str, Family]) -> pa.Table:
    """The rows with native types: an impossible date is null here, a column that will not cast stays text."""
    columns = [_typed(rows[name], families.get(name, Family.OTHER)) for name in rows.column_names]
    return pa.table(dict(zip(rows.column_names, columns, strict=True)))


def zero_dates(rows: pa.Table, families: Mapping[str, Family]) -> dict[int, list[str]]:
    """Row index -> the columns of that row with month or day 00 ('0000-00-00', '2020-00-00')."""
    found: dict[int, list[str]] = {}
    for name in rows.column_names:
        column = rows[name]
        if families.get(name) not in DATED or not pa.types.is_string(column.type):
            continue
        # The plain substring is several times cheaper than the regex, and hardly ever there.
        if not pc.any(pc.match_substring(column, "-00")).as_py():
            continue
        for index in pc.indices_nonzero(_matches(column, _ZERO_MONTH_OR_DAY)).to_pylist():
            found.setdefault(index, []).append(name)
    return found


def wire_row(rows: pa.Table, index: int) -> dict[str, str | bytes | None]:
    """One row by itself."""
    return {name: rows[name][index].as_py() for name in rows.column_names}


def table_of(rows: Sequence[Mapping[str, Any]], families: Mapping[str, Family]) -> pa.Table:
    """Rows that are known one by one, of these columns."""
    binary = (Family.BINARY, Family.BIT)
    kinds = {name: pa.binary() if family in binary else pa.string() for name, family in families.items()}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


def key_text(key: Sequence[str | bytes]) -> str:
    """A key as one canonical text: a compact JSON list. Equal keys have equal texts, byte for byte."""
    return "[" + ",".join(map(_key_part, key)) + "]"


def key_texts(rows: pa.Table, key_columns: Sequence[str]) -> list[str]:
    """`key_text` of every row."""
    columns = [rows[name].to_pylist() for name in key_columns]
    return ["[" + ",".join(map(_key_part, key)) + "]" for key in zip(*columns, strict=True)]


def parse_key_text(text: str) -> tuple[str | bytes, ...]:
    """The reverse of `key_text`; ValueError for anything else."""
    parts = json.loads(text)
    if not isinstance(parts, list):
        raise ValueError(f"not a key: {text}")
    return tuple(_parsed_part(part, text) for part in parts)


def _key_part(part: str | bytes | None) -> str:
    if isinstance(part, str):
        if (stored := stored_text.parsed(part)) is not None:
            return f'{{"hex":"{stored.content.hex()}","charset":"{stored.charset}"}}'
        return quoted(part)
    return "null" if part is None else f'{{"hex":"{part.hex()}"}}'


def _parsed_part(part: object, text: str) -> str | bytes:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and list(part) == ["hex"] and isinstance(part["hex"], str):
        return bytes.fromhex(part["hex"])
    if isinstance(part, dict) and list(part) == ["hex", "charset"] and isinstance(part["hex"], str):
        return stored_text.written(part["charset"], bytes.fromhex(part["hex"]))
    raise ValueError(f"not a key: {text}")


def _typed(column: pa.ChunkedArray, family: Family) -> pa.ChunkedArray:
    cast = _CASTS.get(family)
    if not pa.types.is_string(column.type):
        return column
    if cast is None:
        return stored_text.as_read(column)
    try:
        return cast(column)
    except pa.ArrowInvalid:
        return column


def _cast_to(kind: pa.DataType) -> Callable[[pa.ChunkedArray], pa.ChunkedArray]:
    return lambda column: column.cast(kind)


def _cast_decimal(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As wide as the data need: the declared precision is not part of the wire form."""
    digits = pc.utf8_ltrim(column, "+-")
    length = pc.utf8_length(digits)
    point = pc.find_substring(digits, ".")
    has_point = pc.greater_equal(point, 0)
    scale = pc.max(pc.if_else(has_point, pc.subtract(pc.subtract(length, point), 1), 0)).as_py() or 0
    whole = pc.max(pc.if_else(has_point, point, length)).as_py() or 1
    precision = max(whole + scale, 1)
    if precision > _WIDEST_DECIMAL:
        return column
    return column.cast(pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale))


def _cast_dated(kind: pa.DataType, first: date) -> Callable[[pa.ChunkedArray], pa.ChunkedArray]:
    def cast(column: pa.ChunkedArray) -> pa.ChunkedArray:
        try:
            values = column.cast(kind)
        except pa.ArrowInvalid:
            values = _without_impossible_dates(column).cast(kind)
        # Year 0 is a date to MariaDB and Arrow, but to nothing in Python.
        return _null_where(values, pc.less(values, pa.scalar(first, kind)))

    return cast


def _without_impossible_dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null for a date that no calendar has. Other text stays, and makes the cast fail."""
    shaped = _matches(column, _DATE_SHAPE)
    text = _null_where(column, pc.invert(shaped))
    year, month, day = (
        pc.utf8_slice_codeunits(text, start, stop).cast(pa.int32()) for start, stop in ((0, 4), (5, 7), (8, 10))
    )
    possible = pc.and_(
        pc.and_(pc.greater_equal(month, 1), pc.less_equal(month, 12)),
        pc.and_(pc.greater_equal(day, 1), pc.less_equal(day, _days_in(year, month))),
    )
    return _null_where(column, pc.and_kleene(shaped, pc.invert(possible)))


def _days_in(year: pa.ChunkedArray, month: pa.ChunkedArray) -> pa.ChunkedArray:
    def divides(by: int) -> pa.ChunkedArray:
        return pc.equal(pc.subtract(year, pc.multiply(pc.divide(year, by), by)), 0)

    leap = pc.or_(pc.and_(divides(4), pc.invert(divides(100))), divides(400))
    february = pc.if_else(leap, 29, 28)
    short = pc.is_in(month, value_set=pa.array([4, 6, 9, 11], pa.int32()))
    return pc.if_else(pc.equal(month, 2), february, pc.if_else(short, 30, 31))


def _matches(column: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.match_substring_regex(column, pattern)


def _null_where(column: pa.ChunkedArray, unwanted: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pc.any(unwanted).as_py():
        return column
    return pc.if_else(unwanted, pa.scalar(None, column.type), column)


_CASTS: dict[Family, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    Family.INTEGER: _cast_to(pa.int64()),
    Family.UNSIGNED: _cast_to(pa.uint64()),
    Family.YEAR: _cast_to(pa.int64()),
    Family.FLOAT: _cast_to(pa.float64()),
    Family.DECIMAL: _cast_decimal,
    Family.DATE: _cast_dated(pa.date32(), date(1, 1, 1)),
    Family.DATETIME: _cast_dated(pa.timestamp("us"), datetime(1, 1, 1)),
    Family.TIMESTAMP: _cast_dated(pa.timestamp("us"), datetime(1, 1, 1)),
}
