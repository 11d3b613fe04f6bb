"""Columns whose types differ at the two sides: values arrive as they are, or the pair is refused by name,
or the row is quarantined. Never is a value changed silently."""

from __future__ import annotations

import re

import pytest
from support.databases import MariaDBDatabases
from support.mirror import Mirror
from support.type_cases import WIDER_AT_CONTROL

from stationsync.errors import SchemaRefused

ID = {"id": "INT NOT NULL"}
CUT, PADDED, OTHER = "digits would be cut off", "would be (altered|padded)", "different types"

# The station's type, control's, and why writing the former into the latter could change values without an error.
REFUSED_UP = [
    ("DECIMAL(10,3)", "DECIMAL(20,2)", CUT),
    ("DATETIME(6)", "DATETIME(3)", CUT),
    ("TIMESTAMP(3) NULL", "TIMESTAMP NULL", CUT),
    ("TIME(2)", "TIME", CUT),
    ("DOUBLE", "FLOAT", "precision"),
    ("DOUBLE", "DOUBLE(10,2)", CUT),
    ("FLOAT", "FLOAT(7,2)", CUT),
    ("DOUBLE(10,4)", "DOUBLE(10,2)", CUT),
    ("DOUBLE(10,2)", "FLOAT", "precision"),
    ("FLOAT(7,2)", "DOUBLE(20,2)", CUT),
    ("VARCHAR(10)", "CHAR(10)", PADDED),
    ("TEXT", "CHAR(200)", PADDED),
    ("VARBINARY(4)", "BINARY(4)", PADDED),
    ("BLOB", "BINARY(4)", PADDED),
    ("BINARY(3)", "BINARY(4)", PADDED),
    ("INT", "VARCHAR(20)", OTHER),
    ("VARCHAR(20)", "INT", OTHER),
    ("INT", "DECIMAL(20,0)", OTHER),
    ("BIGINT", "DOUBLE", OTHER),
    ("DECIMAL(10,2)", "DOUBLE", OTHER),
    ("DATETIME", "TIMESTAMP NULL", OTHER),
    ("TIMESTAMP NULL", "DATETIME", OTHER),
    ("DATETIME", "DATE", OTHER),
    ("DATETIME", "VARCHAR(30)", OTHER),
    ("TIME", "INT", OTHER),
    ("YEAR", "INT", OTHER),
    ("BIT(8)", "INT", OTHER),
    ("BIT(8)", "BINARY(1)", OTHER),
    ("TEXT", "BLOB", OTHER),
    ("BLOB", "TEXT", OTHER),
    ("UUID", "CHAR(36)", OTHER),
    ("UUID", "BINARY(16)", OTHER),
    ("INET4", "INET6", OTHER),
    ("INET6", "VARCHAR(45)", OTHER),
    ("ENUM('a','b')", "VARCHAR(5)", OTHER),
    ("ENUM('a')", "SET('a')", OTHER),
    ("ENUM('A','b')", "ENUM('a','b')", "'A'"),
    ("ENUM('é')", "ENUM('e')", "'é'"),
    ("ENUM('x','1')", "ENUM('x','y')", "'1'"),
    ("SET('A','b')", "SET('a','b')", "'A'"),
    ("SET('a','b')", "SET('b','a')", "order"),
    ("SET('x','2')", "SET('x','y')", "'2'"),
]


def test_what_could_change_silently_on_the_way_up_is_refused_all_at_once(mariadb_databases: MariaDBDatabases) -> None:
    own = {**ID, **{f"c{i}": station for i, (station, _, _) in enumerate(REFUSED_UP)}}
    theirs = {f"c{i}": control for i, (_, control, _) in enumerate(REFUSED_UP)}
    mirror = Mirror(mariadb_databases, own, control=theirs)
    mirror.fleet.init()
    mirror.insert(1, [["1"]], ["id"])
    with pytest.raises(SchemaRefused) as refused:
        mirror.fleet.pull()
    problems = dict(re.findall(r"column (c\d+): (.*?)(?:;|\. Nothing|$)", str(refused.value)))
    assert [i for i in range(len(REFUSED_UP)) if f"c{i}" not in problems] == []
    for i, (_, _, why) in enumerate(REFUSED_UP):
        assert why.split("(")[0] in problems[f"c{i}"], problems[f"c{i}"]
    assert mariadb_databases.count("control", "t") == 0


