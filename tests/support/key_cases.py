"""Keys of every kind, a few pages of each: column -> DDL, and 250 rows of SQL literals whose order is not obvious."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from decimal import Decimal

from support.another_server import any_mysql, mixed
from support.type_cases import text

ROWS = 250


def _each(make: Callable[[int], str]) -> list[list[str]]:
    return [[make(n)] for n in range(ROWS)]


def _words(count: int = ROWS) -> list[str]:
    """Words with case, accents, emoji, blanks, quotes and backslashes: all different in a _ci collation."""
    odd = ["", "é", "Zz", "zZa", "ß1", "한국", "🚉", "\\", "%", "'", '"', "a b", "_", "~", "\x7f", "A\t", "e\u0301x"]
    return [f"{odd[n % len(odd)]}{n:03}" if n % 2 else f"{n}{odd[n % len(odd)]}x" for n in range(count)]


_LABELS = [f"{chr(97 + n * 7 % 26)}{n}" for n in range(ROWS)]
_PARTS = itertools.product(
    text("", "a", "B", "é", "🚉"),
    range(5),
    [f"x'{byte}'" for byte in ("00", "20", "5c", "27", "ff", "80", "0a", "09", "", "0000")],
)
_BYTES = ["00", "20", "5c", "27", "ff", "80", "0a", "09"]
_UUIDS = [str(uuid.UUID(int=(n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4)) for n in range(ROWS)]
_WORD_ROWS = [[literal] for literal in text(*_words())]
_ASCII_ROWS = [
    [literal]
    for literal in text(*(word.encode("ascii", "ignore").decode() + str(n) for n, word in enumerate(_words())))
]

KEYS: dict[str, tuple[dict[str, str], list[list[str]]]] = {
    "int with 0 and negative ids": ({"id": "INT NOT NULL"}, _each(lambda n: str(n - 120))),
    "auto_increment with 0": ({"id": "BIGINT NOT NULL AUTO_INCREMENT"}, _each(lambda n: str(n * 3))),
    "unsigned beyond 2^63": ({"id": "BIGINT UNSIGNED NOT NULL"}, _each(lambda n: str(2**63 - 100 + n * 2**40))),
    "zerofill": ({"id": "INT(8) ZEROFILL NOT NULL"}, _each(lambda n: str(n * 999))),
    "decimal": (
        {"id": "DECIMAL(38,10) NOT NULL"},
        _each(lambda n: str(Decimal(n - 99) * Decimal("1234567890123456.0000000007"))),
    ),
    "double": ({"id": "DOUBLE NOT NULL"}, _each(lambda n: repr((n - 99) / 7 * 10 ** (n % 40 - 20)))),
    "text, case-insensitive": ({"id": "VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL"}, _WORD_ROWS),
    "text, unicode": ({"id": "VARCHAR(40) COLLATE utf8mb4_unicode_ci NOT NULL"}, _WORD_ROWS),
    "text, no padding": ({"id": "VARCHAR(40) COLLATE utf8mb4_unicode_nopad_ci NOT NULL"}, _WORD_ROWS),
    "text, binary": ({"id": "VARCHAR(40) COLLATE utf8mb4_bin NOT NULL"}, _WORD_ROWS),
    "text, latin1": ({"id": "VARCHAR(40) CHARACTER SET latin1 NOT NULL"}, _ASCII_ROWS),
    "char": ({"id": "CHAR(40) NOT NULL"}, _WORD_ROWS),
    "binary": ({"id": "BINARY(6) NOT NULL"}, _each(lambda n: f"x'{_BYTES[n % 8]}{n:04x}{_BYTES[n % 7]}00'")),
    "varbinary": ({"id": "VARBINARY(6) NOT NULL"}, _each(lambda n: f"x'{_BYTES[n % 8]}{n:04x}{'00' * (n % 3)}'")),
    "bit": ({"id": "BIT(20) NOT NULL"}, _each(lambda n: str(n * 4001))),
    "uuid": ({"id": "UUID NOT NULL"}, _each(lambda n: f"'{_UUIDS[n]}'")),
    "inet6": ({"id": "INET6 NOT NULL"}, _each(lambda n: f"'2001:db8::{n:x}:{n * 7 % 99:x}'")),
    "enum": ({"id": f"ENUM({', '.join(map(repr, _LABELS))}) NOT NULL"}, _each(lambda n: repr(_LABELS[n]))),
    "set": (
        {"id": "SET('z','y','b','a','k','c','q','d') NOT NULL"},
        _each(lambda n: "'" + ",".join(c for i, c in enumerate("zybakcqd") if n >> i & 1) + "'"),
    ),
    "datetime(6)": (
        {"id": "DATETIME(6) NOT NULL"},
        _each(lambda n: f"'2020-01-01 00:00:00' + INTERVAL {n * 7} MICROSECOND"),
    ),
    "timestamp(3)": (
        {"id": "TIMESTAMP(3) NOT NULL DEFAULT '2000-01-01'"},
        _each(lambda n: f"'2020-03-29 01:59:59' + INTERVAL {n * 97000} MICROSECOND"),
    ),
    "date": ({"id": "DATE NOT NULL"}, _each(lambda n: f"'1582-10-01' + INTERVAL {n} DAY")),
    "time": ({"id": "TIME(2) NOT NULL"}, _each(lambda n: f"SEC_TO_TIME(({n} - 125) * 20000.25)")),
    "three columns": (
        {"region": "VARCHAR(10) NOT NULL", "id": "INT NOT NULL", "part": "VARBINARY(4) NOT NULL"},
        [[region, str(n - 2), part] for region, n, part in _PARTS],
    ),
}

if any_mysql():
    _LACKING = {"uuid", "inet6", "text, no padding", *(["double"] if mixed() else [])}
    KEYS = {name: case for name, case in KEYS.items() if name not in _LACKING}
