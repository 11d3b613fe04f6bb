"""Every code of every character set arrives as the bytes that it is, or is kept aside with them: never as another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.databases import MariaDBDatabases
from support.mirror import Mirror
from support.reports import json_of
from support.sweeps import found, sweep

from stationsync.database.mariadb.text import may_be_lost
from stationsync.model.changes import Status

UNICODE = {"utf8mb3", "utf8mb4"}
WIDE = {"ucs2": 2, "utf16": 2, "utf16le": 2, "utf32": 4}
# Every so many of the codes of two bytes.
STEP = 397
ROWS_AT_ONCE = 500


def charsets(databases: MariaDBDatabases) -> dict[str, int]:
    """Name -> the most bytes a character."""
    shown = databases.query(1, "SHOW CHARACTER SET")
    return {str(name): int(most) for name, _, _, most in shown if name not in UNICODE | {"binary"}}


def codes(charset: str, most: int) -> Iterator[bytes]:
    if width := WIDE.get(charset):
        for code in (0x41, 0x5C, 0xE9, 0x3042, 0xAC00, 0xD800, 0xDC00, 0xFFFD, 0xFFFE):
            yield code.to_bytes(width, "little" if charset.endswith("le") else "big")
        return
    few = (0x41, 0x5C, 0x7E, 0x7F, 0x81, 0x8D, 0x9D, 0xFF)
    yield from (bytes([one]) for one in (range(0x80, 0x100) if most == 1 and may_be_lost(charset) else few))
    if most > 1:
        pairs = [bytes([first, second]) for first in range(0x81, 0xFF) for second in range(0x40, 0xFF)]
        yield from pairs[::STEP]
        yield from map(bytes.fromhex, ("C9A1", "8790", "81E0", "A1C0", "FA4A", "C0A1", "5C5C"))


def filled(databases: MariaDBDatabases, names: Mapping[str, int], control: str | None = None) -> Mirror:
    """A table with a column for each character set, at control too, or of `control` there; a row for each code that the
    server takes, in its own column."""

    def columns(of: str | None) -> dict[str, str]:
        texts = {f"c_{name}": f"VARCHAR(8) CHARACTER SET {of or name} COLLATE {of or name}_bin" for name in names}
        return {"id": "INT NOT NULL", "n": "INT NOT NULL DEFAULT 0", **texts}

    mirror = Mirror(databases, columns(None), control=columns(control), max_bad="100%")
    mirror.fleet.init()
    number, statements = 0, []
    for name, most in names.items():
        values = []
        for code in codes(name, most):
            number += 1
            values.append(f"({number}, UNHEX('{code.hex()}'), UTC_TIMESTAMP(6))")
        for start in range(0, len(values), ROWS_AT_ONCE):
            some = ", ".join(values[start : start + ROWS_AT_ONCE])
            # What is no code of the character set is cut off: then it is another value, and as good as any.
            statements.append(f"INSERT IGNORE INTO t (id, c_{name}, m) VALUES {some}")
    mirror.run(1, ["SET SESSION sql_mode = ''", *statements])
    return mirror


def kept(mirror: Mirror, direction: str = "up") -> set[int]:
    entries = mirror.quarantined()
    return {int(json.loads(key)[0]) for way, key, _ in entries if way == direction}


def rows(mirror: Mirror, where: Any, convert: bool = False) -> dict[int, dict[str, str | None]]:
    """id -> column -> hex of what is stored; with `convert`, of that in the column's own character set."""
    names = [name for name in mirror.names if name.startswith("c_")]
    values = (f"CONVERT(`{name}` USING {name[2:]})" if convert else f"`{name}`" for name in names)
    hexes = ", ".join(f"HEX(CAST({value} AS BINARY))" for value in values)
    found = mirror.databases.query(where, f"SELECT id, {hexes} FROM t")
    return {int(row[0]): dict(zip(names, row[1:], strict=True)) for row in found}


