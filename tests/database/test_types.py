"""Every column type of MariaDB travels in both directions byte for byte, or is refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.another_server import any_mysql, mixed, of_side
from support.databases import MariaDBDatabases, Where
from support.mirror import Mirror
from support.type_cases import GROUPS, ID, table_of

from cli.sandbox.servers import MariaDBServer
from stationsync.errors import SchemaRefused


@pytest.fixture(scope="module")
def control_without_local_infile() -> Iterator[MariaDBServer]:
    """A control server that takes no LOAD DATA LOCAL: rows are loaded by INSERT statements there."""
    with MariaDBServer(options=["--local-infile=0"], program=of_side("control")) as server:
        yield server


@pytest.fixture(params=["load data", "insert"])
def by_both_ways(request: pytest.FixtureRequest, mariadb_station: MariaDBServer) -> Iterator[MariaDBDatabases]:
    name = "mariadb_control" if request.param == "load data" else "control_without_local_infile"
    databases = MariaDBDatabases(request.getfixturevalue(name), mariadb_station)
    yield databases
    databases.close()


def put(mirror: Mirror, where: Where, rows: list[list[str]], names: Sequence[str]) -> None:
    """Edit all of these columns; each row gets the next one's values."""
    edits = []
    for number, row in enumerate(rows[1:] + rows[:1]):
        sets = ", ".join(f"`{name}` = {value}" for name, value in zip(names, row, strict=True))
        edits.append(f"UPDATE t SET {sets}, m = UTC_TIMESTAMP(6) WHERE id = {number}")
    mirror.run(where, edits)


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("group", GROUPS)
def test_every_value_goes_up_and_every_edit_comes_down(group: str, by_both_ways: MariaDBDatabases) -> None:
    columns, rows = table_of(group)
    names = list(GROUPS[group])
    # Rows of which every column is another one are perhaps other rows: what they replace would be kept as conflicts.
    mirror = Mirror(by_both_ways, {**columns, "kept": "INT NOT NULL DEFAULT 0"})
    mirror.fleet.init()
    mirror.insert(1, [[str(number), *row, str(number)] for number, row in enumerate(rows)], ["id", *names, "kept"])
    up, down = mirror.sync()
    assert (up.counts.applied, down.counts.read) == (len(rows), 0), mirror.quarantined()
    mirror.require_equal()

    put(mirror, "control", rows, names)
    up, down = mirror.sync()
    assert down.counts.applied == len(rows), mirror.quarantined()
    mirror.require_equal()

    rows = rows[1:] + rows[:1]
    put(mirror, 1, rows, names)
    up, down = mirror.sync()
    assert (up.counts.applied, up.counts.conflicts, down.counts.read) == (len(rows), 0, 0)
    mirror.require_equal()

    # What control has in the end is what a plain INSERT would have stored.
    edited = enumerate(rows[1:] + rows[:1])
    into = ", ".join(f"`{name}`" for name in ["id", *names, "m"])
    inserts = (
        f"INSERT INTO plain ({into}) VALUES ({', '.join([str(n), *row])}, UTC_TIMESTAMP(6))" for n, row in edited
    )
    mirror.run(1, ["CREATE TABLE plain LIKE t", *inserts])
    assert mirror.bytes("control", names=["id", *names]) == mirror.bytes(1, "plain", ["id", *names])


@pytest.mark.some(1, 2)
@pytest.mark.parametrize("group", GROUPS)
def test_what_both_sides_edited_is_combined_without_a_change_of_value(
    group: str, mariadb_databases: MariaDBDatabases
) -> None:
    """With `merge`, a row that both sides edited passes through Python: nothing of it may change there."""
    columns, rows = table_of(group)
    names = list(GROUPS[group])
    mirror = Mirror(mariadb_databases, {**columns, "note": "TEXT"}, conflicts="merge")
    mirror.fleet.init()
    mirror.insert(1, [[str(number), *row, "''"] for number, row in enumerate(rows)], ["id", *names, "note"])
    mirror.sync()
    put(mirror, "control", rows, names)
    mirror.set(1, {number: f"'edited {number}'" for number in range(len(rows))}, "note")
    expected = mirror.bytes("control", names=["id", *names])

    mirror.sync()
    assert mirror.bytes("control", names=["id", *names]) == expected
    notes = mariadb_databases.query("control", "SELECT note FROM t ORDER BY id")
    assert notes == [(f"edited {number}",) for number in range(len(rows))]
    mirror.require_equal()


