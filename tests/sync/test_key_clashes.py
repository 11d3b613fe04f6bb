"""Text in the key that station and control compare by other rules, as the servers of two versions do by default: each
row travels, but for those whose keys are one for control."""

from __future__ import annotations

import pytest
from support.another_server import any_mysql
from support.databases import MariaDBDatabases
from support.mirror import Mirror
from support.sweeps import found, sweep

from stationsync.model.changes import Status

# (the station's rules, control's, two keys that only the station tells apart)
PAIRS = [
    ("utf8mb4_bin", "utf8mb4_general_ci", ("abc", "ABC")),
    ("utf8mb4_general_ci", "utf8mb4_unicode_ci", ("strasse", "straße")),
    ("utf8mb4_unicode_ci", "utf8mb4_general_ci", ("straßa", "strasa")),
    ("latin1_bin", "utf8mb4_general_ci", ("e", "é")),
    *([] if any_mysql() else [("utf8mb4_nopad_bin", "utf8mb4_bin", ("a", "a "))]),
]


def a_mirror(databases: MariaDBDatabases, own: str, theirs: str, **options: object) -> Mirror:
    def column(collation: str) -> str:
        return f"VARCHAR(40) CHARACTER SET {collation.partition('_')[0]} COLLATE {collation} NOT NULL"

    columns = {"id": "INT NOT NULL", "code": column(own), "v": "INT NULL"}
    mirror = Mirror(databases, columns, key=("id", "code"), control={"code": column(theirs)}, **options)
    mirror.fleet.init()
    return mirror


def put(mirror: Mirror, *codes: str, v: int = 1) -> None:
    mirror.insert(1, [["1", f"'{code}'", str(v + i)] for i, code in enumerate(codes)], ["id", "code", "v"])


def rows(mirror: Mirror, where: str | int) -> list[tuple[str, int]]:
    return mirror.databases.query(where, "SELECT code, v FROM t ORDER BY v")  # type: ignore[arg-type]


@pytest.mark.parametrize(("own", "theirs", "keys"), PAIRS)
def test_of_rows_that_are_one_for_control_one_travels(
    mariadb_databases: MariaDBDatabases, own: str, theirs: str, keys: tuple[str, str]
) -> None:
    mirror = a_mirror(mariadb_databases, own, theirs)
    put(mirror, *keys, "other")
    up = mirror.fleet.pull()
    assert (up.counts.applied, up.counts.quarantined) == (2, 1)
    assert rows(mirror, "control") == [(keys[0], 1), ("other", 3)]
    ((_, key, why),) = mirror.quarantined()
    assert keys[1] in key
    assert keys[0] in why
    mirror.fleet.require_nothing_to_do()
    report = sweep(mirror.fleet)
    assert report.counts.applied == 0
    assert rows(mirror, "control") == [(keys[0], 1), ("other", 3)]

    # Each edit stays with its own row.
    mirror.run(1, [f"UPDATE t SET v = v + 10, m = UTC_TIMESTAMP(6) WHERE code = '{one}'" for one in keys])
    mirror.sync()
    assert rows(mirror, "control") == [("other", 3), (keys[0], 11)]
    mirror.run("control", ["UPDATE t SET v = v + 100, m = UTC_TIMESTAMP(6) + INTERVAL 1 SECOND"])
    mirror.sync()
    assert rows(mirror, 1) == [(keys[1], 12), ("other", 103), (keys[0], 111)]
    mirror.fleet.require_nothing_to_do()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_second_row_that_comes_later_replaces_nothing(
    mariadb_databases: MariaDBDatabases, order: tuple[int, int]
) -> None:
    own, theirs, both = PAIRS[0]
    first, second = (both[i] for i in order)
    mirror = a_mirror(mariadb_databases, own, theirs, deletes="archive")
    put(mirror, first)
    mirror.sync()
    put(mirror, second, v=5)
    assert mirror.fleet.pull().counts.quarantined == 1
    assert rows(mirror, "control") == [(first, 1)]
    mirror.fleet.require_nothing_to_do()

    # Once the first is gone, it goes in by itself.
    mirror.run(1, [f"DELETE FROM t WHERE code = '{first}'"])
    sweep(mirror.fleet)
    mirror.sync()
    assert rows(mirror, "control") == [(second, 5)]
    assert mirror.quarantined() == []
    assert found(sweep(mirror.fleet)) == {}
    mirror.fleet.require_nothing_to_do()


def test_a_key_that_was_only_spelled_anew_is_the_same_row(mariadb_databases: MariaDBDatabases) -> None:
    own, theirs, (first, second) = PAIRS[0]
    mirror = a_mirror(mariadb_databases, own, theirs)
    put(mirror, first)
    mirror.sync()
    mirror.run(1, [f"UPDATE t SET code = '{second}', v = 7, m = UTC_TIMESTAMP(6)"])
    up, _ = mirror.sync()
    assert (up.counts.applied, up.counts.quarantined) == (1, 0)
    assert rows(mirror, "control") == [(second, 7)]
    mirror.require_equal()


def test_rows_that_control_has_already_are_adopted_one_by_one(mariadb_databases: MariaDBDatabases) -> None:
    own, theirs, (first, second) = PAIRS[0]
    mirror = a_mirror(mariadb_databases, own, theirs)
    put(mirror, first, second)
    mirror.insert("control", [["1", f"'{first}'", "1"]], ["id", "code", "v"])
    mirror.run("control", ["UPDATE t c SET m = '2024-01-01'"])
    mirror.run(1, ["UPDATE t SET m = '2024-01-01'"])
    up, _ = mirror.sync()
    assert up.counts.quarantined == 1
    assert rows(mirror, "control") == [(first, 1)]
    mirror.fleet.require_nothing_to_do()


def test_the_usual_rules_of_two_versions_carry_all_rows(mariadb_databases: MariaDBDatabases) -> None:
    mirror = a_mirror(mariadb_databases, "utf8mb4_general_ci", "utf8mb4_unicode_ci", page_rows=50)
    words = ["한글", "é", "Z", "ß", "日本", "🚉", "a b", "o''clock"]
    mirror.insert(1, [[str(i), f"'{word}{i}'", str(i)] for i, word in enumerate(words * 30)], ["id", "code", "v"])
    assert mirror.sync()[0].counts.applied == 240
    mirror.require_equal()
    assert (sweep(mirror.fleet).status, found(sweep(mirror.fleet))) == (Status.NOTHING, {})
