"""Every column type that MariaDB has (of these MySQL's, where it is at one side), with the values that are hard to
carry, as SQL literals."""

from __future__ import annotations

import re

from support.another_server import any_mysql, mixed


def _ints(bits: int) -> list[str]:
    half = 2 ** (bits - 1)
    return [str(-half), "-1", "0", "1", str(half - 1), "NULL"]


def _unsigned(bits: int) -> list[str]:
    return ["0", "1", str(2 ** (bits - 1)), str(2**bits - 1), "NULL"]


def text(*values: str) -> list[str]:
    """Text as literals that no quoting rule can get wrong."""
    return [f"_utf8mb4 x'{value.encode().hex()}'" if value else "''" for value in values]


_WORDS = (
    "",
    " ",
    "a",
    "A",
    "á",
    "a ",
    " a",
    "a  ",
    "\t",
    "a\tb",
    "\n",
    "a\nb",
    "\r\n",
    "\\",
    "\\\\",
    "\\N",
    "\\n",
    "\\t",
    "NULL",
    "null",
    "'",
    "''",
    '"',
    "`",
    "it's",
    "%s",
    "100%",
    "%(a)s",
    ":a",
    "?",
    "a,b",
    "x'00'",
    "\0",
    "a\0b",
    "\0\0",
    "\x1a",
    "\x7f",
    "--",
    "/*",
    ";",
    "0",
    "0000-00-00",
    "\\0",
    "\\Z",
    "N",
    "\\'",
    "\\\n",
)
_THREE_BYTES = (*_WORDS, "한국어", "é", "e\u0301", "ß", "İ", "\u200b", "\ufeff", "\uffff", "日本")
_ANYTHING = (*_THREE_BYTES, "🚉", "👩‍👩‍👧", "𝔘", "\U0010ffff", "a🚉")
# latin1 is cp1252 here; the five bytes that cp1252 does not know are control characters.
_LATIN1_BYTES = "".join(f"{byte:02x}" for byte in range(1, 256))
_LATIN1 = [*text(*(word for word in _WORDS)), f"_latin1 x'{_LATIN1_BYTES}'", "_latin1 x'80'", "_latin1 x'818d8f909d'"]
_KOREAN = [word for word in (*_WORDS, "한국어") if "á" not in word]
_ALL_BYTES = "".join(f"{byte:02x}" for byte in range(256))
_BLOBS = ["''", "x'00'", "x'0000'", "x'20'", "x'61'", "x'6120'", "x'5c4e'", "x'0a'", "x'09'", "x'27'", "x'ff'", "NULL"]

NULLABLE_TEXT = [*text(*_ANYTHING), "NULL"]
UTF8MB3_TEXT = [*text(*_THREE_BYTES), "NULL"]
LATIN1_TEXT = [*_LATIN1, "NULL"]
LONG = ["REPEAT('가', 20000)", "REPEAT(_utf8mb4 x'5c', 50000)", "REPEAT(x'09', 60000)"]

_DATETIMES = [
    "'0001-01-01 00:00:00'",
    "'1000-01-01 00:00:00'",
    "'1582-10-10 12:00:00'",
    "'1677-01-01 00:00:00'",
    "'1899-12-31 23:59:59'",
    "'2000-02-29 23:59:59'",
    "'2026-03-29 02:30:00'",
    "'9999-12-31 23:59:59'",
    "NULL",
]

Cases = dict[str, tuple[str, list[str]]]

