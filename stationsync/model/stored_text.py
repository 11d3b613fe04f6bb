"""Text that cannot be carried as Unicode: no UTF-8, or bytes of an older character set that no Unicode has or that come
back as others.

In wire form such a value is itself a text that no other value is: a mark that is no character, the character set, and
the bytes in hex. So it goes wherever text goes (pages, keys, the journal), two of them are equal exactly if their bytes
are, and a database is given the bytes again. Text that begins with the mark, by chance or malice, is written so too."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

# U+10FFFF is a noncharacter: no character set but Unicode's own has it, and nobody writes it.
MARK = "\U0010ffff"
_FORM = re.compile(rf"{MARK}([a-z0-9]{{1,32}}):((?:[0-9a-f]{{2}})*)", re.IGNORECASE)
UTF8 = frozenset({"utf8", "utf8mb3", "utf8mb4"})
# What the database sends as UTF-8 is exactly what these have, surrogates included.
_WIDE = {"ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
# For people and rules only; what Python has no codec for is shown as far as it is ASCII.
_CODECS = {
    **_WIDE, **dict.fromkeys(UTF8, "utf-8"), "euckr": "euc_kr", "ujis": "euc_jp", "eucjpms": "euc_jp",
    "sjis": "shift_jis", "greek": "iso8859-7", "hebrew": "iso8859-8", "tis620": "tis-620", "latin1": "cp1252",
    "latin2": "iso8859-2", "latin5": "iso8859-9", "latin7": "iso8859-13", "koi8r": "koi8-r", "koi8u": "koi8-u",
}  # fmt: skip
_SHOWN_BYTES = 64


class Stored(NamedTuple):
    charset: str
    content: bytes

    @property
    def shown(self) -> str:
        """The bytes in hex, for people; not all of a long value."""
        text = self.content[:_SHOWN_BYTES].hex().upper()
        return f"0x{text}…" if len(self.content) > _SHOWN_BYTES else f"0x{text}"

    @property
    def is_utf8(self) -> bool:
        return self.charset in UTF8 and _decodes(self.content)

    def fits(self, charset: str | None) -> bool:
        """Whether a column of that character set may have it."""
        return charset is None or charset == self.charset or {charset, self.charset} <= UTF8

    @property
    def readable(self) -> str:
        """As far as it is text."""
        try:
            return self.content.decode(_CODECS.get(self.charset, self.charset), "replace")
        except LookupError:
            return self.content.decode("ascii", "replace")


def written(charset: str, content: bytes) -> str:
    """The wire form of these bytes of that character set."""
    return f"{MARK}{charset}:{content.hex()}"


def parsed(value: object) -> Stored | None:
    """What the wire form says; None for any other value."""
    if not isinstance(value, str) or not value.startswith(MARK) or (match := _FORM.fullmatch(value)) is None:
        return None
    return Stored(match[1], bytes.fromhex(match[2]))


def from_sent(content: bytes, charset: str = "utf8mb4") -> str:
    """The wire form of what a database sent as UTF-8, from a column of `charset`."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        if wide := _WIDE.get(charset):
            return written(charset, content.decode("utf-8", "surrogatepass").encode(wide, "surrogatepass"))
        return written("utf8mb4", content)
    return written("utf8mb4", content) if text.startswith(MARK) else text


def travels(stored: Stored, own: str | None, other: str | None) -> bool:
    """Whether the bytes may be given to a column of the character set `other`, from one of `own`: where both are the
    same, as they are; of UTF-8, only if they are UTF-8."""
    if stored.charset in UTF8:
        return stored.is_utf8 and all(charset is None or charset in UTF8 for charset in (own, other))
    return own == other == stored.charset


def any_in(column: pa.ChunkedArray | pa.Array) -> bool:
    """Whether a column of text has any such value. One look at the first bytes of each."""
    return bool(pc.any(pc.starts_with(column, MARK)).as_py())


def found_in(column: pa.ChunkedArray) -> dict[int, Stored]:
    """Row number -> value, of those that are such."""
    if not pa.types.is_string(column.type) or not any_in(column):
        return {}
    at = pc.indices_nonzero(pc.starts_with(column, MARK)).to_pylist()
    return {i: stored for i in at if (stored := parsed(column[i].as_py())) is not None}


def as_read(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with such values as far as they are text, for rules."""
    found = found_in(column)
    if not found:
        return column
    values = column.to_pylist()
    for i, stored in found.items():
        values[i] = stored.readable
    return pa.chunked_array([pa.array(values, pa.string())])


def as_json(value: object) -> object:
    """A value for a program: such a text as its bytes in hex, with the character set; bytes in hex too."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    stored = parsed(value)
    return value if stored is None else {"hex": stored.content.hex(), "charset": stored.charset}


def told(value: str, *, whole: bool = False) -> str:
    """A text for people: such a value as its bytes in hex."""
    stored = parsed(value)
    if stored is None:
        return value
    return f"0x{stored.content.hex().upper()}" if whole else stored.shown


def _decodes(content: bytes) -> bool:
    try:
        codecs.decode(content, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
