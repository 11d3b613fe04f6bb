"""Whatever a server's global variables and its init_connect say: our sessions mean what they mean everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.command import Command
from support.databases import MariaDBDatabases, Where

from cli.sandbox.servers import MariaDBServer
from stationsync.database.connection import dialect_of
from stationsync.database.mariadb import settings as mariadb_settings
from stationsync.database.mariadb.settings import SETTINGS, settings

# By theme, so that one value seldom hides another.
HOSTILE: dict[str, dict[str, str]] = {
    "limits": {
        "sql_select_limit": "3",
        "max_join_size": "1",
        "sql_big_selects": "0",
        "sql_safe_updates": "1",
        "max_sort_length": "64",
        "group_concat_max_len": "4",
        "sort_buffer_size": "1024",
        "tmp_disk_table_size": "1024",
        "max_session_mem_used": "500000",
        "max_error_count": "0",
        "sql_notes": "0",
    },
    "meaning": {
        "sql_mode": "'ORACLE,ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE,EMPTY_STRING_IS_NULL,TRADITIONAL,"
        "SIMULTANEOUS_ASSIGNMENT,PAD_CHAR_TO_FULL_LENGTH,TIME_ROUND_FRACTIONAL,NO_UNSIGNED_SUBTRACTION'",
        "old_mode": "'ZERO_DATE_TIME_CAST,NO_DUP_KEY_WARNINGS_WITH_IGNORE'",
        "time_zone": "'+09:00'",
        "character_set_client": "latin1",
        "character_set_results": "latin1",
        "character_set_connection": "latin1",
        "collation_connection": "latin1_bin",
        "character_set_server": "latin1",
        "explicit_defaults_for_timestamp": "0",
        "div_precision_increment": "0",
        "lc_messages": "'ko_KR'",
        "sql_auto_is_null": "1",
        "note_verbosity": "'basic,unusable_keys,explain'",
        "system_versioning_asof": "'2001-01-01 00:00:00'",
    },
    "lenience": {
        "sql_mode": "''",
        "foreign_key_checks": "0",
        "unique_checks": "0",
        "check_constraint_checks": "0",
        "innodb_strict_mode": "0",
        "sql_if_exists": "1",
        "default_storage_engine": "MyISAM",
        "default_tmp_storage_engine": "MEMORY",
        "innodb_compression_default": "1",
        "innodb_default_row_format": "'redundant'",
        "alter_algorithm": "'INSTANT'",
    },
    "transactions": {
        "completion_type": "'RELEASE'",
        "tx_isolation": "'SERIALIZABLE'",
        "tx_read_only": "1",
        "autocommit": "1",
        "low_priority_updates": "1",
        "query_cache_type": "1",
        "max_statement_time": "0.05",
        "innodb_lock_wait_timeout": "0",
        "lock_wait_timeout": "0",
        "wait_timeout": "1",
        "net_read_timeout": "1",
        "net_write_timeout": "1",
        "idle_transaction_timeout": "1",
        "idle_readonly_transaction_timeout": "1",
        "idle_write_transaction_timeout": "1",
    },
    "init_connect": {
        "init_connect": "\"SET sql_select_limit = 1, sql_mode = 'ANSI_QUOTES', insert_id = 7, timestamp = 1;"
        ' USE information_schema; SET sql_safe_updates = 1; BEGIN"',
    },
}
USER = "app"
TABLE = """CREATE TABLE item (
    {own} id bigint NOT NULL, code varchar(700) NOT NULL, name text, fixed char(5), day date,
    stamp timestamp NULL, number decimal(10,3), modify_date datetime NOT NULL, UNIQUE KEY (code, id){more}
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""
OWN = "own bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,"
COLUMNS = "id, code, name, fixed, CAST(day AS CHAR), stamp, number, CAST(modify_date AS CHAR)"
LONG = "x" * 680
NAMES = ["", "it's", 'a "b"', "back\\slash", "a||b", "한글", "trailing ", "\t\n", None, "plain"]


class Site:
    """Both servers, looked at through connections that were opened before anything was set."""

    def __init__(self, servers: tuple[MariaDBServer, MariaDBServer], folder: Path) -> None:
        self.databases = MariaDBDatabases(*servers)
        self._eyes = {where: self.databases.server(where).connect(self.databases.name(where)) for where in PLACES}
        for where in PLACES:
            self.query(where, "SET time_zone = '+00:00'")
            self.query(where, TABLE.format(own=OWN if where == "control" else "", more=""))
            self.query(where, f"GRANT ALL ON `{self.databases.name(where)}`.* TO {USER}@'%'")
        self.command = Command(self.databases, folder, tables={"item": {"key": ["code", "id"], **OPTIONS}})
        for where, part in (("control", "control"), (1, "stations")):
            url = self.databases.server(where).url(self.databases.name(where), USER)  # type: ignore[arg-type]
            place = self.command.topology[part]
            (place["station-1"] if part == "stations" else place)["url"] = url

    def query(self, where: Where, sql: str) -> list[tuple[Any, ...]]:
        with self._eyes[where].cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def rows(self, where: Where) -> list[tuple[Any, ...]]:
        return self.query(where, f"SELECT {COLUMNS} FROM item ORDER BY id")

    def edit(self, where: Where, name: str, condition: str) -> None:
        stamp = "CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@global.time_zone)"
        self.query(where, f"UPDATE item SET name = '{name}', modify_date = {stamp} WHERE {condition}")

    def insert(self, rows: int) -> None:
        values = []
        for n in range(1, rows + 1):
            name = NAMES[n % len(NAMES)]
            text = "NULL" if name is None else self._eyes[1].escape(name)
            day = "'0000-00-00'" if n % 7 == 0 else "'2024-02-29'"
            stamp = "NULL" if n % 3 == 0 else "'2024-05-05 05:05:05'"
            # Descending, so that a wrong order of equal beginnings shows.
            code = f"{LONG}{rows - n:04}"
            values.append(f"({n}, '{code}', {text}, 'ab ', {day}, {stamp}, {n}.125, '2024-01-01 00:00:00')")
        self.query(1, "SET sql_mode = ''")
        self.query(1, f"INSERT INTO item VALUES {', '.join(values)}")

    def json(self, *args: object) -> dict[str, Any]:
        done = self.command(*args, "--json")
        assert done.code == 0, (args, done)
        return done.json

    def close(self) -> None:
        for eye in self._eyes.values():
            eye.close()
        self.databases.close()


PLACES: tuple[Where, ...] = ("control", 1)
OPTIONS = {
    "modified": "modify_date",
    "exclude": ["own"],
    "page_rows": 100,
    "deletes": "archive",
    "zero_dates": "carry",
    "settle": "0s",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDBServer, MariaDBServer]]:
    control, station = MariaDBServer(), MariaDBServer()
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(MariaDBServer.start, (control, station)))
        for server in (control, station):
            server.execute(f"CREATE USER {USER}@'%'")
            server.create_database("test_settings")
            server.execute(f"GRANT ALL ON test_settings.* TO {USER}@'%'")
        yield control, station
    finally:
        control.close()
        station.close()