# Groups of columns: each group is one table, whose columns are named after their cases.
GROUPS: dict[str, Cases] = {
    "integers": {
        "tinyint": ("TINYINT", _ints(8)),
        "smallint": ("SMALLINT", _ints(16)),
        "mediumint": ("MEDIUMINT", _ints(24)),
        "int": ("INT", _ints(32)),
        "bigint": ("BIGINT", _ints(64)),
        "tinyint unsigned": ("TINYINT UNSIGNED", _unsigned(8)),
        "smallint unsigned": ("SMALLINT UNSIGNED", _unsigned(16)),
        "mediumint unsigned": ("MEDIUMINT UNSIGNED", _unsigned(24)),
        "int unsigned": ("INT UNSIGNED", _unsigned(32)),
        "bigint unsigned": ("BIGINT UNSIGNED", _unsigned(64)),
        "zerofill": ("INT(6) ZEROFILL", ["0", "42", "1234567", "NULL"]),
        "boolean": ("BOOLEAN", ["TRUE", "FALSE", "NULL", "2"]),
    },
    "decimals": {
        "decimal": ("DECIMAL(10,2)", ["0", "-0.01", "99999999.99", "-99999999.99", "NULL"]),
        "decimal(38,10)": ("DECIMAL(38,10)", ["9999999999999999999999999999.9999999999", "-0.0000000001", "0", "NULL"]),
        "decimal(65,30)": (
            "DECIMAL(65,30)",
            ["9" * 35 + "." + "9" * 30, "-" + "9" * 35 + "." + "9" * 30, "0." + "0" * 29 + "1", "NULL"],
        ),
        "decimal(65)": ("DECIMAL(65)", ["9" * 65, "-" + "9" * 65, "0"]),
    },
    "floats": {
        "float": ("FLOAT", ["0.1", "-1.17549435e-38", "3.40282346e38", "16777217", "0.333333343", "1e-45", "NULL"]),
        "float(7,4)": ("FLOAT(7,4)", ["999.9001", "-0.0001", "0", "NULL"]),
        "float unsigned": ("FLOAT UNSIGNED", ["0.1", "3.40282346e38"]),
        "double": (
            "DOUBLE",
            [
                "0.1",
                "1e308",
                "1.7976931348623157e308",
                "5e-324",
                "-2.2250738585072014e-308",
                "1e22",
                "0.30000000000000004",
                "9007199254740993",
                "-0e0",
                "NULL",
            ],
        ),
        "double(20,5)": ("DOUBLE(20,5)", ["123456789012345.12345", "0.00001", "-1", "NULL"]),
    },
    "dates and times": {
        **{
            f"datetime({n})": (f"DATETIME({n})", [*_DATETIMES, f"'2024-12-31 23:59:59.{'987654'[:n] or '0'}'"])
            for n in range(7)
        },
        "date": ("DATE", ["'0001-01-01'", "'0999-12-31'", "'1582-10-10'", "'2024-02-29'", "'9999-12-31'", "NULL"]),
        "timestamp(6)": (
            "TIMESTAMP(6) NULL DEFAULT NULL",
            [
                "'1970-01-01 00:00:01'",
                "'1999-12-31 23:59:59.999999'",
                "'2026-10-25 01:30:00.5'",
                "'2038-01-19 03:14:07.999999'",
                "NULL",
            ],
        ),
        "timestamp": ("TIMESTAMP NULL", ["'1970-01-01 00:00:01'", "'2024-01-01 00:00:00'"]),
        "time(6)": (
            "TIME(6)",
            [
                "'838:59:59.999999'",
                "'-838:59:59.999999'",
                "'-00:30:00.000001'",
                "'-00:00:01'",
                "'100:00:00'",
                "'0'",
                "NULL",
            ],
        ),
        "time": ("TIME", ["'25:00:00'", "'-01:15:00'", "'00:00:00'", "NULL"]),
        "year": ("YEAR", ["0", "1901", "1970", "2155", "NULL"]),
    },
    "bits": {
        **{
            f"bit({n})": (f"BIT({n})", ["0", "1", str(2**n - 1), str(2 ** (n - 1)), "NULL"])
            for n in (1, 7, 8, 9, 15, 31, 63)
        },
        "bit(64)": ("BIT(64)", ["0", "1", "~0", "1 << 63", "0x5c4e27", "NULL"]),
    },
    "json, enum and set": {
        "json": (
            "JSON",
            ["'{\"a\": [1, 2.50, null]}'", "'\"한\\\\n\"'", '\'{ "b":1,  "a":2}\'', "'[]'", "'null'", "NULL"],
        ),
        "enum": (
            "ENUM('','a','A b','it''s','50%',':x','x\\\\y','1','0','가','\"')",
            ["''", "'a'", "'A b'", "'it''s'", "'50%'", "':x'", "'x\\\\y'", "'1'", "'0'", "'가'", "'\"'", "NULL"],
        ),
        "set": (
            "SET('a','b c','50%','it''s','1','2')",
            ["''", "'a'", "'b c,50%'", "'a,it''s,2'", "'2'", "'1,2'", "NULL"],
        ),
    },
    "text": {
        "char": ("CHAR(255)", [*text(*_ANYTHING), "NULL"]),
        "varchar": ("VARCHAR(100)", NULLABLE_TEXT),
        "varchar bin": ("VARCHAR(100) COLLATE utf8mb4_bin", NULLABLE_TEXT),
        "varchar nopad": ("VARCHAR(100) COLLATE utf8mb4_unicode_nopad_ci", NULLABLE_TEXT),
    },
    "text of other charsets": {
        "char utf8mb3": ("CHAR(20) CHARACTER SET utf8mb3", UTF8MB3_TEXT),
        "national char": ("NATIONAL VARCHAR(20)", UTF8MB3_TEXT),
        "varchar utf8mb3": ("VARCHAR(100) CHARACTER SET utf8mb3", UTF8MB3_TEXT),
        "varchar latin1": ("VARCHAR(300) CHARACTER SET latin1", LATIN1_TEXT),
        "varchar ucs2": ("VARCHAR(100) CHARACTER SET ucs2", UTF8MB3_TEXT),
        "varchar utf16": ("VARCHAR(100) CHARACTER SET utf16", NULLABLE_TEXT),
        "varchar euckr": ("VARCHAR(100) CHARACTER SET euckr", [*text(*_KOREAN), "NULL"]),
        "varchar sjis": ("VARCHAR(100) CHARACTER SET sjis", [*text("ソ", "表", "a\\b", "日本"), "NULL"]),
    },
    "as wide as a row may be": {
        "varchar wide": ("VARCHAR(16000)", [*text("", "a"), "REPEAT('가', 16000)"]),
    },
    "long text": {
        "varchar compressed": ("VARCHAR(2000) COMPRESSED", [*text("", "a ", "\\N"), "REPEAT('a', 2000)", "NULL"]),
        "tinytext": ("TINYTEXT", [*NULLABLE_TEXT, "REPEAT('a', 255)"]),
        "text": ("TEXT", [*NULLABLE_TEXT, *LONG]),
        "text latin1": ("TEXT CHARACTER SET latin1", LATIN1_TEXT),
        "mediumtext": ("MEDIUMTEXT", [*NULLABLE_TEXT, *LONG]),
        "longtext": ("LONGTEXT", [*NULLABLE_TEXT, *LONG]),
    },
    "binary": {
        "binary": ("BINARY(6)", _BLOBS),
        "varbinary": ("VARBINARY(300)", [*_BLOBS, f"x'{_ALL_BYTES}'"]),
        "varbinary compressed": ("VARBINARY(300) COMPRESSED", [*_BLOBS, f"x'{_ALL_BYTES}'"]),
        "tinyblob": ("TINYBLOB", [*_BLOBS, f"x'{_ALL_BYTES[:510]}'"]),
        "blob": ("BLOB", [*_BLOBS, f"x'{_ALL_BYTES}'", f"REPEAT(x'{_ALL_BYTES}', 200)"]),
        "mediumblob": ("MEDIUMBLOB", [*_BLOBS, f"x'{_ALL_BYTES}'"]),
        "longblob": ("LONGBLOB", [*_BLOBS, f"x'{_ALL_BYTES}'"]),
    },
    "uuid and inet": {
        "uuid": (
            "UUID",
            [
                "'00000000-0000-0000-0000-000000000000'",
                "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
                "'6ccd780c-baba-1026-9564-5b8c656024db'",
                "NULL",
            ],
        ),
        "inet6": ("INET6", ["'::'", "'::1'", "'2001:db8::ff00:42:8329'", "'::ffff:192.168.0.1'", "NULL"]),
        "inet4": ("INET4", ["'0.0.0.0'", "'255.255.255.255'", "'10.0.0.1'", "NULL"]),
    },
}

