"""`stationsync check`: every finding names its place and the next step; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Command, Done, snapshot
from support.databases import Databases, MariaDBDatabases
from support.sample import row

from stationsync.database.references import covers

PASSWORD = "pa55-비밀-9f3e"
CONTROL = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE TEMPORARY TABLES"
OFF_LINE = {"mariadb": "mysql+pymysql://root@127.0.0.1:1/x", "sqlite": "sqlite:////nowhere/x.db"}


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    command = Command(databases, tmp_path, stations=2)
    command.well("init")
    return command


class Users:
    """A fleet on MariaDB whose users have just the rights that the test grants."""

    def __init__(self, databases: MariaDBDatabases, folder: Path) -> None:
        self.databases = databases
        databases.create_kafka_test("control", control=True)
        databases.create_kafka_test(1)
        self.command = Command(databases, folder)
        self.command.well("init")
        self.command.environment["IT"] = PASSWORD

    def user(self, where: str | int, *grants: str) -> str:
        """Log in at `where` as a new user; `{db}` in a grant is the database. The user's name."""
        name = self.databases.name("control" if where == "control" else 1)
        user = f"u{name[-8:]}_{where}"
        grants = tuple(grant.replace("{db}", f"`{name}`") for grant in grants)
        server = self.databases.server("control" if where == "control" else 1)
        server.create_user(user, PASSWORD, grants)
        at = self.command.topology["control"] if where == "control" else self.command.topology["stations"]["station-1"]
        at |= {"url": server.url(name, user), "password": "${IT}"}
        return user

    def notes(self, code: int) -> list[tuple[str, str, str]]:
        done = self.command("check", "station-1", "--json")
        assert done.code == code, done
        assert PASSWORD not in done.out + done.err
        return [
            (one["place"], note["what"], note["next_step"])
            for one in done.json["databases"]
            for note in one["notes"]
            if note["level"] == "problem"
        ]


