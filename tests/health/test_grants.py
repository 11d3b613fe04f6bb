"""`stationsync grants`: exactly these rights are enough for everything, and one less is a clear error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.command import Command
from support.databases import MariaDBDatabases, SQLiteDatabases
from support.sample import row

from stationsync.health.grants import grants
from stationsync.topology.topology_file import from_mapping

PASSWORD = "pa55-비밀-7c1d"
EVERYTHING = {"deletes": "archive", "control_deletes": "send", "max_deletes": "100"}


class Least:
    """A fleet whose users at both sides have just what `grants` prints; root prepares and looks."""

    def __init__(self, databases: MariaDBDatabases, folder: Path, **options: object) -> None:
        databases.create_kafka_test("control", control=True)
        databases.create_kafka_test(1)
        self.databases = databases
        self.command = Command(databases, folder, **options)
        self.command.environment["IT"] = PASSWORD
        self.accounts = {"control": self._user("control", "control"), "station-1": self._user(1, "station-1")}

    def _user(self, where: object, place: str) -> str:
        name = self.databases.name(where)  # type: ignore[arg-type]
        server = self.databases.server(where)  # type: ignore[arg-type]
        user = f"l{name[-8:]}_{place[0]}"
        at = self.command.topology["control"] if place == "control" else self.command.topology["stations"][place]
        at |= {"url": server.url(name, user), "password": "${IT}"}
        told = self.command.well("grants", place).out
        assert PASSWORD not in told
        for line in told.splitlines():
            if not line.startswith("--"):
                server.execute(line.rstrip(";").replace("<PASSWORD>", PASSWORD))
        return f"'{user}'@'%'"

    def revoke(self, place: str, statement: str) -> None:
        server = self.databases.server("control" if place == "control" else 1)
        server.execute(statement.replace("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM ").rstrip(";"))

    def granted(self, place: str) -> list[str]:
        found = self.command.well("grants", place, "--json").json["grants"]
        return [one["statement"] for one in found if one["when"] == "always"]


def test_with_exactly_these_rights_a_whole_story_goes_through(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    databases = mariadb_databases
    least = Least(databases, tmp_path, **EVERYTHING)
    command = least.command
    databases.put(1, [row(n) for n in range(1, 9)])
    command.well("init")
    checked = command.well("check", "--json").json
    levels = {note["level"] for one in checked["databases"] for note in one["notes"]}
    assert levels <= {"info"}, checked

    command.well("sync", "station-1")
    databases.execute("control", "UPDATE kafka_test SET text = 'of control', modify_date = '2025-01-01' WHERE id = 1")
    databases.execute(1, "UPDATE kafka_test SET text = 'of the station', modify_date = '2025-01-01' WHERE id = 2")
    command.well("sync", "station-1")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 4")
    command.well("reconcile", "station-1")
    command.well("init")

    expected = [(1, "of control"), (2, "of the station"), *((n, f"row {n}") for n in range(5, 9))]
    for where in ("control", 1):
        assert [(number, text) for number, text, *_ in databases.rows(where)] == expected  # type: ignore[arg-type]
    assert {report["status"] for report in command.well("sync", "station-1", "--json").json["reports"]} == {
        "nothing to do"
    }

    databases.execute(1, "DELETE FROM kafka_test")
    refused = command("reseed", "station-1", "--yes")
    assert (refused.code, databases.count(1)) == (1, 0)
    assert "no INSERT right" in refused.out + refused.err
    for one in command.well("grants", "station-1", "--json").json["grants"]:
        if one["when"] == "reseed":
            databases.server(1).execute(one["statement"].rstrip(";"))
    command.well("reseed", "station-1", "--yes")
    assert [(number, text) for number, text, *_ in databases.rows(1)] == expected


@pytest.mark.parametrize(("options", "only"), [({}, ""), (EVERYTHING, "DELETE|REFERENCES")])
def test_check_finds_each_right_that_is_missing_and_names_it(
    mariadb_databases: MariaDBDatabases, tmp_path: Path, options: dict[str, str], only: str
) -> None:
    least = Least(mariadb_databases, tmp_path, **options)
    least.command.well("init")
    for place in ("station-1", "control"):
        for statement in least.granted(place):
            if "stationsync_" in statement and "stationsync_state" not in statement:
                continue  # one of the bookkeeping tables stands for all
            if not re.search(only, statement):
                continue  # SELECT of everything stands in for SELECT of one table
            server = mariadb_databases.server("control" if place == "control" else 1)
            least.revoke(place, statement)
            done = least.command("check", "station-1", "--json")
            assert done.code == 1, statement
            said = " ".join(
                f"{note['what']} {note['next_step']}"
                for one in done.json["databases"]
                for note in one["notes"]
                if note["level"] == "problem"
            )
            rights = statement.removeprefix("GRANT ").split(" ON ")[0].split(", ")
            assert any(right in said for right in rights), (statement, said)
            assert PASSWORD not in said
            server.execute(statement.rstrip(";"))
    assert least.command("check", "station-1").code == 0


def test_nothing_is_deleted_while_the_foreign_keys_of_other_tables_are_hidden(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    """A right on one table does not show who refers to it: the delete would take those rows along, unseen."""
    databases = mariadb_databases
    least = Least(databases, tmp_path, **EVERYTHING)
    command = least.command
    databases.execute(
        1, "CREATE TABLE notes (id int PRIMARY KEY, parent bigint,"
        " FOREIGN KEY (parent) REFERENCES kafka_test (id) ON DELETE CASCADE)"
    )  # fmt: skip
    databases.put(1, [row(n) for n in range(1, 5)])
    command.well("init")
    command.well("sync", "station-1")
    databases.execute(1, "INSERT INTO notes VALUES (1, 2)")
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 2")
    (sight,) = (one for one in least.granted("station-1") if "REFERENCES" in one)
    least.revoke("station-1", sight)

    refused = command("reconcile", "station-1")
    assert refused.code == 1, refused
    assert "may not see which tables refer to kafka_test" in refused.out + refused.err
    assert databases.query(1, "SELECT parent FROM notes") == [(2,)], "a row that nobody compared is gone"

    databases.server(1).execute(sight.rstrip(";"))
    command("reconcile", "station-1")
    assert databases.query(1, "SELECT parent FROM notes") == [(2,)]
    databases.execute(1, "DELETE FROM notes")
    command.well("reconcile", "station-1")
    assert [number for number, *_ in databases.rows(1)] == [1, 3, 4]


def test_only_what_the_table_s_options_call_for_is_asked_for(
    mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    def rights(**options: object) -> list[str]:
        done = Command(mariadb_databases, tmp_path, **options).well("grants", "station-1", "--json").json
        return [one["rights"] for one in done["grants"] if one["when"] == "always"]

    assert rights() == ["SELECT", "UPDATE", "CREATE TEMPORARY TABLES"]
    assert rights(direction="up") == ["SELECT"]
    assert rights(editable=["note"], rename={"remark": "note"}) == [
        "SELECT", "UPDATE (`remark`, `modify_date`)", "CREATE TEMPORARY TABLES",
    ]  # fmt: skip
    assert rights(control_deletes="send") == [
        "SELECT", "UPDATE", "DELETE", "SELECT, REFERENCES", "CREATE TEMPORARY TABLES",
    ]  # fmt: skip


def test_user_host_and_tls_are_said_and_names_are_quoted() -> None:
    topology = from_mapping(
        {
            "control": {"url": "mysql+pymysql://hub@c/a_b", "password": "${C}", "tls": {}},
            "tables": {"t": {"key": ["id"], "modified": "m"}},
            "stations": {"s-1": {"url": "mysql+pymysql://s/shop"}},
        }
    )
    control = grants(topology, "control", host="10.0.%")
    assert control.create == "CREATE USER IF NOT EXISTS 'hub'@'10.0.%' IDENTIFIED BY '<PASSWORD>' REQUIRE SSL;"
    assert any(one.on == "`a\\_b`.*" for one in control.grants)
    own = grants(topology, "s-1", user="o'hara")
    assert own.account == "'o''hara'@'%'"
    assert not own.tls


def test_where_there_are_no_users_it_says_so(tmp_path: Path) -> None:
    databases = SQLiteDatabases(tmp_path)
    done = Command(databases, tmp_path)("grants", "control")
    assert done.code == 2
    assert "no users" in done.err
    assert Command(databases, tmp_path)("grants", "station-7").code == 2