apart = pytest.mark.skipif(mixed(), reason="MySQL and MariaDB do not print all types alike")
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@apart
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doubles=st.lists(FLOATS, min_size=1, max_size=200), singles=st.lists(FLOATS.filter(lambda f: abs(f) < 3e38)))
def test_floats_keep_every_bit(
    doubles: list[float], singles: list[float], mariadb_control: MariaDBServer, mariadb_station: MariaDBServer
) -> None:
    databases = MariaDBDatabases(mariadb_control, mariadb_station)
    try:
        mirror = Mirror(databases, {**ID, "d": "DOUBLE", "f": "FLOAT"})
        mirror.fleet.init()
        pairs = [(d, singles[i] if i < len(singles) else 0.0) for i, d in enumerate(doubles)]
        mirror.insert(1, [(str(i), repr(d), repr(f)) for i, (d, f) in enumerate(pairs)], ["id", "d", "f"])
        mirror.sync()
        found = databases.query("control", "SELECT d FROM t ORDER BY id")
        assert [value for (value,) in found] == doubles
        mirror.require_equal()
        # Down, by way of control's own arithmetic.
        mirror.run("control", ["UPDATE t SET d = -d / 3, f = -f / 3, m = UTC_TIMESTAMP(6)"])
        mirror.sync()
        mirror.require_equal()
    finally:
        databases.close()


def test_a_generated_column_is_each_sides_own_and_comes_out_the_same(mariadb_databases: MariaDBDatabases) -> None:
    columns = {
        **ID,
        "v": "VARCHAR(20)",
        "low": "VARCHAR(20) AS (LOWER(v)) STORED",
        "size": "INT AS (LENGTH(v)) VIRTUAL",
    }
    mirror = Mirror(mariadb_databases, columns)
    mirror.fleet.init()
    mirror.insert(1, [("1", "'ABC'"), ("2", "NULL")])
    mirror.sync()
    mirror.set("control", {1: "'XYZW'"})
    mirror.sync()
    ours = mirror.bytes(1)
    assert mirror.bytes("control") == ours
    assert mariadb_databases.query("control", "SELECT low, size FROM t WHERE id = 1") == [("xyzw", 4)]
    mirror.fleet.require_nothing_to_do()


@pytest.mark.parametrize("editable", [None, ["v"], ["v", "m"]])
def test_a_modified_column_that_the_servers_stamp_themselves(
    editable: list[str] | None, mariadb_databases: MariaDBDatabases
) -> None:
    """ON UPDATE at both sides: neither side's writing of the other's row may look like an edit."""
    stamped = "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"
    mirror = Mirror(mariadb_databases, {**ID, "v": "INT"}, modified=stamped, editable=editable)
    mirror.fleet.init()
    mirror.insert(1, [["1", "1"], ["2", "2"], ["3", "3"]])
    mirror.sync()
    mirror.run("control", ["UPDATE t SET v = v + 10 WHERE id < 3"])
    up, down = mirror.sync()
    assert (up.counts.conflicts, down.counts.applied) == (0, 2)
    mirror.require_equal()
    mirror.run(1, ["UPDATE t SET v = v + 10 WHERE id < 3"])
    up, down = mirror.sync()
    assert (up.counts.applied, up.counts.conflicts, down.counts.read) == (2, 0, 0)
    mirror.require_equal()