_NOT_MYSQL = re.compile("COMPRESSED|UUID|INET|nopad")


def _of_mysql(cases: Cases) -> Cases:
    """Of columns that it has, the values that it takes."""
    found = {name: one for name, one in cases.items() if not _NOT_MYSQL.search(one[0])}
    return {name: (ddl, [one for one in values if "838:59:59.9" not in one]) for name, (ddl, values) in found.items()}


if any_mysql():
    if mixed():
        _NOT_MYSQL = re.compile("COMPRESSED|UUID|INET|nopad|FLOAT|DOUBLE|JSON")
    GROUPS = {name: few for name, cases in GROUPS.items() if (few := _of_mysql(cases))}

# The station's type, control's, and values of the station.
WIDER_AT_CONTROL = {
    "decimal": ("DECIMAL(10,2)", "DECIMAL(38,10)", ["1.23", "-0.01", "99999999.99", "NULL"]),
    "double": ("DOUBLE(10,2)", "DOUBLE", ["1.23", "0.1", "-99999.99", "NULL"]),
    "datetime": ("DATETIME", "DATETIME(6)", ["'0001-01-01'", "'9999-12-31 23:59:59'", "NULL", "'2024-01-01'"]),
    "datetime3": ("DATETIME(3)", "DATETIME(6)", ["'0001-01-01'", "'9999-12-31 23:59:59.999'", "NULL", "'2024-01-01'"]),
    "time": ("TIME", "TIME(6)", ["'-838:59:59'", "'100:00:01'", "NULL", "'0'"]),
    "char": ("CHAR(10)", "VARCHAR(10)", ["'a'", "''", "NULL", "'é'"]),
    "text": ("VARCHAR(20) CHARACTER SET latin1", "LONGTEXT", ["'a '", "'é€'", "NULL", "''"]),
    "binary": ("BINARY(4)", "VARBINARY(4)", ["'a'", "x'00000000'", "NULL", "x'ffffffff'"]),
    "bits": ("BIT(3)", "BIT(40)", ["5", "0", "7", "NULL"]),
    "int": ("TINYINT", "BIGINT", ["-128", "0", "127", "NULL"]),
    "unsigned": ("INT UNSIGNED", "BIGINT", ["0", "4294967295", "1", "NULL"]),
    "enum": ("ENUM('b','a','50%')", "ENUM('x','a','50%','b')", ["'a'", "'b'", "'50%'", "NULL"]),
    "set": ("SET('b','a')", "SET('b','x','a')", ["'a'", "'b'", "'b,a'", "NULL"]),
    "float": ("FLOAT", "DOUBLE", ["0.1", "1e-30", "-3.5", "NULL"]),
}

if mixed():
    WIDER_AT_CONTROL = {name: one for name, one in WIDER_AT_CONTROL.items() if name not in ("float", "double")}

ID = {"id": "INT NOT NULL"}


def table_of(group: str) -> tuple[dict[str, str], list[list[str]]]:
    """The columns of a group, and its rows of literals: every column goes through all of its values."""
    cases = GROUPS[group]
    rows = max(len(values) for _, values in cases.values())
    columns = {name: ddl for name, (ddl, _) in cases.items()}
    return {**ID, **columns}, [[values[i % len(values)] for _, values in cases.values()] for i in range(rows)]
