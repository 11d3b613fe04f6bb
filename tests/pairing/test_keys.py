"""Keys of every kind: paged through in both directions, and taken up again in the middle of one second."""

from __future__ import annotations

import pytest
from support.databases import MariaDBDatabases
from support.key_cases import KEYS, ROWS
from support.mirror import LATER, fill, mirror_of

from stationsync.errors import DatabaseBusy
from stationsync.model.changes import Checked, Counts
from stationsync.pairing.watermark import Reading
from stationsync.session.session import Session
from stationsync.sync import merge


@pytest.mark.some(1, 3)
@pytest.mark.parametrize("kind", KEYS)
def test_many_rows_of_one_second_go_up_and_down_page_by_page(kind: str, mariadb_databases: MariaDBDatabases) -> None:
    columns, rows = KEYS[kind]
    mirror = mirror_of(mariadb_databases, columns)
    fill(mirror, columns, rows)
    up = mirror.fleet.pull()
    assert (up.counts.applied, up.counts.read) == (ROWS, ROWS)
    assert up.chunks > 2
    mirror.require_equal()

    mirror.run("control", [f"UPDATE t SET v = v + 1000, m = {LATER}"])
    down = mirror.fleet.push()
    assert (down.counts.applied, down.counts.read) == (ROWS, ROWS)
    assert down.chunks > 2
    mirror.require_equal()


@pytest.mark.some(2, 3)
@pytest.mark.parametrize("kind", KEYS)
def test_a_run_that_was_cut_off_in_the_middle_of_a_second_goes_on_behind_it(
    kind: str, mariadb_databases: MariaDBDatabases
) -> None:
    columns, rows = KEYS[kind]
    mirror = mirror_of(mariadb_databases, columns)
    fill(mirror, columns, rows)
    done: list[int] = []

    def once(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        if done:
            raise DatabaseBusy("control", "cut off here")
        done.append(len(checked.chunk))
        return merge.merge_chunk(session, checked, reading)

    with pytest.raises(DatabaseBusy):
        mirror.fleet.pull(merge=once)
    assert mariadb_databases.count("control", "t") == done[0]
    again = mirror.fleet.pull()
    assert (again.counts.read, again.counts.applied) == (ROWS - done[0], ROWS - done[0])
    mirror.require_equal()


@pytest.mark.some(0, 3)
@pytest.mark.parametrize("kind", KEYS)
def test_both_sides_edit_rows_and_some_are_gone_at_the_station(kind: str, mariadb_databases: MariaDBDatabases) -> None:
    columns, rows = KEYS[kind]
    mirror = mirror_of(mariadb_databases, {**columns, "note": "TEXT"}, key=list(columns), conflicts="merge")
    mirror.insert(1, [[*row, str(n), "''"] for n, row in enumerate(rows[:40])], [*columns, "v", "note"])
    mirror.sync()
    mirror.run("control", ["UPDATE t SET v = v + 1000, m = UTC_TIMESTAMP(6)"])
    mirror.run(1, ["UPDATE t SET note = 'ours', m = UTC_TIMESTAMP(6) WHERE v < 30", "DELETE FROM t WHERE v >= 30"])
    up, down = mirror.sync()
    assert (up.counts.applied, down.counts.applied, down.counts.missing) == (30, 30, 10)
    mirror.fleet.require_nothing_to_do()
    names = [*columns, "v", "note", "m"]
    theirs = mirror.bytes("control", names=names)
    assert [row for row in mirror.bytes(1, names=names) if row not in theirs] == []
    assert mariadb_databases.query(1, "SELECT COUNT(*) FROM t WHERE v >= 1000 AND note = 'ours'") == [(30,)]
    assert len(mirror.quarantined()) == 10


def test_names_that_mean_something_elsewhere(mariadb_databases: MariaDBDatabases) -> None:
    """Names with %, :, quotes, blanks and brackets, and words of SQL; in the key and beside it."""
    columns = {"50%": "INT NOT NULL", ":a b": "VARCHAR(9) NOT NULL", "select": "INT", "%(x)s": "INT", "ö(1)\"'?": "INT"}
    mirror = mirror_of(mariadb_databases, columns, key=["50%", ":a b"], conflicts="merge")
    mirror.insert(1, [[str(n), "'x'", "1", "2", "3", "4"] for n in range(ROWS)], [*columns, "v"])
    assert mirror.fleet.pull().counts.applied == ROWS
    mirror.run("control", ["UPDATE t SET `%(x)s` = 9, m = UTC_TIMESTAMP(6)"])
    mirror.run(1, ["UPDATE t SET `select` = 9, m = UTC_TIMESTAMP(6)"])
    mirror.sync()
    assert mariadb_databases.query(1, "SELECT COUNT(*) FROM t WHERE `select` = 9 AND `%(x)s` = 9") == [(ROWS,)]
    mirror.require_equal()


@pytest.mark.parametrize("before_after", [("abc", "ABC"), ("abc", "ábc"), ("abc", "abc ")])
def test_the_bytes_of_a_key_follow_the_station(
    before_after: tuple[str, str], mariadb_databases: MariaDBDatabases
) -> None:
    before, after = before_after
    mirror = mirror_of(mariadb_databases, {"id": "VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL"})
    mirror.insert(1, [[f"'{before}'", "1"]], ["id", "v"])
    mirror.sync()
    mirror.run(1, [f"UPDATE t SET id = '{after}', m = UTC_TIMESTAMP(6)"])
    up, _ = mirror.sync()
    assert up.counts.applied == 1
    assert mariadb_databases.query("control", "SELECT id FROM t") == [(after,)]
    mirror.require_equal()


def test_an_edit_beside_a_key_whose_bytes_differ_only_in_case(mariadb_databases: MariaDBDatabases) -> None:
    """Control renamed the key in a way that its collation cannot see. Nobody edits keys: that is kept, not sent."""
    mirror = mirror_of(mariadb_databases, {"id": "VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL"})
    mirror.insert(1, [["'abc'", "1"]], ["id", "v"])
    mirror.sync()
    mirror.run("control", ["UPDATE t SET id = 'ABC', v = 2, m = UTC_TIMESTAMP(6)"])
    _, down = mirror.sync()
    assert mariadb_databases.query(1, "SELECT id, v FROM t") == [("abc", 2)]
    assert (down.counts.applied, down.counts.quarantined) == (1, 1)
    assert "control may not edit these columns: id" in mirror.quarantined()[0][2]
    mirror.fleet.require_nothing_to_do()