@pytest.mark.parametrize("ddl", ["GEOMETRY", "POINT", "POLYGON", "GEOMETRYCOLLECTION"])
def test_a_type_that_cannot_travel_is_refused_by_name(ddl: str, mariadb_databases: MariaDBDatabases) -> None:
    mirror = Mirror(mariadb_databases, {**ID, "place": ddl, "v": "INT"})
    with pytest.raises(SchemaRefused, match=rf"column place.*{ddl.lower()[:4]}.*exclude"):
        mirror.fleet.init()
    mirror.fleet.options(exclude=["place"])
    mirror.fleet.init()
    mirror.insert(1, [("1", "7")])
    mirror.sync()
    mirror.require_equal(["id", "v", "m"])


ZERO_DATES = {
    "DATE": ["'0000-00-00'", "'2020-00-00'", "'2020-02-00'"],
    "DATETIME(6)": ["'0000-00-00 00:00:00'", "'2020-00-10 01:02:03.5'"],
    "TIMESTAMP(6) NULL": ["'0000-00-00 00:00:00'"],
}


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("ddl", ZERO_DATES)
def test_a_zero_date_is_carried_or_quarantined_by_setting(ddl: str, by_both_ways: MariaDBDatabases) -> None:
    values = ZERO_DATES[ddl]
    mirror = Mirror(by_both_ways, {**ID, "v": ddl})
    mirror.fleet.init()
    mirror.insert(1, [("0", "'2024-01-01'"), *((str(n), value) for n, value in enumerate(values, 1))])
    up, _ = mirror.sync()
    assert (up.counts.applied, up.counts.quarantined) == (1, len(values))
    assert all("zero date" in reasons for _, _, reasons in mirror.quarantined())
    mirror.fleet.require_nothing_to_do()

    mirror.fleet.options(zero_dates="carry")
    mirror.fleet.sync()
    assert mirror.quarantined() == []
    mirror.require_equal()
    mirror.set("control", {0: values[0], 1: "'2024-01-01'"})
    _, down = mirror.sync()
    assert down.counts.applied == 2
    mirror.require_equal()


COLLATIONS = ["utf8mb4_general_ci", "utf8mb4_unicode_ci", *([] if any_mysql() else ["utf8mb4_unicode_nopad_ci"])]
TINY_EDITS = {"case": ("abc", "ABC"), "accent": ("abc", "ábc"), "trailing space": ("abc", "abc "), "tab": ("a", "a\t")}


@pytest.mark.some(0, 3)
@pytest.mark.parametrize("collation", COLLATIONS)
@pytest.mark.parametrize("edit", TINY_EDITS)
def test_an_edit_that_a_collation_cannot_see_travels_both_ways(
    edit: str, collation: str, mariadb_databases: MariaDBDatabases
) -> None:
    before, after = TINY_EDITS[edit]
    mirror = Mirror(mariadb_databases, {**ID, "v": f"VARCHAR(20) COLLATE {collation}"})
    mirror.fleet.init()
    mirror.insert(1, [("1", f"'{before}'")])
    mirror.sync()
    mirror.set(1, {1: f"'{after}'"})
    assert mirror.sync()[0].counts.applied == 1
    assert mariadb_databases.query("control", "SELECT v FROM t") == [(after,)]
    mirror.require_equal()
    mirror.set("control", {1: f"'{before}'"})
    assert mirror.sync()[1].counts.applied == 1
    assert mariadb_databases.query(1, "SELECT v FROM t") == [(before,)]
    mirror.require_equal()


@pytest.mark.skipif(not mixed(), reason="of MySQL beside MariaDB")
@pytest.mark.parametrize("ddl", ["FLOAT", "DOUBLE", "JSON"])
def test_a_type_that_two_servers_print_in_two_ways_is_refused_by_name(
    ddl: str, mariadb_databases: MariaDBDatabases
) -> None:
    mirror = Mirror(mariadb_databases, {**ID, "v": ddl})
    mirror.fleet.init()
    with pytest.raises(SchemaRefused, match="column v"):
        mirror.fleet.pull()
    mirror.fleet.options(exclude=["v"])
    mirror.insert(1, [("1", "NULL")])
    mirror.sync()
    mirror.require_equal(["id", "m"])