def test_what_is_said_to_be_safe_is_and_nothing_else(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    for name, most in charsets(databases).items():
        if most > 1:
            continue
        text = f"CONVERT(UNHEX(LPAD(HEX(seq), 2, '0')) USING {name})"
        back = f"HEX(CONVERT(CONVERT({text} USING utf8mb4) USING {name}))"
        lost = databases.query(1, f"SELECT COUNT(*) FROM seq_1_to_255 WHERE {back} <> LPAD(HEX(seq), 2, '0')")[0][0]
        assert (lost > 0) == may_be_lost(name), name


def test_between_columns_of_one_character_set_all_bytes_travel_both_ways(mariadb_databases: MariaDBDatabases) -> None:
    names = charsets(mariadb_databases)
    mirror = filled(mariadb_databases, names)
    up, _ = mirror.sync()
    assert up.counts.applied == mariadb_databases.count(1, "t")
    mirror.require_equal()
    assert mirror.quarantined() == []
    report = sweep(mirror.fleet)
    assert (report.status, found(report), json_of(report)["exceptions"]) == (Status.NOTHING, {}, {})

    # An edit of another column goes down past them, and one of the bytes themselves is found and carried, both ways.
    mirror.run("control", ["UPDATE t SET n = id, m = UTC_TIMESTAMP(6)"])
    mirror.sync()
    mirror.require_equal()
    for where, kind in ((1, "changed"), ("control", "edited")):
        swapped = ("UPDATE t SET c_euckr = UNHEX('C9FE'), c_latin1 = UNHEX('9D'), m = m WHERE id % 700 = 3",)
        mirror.run(where, ["SET SESSION sql_mode = ''", *swapped])
        assert found(sweep(mirror.fleet)) == {kind: len({i for i in rows(mirror, 1) if i % 700 == 3})}
        mirror.require_equal()
        mirror.run(where, [swapped[0].replace("C9FE", "C9A1").replace("9D", "81")])
        sweep(mirror.fleet)
        mirror.require_equal()
    assert mirror.quarantined() == []


def test_in_a_column_of_unicode_each_arrives_as_it_is_or_is_kept_aside(mariadb_databases: MariaDBDatabases) -> None:
    names = charsets(mariadb_databases)
    mirror = filled(mariadb_databases, names, "utf8mb4")
    mirror.sync()
    mirror.fleet.require_nothing_to_do()
    there, arrived, aside = rows(mirror, 1), rows(mirror, "control", convert=True), kept(mirror)
    assert arrived.keys().isdisjoint(aside)
    assert arrived.keys() | aside == there.keys()
    assert {i: there[i] for i in arrived} == arrived
    reasons = {int(json.loads(key)[0]): why for _, key, why in mirror.quarantined()}
    for i in aside:
        ((column, content),) = [(name, value) for name, value in there[i].items() if value]
        assert f"0x{content}" in reasons[i] or column.removeprefix("c_") in WIDE
    assert len(arrived) > len(aside) > len(names)

    report = sweep(mirror.fleet)
    assert json_of(report)["exceptions"] == {"quarantined": len(aside)}
    # What is mended is released: by the next run, or by the next sweep where it was not stamped.
    mirror.run(1, ["UPDATE t SET c_cp932 = 'a', c_sjis = NULL, m = UTC_TIMESTAMP(6) WHERE c_sjis IS NOT NULL"])
    mirror.sync()
    assert kept(mirror).isdisjoint(i for i, row in there.items() if row["c_sjis"])
    mirror.run(1, ["UPDATE t SET c_euckr = 'a', m = m WHERE c_euckr IS NOT NULL"])
    sweep(mirror.fleet)
    assert kept(mirror).isdisjoint(i for i, row in there.items() if row["c_euckr"])


def test_control_s_bytes_that_a_station_s_unicode_cannot_have_do_not_go_down(
    mariadb_databases: MariaDBDatabases,
) -> None:
    names = {"euckr": 2, "cp932": 2, "tis620": 1}
    columns = {"id": "INT NOT NULL", **{f"c_{name}": "VARCHAR(8)" for name in names}}
    control = {f"c_{name}": f"VARCHAR(8) CHARACTER SET {name}" for name in names}
    mirror = Mirror(mariadb_databases, columns, control=control)
    mirror.fleet.init()
    mirror.insert(1, [[str(i), "'a'", "'b'", "'c'"] for i in range(1, 5)], list(columns))
    mirror.sync()
    lost = {1: ("c_euckr", "C9A1"), 2: ("c_cp932", "8790"), 3: ("c_tis620", "FE")}
    for i, (name, code) in lost.items():
        mirror.run("control", [f"UPDATE t SET `{name}` = UNHEX('{code}'), m = UTC_TIMESTAMP(6) WHERE id = {i}"])
    mirror.run("control", ["UPDATE t SET c_cp932 = UNHEX('81E0'), m = UTC_TIMESTAMP(6) WHERE id = 4"])
    mirror.sync()
    mirror.sync()
    assert kept(mirror, "down") == {1, 2, 3}
    assert mariadb_databases.query(1, "SELECT c_cp932 FROM t ORDER BY id") == [("b",), ("b",), ("b",), ("≒",)]
    mirror.fleet.require_nothing_to_do()
    assert json_of(sweep(mirror.fleet))["exceptions"] == {"waiting": 3}

    # Mended at control, they go down.
    mirror.run(
        "control", [f"UPDATE t SET `{n}` = 'z', m = UTC_TIMESTAMP(6) WHERE id = {i}" for i, (n, _) in lost.items()]
    )
    mirror.sync()
    assert kept(mirror, "down") == set()
    assert mariadb_databases.query(1, "SELECT c_euckr FROM t WHERE id = 1") == [("z",)]


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("charset", ["euckr", "cp932", "tis620", "latin1", "ascii", "ucs2"])
def test_keys_that_differ_in_such_bytes_are_two_rows(charset: str, mariadb_databases: MariaDBDatabases) -> None:
    columns = {"id": f"VARCHAR(8) CHARACTER SET {charset} COLLATE {charset}_bin NOT NULL", "v": "INT NOT NULL"}
    mirror = Mirror(mariadb_databases, columns, page_rows=100, sweep_rows=7, deletes="archive")
    mirror.fleet.init()
    most = charsets(mariadb_databases)[charset]
    values = [f"(UNHEX('{code.hex()}'), {i})" for i, code in enumerate(codes(charset, most)) if code.strip()]
    mirror.run(1, ["SET SESSION sql_mode = ''", f"INSERT IGNORE INTO t (id, v) VALUES {', '.join(values)}"])
    mirror.run(1, ["UPDATE t SET m = '2024-01-01'"])
    number = mariadb_databases.count(1, "t")
    mirror.sync()
    assert mariadb_databases.count("control", "t") == number
    mirror.require_equal()
    assert found(sweep(mirror.fleet)) == {}

    mirror.run("control", ["UPDATE t SET v = v + 1000, m = UTC_TIMESTAMP(6)"])
    mirror.sync()
    mirror.require_equal()
    mirror.run(1, ["DELETE FROM t WHERE v % 40 = 1", "UPDATE t SET v = -v, m = m WHERE v % 40 = 2"])
    sweep(mirror.fleet)
    mirror.require_equal()
    assert mirror.quarantined() == []


@pytest.mark.parametrize("key", ["utf8mb4_bin", "utf8mb4_general_nopad_ci"])
def test_a_sweep_where_columns_have_binary_collations_of_two_names(
    key: str, mariadb_databases: MariaDBDatabases
) -> None:
    """The server joins no text of two of them; and of bytes beside them none may be lost."""
    columns = {"id": f"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {key} NOT NULL", "c": "VARBINARY(20) NULL"}
    for name, collation in (("a", "utf8mb4_nopad_bin"), ("b", "utf8mb4_bin")):
        columns[name] = f"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {collation} NULL"
    mirror = Mirror(mariadb_databases, columns)
    mirror.fleet.init()
    values = "('\u00e9', '\u00fc', '\U0001f600', X'C3FF80'), ('two', NULL, 'b', X'80')"
    mirror.run(1, [f"INSERT INTO t (id, a, b, c, m) SELECT *, UTC_TIMESTAMP(6) FROM (VALUES {values}) v"])
    mirror.sync()
    mirror.require_equal()
    assert (sweep(mirror.fleet).status, found(sweep(mirror.fleet))) == (Status.NOTHING, {})
    # Bytes that were changed without a stamp.
    mirror.run(1, ["UPDATE t SET c = X'C3FF81' WHERE id <> 'two'"])
    assert found(sweep(mirror.fleet)) == {"changed": 1}
    mirror.require_equal()
