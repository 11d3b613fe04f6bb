"""A row's key as a person types it behind a command: word by word, or whole as JSON. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from stationsync.errors import UsageError
from stationsync.explain.facts import Key
from stationsync.model import stored_text
from stationsync.model.schema import Column
from stationsync.model.wire import Family, key_text

_PLAIN = re.compile(r"[\w.:@+][\w.:@+-]*")
_WHOLE = (Family.INTEGER, Family.UNSIGNED, Family.YEAR)


def key_of(place: str, words: Sequence[str], names: Sequence[str]) -> Key:
    """`["7","A"]`, or `7 A`; bytes as {"hex":"00ff"}. Raises UsageError where these are not as many as key columns."""
    whole = _parsed(words[0]) if len(words) == 1 else None
    if isinstance(whole, list):
        found = tuple(_plain(part) for part in whole)
    else:
        found = tuple(part if isinstance(part := _plain(_parsed(word)), bytes) else word for word in words)
    if wrong := [part for part in found if not isinstance(part, str | bytes)]:
        raise _bad(place, f"{json.dumps(wrong[0])} is no value of a key.", names)
    if len(found) != len(names):
        raise _bad(place, f"the key is [{', '.join(names)}], {_many(len(names))}, and {len(found)} came.", names)
    return found  # type: ignore[return-value]


def fitted(place: str, key: Key, columns: Mapping[str, Column]) -> Key:
    """As the key's columns take it. Raises UsageError for what cannot be a value of one."""
    return tuple(_fitted(place, part, name, column) for part, (name, column) in zip(key, columns.items(), strict=True))


def typed(key: Key) -> str:
    """What a person types, so that a shell hands it over as it is."""
    if all(isinstance(part, str) and _PLAIN.fullmatch(part) for part in key):
        return " ".join(map(str, key))
    return shlex.quote(key_text(key))


def _fitted(place: str, part: str | bytes, name: str, column: Column) -> str | bytes:
    family = column.family
    if family is Family.BINARY:
        return part.encode() if isinstance(part, str) else part
    if family is Family.BIT and isinstance(part, str):
        bits = int(re.sub(r"\D", "", column.type) or 1)
        if not part.isdecimal() or int(part).bit_length() > bits:
            raise _bad(place, f"{part} is no value of key column {name}, which is {column.type}.", [name])
        return int(part).to_bytes((bits + 7) // 8)
    if isinstance(part, bytes):
        if family is Family.BIT:
            return part
        if family in (Family.TEXT, Family.ENUM, Family.SET):
            return _text(part, column.charset or "utf8")
        raise _bad(place, f"bytes are no value of key column {name}, which is {column.type}.", [name])
    try:
        if family in _WHOLE:
            return str(int(part))
        if family is Family.DECIMAL:
            Decimal(part)
    except (ValueError, InvalidOperation):
        raise _bad(place, f"{part} is no value of key column {name}, which is {column.type}.", [name]) from None
    return part


def _text(content: bytes, charset: str) -> str:
    """Bytes of a text, as they are stored."""
    if charset in stored_text.UTF8:
        return stored_text.from_sent(content)
    return content.decode() if content.isascii() else stored_text.written(charset, content)


def _parsed(word: str) -> object:
    try:
        # Numbers as they are written: 1.10 is no 1.1, where a key is DECIMAL.
        return json.loads(word, parse_int=str, parse_float=str)
    except ValueError:
        return None


def _plain(part: object) -> object:
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


def _many(number: int) -> str:
    return "one value" if number == 1 else f"{number} values"


def _bad(place: str, what: str, names: Sequence[str]) -> UsageError:
    sample = " ".join(name.upper() for name in names)
    step = f"""Write {sample}, or the whole key as JSON: '["7","A"]', bytes as {{"hex":"00ff"}}."""
    return UsageError(place, what, not_done="Nothing was looked up.", next_step=step)
