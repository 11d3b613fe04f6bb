"""Values that a person types, as a column takes them."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation

from stationsync.model import stored_text
from stationsync.model.schema import Column
from stationsync.model.wire import DATED, Family

_WHOLE = (Family.INTEGER, Family.UNSIGNED, Family.YEAR)
_BYTES = (Family.BINARY, Family.BIT)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?")


def fitted(value: str | bytes, column: Column) -> str | bytes:
    """In wire form. Raises ValueError for what cannot be a value of the column; says why, but not of which column."""
    family = column.family
    if family is Family.BINARY:
        return value.encode() if isinstance(value, str) else value
    if family is Family.BIT and isinstance(value, str):
        bits = int(re.sub(r"\D", "", column.type) or 1)
        if not value.isdecimal() or int(value).bit_length() > bits:
            raise ValueError(f"{value} is no value")
        return int(value).to_bytes((bits + 7) // 8)
    if isinstance(value, bytes):
        if family is Family.BIT:
            return value
        if family in (Family.TEXT, Family.ENUM, Family.SET):
            return _text(value, column.charset or "utf8")
        raise ValueError("bytes are no value")
    try:
        if family in _WHOLE:
            return str(int(value))
        if family is Family.DECIMAL:
            Decimal(value)
    except (ValueError, InvalidOperation):
        raise ValueError(f"{value} is no value") from None
    return value


def typed_value(word: str, column: Column) -> str | bytes:
    """The same of a value that stands by itself: as it is, or {"hex": "00ff"} where the column has bytes."""
    family = column.family
    if family in _BYTES:
        found = as_bytes(_parsed(word))
        return fitted(found if isinstance(found, bytes) else word, column)
    # What a server would refuse, an embedded database takes, and has a value of another type then.
    if family in DATED and not _MOMENT.fullmatch(word):
        raise ValueError(f"{word} is no value")
    if family is Family.FLOAT and not _is_number(word):
        raise ValueError(f"{word} is no value")
    found = fitted(word, column)
    return word if family is Family.YEAR else found  # 0000 is no 0


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def as_bytes(part: object) -> object:
    """Bytes of {"hex": "…"}, text that is no Unicode of {"hex": "…", "charset": "…"}; anything else as it is."""
    if (
        not isinstance(part, dict)
        or list(part) not in (["hex"], ["hex", "charset"])
        or not isinstance(part["hex"], str)
    ):
        return part
    try:
        content = bytes.fromhex(part["hex"])
    except ValueError:
        return part
    return stored_text.written(str(part["charset"]), content) if "charset" in part else content


def _parsed(word: str) -> object:
    try:
        return json.loads(word)
    except ValueError:
        return None


def _text(content: bytes, charset: str) -> str:
    """Bytes of a text, as they are stored."""
    if charset in stored_text.UTF8:
        return stored_text.from_sent(content)
    return content.decode() if content.isascii() else stored_text.written(charset, content)
