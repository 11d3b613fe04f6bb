"""Both databases compute the same checksum for every type and key, and a different one for every other value."""

from __future__ import annotations

import pytest
from support.databases import MariaDBDatabases
from support.key_cases import KEYS, ROWS
from support.mirror import Mirror, fill, mirror_of
from support.reports import json_of
from support.sweeps import found, sweep
from support.type_cases import GROUPS, ID, WIDER_AT_CONTROL, table_of

from stationsync.model.changes import Status


def require_proved(mirror: Mirror, rows: int) -> None:
    report = sweep(mirror.fleet)
    assert (report.status, found(report), json_of(report)["exceptions"]) == (Status.NOTHING, {}, {})
    assert json_of(report)["rows"] == rows


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("group", GROUPS)
def test_equal_values_of_every_type_are_equal_and_every_silent_edit_is_found(
    group: str, mariadb_databases: MariaDBDatabases
) -> None:
    columns, rows = table_of(group)
    names = list(GROUPS[group])
    mirror = Mirror(mariadb_databases, columns, sweep_rows=7)
    mirror.fleet.init()
    mirror.insert(1, [[str(number), *row] for number, row in enumerate(rows)], ["id", *names])
    mirror.sync()
    require_proved(mirror, len(rows))
    before = mirror.bytes(1)

    # Each row gets the next one's values, without a stamp: found where any byte of it differs.
    shifted = (zip(names, row, strict=True) for row in rows[1:] + rows[:1])
    sets = (", ".join(f"`{name}` = {value}" for name, value in values) for values in shifted)
    mirror.run(1, [f"UPDATE t SET {values}, m = m WHERE id = {number}" for number, values in enumerate(sets)])
    different = sum(a != b for a, b in zip(before, mirror.bytes(1), strict=True))
    assert different > 1
    assert found(sweep(mirror.fleet)) == {"changed": different}
    mirror.require_equal()
    require_proved(mirror, len(rows))


@pytest.mark.some(0, 3)
@pytest.mark.parametrize("kind", KEYS)
def test_ranges_of_every_kind_of_key_cut_both_sides_alike(kind: str, mariadb_databases: MariaDBDatabases) -> None:
    columns, rows = KEYS[kind]
    mirror = mirror_of(mariadb_databases, columns, sweep_rows=40, deletes="archive", max_deletes=ROWS)
    fill(mirror, columns, rows)
    mirror.sync()
    require_proved(mirror, ROWS)
    mirror.run(1, ["UPDATE t SET v = -v - 1 WHERE v % 25 = 3", "DELETE FROM t WHERE v % 25 = 4"])
    mirror.run("control", ["UPDATE t SET v = -v - 1 WHERE v % 25 = 7", "DELETE FROM t WHERE v % 25 = 8"])
    tenth = ROWS // 25
    assert found(sweep(mirror.fleet)) == {"changed": tenth, "gone": tenth, "edited": tenth, "vanished": tenth}
    mirror.require_equal()
    require_proved(mirror, ROWS - tenth)


def test_a_wider_type_at_control_is_no_difference(mariadb_databases: MariaDBDatabases) -> None:
    own = {**ID, **{name: station for name, (station, _, _) in WIDER_AT_CONTROL.items()}, "note": "TEXT"}
    theirs = {name: control for name, (_, control, _) in WIDER_AT_CONTROL.items()}
    mirror = Mirror(mariadb_databases, own, control=theirs, editable=["note", "m"])
    mirror.fleet.init()
    rows = [[str(n), *(values[n] for _, _, values in WIDER_AT_CONTROL.values()), "''"] for n in range(4)]
    mirror.insert(1, rows, [*own])
    mirror.sync()
    require_proved(mirror, 4)
    mirror.run(1, ["UPDATE t SET note = 'silent', m = m WHERE id = 2"])
    assert found(sweep(mirror.fleet)) == {"changed": 1}


def test_values_that_a_joined_text_could_confuse_are_told_apart(mariadb_databases: MariaDBDatabases) -> None:
    """NULL and what stands for it, a separator inside a value, a value that moved to the next column."""
    mirror = Mirror(mariadb_databases, {**ID, "a": "VARCHAR(20)", "b": "VARCHAR(20)"})
    mirror.fleet.init()
    pairs = [
        ("NULL", "''"),
        ("'N'", "''"),
        ("''", "NULL"),
        ("'a,b'", "''"),
        ("'a'", "'b'"),
        ("'1:a'", "'b'"),
        ("'a'", "'1:b'"),
    ]
    mirror.insert(1, [[str(n), a, b] for n, (a, b) in enumerate(pairs)], ["id", "a", "b"])
    mirror.sync()
    for first in range(len(pairs)):
        for second in range(first):  # to be different is mutual
            a, b = pairs[second]
            mirror.run(1, [f"UPDATE t SET a = {a}, b = {b}, m = m WHERE id = {first}"])
            assert found(sweep(mirror.fleet, dry_run=True)) == {"changed": 1}, (pairs[first], pairs[second])
            a, b = pairs[first]
            mirror.run(1, [f"UPDATE t SET a = {a}, b = {b}, m = m WHERE id = {first}"])
    require_proved(mirror, len(pairs))