def test_what_could_change_silently_on_the_way_down_is_refused_where_control_may_edit_it(
    mariadb_databases: MariaDBDatabases,
) -> None:
    """The same table, upside down; columns that control may not edit never go down, and are no trouble."""
    cases = [case for case in REFUSED_UP if case[2] != OTHER]
    own = {**ID, **{f"c{i}": control for i, (_, control, _) in enumerate(cases)}}
    theirs = {f"c{i}": station for i, (station, _, _) in enumerate(cases)}
    mirror = Mirror(mariadb_databases, own, control=theirs)
    mirror.fleet.init()
    with pytest.raises(SchemaRefused) as refused:
        mirror.fleet.pull()
    assert [i for i in range(len(cases)) if f"column c{i}:" not in str(refused.value)] == []


TRAVEL_DOWN_TOO = ["text", "int", "unsigned", "bits", "enum"]


@pytest.mark.parametrize("editable", [[*TRAVEL_DOWN_TOO, "note"], ["note"]])
def test_a_wider_type_at_control_keeps_the_values_and_is_no_edit(
    editable: list[str], mariadb_databases: MariaDBDatabases
) -> None:
    own = {**ID, **{name: station for name, (station, _, _) in WIDER_AT_CONTROL.items()}, "note": "TEXT"}
    theirs = {name: control for name, (_, control, _) in WIDER_AT_CONTROL.items()}
    mirror = Mirror(mariadb_databases, own, control=theirs, editable=[*editable, "m"])
    mirror.fleet.init()
    rows = [[str(n), *(values[n] for _, _, values in WIDER_AT_CONTROL.values()), "''"] for n in range(4)]
    mirror.insert(1, rows, [*own])
    up, _ = mirror.sync()
    assert up.counts.applied == 4, mirror.quarantined()
    mirror.fleet.require_nothing_to_do()
    before = mirror.bytes(1)
    differs = [name for name, _ in WIDER_AT_CONTROL.items() if name not in TRAVEL_DOWN_TOO]
    same = [name for name in mirror.names if name not in (*differs, "text", "bits")]
    assert mirror.bytes("control", names=same) == mirror.bytes(1, names=same)
    # By the server's own comparison of the two types.
    assert _values(mirror, "control") == _values(mirror, 1)

    mirror.set("control", dict.fromkeys(range(4), "'edited'"), "note")
    _, down = mirror.sync()
    assert down.counts.applied == 4, mirror.quarantined()
    edits = (mirror.names.index("note"), mirror.names.index("m"))
    kept = [[value for i, value in enumerate(row) if i not in edits] for row in mirror.bytes(1)]
    assert kept == [[value for i, value in enumerate(row) if i not in edits] for row in before]
    mirror.fleet.require_nothing_to_do()


def _values(mirror: Mirror, where: object) -> list[tuple[object, ...]]:
    """As the driver sees them: 1.23 equals 1.2300000000."""
    exact = ", ".join(f"CAST(`{name}` AS DOUBLE)" if name == "float" else f"`{name}`" for name in WIDER_AT_CONTROL)
    rows = mirror.databases.query(where, f"SELECT {exact} FROM t ORDER BY id")  # type: ignore[arg-type]
    plain = [
        [int.from_bytes(v) if name == "bits" and v else v for name, v in zip(WIDER_AT_CONTROL, row, strict=True)]
        for row in rows
    ]
    return [
        tuple(set(v.split(",")) if name == "set" and v else v for name, v in zip(WIDER_AT_CONTROL, row, strict=True))
        for row in plain
    ]


