"""Character sets of MariaDB: what can be lost between two of them, and how text is read and compared without losing it.

CONVERT(x USING utf8mb4)   `Utf8mb4`: for text of which nothing can be lost
the text, or its bytes     `StoredText`: where the way there and back would alter it (see `stored_text`)
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from stationsync.errors import SchemaRefused
from stationsync.model.schema import Column, RawType
from stationsync.model.stored_text import UTF8

# Each of their codes has a Unicode of its own and comes back as it was (measured: tests/database/test_charsets.py).
_WHOLE = frozenset(
    "latin1 latin2 latin5 latin7 koi8r koi8u cp850 cp852 cp866 keybcs2 macce macroman".split()  # noqa: SIM905
)
_SAFE = UTF8 | _WHOLE
# They have the character that marks bytes.
_WITH_MARK = frozenset({"utf8mb4", "utf16", "utf16le", "utf32"})
_NOPAD = re.compile(r"COLLATE ([a-z0-9]+)_nopad_bin\b")
_NAME = re.compile("[a-z0-9]{1,32}")
_OF_A_TYPE = re.compile(r" CHARACTER SET ([a-z0-9]+) COLLATE [a-z0-9_]+$")


class Utf8mb4(GenericFunction[Any]):
    """CONVERT(x USING utf8mb4)."""

    inherit_cache = True
    name = "utf8mb4"


@compiles(Utf8mb4)
def _convert(element: Utf8mb4, compiler: SQLCompiler, **options: Any) -> str:
    return f"CONVERT({compiler.process(element.clauses, **options)} USING utf8mb4)"


class Exact(GenericFunction[Any]):
    """UTF-8 compared byte by byte, trailing spaces included."""

    inherit_cache = True
    name = "exact"


@compiles(Exact)
def _exact(element: Exact, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)} COLLATE {_bytes_of('utf8mb4', compiler.dialect)})"


@compiles(RawType, "mysql")
def _type(kind: RawType, compiler: Any, **_: Any) -> str:
    """Collations of bytes by their names there."""
    return _NOPAD.sub(lambda found: f"COLLATE {_bytes_of(found[1], compiler.dialect)}", kind.ddl)


def _bytes_of(charset: str, dialect: sa.Dialect) -> str:
    """The collation of bytes. MySQL has one without padding for utf8mb4 alone; text of others is compared as bytes."""
    if getattr(dialect, "is_mariadb", True):
        return f"{charset}_nopad_bin"
    return "utf8mb4_0900_bin" if charset == "utf8mb4" else f"{charset}_bin"


class StoredText(sa.ColumnElement[Any]):
    """The text of a column of the character set `own`; where it does not survive the way through `via` and back, the
    wire form of its bytes."""

    inherit_cache = True
    type = sa.types.NULLTYPE

    def __init__(self, text: sa.ColumnElement[Any], own: str, via: str) -> None:
        self.text = text
        self.own = _name(own)
        self.via = _name(via)

    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy declares it
        ("text", sa.sql.visitors.InternalTraversal.dp_clauseelement),
        ("own", sa.sql.visitors.InternalTraversal.dp_string),
        ("via", sa.sql.visitors.InternalTraversal.dp_string),
    ]

    @property
    def _from_objects(self) -> Any:
        return self.text._from_objects


@compiles(StoredText)
def _stored_text(element: StoredText, compiler: SQLCompiler, **options: Any) -> str:
    x, own, via = compiler.process(element.text, **options), element.own, element.via
    survives = f"CAST(CONVERT(CONVERT({x} USING {via}) USING {own}) AS BINARY) = CAST({x} AS BINARY)"
    if own in _WITH_MARK:
        survives += f" AND LEFT(CAST(CONVERT({x} USING utf8mb4) AS BINARY), 4) <> x'F48FBFBF'"
    return f"IF({survives}, CONVERT({x} USING utf8mb4), CONCAT(_utf8mb4 x'F48FBFBF', _utf8mb4'{own}:', HEX({x})))"


def may_be_lost(own: str | None, other: str | None = None) -> bool:
    """Whether text of `own` may not survive the way to Unicode, or to `other`, and back."""
    return any(charset is not None and charset not in _SAFE for charset in (own, other))


def text_of(expression: sa.ColumnElement[Any], own: Column, other: Column | None = None) -> sa.ColumnElement[Any]:
    """`expression` as text or as bytes, whichever tells the value from every other: the same in both databases. Of a
    column of which nothing can be lost, the expression itself."""
    charset, others = own.charset, other.charset if other else None
    if charset is None or not may_be_lost(charset, others):
        return expression
    return StoredText(expression, charset, others if others not in (None, charset) else "utf8mb4")


def exact(expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
    """Comparable byte by byte with another of the same character set; utf8mb3 with utf8mb4 too."""
    if not column.is_text:
        return expression
    if column.charset not in UTF8:
        return sa.cast(expression, sa.BINARY())
    if column.charset != "utf8mb4":
        expression = Utf8mb4(expression)
    return Exact(expression)


def charset_of(kind: Any) -> str | None:
    """Of a column of a temporary table, as its type says it."""
    found = _OF_A_TYPE.search(getattr(kind, "ddl", ""))
    return found[1] if found else None


def _name(charset: str) -> str:
    if not _NAME.fullmatch(charset):
        raise SchemaRefused("a column", "its character set has a name that none has.")
    return charset
