"""Faults that a second reader found, each with the story that shows it."""

from __future__ import annotations

import pytest
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.sample import row

from stationsync.errors import NotInitialised
from stationsync.model.changes import Status


def made(databases: Databases, **options: object) -> Fleet:
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases, **options)
    fleet.init()
    return fleet


def test_rules_of_one_name_in_two_charsets_are_not_the_same_rules(mariadb_databases: MariaDBDatabases) -> None:
    fleet = made(mariadb_databases)
    mariadb_databases.execute(
        1, "ALTER TABLE kafka_test MODIFY code varchar(100) CHARACTER SET latin1 COLLATE latin1_general_ci NOT NULL"
    )
    mariadb_databases.execute(1, "ALTER TABLE kafka_test MODIFY id bigint NOT NULL, DROP PRIMARY KEY")
    mariadb_databases.put(1, [row(1, code="a"), row(1, code="ä"), row(2, code="ä")])
    assert fleet.pull().counts.quarantined == 1
    assert [(id, code) for id, _, code, *_ in mariadb_databases.rows("control")] == [(1, "a"), (2, "ä")]
    fleet.require_nothing_to_do()


def test_a_widened_column_wants_its_base_widened_too(mariadb_databases: MariaDBDatabases) -> None:
    fleet = made(mariadb_databases)
    mariadb_databases.put(1, [row(1)])
    fleet.sync()
    for where in (1, "control"):
        mariadb_databases.execute(where, "ALTER TABLE kafka_test MODIFY modify_date datetime(6) NOT NULL")
    with pytest.raises(NotInitialised, match=r"modify_date.*another type.* than its base.*stationsync init"):
        fleet.pull()

    fleet.init()
    fleet.edit("control", 1, text="edited", at="2050-01-01 00:00:00.123456")
    assert fleet.push().counts.applied == 1
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_column_added_later_is_adopted_and_edits_go_on(databases: Databases) -> None:
    fleet = made(databases, conflicts="station")
    databases.put(1, [row(1), row(2)])
    fleet.sync()
    for where in (1, "control"):
        databases.execute(where, "ALTER TABLE kafka_test ADD COLUMN x int NOT NULL DEFAULT 0")
    databases.execute(1, "UPDATE kafka_test SET x = 7 WHERE id = 2")  # does not touch modify_date
    fleet.init()
    fleet.sync()
    fleet.edit(1, 1, text="the station's")

    columns = "id, text, code, create_date, modify_date, x"
    fleet.sync()
    assert [found[1] for found in databases.rows("control", columns=columns)] == ["the station's", "row 2"]
    assert [found[5] for found in databases.rows("control", columns=columns)] == [0, 7]
    # Nobody knows who is right about row 2: 7 at the station, 0 at control.
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(1,)]
    fleet.require_equal(columns=columns)
    fleet.require_nothing_to_do()


def test_another_table_at_the_station_is_read_from_its_beginning(databases: Databases) -> None:
    fleet = made(databases)
    databases.put(1, [row(1)])
    fleet.sync()
    databases.create_kafka_test(1, table="kafka_new")
    databases.put(1, [row(1), row(2)], table="kafka_new")
    fleet.options(station_table="kafka_new")

    assert fleet.pull().counts.applied == 1
    assert len(databases.rows("control")) == 2
    fleet.require_nothing_to_do()


def test_an_edit_that_won_goes_down_though_a_part_of_it_was_refused(databases: Databases) -> None:
    fleet = made(databases, editable=["text"], conflicts="control")
    databases.put(1, [row(1)])
    fleet.sync()
    fleet.edit(1, 1, text="the station's")
    fleet.edit("control", 1, text="control's", create_date="1999-09-09 00:00:00")
    for _ in range(3):
        fleet.push()
        fleet.pull()
    fleet.push()

    assert databases.rows(1)[0][1] == "control's"
    assert databases.rows("control")[0][1] == "control's"


def test_a_trigger_of_controls_application_that_says_no_stops_its_row_only(
    mariadb_databases: MariaDBDatabases,
) -> None:
    fleet = made(mariadb_databases)
    mariadb_databases.execute(
        "control",
        "CREATE TRIGGER no_sevens BEFORE INSERT ON kafka_test FOR EACH ROW IF NEW.id = 7 THEN"
        " SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001, MESSAGE_TEXT = 'no sevens'; END IF",
    )
    mariadb_databases.put(1, [row(number) for number in range(1, 21)])

    report = fleet.pull()
    assert (report.status, report.counts.applied, report.counts.quarantined) == (Status.DONE, 19, 1)
    ((reasons,),) = mariadb_databases.query("control", "SELECT reasons FROM stationsync_quarantine")
    assert "no sevens" in reasons


def test_a_decimal_key_is_read_over_several_pages_on_sqlite_too(databases: Databases) -> None:
    for where in (1, "control"):
        databases.execute(
            where,
            "CREATE TABLE kafka_test (id decimal(20,2) NOT NULL, code varchar(9) NOT NULL,"
            " modify_date datetime NOT NULL, UNIQUE (id, code))",
        )
    fleet = Fleet(databases, page_rows=3)
    fleet.init()
    stamp = "2024-01-01 00:00:00"
    databases.put(1, [{"id": f"{n}.50", "code": "A", "modify_date": stamp} for n in range(10)])

    assert fleet.pull().counts.applied == 10
    assert databases.count("control") == 10
    fleet.require_equal(columns="id, code, modify_date")
