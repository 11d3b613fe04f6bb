"""A row that is too long for one packet of the server is kept all the same, and blocks nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.command import Command
from support.databases import Databases, MariaDBDatabases, SQLiteDatabases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.sweeps import sweep

from cli.sandbox.servers import MariaDBServer
from stationsync.errors import Refused
from stationsync.keeping import trash
from stationsync.pairing.pair import control_of
from stationsync.store import kept
from stationsync.store.bookkeeping import conflict, quarantine, value

PACKET = 4 * 1024 * 1024
WHEN = "2024-01-01 00:00:00"


@pytest.fixture(scope="module")
def small_packets() -> Iterator[tuple[MariaDBServer, MariaDBServer]]:
    """Control takes packets of 4 MB, the stations' server of 16 MB."""
    with MariaDBServer(options=[f"--max-allowed-packet={PACKET}"]) as control, MariaDBServer() as station:
        yield control, station


@pytest.fixture(params=["mariadb", "sqlite"])
def tight(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    if request.param == "sqlite":
        databases: Databases = SQLiteDatabases(tmp_path)
    else:
        databases = MariaDBDatabases(*request.getfixturevalue("small_packets"))
    yield databases
    databases.close()


def made(databases: Databases, **options: Any) -> Fleet:
    """kafka_test with a column for long text and one for long bytes."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    for where in (1, "control"):
        databases.execute(where, "ALTER TABLE kafka_test ADD COLUMN photo longblob")
        databases.execute(where, "ALTER TABLE kafka_test ADD COLUMN notes longtext")
    fleet = Fleet(databases, **options)
    fleet.init()
    return fleet


def photo(letter: bytes, size: int = 3 * 1024 * 1024) -> bytes:
    """Bytes that the driver has to escape, among others."""
    return (b"'\\\x00" + letter * 61) * (size // 64)


def put_photo(databases: Databases, where: Any, data: bytes | str, column: str = "photo") -> None:
    databases.execute(where, f"UPDATE kafka_test SET {column} = '' WHERE id = 1")
    joined = f"concat({column}, %s)" if databases.kind == "mariadb" else f"{column} || %s"
    if databases.kind == "sqlite":
        databases.execute(where, f"UPDATE kafka_test SET {column} = %s WHERE id = 1", [data])
        return
    for start in range(0, len(data), 500_000):
        sql = f"UPDATE kafka_test SET {column} = {joined} WHERE id = 1"
        databases.execute(where, sql, [data[start : start + 500_000]])


def edit(databases: Databases, where: Any, data: bytes, **values: Any) -> None:
    put_photo(databases, where, data)
    Fleet.edit(Fleet(databases), where, 1, **values)


def kept_rows(fleet: Fleet, table: sa.Table, column: str) -> list[tuple[str, dict[str, Any]]]:
    """The text of each row that is kept there, and the row with all its values."""
    control = control_of(fleet.topology)
    with control.connect() as conn:
        texts = conn.scalars(sa.select(table.c[column]).order_by(table.c.id)).all()
        return [(text, kept.load(conn, json.loads(text))) for text in texts]


def test_a_conflict_about_three_megabytes_is_decided_and_both_versions_are_kept(tight: Databases) -> None:
    fleet = made(tight)
    tight.put(1, [row(1), row(2)])
    edit(tight, 1, photo(b"a"), at=ago(90))
    fleet.sync()
    edit(tight, 1, photo(b"b"), at=ago(20), text="station's")
    edit(tight, "control", photo(b"c"), at=ago(40), text="control's")

    up, down = fleet.sync()
    assert (up.counts.conflicts, up.counts.applied, down.counts.applied) == (1, 1, 0)
    for column, letter in (("station_row", b"b"), ("control_row", b"c"), ("base_row", b"a"), ("result_row", b"b")):
        ((text, whole),) = kept_rows(fleet, conflict, column)
        assert len(text) < 1_000
        assert (whole["photo"], whole["code"]) == (photo(letter), "A")
    columns = "id, text, code, create_date, modify_date, photo"
    fleet.require_equal(columns=columns)
    fleet.require_nothing_to_do()
    # Equal contents are kept once: the station's and the result's.
    stored = tight.query("control", "SELECT COUNT(DISTINCT sha256), MAX(LENGTH(content)) FROM stationsync_value")
    assert stored[0][0] == 3
    assert stored[0][1] <= 512 * 1024


def test_a_combined_row_of_two_sides_travels_without_passing_through_us(tight: Databases) -> None:
    fleet = made(tight, conflicts="merge")
    tight.put(1, [row(1)])
    edit(tight, 1, photo(b"a"), at=ago(90))
    fleet.sync()
    edit(tight, 1, photo(b"b"), at=ago(20))
    Fleet.edit(fleet, "control", 1, text="control's", at=ago(40))

    fleet.sync()
    ((text, data),) = tight.query("control", "SELECT text, photo FROM kafka_test WHERE id = 1")
    assert (text, data) == ("control's", photo(b"b"))
    ((text, data),) = tight.query(1, "SELECT text, photo FROM kafka_test WHERE id = 1")
    assert (text, data) == ("control's", photo(b"b"))
    fleet.require_nothing_to_do()


def test_long_rows_in_quarantine_are_kept_whole_and_known_again(tight: Databases) -> None:
    fleet = made(tight, zero_dates="quarantine")
    rows = [{**row(n), "create_date": "0000-00-00 00:00:00"} for n in range(1, 6)]
    tight.put(1, rows)
    long_text = "\"\\'\n" * 250_000  # 1 MB, each of its characters is escaped
    put_photo(tight, 1, long_text, "notes")
    put_photo(tight, 1, photo(b"a"))
    tight.execute(1, "UPDATE kafka_test SET photo = (SELECT photo FROM (SELECT photo FROM kafka_test WHERE id = 1) x)")
    tight.execute(1, "UPDATE kafka_test SET notes = (SELECT notes FROM (SELECT notes FROM kafka_test WHERE id = 1) x)")

    assert fleet.pull().counts.quarantined == 5
    for _, whole in kept_rows(fleet, quarantine, "row_json"):
        assert (whole["photo"], whole["notes"]) == (photo(b"a"), long_text)
    assert tight.query("control", "SELECT COUNT(DISTINCT sha256) FROM stationsync_value") == [(2,)]
    fleet.require_nothing_to_do()

    tight.execute(1, "UPDATE kafka_test SET create_date = %s, modify_date = %s", [WHEN, ago(5)])
    up = fleet.pull()
    assert (up.counts.applied, up.counts.released) == (5, 5)
    fleet.require_nothing_to_do()


def test_a_long_edit_of_control_s_that_the_station_refuses_is_known_again(tight: Databases) -> None:
    fleet = made(tight)
    tight.put(1, [row(1)])
    fleet.sync()
    if tight.kind == "mariadb":
        refuse = "IF NEW.text = 'bad' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001, MESSAGE_TEXT = 'no'; END IF"
        tight.execute(1, f"CREATE TRIGGER no_bad BEFORE UPDATE ON kafka_test FOR EACH ROW {refuse}")
    else:
        refuse = "WHEN NEW.text = 'bad' BEGIN SELECT RAISE(ABORT, 'CONSTRAINT'); END"
        tight.execute(1, f"CREATE TRIGGER no_bad BEFORE UPDATE ON kafka_test {refuse}")
    edit(tight, "control", photo(b"c"), at=ago(20), text="bad")
    assert fleet.push().counts.quarantined == 1
    fleet.require_nothing_to_do()
    ((_, whole),) = kept_rows(fleet, quarantine, "row_json")
    assert whole["photo"] == photo(b"c")


def test_a_long_row_that_was_deleted_comes_back_from_the_trash_as_it_was(tight: Databases) -> None:
    fleet = made(tight, deletes="archive")
    tight.put(1, [row(1), row(2)])
    edit(tight, 1, photo(b"a"), at=ago(7200))
    fleet.sync()
    tight.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    assert sweep(fleet).counts.deleted == 1
    assert [values[0] for values in tight.rows("control")] == [2]

    (pair,) = fleet.pairs()
    ((item,), _) = trash.find(pair.control)
    trash.restore(pair.control, pair, item)
    assert tight.query("control", "SELECT photo FROM kafka_test WHERE id = 1") == [(photo(b"a"),)]


def test_a_long_row_deleted_at_one_side_and_edited_at_the_other_is_kept_whole(tight: Databases) -> None:
    fleet = made(tight, deletes="archive")
    tight.put(1, [row(1), row(2)])
    edit(tight, 1, photo(b"a"), at=ago(7200))
    fleet.sync()
    tight.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    edit(tight, "control", photo(b"c"), at=ago(20))
    assert sweep(fleet).counts.conflicts == 1
    for column, letter in (("control_row", b"c"), ("base_row", b"a")):
        ((_, whole),) = kept_rows(fleet, conflict, column)
        assert whole["photo"] == photo(letter)


def test_a_long_value_is_shown_in_brief(databases: Databases, tmp_path: Path) -> None:
    made(databases)
    command = Command(databases, tmp_path)
    command.well("init")
    databases.put(1, [row(1)])
    edit(databases, 1, photo(b"a"), at=ago(90))
    command.well("sync", "station-1")
    edit(databases, 1, photo(b"b"), at=ago(20))
    edit(databases, "control", photo(b"c"), at=ago(40))
    command.well("sync", "station-1")
    (one,) = command.well("conflicts", "list", "--json").json["conflicts"]
    digest = hashlib.sha256(photo(b"b")).hexdigest()
    assert one["station_row"]["photo"] == {"sha256": digest, "bytes": 3 * 1024 * 1024, "kind": "bytes"}
    told = command.well("conflicts", "show", one["id"]).out
    assert f"<3,145,728 bytes, sha256 {digest[:12]}…>" in told
    assert len(told) < 5_000


# --- the module itself


def test_many_values_that_are_each_short_enough_are_too_much_together() -> None:
    one = kept.keep({f"c{i}": "x" * 4_000 for i in range(100)})
    assert len(one.text) <= kept.ROW
    assert 0 < len(one.apart) < 100
    assert kept.keep({f"c{i}": "x" * 4_000 for i in range(100)}) == one


def test_a_short_row_is_kept_as_it_is() -> None:
    one = kept.keep({"a": "é", "b": b"\x01\xff", "c": None, "d": 7})
    assert json.loads(one.text) == {"a": "é", "b": {"hex": "01ff"}, "c": None, "d": 7}
    assert one.apart == {}


def test_a_kept_value_that_is_gone_is_refused_and_not_left_out(databases: Databases) -> None:
    fleet = made(databases)
    control = control_of(fleet.topology)
    one = kept.keep({"photo": photo(b"a")})
    with control.connect() as conn:
        with conn.begin():
            kept.store(conn, [one], datetime(2024, 1, 1))
        with conn.begin():
            assert kept.load(conn, json.loads(one.text)) == {"photo": photo(b"a")}
            conn.execute(sa.delete(value).where(value.c.part == 1))
        with pytest.raises(Refused, match="not there whole"):
            kept.load(conn, json.loads(one.text))
