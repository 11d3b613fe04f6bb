"""Values of a second unique index that are handed on among rows: swapped, rotated, shifted, taken over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.command import Command
from support.databases import Databases, MariaDBDatabases, Where
from support.inject import ago

TABLE = {"modified": "modify_date", "key": ["id"], "exclude": ["master_id", "own", "touched"]}
SEAT = "seat int NOT NULL"


def create(databases: Databases, columns: str = SEAT, *indexes: str, at_station: bool = True) -> None:
    """Control has a number of its own, a note, and a column that stamps itself."""
    mariadb = databases.kind == "mariadb"
    stamp = "modify_date datetime NOT NULL"
    unique = indexes or ("seat",)
    databases.execute(1, f"CREATE TABLE places (id bigint NOT NULL PRIMARY KEY, {columns}, name varchar(60), {stamp})")
    own = "own varchar(20) NOT NULL DEFAULT 'own', touched datetime(6) NULL" + (
        " ON UPDATE CURRENT_TIMESTAMP(6)" if mariadb else ""
    )
    number = "bigint NOT NULL AUTO_INCREMENT" if mariadb else "INTEGER"
    databases.execute(
        "control",
        f"CREATE TABLE places (master_id {number} PRIMARY KEY, id bigint NOT NULL UNIQUE, {columns},"
        f" name varchar(60), {stamp}, {own})",
    )
    for where in ("control", 1) if at_station else ("control",):
        for number, index in enumerate(unique):
            databases.execute(where, f"CREATE UNIQUE INDEX by_{number} ON places ({index})")  # type: ignore[arg-type]


def a_command(databases: Databases, tmp_path: Path, **options: Any) -> Command:
    command = Command(databases, tmp_path, tables={"places": TABLE}, **options)
    command.well("init")
    return command


def put(databases: Databases, seats: dict[int, Any], where: Where = 1, column: str = "seat") -> None:
    rows = [{"id": n, column: seat, "name": f"row {n}", "modify_date": ago(400)} for n, seat in seats.items()]
    databases.put(where, rows, "places")


def move(databases: Databases, where: Where, seats: dict[int, Any], column: str = "seat", by: float = 100) -> None:
    """As an application does it: out of the way first, in one transaction. All columns that are given."""
    connection = databases.connect(where)
    cursor = connection.cursor()
    mark = "%s" if databases.kind == "mariadb" else "?"
    if databases.kind == "mariadb":
        cursor.execute("SET unique_checks = 0")
    for number in seats:
        cursor.execute(f"UPDATE places SET {column} = -{number} WHERE id = {number}")
    for number, seat in seats.items():
        stamp = ago(by)
        cursor.execute(f"UPDATE places SET {column} = {mark}, modify_date = {mark} WHERE id = {number}", (seat, stamp))
    connection.commit()


def seats(databases: Databases, where: Where, columns: str = "id, seat") -> list[tuple[Any, ...]]:
    return databases.query(where, f"SELECT {columns} FROM places ORDER BY id")


def own(databases: Databases) -> list[tuple[Any, ...]]:
    return databases.query("control", "SELECT id, master_id, own, touched FROM places ORDER BY id")


def next_number(databases: Databases) -> Any:
    if databases.kind == "sqlite":
        return None
    sql = (
        "SELECT AUTO_INCREMENT FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'places'"
    )
    return databases.query("control", sql)


def synced(command: Command) -> list[dict[str, Any]]:
    return list(command.well("sync", "station-1", "--json").json["reports"])


def settled(command: Command) -> None:
    """Both sides are equal, nothing waits, and there is nothing to do."""
    databases = command.databases
    columns = "id, name, modify_date"
    assert seats(databases, 1, columns) == seats(databases, "control", columns)
    assert command.ids("quarantine", "list") == []
    assert {report["status"] for report in synced(command)} == {"nothing to do"}


def test_a_rotation_arrives_up_and_down_and_leaves_no_trace(databases: Databases, tmp_path: Path) -> None:
    create(databases)
    command = a_command(databases, tmp_path, lookback="1h")
    put(databases, {n: n for n in range(1, 31)})
    synced(command)
    before, number = own(databases), next_number(databases)

    # A swap, a rotation of 20, and a shift whose first value a new row takes.
    turned = {1: 2, 2: 1} | {n: n + 1 if n < 22 else 3 for n in range(3, 23)}
    move(databases, 1, turned)
    move(databases, 1, {n: n + 1 for n in range(30, 22, -1)})
    up, _ = synced(command)
    assert (up["applied"], up["quarantined"]) == (30, 0)
    assert seats(databases, "control") == seats(databases, 1)
    assert (own(databases), next_number(databases)) == (before, number)
    settled(command)

    move(databases, "control", {n: n for n in range(1, 31)}, by=50)
    _, down = synced(command)
    assert (down["applied"], down["quarantined"]) == (30, 0)
    assert seats(databases, 1) == [(n, n) for n in range(1, 31)]
    settled(command)


def test_a_new_row_takes_the_value_that_a_shift_frees(databases: Databases, tmp_path: Path) -> None:
    create(databases)
    command = a_command(databases, tmp_path, lookback="1h")
    put(databases, {n: n for n in range(1, 8)})
    synced(command)
    number = next_number(databases)
    move(databases, 1, {n: n + 1 for n in range(7, 0, -1)})
    put(databases, {8: 1})
    up, _ = synced(command)
    assert (up["applied"], up["quarantined"]) == (8, 0)
    assert seats(databases, "control") == seats(databases, 1)
    if number:
        assert next_number(databases) == [(number[0][0] + 1,)]
    settled(command)


KINDS = {
    "nullable": ("seat int NULL", "seat", ("1", "2", "3")),
    "labels": ("seat enum('1','2','3','4') NOT NULL", "seat", ("'1'", "'2'", "'3'")),
    "all labels": ("seat enum('1','2','3') NOT NULL", "seat", ("'1'", "'2'", "'3'")),
    "all checked": ("seat int NOT NULL CHECK (seat BETWEEN 1 AND 3)", "seat", ("1", "2", "3")),
    "letters": ("seat char(1) CHARACTER SET latin1 NOT NULL CHECK (seat < 'd')", "seat", ("'a'", "'b'", "'c'")),
    "prefix": ("seat varchar(40) NOT NULL", "seat(3)", ("'aaa-one'", "'BBB-two'", "'ccc-three'")),
    "text": ("seat varchar(40) COLLATE utf8mb4_general_ci NOT NULL", "seat", ("'A'", "'b'", "'C'")),
    "day": ("seat date NOT NULL", "seat", ("'2024-01-01'", "'2024-01-02'", "'2024-02-01'")),
    "moment": ("seat datetime(6) NOT NULL", "seat", ("'2024-01-01'", "'2024-01-02'", "'2024-01-03'")),
    "price": ("seat decimal(4,2) NOT NULL", "seat", ("1.00", "99.99", "-99.99")),
    "byte": ("seat binary(1) NOT NULL", "seat", ("'a'", "'b'", "'c'")),
    "years": ("seat year NOT NULL", "seat", ("1901", "2155", "0000")),
    "bits": ("seat bit(3) NOT NULL", "seat", ("b'001'", "b'111'", "b'000'")),
    "small": ("seat tinyint unsigned NOT NULL", "seat", ("0", "255", "7")),
    "checked": ("seat int NOT NULL CHECK (seat BETWEEN 1 AND 4)", "seat", ("1", "2", "4")),
    "generated": (
        "seat varchar(20) NOT NULL, tag varchar(40) AS (lower(concat('%', seat))) VIRTUAL",
        "tag", ("'A'", "'b'", "'C'"),
    ),
    "soft": (
        "seat varchar(20) NOT NULL, gone datetime NULL, tag varchar(40) AS (if(gone is null, seat, null)) STORED",
        "tag", ("'A'", "'b'", "'C'"),
    ),
    "composite": ("seat int NOT NULL, area int NOT NULL DEFAULT 7", "area, seat", ("1", "2", "3")),
    "interlocking": ("seat int NOT NULL, shelf int AS (10 - seat) STORED UNIQUE", "seat", ("1", "2", "3")),
}  # fmt: skip


def test_every_kind_of_column_and_index(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    stamp = "name varchar(60), modify_date datetime NOT NULL"
    for where in ("control", 1):
        for table, (columns, index, _) in KINDS.items():
            databases.execute(
                where,  # type: ignore[arg-type]
                f"CREATE TABLE `{table}` (id bigint NOT NULL PRIMARY KEY, {columns}, {stamp}, UNIQUE own ({index}))",
            )
    command = Command(databases, tmp_path, tables={name: {"modified": "modify_date", "key": ["id"]} for name in KINDS})
    command.well("init")
    for table, (_, _, values) in KINDS.items():
        for number, value in enumerate(values):
            sql = f"INSERT INTO `{table}` (id, seat, modify_date) VALUES ({number}, {value}, %s)"
            databases.execute(1, sql, [ago(400)])
    command.well("sync", "station-1")

    def turn(where: Where, by: int) -> None:
        for table, (_, _, values) in KINDS.items():
            rows = [(number, values[(number + by) % 3]) for number in range(3)]
            databases.execute(where, f"DELETE FROM `{table}`")
            for number, value in rows:
                sql = f"INSERT INTO `{table}` (id, seat, modify_date) VALUES ({number}, {value}, %s)"
                databases.execute(where, sql, [ago(100 - 20 * by)])

    def alike() -> list[str]:
        of = {table: "SELECT * FROM `" + table + "` ORDER BY id" for table in KINDS}
        return [table for table, sql in of.items() if databases.query(1, sql) != databases.query("control", sql)]

    for where, by in ((1, 1), ("control", 2)):
        turn(where, by)  # type: ignore[arg-type]
        for table in KINDS:
            command.topology["tables"][table]["lookback"] = "1h"
        reports = synced(command)
        assert alike() == []
        assert {(report["table"], report["quarantined"]) for report in reports} == {(table, 0) for table in KINDS}
        assert sum(report["applied"] for report in reports) == 3 * len(KINDS)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}


def reasons(command: Command) -> list[str]:
    return [entry["reasons"][0] for entry in command.well("quarantine", "list", "--json").json["entries"]]


def test_what_is_in_the_way_is_named_and_the_rest_follows_once_it_is_gone(databases: Databases, tmp_path: Path) -> None:
    """A row that the station deleted keeps its value at control; a bad row holds up the rotation that it is part of.
    Pages of two rows."""
    create(databases)
    databases.execute("control", "CREATE UNIQUE INDEX once ON places (name)")
    command = a_command(databases, tmp_path, lookback="1h", deletes="archive", page_rows=2)
    put(databases, {n: n for n in range(1, 11)})
    synced(command)
    number = next_number(databases)

    # 1..5 turn, over the borders of pages; 6 takes the value of 7, which is deleted, and 8 the one of 6; 9 and 10
    # change places, but 9 is to have the name of 1, which control does not allow.
    move(databases, 1, {1: 2, 2: 3, 3: 4, 4: 5, 5: 1})
    databases.execute(1, "DELETE FROM places WHERE id = 7")
    move(databases, 1, {6: 7}, by=90)
    move(databases, 1, {8: 6}, by=80)
    move(databases, 1, {9: 10, 10: 9}, by=70)
    databases.execute(1, "UPDATE places SET name = 'row 1' WHERE id = 9")
    up, _ = synced(command)
    assert up["applied"] == 5
    assert seats(databases, "control") == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 1), *((n, n) for n in range(6, 11))]
    told = reasons(command)
    assert len(told) == 4
    assert all(one.startswith("control refuses the row until a value is free: ") for one in told)
    assert any('row ["7"] has its value' in one for one in told)
    assert any('row ["1"] has its value' in one for one in told)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}
    assert command.well("status", "--json").json["tables"][0]["state"] == "behind"

    # The delete travels with a sweep, and the two that waited for it go in with that sweep.
    command.well("reconcile", "station-1")
    assert seats(databases, "control")[5:] == [(6, 7), (8, 6), (9, 9), (10, 10)]
    databases.execute(1, "UPDATE places SET name = 'row 9' WHERE id = 9")
    up, _ = synced(command)
    assert (up["applied"], up["released"]) == (2, 2)
    assert seats(databases, "control") == seats(databases, 1)
    assert next_number(databases) == number
    settled(command)


def test_an_edit_of_control_s_waits_for_a_value_that_the_station_keeps(databases: Databases, tmp_path: Path) -> None:
    create(databases)
    command = a_command(databases, tmp_path, lookback="1h")
    put(databases, {1: 1, 2: 2, 3: 3})
    synced(command)
    # Of control's own rows one has the value that the station's row still has.
    databases.execute("control", "DELETE FROM places WHERE id = 3")
    move(databases, "control", {1: 3, 2: 1}, by=50)
    _, down = synced(command)
    assert (down["applied"], down["quarantined"]) == (0, 2)
    assert seats(databases, 1) == [(1, 1), (2, 2), (3, 3)]
    assert all(one.startswith("the station refuses the row until a value is free: ") for one in reasons(command))
    assert {report["status"] for report in synced(command)} == {"nothing to do"}

    databases.execute(1, "DELETE FROM places WHERE id = 3")
    _, down = synced(command)
    assert (down["applied"], down["released"]) == (2, 2)
    settled(command)


def test_values_turn_while_the_other_side_edits_other_columns(databases: Databases, tmp_path: Path) -> None:
    """`conflicts: merge`: rows that are a mixture of both sides take part in the rotation; at control, too, and where
    only some of them were edited there."""
    create(databases)
    command = a_command(databases, tmp_path, lookback="1h", conflicts="merge")
    put(databases, {n: n for n in range(1, 8)})
    synced(command)
    number = next_number(databases)

    def edit(where: Where, numbers: Iterable[int], name: str, by: float) -> None:
        mark = "%s" if databases.kind == "mariadb" else "?"
        for n in numbers:
            sql = f"UPDATE places SET name = '{name} {n}', modify_date = {mark} WHERE id = {n}"
            databases.execute(where, sql, [ago(by)])

    turned = {1: 2, 2: 3, 3: 1, 4: 5, 5: 4}
    move(databases, 1, turned)
    edit("control", (1, 3, 4, 5, 7), "edited", 90)
    put(databases, {8: 8})
    synced(command)
    names = {n: f"edited {n}" if n in (1, 3, 4, 5, 7) else f"row {n}" for n in range(1, 9)}
    for where in (1, "control"):
        found = seats(databases, where, "id, seat, name")  # type: ignore[arg-type]
        assert found == [(n, turned.get(n, n), names[n]) for n in range(1, 9)]
    settled(command)

    # The other way round, found by a sweep.
    move(databases, "control", {n: n for n in turned}, by=50)
    edit(1, (1, 2, 5), "again", 40)
    command.well("reconcile", "station-1")
    names |= {n: f"again {n}" for n in (1, 2, 5)}
    for where in (1, "control"):
        found = seats(databases, where, "id, seat, name")  # type: ignore[arg-type]
        assert found == [(n, n, names[n]) for n in range(1, 9)]
    settled(command)
    told = command.well("conflicts", "list", "--json").json["conflicts"]
    assert {tuple(one["columns"]) for one in told} == {("modify_date",)}
    if number:
        assert next_number(databases) == [(number[0][0] + 1,)]


def test_a_station_without_transactions(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    """A shift goes through row by row; rows that change places wait, with this reason, until somebody frees a value."""
    databases = mariadb_databases
    create(databases)
    databases.execute(1, "ALTER TABLE places ENGINE=MyISAM")
    command = a_command(databases, tmp_path, lookback="1h")
    put(databases, {n: n for n in range(1, 7)})
    synced(command)
    move(databases, "control", {1: 2, 2: 1, 3: 4, 4: 5, 5: 6, 6: 7}, by=50)
    synced(command)
    assert seats(databases, 1) == [(1, 1), (2, 2), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert len(told := reasons(command)) == 2
    assert all("cannot change places in a table without transactions" in one and "MyISAM" in one for one in told)
    assert {report["status"] for report in synced(command)} == {"nothing to do"}
    databases.execute(1, "ALTER TABLE places ENGINE=InnoDB")
    synced(command)
    settled(command)
    assert seats(databases, 1) == seats(databases, "control")


FULL = "seat {} NOT NULL CHECK (seat IN (0, 1))"


def test_no_value_is_free_to_park_a_row_on(databases: Databases, tmp_path: Path) -> None:
    """Both values are taken: the rows change places all the same, with whatever else stands in them, or refers to
    them, as it was."""
    mariadb = databases.kind == "mariadb"
    create(databases, FULL.format("bit(1)" if mariadb else "int"))
    command = a_command(databases, tmp_path, lookback="1h")
    put(databases, {1: 0, 2: 1})
    synced(command)
    databases.execute("control", "UPDATE places SET own = 'mine 1' WHERE id = 1")
    if mariadb:
        for where in (1, "control"):
            reference = "place bigint, FOREIGN KEY (place) REFERENCES places (id) ON DELETE CASCADE ON UPDATE CASCADE"
            databases.execute(where, f"CREATE TABLE guests (name varchar(20), {reference})")  # type: ignore[arg-type]
            databases.execute(where, "INSERT INTO guests VALUES ('a', 1), ('b', 2)")  # type: ignore[arg-type]
    before, number = own(databases), next_number(databases)

    turn(databases, 1, by=100)
    up, _ = synced(command)
    assert (up["applied"], up["quarantined"]) == (2, 0)
    assert seats(databases, "control") == seats(databases, 1)
    assert (own(databases), next_number(databases)) == (before, number)
    settled(command)

    turn(databases, "control", by=50)
    before = own(databases)
    _, down = synced(command)
    assert (down["applied"], down["quarantined"]) == (2, 0)
    assert seats(databases, "control") == seats(databases, 1)
    assert own(databases) == before
    settled(command)
    for where in (1, "control") if mariadb else ():
        assert databases.query(where, "SELECT * FROM guests ORDER BY 1") == [("a", 1), ("b", 2)]  # type: ignore[arg-type]


def test_where_a_trigger_would_see_it_they_wait_with_that_reason(databases: Databases, tmp_path: Path) -> None:
    create(databases, FULL.format("int"))
    command = a_command(databases, tmp_path, lookback="1h")
    put(databases, {1: 0, 2: 1})
    synced(command)
    for where in (1, "control"):
        body = (
            "FOR EACH ROW INSERT INTO seen VALUES (OLD.id)"
            if databases.kind == "mariadb"
            else "BEGIN INSERT INTO seen VALUES (OLD.id); END"
        )
        databases.execute(where, "CREATE TABLE seen (id int)")  # type: ignore[arg-type]
        databases.execute(where, f"CREATE TRIGGER watching AFTER DELETE ON places {body}")  # type: ignore[arg-type]
    for where, other in ((1, "control"), ("control", 1)):
        turn(databases, where, by=100 if where == 1 else 50)  # type: ignore[arg-type]
        databases.execute(where, "DELETE FROM seen")  # type: ignore[arg-type]
        synced(command)
        assert seats(databases, 1) != seats(databases, "control")
        assert len(told := reasons(command)) == 2
        assert all("none free" in one and "trigger watching" in one for one in told)
        assert {report["status"] for report in synced(command)} == {"nothing to do"}
        for each in (1, "control"):
            assert databases.query(each, "SELECT * FROM seen") == []  # type: ignore[arg-type]
        databases.execute(other, "DROP TRIGGER watching")  # type: ignore[arg-type]
        synced(command)
        settled(command)
        assert seats(databases, 1) == seats(databases, "control")


def turn(databases: Databases, where: Where, by: float) -> None:
    """The two rows change places, as an application does it that writes them anew."""
    connection = databases.connect(where)
    cursor = connection.cursor()
    mark = "%s" if databases.kind == "mariadb" else "?"
    cursor.execute("SELECT * FROM places ORDER BY id")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    if databases.kind == "mariadb":
        cursor.execute("SET foreign_key_checks = 0")
    cursor.execute("DELETE FROM places")
    for row, seat in zip(rows, [row["seat"] for row in reversed(rows)], strict=True):
        given = row | {"seat": seat, "modify_date": ago(by)}
        marks = ", ".join([mark] * len(given))
        cursor.execute(f"INSERT INTO places ({', '.join(given)}) VALUES ({marks})", list(given.values()))
    connection.commit()