# The station's type, control's narrower one, a value that fits and one that does not.
TOO_NARROW = {
    "varchar": ("VARCHAR(20)", "VARCHAR(5)", "'abc'", "'abcdefg'"),
    "trailing spaces": ("VARCHAR(20)", "VARCHAR(5)", "'abc'", "'abc        '"),
    "text": ("LONGTEXT", "TINYTEXT", "'abc'", "REPEAT('a', 256)"),
    "latin1": ("TEXT", "TEXT CHARACTER SET latin1", "'é'", "'한'"),
    "utf8mb3": ("TEXT", "TEXT CHARACTER SET utf8mb3", "'한'", "'🚉'"),
    "blob": ("BLOB", "VARBINARY(3)", "'abc'", "'abcd'"),
    "int": ("INT", "TINYINT", "127", "128"),
    "negative": ("INT", "INT UNSIGNED", "0", "-1"),
    "unsigned": ("BIGINT UNSIGNED", "BIGINT", "9223372036854775807", "9223372036854775808"),
    "decimal": ("DECIMAL(20,2)", "DECIMAL(4,2)", "99.99", "100.00"),
    "bits": ("BIT(8)", "BIT(4)", "15", "16"),
    "enum": ("ENUM('a','b','other')", "ENUM('b','a')", "'a'", "'other'"),
    "set": ("SET('a','b','other')", "SET('a','b')", "'a,b'", "'a,other'"),
    "not null": ("INT", "INT NOT NULL", "1", "NULL"),
    "text not null": ("VARCHAR(20)", "VARCHAR(20) NOT NULL DEFAULT 'x'", "''", "NULL"),
    "check": ("INT", "INT CHECK (v > 0)", "1", "0"),
    "json": ("LONGTEXT", "JSON", "'{}'", "'{'"),
}


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("kind", TOO_NARROW)
def test_what_does_not_fit_is_quarantined_and_the_rest_arrives(kind: str, mariadb_databases: MariaDBDatabases) -> None:
    own, theirs, fits, does_not = TOO_NARROW[kind]
    mirror = Mirror(mariadb_databases, {**ID, "v": own}, control={"v": theirs})
    mirror.fleet.init()
    mirror.insert(1, [["1", fits], ["2", does_not], ["3", fits], ["4", fits]])
    up, _ = mirror.sync()
    assert (up.counts.applied, up.counts.quarantined) == (3, 1)
    # An edit that does not fit leaves control as it was.
    mirror.set(1, {3: does_not})
    up, _ = mirror.sync()
    assert (up.counts.applied, up.counts.quarantined) == (0, 1)
    assert [key for _, key, _ in mirror.quarantined()] == ['["2"]', '["3"]']
    assert len({row[1] for row in mirror.bytes("control", names=["id", "v"])}) == 1
    mirror.fleet.require_nothing_to_do()
    mirror.set(1, {2: fits, 3: fits})
    up, _ = mirror.sync()
    assert (up.counts.released, mirror.quarantined()) == (2, [])
    assert mariadb_databases.count("control", "t") == 4
    mirror.fleet.require_nothing_to_do()


@pytest.mark.some(1, 2)
@pytest.mark.parametrize("kind", TOO_NARROW)
def test_what_the_station_cannot_hold_is_quarantined_and_the_other_edits_go_down(
    kind: str, mariadb_databases: MariaDBDatabases
) -> None:
    theirs, own, fits, does_not = TOO_NARROW[kind]
    mirror = Mirror(mariadb_databases, {**ID, "v": own, "n": "INT"}, control={"v": theirs})
    mirror.fleet.init()
    mirror.insert(1, [[str(n), fits, "0"] for n in range(1, 4)], ["id", "v", "n"])
    mirror.sync()
    mirror.run("control", ["UPDATE t SET n = 5, m = UTC_TIMESTAMP(6)"])
    mirror.set("control", {2: does_not})
    before = mirror.bytes(1, names=["id", "v"])
    _, down = mirror.sync()
    assert (down.counts.applied, down.counts.quarantined) == (2, 1)
    assert mirror.bytes(1, names=["id", "v"]) == before
    assert mariadb_databases.query(1, "SELECT n FROM t ORDER BY id") == [(5,), (0,), (5,)]
    assert [(way, key) for way, key, _ in mirror.quarantined()] == [("down", '["2"]')]
    mirror.fleet.require_nothing_to_do()
    mirror.set("control", {2: fits})
    mirror.sync()
    assert mirror.quarantined() == []
    assert mariadb_databases.query(1, "SELECT n FROM t ORDER BY id") == [(5,), (5,), (5,)]
    mirror.fleet.require_nothing_to_do()