@contextmanager
def globally(servers: tuple[MariaDBServer, ...], values: Mapping[str, str]) -> Iterator[None]:
    """New connections begin with these values; afterwards everything is as it was."""
    eyes = [server.connect() for server in servers]
    try:
        for eye in eyes:
            with eye.cursor() as cursor:
                cursor.execute("SET GLOBAL " + ", ".join(f"{name} = {value}" for name, value in values.items()))
        yield
    finally:
        for eye in eyes:
            with eye.cursor() as cursor:
                for name in values:
                    cursor.execute(
                        "SELECT default_value FROM information_schema.system_variables WHERE variable_name = %s", [name]
                    )
                    ((value,),) = cursor.fetchall()
                    number = value is not None and value.replace(".", "", 1).isdigit()
                    cursor.execute(f"SET GLOBAL {name} = {value if number else 'DEFAULT'}")
            eye.close()


@pytest.mark.parametrize("theme", HOSTILE)
def test_the_story_goes_as_ever(theme: str, servers: tuple[MariaDBServer, MariaDBServer], tmp_path: Path) -> None:
    site = Site(servers, tmp_path)
    with globally(servers, HOSTILE[theme]):
        story(site)
    site.close()


def story(site: Site) -> None:
    site.json("init")
    site.insert(130)
    (up, down) = site.json("sync", "station-1")["reports"]
    assert (up["applied"], down["applied"]) == (130, 0), (up, down)
    require_equal(site, 130)
    site.edit(1, "from below", "id <= 60")
    site.edit("control", "from above", "id > 60 AND id <= 125")
    (up, down) = site.json("sync", "station-1")["reports"]
    assert (up["applied"], down["applied"]) == (60, 65), (up, down)
    require_equal(site, 130)
    site.query(1, "DELETE FROM item WHERE id > 125")
    site.query(1, "UPDATE item SET name = 'unstamped' WHERE id = 3")
    site.query("control", "UPDATE item SET name = 'not stamped either' WHERE id = 100")
    (report,) = site.json("reconcile", "station-1")["reports"]
    assert (report["deleted"], report["applied"]) == (5, 2), report
    require_equal(site, 125)
    for report in (*site.json("sync", "station-1")["reports"], *site.json("reconcile", "station-1")["reports"]):
        assert report["status"] == "nothing to do", report
    (told,) = site.json("status")["tables"]
    assert (told["state"], told["quarantined"], told["conflicts"]) == ("ok", 0, 0), told
    assert len(site.command.ids("trash", "list")) == 5
    assert "not stamped either" in json.dumps(site.json("explain", "station-1", "item", f"{LONG}{30:04}", 100))