@pytest.fixture
def users(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> Iterator[Users]:
    users = Users(mariadb_databases, tmp_path)
    before = snapshot(mariadb_databases, "control", 1)
    yield users
    assert snapshot(mariadb_databases, "control", 1) == before, "check wrote something"


def place(done: Done, name: str) -> dict[str, object]:
    return next(one for one in done.json["databases"] if one["place"] == name)


def notes(done: Done, level: str) -> list[str]:
    found = (note for one in done.json["databases"] for note in one["notes"] if note["level"] == level)
    return [f"{note['place']}: {note['what']} {note['next_step']}" for note in found]


def test_all_is_well(command: Command) -> None:
    before = snapshot(command.databases, "control", 1, 2)
    done = command("check", "--json")
    assert (done.code, done.json["ok"]) == (0, True)
    assert [one["place"] for one in done.json["databases"]] == ["control", "station-1", "station-2"]
    assert notes(done, "problem") == notes(done, "warning") == []
    told = command.well("check").out
    assert told.startswith("control: ok, ")
    assert "Nothing was written." in told
    assert snapshot(command.databases, "control", 1, 2) == before


def test_before_init_the_command_to_type_is_named(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    done = Command(databases, tmp_path)("check", "--json")
    assert (done.code, notes(done, "problem")) == (0, [])
    assert notes(done, "warning") == [
        "control: nothing is initialised yet: there are no bookkeeping tables. Run: stationsync init"
    ]


def test_a_part_of_the_bookkeeping_that_is_gone_is_a_problem(command: Command) -> None:
    command.databases.execute("control", "DROP TABLE stationsync_trash")
    done = command("check", "--json")
    assert done.code == 1
    (problem,) = notes(done, "problem")
    assert "bookkeeping tables are not there: stationsync_trash" in problem


def test_an_off_line_station_is_a_warning_among_others_and_3_alone(command: Command) -> None:
    command.topology["stations"]["station-2"]["url"] = OFF_LINE[command.databases.kind]
    done = command("check", "--json")
    assert done.code == 0
    assert (place(done, "station-1")["state"], place(done, "station-2")["state"]) == ("ok", "off-line")
    assert command("check", "station-2").code == 3
    assert command("check", "station-1").code == 0


def test_control_that_does_not_answer_is_a_problem_and_stations_are_looked_at_all_the_same(command: Command) -> None:
    command.topology["control"]["url"] = OFF_LINE[command.databases.kind]
    done = command("check", "--json")
    assert done.code == 1
    assert place(done, "control")["state"] == "problem"
    assert place(done, "station-1")["server"]


def test_missing_secrets_are_all_told_at_once(command: Command) -> None:
    for number in (1, 2):
        command.topology["stations"][f"station-{number}"]["password"] = f"${{NO_SUCH_{number}}}"
    done = command("check", "--json")
    assert done.code == 1
    assert [problem.split(" is not")[0] for problem in notes(done, "problem")] == [
        f"stations.station-{number}.password: environment variable NO_SUCH_{number}" for number in (1, 2)
    ]


def test_a_dropped_table_and_a_column_at_one_side(command: Command) -> None:
    command.databases.execute(1, "DROP TABLE kafka_test")
    command.databases.execute(2, "ALTER TABLE kafka_test ADD COLUMN extra int")
    command.databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN note varchar(10)")
    done = command("check", "--json")
    assert done.code == 1
    (gone,) = notes(done, "problem")
    assert gone.startswith("station-1/kafka_test: there is no table kafka_test.")
    warnings = notes(done, "warning")
    assert any(warning.startswith("station-2/kafka_test, column extra: not synchronised") for warning in warnings)
    assert any("column note" in warning for warning in warnings)
    assert command.well("sync", "station-2").code == 0
    assert command("sync", "station-1").code == 1


def test_a_column_that_control_needs_and_no_station_has(command: Command) -> None:
    default = "" if command.databases.kind == "mariadb" else " DEFAULT ''"
    command.databases.execute("control", f"ALTER TABLE kafka_test ADD COLUMN must varchar(10) NOT NULL{default}")
    done = command("check", "station-1", "--json")
    if command.databases.kind == "mariadb":
        assert done.code == 1
        assert any("column must" in problem and "Give it a default." in problem for problem in notes(done, "problem"))
    else:
        assert done.code == 0


def test_a_key_that_is_not_unique_gets_its_ddl_and_a_missing_index_too(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.execute(
        1, "CREATE TABLE kafka_test (id bigint NOT NULL, text varchar(100), code varchar(100) NOT NULL,"
        " create_date datetime NOT NULL, modify_date datetime NOT NULL)"
    )  # fmt: skip
    command = Command(databases, tmp_path)
    command.well("init")
    before = snapshot(databases, "control", 1)
    done = command("check", "--json")
    assert done.code == 1
    assert any("ADD UNIQUE (id, code)" in problem for problem in notes(done, "problem"))
    assert any("CREATE INDEX stationsync_modified" in warning for warning in notes(done, "warning"))
    assert command("pull", "station-1").code == 1
    after = snapshot(databases, "control", 1)
    assert {name for name in after if after[name] != before[name]} <= {"control.stationsync_state"}


def test_what_all_stations_find_at_control_is_told_once(command: Command) -> None:
    command.databases.execute("control", "CREATE UNIQUE INDEX of_our_own ON kafka_test (text)")
    done = command("check", "--json")
    assert done.code == 0
    (warning,) = notes(done, "warning")
    assert warning.startswith("control/kafka_test: extra unique key (text)")


def suite(folder: Path, rules: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "kafka_test.yaml").write_text(f"name: kafka_test\nexpectations:\n{rules}", encoding="utf-8")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("  - type: expect_column_values_to_be_betwen\n    kwargs: {column: id, min_value: 1}\n", "did you mean"),
        ("  - type: expect_column_values_to_not_be_null\n    kwargs: {column: cod}\n", "no column 'cod'"),
        ("  - tpye: x\n", "unknown key 'tpye'"),
    ],
)
def test_a_wrong_suite_is_named_with_its_line_and_stops_runs(
    command: Command, tmp_path: Path, rules: str, expected: str
) -> None:
    suite(tmp_path / "rules", rules)
    command.topology["tables"]["kafka_test"]["expectations"] = "kafka_test"
    command.environment["STATIONSYNC_EXPECTATIONS"] = str(tmp_path / "rules")
    command.databases.put(1, [row(1)])

    done = command("check", "--json")
    assert done.code == 1
    (problem,) = notes(done, "problem")
    assert expected in problem
    assert "kafka_test.yaml" in problem

    done = command("pull", "station-1")
    assert done.code == 1
    assert command.databases.count("control") == 0


def test_a_good_suite_passes(command: Command, tmp_path: Path) -> None:
    suite(tmp_path / "rules", "  - type: expect_column_values_to_not_be_null\n    kwargs: {column: code}\n")
    command.topology["tables"]["kafka_test"]["expectations"] = "kafka_test"
    command.environment["STATIONSYNC_EXPECTATIONS"] = str(tmp_path / "rules")
    assert notes(command.well("check", "--json"), "problem") == []


def test_users_with_just_the_rights_they_need_are_well(users: Users) -> None:
    users.user("control", f"{CONTROL} ON {{db}}.*")
    users.user(1, "SELECT, UPDATE, CREATE TEMPORARY TABLES ON {db}.*", "PROCESS ON *.*")
    done = users.command.well("check", "--json")
    assert notes(done, "problem") == notes(done, "warning") == []


def test_rights_on_single_tables_and_columns_are_enough(users: Users) -> None:
    columns = "id, text, code, create_date, modify_date"
    users.user(
        1,
        f"SELECT ({columns}), UPDATE (text, create_date, modify_date) ON {{db}}.kafka_test",
        "CREATE TEMPORARY TABLES ON {db}.*",
        "PROCESS ON *.*",
    )
    assert users.notes(0) == []


def test_a_station_user_without_update_gets_the_statement(users: Users) -> None:
    user = users.user(1, "SELECT, CREATE TEMPORARY TABLES ON {db}.*", "PROCESS ON *.*")
    name = users.databases.name(1)
    ((where, what, statement),) = users.notes(1)
    assert (where, what) == ("station-1", "the user has no UPDATE right on kafka_test.")
    assert statement == f"GRANT UPDATE ON `{name}`.`kafka_test` TO '{user}'@'%';"
    users.databases.server(1).execute(statement.rstrip(";"))
    assert users.notes(0) == []


def test_a_station_user_without_temporary_tables_gets_the_statement(users: Users) -> None:
    user = users.user(1, "SELECT, UPDATE ON {db}.*")
    name = users.databases.name(1)
    ((_, _, statement),) = users.notes(1)
    assert statement == f"GRANT CREATE TEMPORARY TABLES ON `{name}`.* TO '{user}'@'%';"
    (warning,) = notes(users.command("check", "--json"), "warning")
    assert f"GRANT PROCESS ON *.* TO '{user}'@'%';" in warning
    users.databases.server(1).execute(statement.rstrip(";"))
    assert users.notes(0) == []


def test_a_table_that_the_user_may_not_see_is_not_taken_for_a_missing_one(users: Users) -> None:
    user = users.user(1, "CREATE TEMPORARY TABLES ON {db}.*")
    ((_, _, statement),) = users.notes(1)
    assert statement.startswith("GRANT SELECT, UPDATE ON ")
    assert statement.endswith(f"`kafka_test` TO '{user}'@'%';")


def test_what_controls_user_lacks_is_one_statement_a_table(users: Users) -> None:
    users.user("control", "SELECT, INSERT, CREATE TEMPORARY TABLES ON {db}.*")
    found = users.notes(1)
    assert {what for _, what, _ in found if "kafka_test" in what} == {
        "the user has no UPDATE, DELETE right on kafka_test.",
        "the user has no UPDATE, DELETE right on stationsync_base_kafka_test.",
    }
    users.command.topology["control"] = {"url": users.databases.url("control")}
    for _, _, statement in found:
        users.databases.server("control").execute(statement.rstrip(";"))


def test_without_defining_rights_an_initialised_control_only_gets_a_warning(users: Users) -> None:
    users.user("control", "SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES ON {db}.*")
    done = users.command.well("check", "--json")
    (warning,) = notes(done, "warning")
    assert "GRANT CREATE, ALTER, INDEX, DROP ON" in warning


def test_missing_rights_stop_runs_with_1_and_write_nothing(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    users = Users(mariadb_databases, tmp_path)
    databases, command = users.databases, users.command
    databases.put(1, [row(1)])
    command.well("pull", "station-1")
    databases.execute("control", "UPDATE kafka_test SET text = 'edited', modify_date = '2025-01-01'")
    users.user(1, "SELECT, CREATE TEMPORARY TABLES ON {db}.*")
    done = command("push", "station-1")
    assert done.code == 1
    assert "UPDATE command denied" in done.err
    assert "stationsync check prints the statement" in done.err
    assert databases.rows(1)[0][1] == "row 1"
    assert databases.query("control", "SELECT text FROM stationsync_base_kafka_test") == [("row 1",)]
    assert PASSWORD not in done.out + done.err


def test_grants_are_read_as_the_server_reads_them() -> None:
    assert covers("*.*", "test")
    assert covers("`test`.*", "test")
    assert covers("`te%`.*", "test")
    assert covers(r"`a\_b`.*", "a_b")
    assert covers("`a_b`.*", "axb")
    assert not covers(r"`a\_b`.*", "axb")
    assert not covers("`test`.`kafka_test`", "test")
    assert not covers("`other`.*", "test")