def require_equal(site: Site, rows: int) -> None:
    assert len(site.rows(1)) == rows
    assert site.rows("control") == site.rows(1)


@pytest.mark.parametrize("theme", HOSTILE)
def test_every_session_has_our_values(theme: str, servers: tuple[MariaDBServer, MariaDBServer]) -> None:
    """And no others: what is not in the list is left as the server has it."""
    server = servers[0]
    for station in (False, True):
        usual = session(server, station=station)
        with globally((server,), HOSTILE[theme]):
            found = session(server, station=station)
        ours = {name.upper() for name in settings(version(server), station=station)} - {"TIMESTAMP"}
        assert {name: found[name] for name in ours} == {name: usual[name] for name in ours}


def test_each_of_our_settings_is_tried_by_a_hostile_value() -> None:
    tried = {name for values in HOSTILE.values() for name in values} | {"timestamp"}
    untried = {one.name for one in SETTINGS} - tried - {"max_tmp_session_space_usage"}  # of a later version
    assert not untried


def test_a_variable_that_the_server_does_not_have_is_left_out(
    servers: tuple[MariaDBServer, MariaDBServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = mariadb_settings.Variable("no_such_variable", 1, "of another server")
    monkeypatch.setattr(mariadb_settings, "SETTINGS", (strange, *SETTINGS))
    found = session(servers[0], station=False)
    assert found["SQL_SAFE_UPDATES"] == "OFF"


@pytest.mark.parametrize("where", PLACES)
def test_an_engine_that_is_forced_is_named_by_check_and_by_the_run(
    where: Where, servers: tuple[MariaDBServer, MariaDBServer], tmp_path: Path
) -> None:
    """A session cannot have it otherwise."""
    site = Site(servers, tmp_path)
    site.json("init")
    site.insert(3)
    site.json("sync", "station-1")
    site.edit("control" if where == 1 else 1, "edited", "id = 2")
    with globally((site.databases.server(where),), {"enforce_storage_engine": "MyISAM"}):
        for done in (site.command("check"), site.command("sync", "station-1")):
            assert done.code == 1
            assert "enforce_storage_engine" in done.out + done.err
    site.json("sync", "station-1")
    require_equal(site, 3)
    site.close()


def test_an_init_connect_that_fails_is_named(servers: tuple[MariaDBServer, MariaDBServer], tmp_path: Path) -> None:
    site = Site(servers, tmp_path)
    with globally(servers[:1], {"init_connect": "'SELEC 1'"}):
        done = site.command("check")
    assert done.code == 1
    assert "init_connect" in done.out
    site.close()


@pytest.mark.parametrize("where", PLACES)
def test_a_table_that_is_locked_as_a_whole_is_waited_for_a_moment(
    where: Where, servers: tuple[MariaDBServer, MariaDBServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TABLE_WAIT_CONTROL", "TABLE_WAIT_STATION"):
        monkeypatch.setattr(mariadb_settings, name, 1)
    site = Site(servers, tmp_path)
    site.json("init")
    site.insert(3)
    site.json("sync", "station-1")
    site.edit(1, "from below", "id = 1")
    site.edit("control", "from above", "id = 2")
    site.query(where, "LOCK TABLES item WRITE")
    done = site.command("sync", "station-1", "--json")
    assert done.code == 1  # not 3: nobody is off-line
    told = [report["message"] for report in done.json["reports"] if report["status"] == "failed"]
    assert told
    assert all("keeps rows or the table locked" in message for message in told)
    (table,) = site.json("status")["tables"]
    assert (table["locked"], table["waiting"]) == ((True, None) if where == "control" else (False, 1))
    site.query(where, "UNLOCK TABLES")
    site.json("sync", "station-1")
    require_equal(site, 3)
    site.close()


def version(server: MariaDBServer) -> str:
    return str(server.query("SELECT VERSION()")[0][0])


def session(server: MariaDBServer, *, station: bool) -> dict[str, str]:
    """The variables of a session of ours."""
    url = sa.make_url(server.url("test_settings", USER))
    engine = dialect_of(url).engine(url, None, bulk=not station)
    query = "SELECT variable_name, session_value FROM information_schema.system_variables"
    with engine.connect() as conn:
        assert conn.exec_driver_sql("SELECT DATABASE()").scalar() == "test_settings"
        assert conn.exec_driver_sql("SELECT YEAR(NOW()) > 2000").scalar() == 1
        return {str(name): str(value) for name, value in conn.exec_driver_sql(query)}
