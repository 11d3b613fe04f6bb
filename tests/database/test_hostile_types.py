"""A column's type, character set and collation go into control's statements: only what one can be called is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command
from support.databases import SQLiteDatabases
from support.fleet import KAFKA_TEST
from support.sample import row

from stationsync.database.mariadb import schema
from stationsync.database.mariadb.dialect import MariaDB
from stationsync.database.mariadb.schema import _column
from stationsync.database.sqlite import dialect
from stationsync.errors import SchemaRefused
from stationsync.model.schema import Column
from stationsync.model.wire import Family

# As MariaDB 10.11 prints them.
TYPES = (
    "int(11)", "bigint(20) unsigned", "int(10) unsigned zerofill", "decimal(10,2) unsigned zerofill", "double(7,2)",
    "float unsigned", "bit(64)", "char(0)", "varchar(16383)", "longtext", "varchar(100) /*M!100301 COMPRESSED*/",
    "text /*!100301 COMPRESSED=zlib*/", "datetime(6)", "datetime(3) /* mariadb-5.3 */", "time /* mysql-5.6 */",
    "year(4)", "uuid", "inet6", "geometry", "set('x','y\\\\')",
    "enum('a''b','c\\\\d','e\\nf','g,h) ; --','','%','한','\\0x')",
)  # fmt: skip
NO_TYPES = (
    "", "INT", "int(11); DROP TABLE kafka_test", "int(11), evil int", "varchar(20) DEFAULT (SLEEP(9))", "varchar(20))",
    "int(11)\n", "int AUTO_INCREMENT", "int(11) -- ", "int(11) /* x */", "int(11) /*!50000 DEFAULT 1*/",
    "text /*M!100301 COMPRESSED*/ DEFAULT 1", "enum('a', 'b')", "enum('a\\')", "enum('a' DEFAULT 'b')", "enum(a)",
    "enum('a'); DROP TABLE x; -- ')", "varchar(20) CHARACTER SET latin1", "int(99999999999)", "`int`", "int(-1)",
)  # fmt: skip
SQLITE_TYPES = ("", "INTEGER", "VARCHAR(20)", "DECIMAL(10, 2)", "UNSIGNED BIG INT", "double precision", "x (+1,-2.5)")
NO_SQLITE_TYPES = (
    "INT); DROP TABLE kafka_test; --", "INT DEFAULT 1", "INT NOT NULL", "INT COLLATE NOCASE", "INT, b INT", "INT(1",
    "INT REFERENCES x", "INT CHECK(1)", "INT(a)", "INT 'x'", "INT AS", "INT /* */",
)  # fmt: skip


@pytest.mark.parametrize("text", TYPES)
def test_what_a_server_calls_its_types_is_taken(text: str) -> None:
    assert schema.is_type(text)


@pytest.mark.parametrize("text", NO_TYPES)
def test_what_is_no_type_gets_into_no_statement(text: str) -> None:
    assert not schema.is_type(text)
    column = Column("c", text, Family.TEXT)
    for made in (MariaDB().stage_type, MariaDB().roomy_type, lambda one: MariaDB().key_type(one, one)):
        with pytest.raises(SchemaRefused, match="column c: its type"):
            made(column)
    assert not _read(text, "utf8mb4", "utf8mb4_bin").supported


@pytest.mark.parametrize("place", ["charset", "collation"])
@pytest.mark.parametrize("name", ["latin1; DROP TABLE x", "latin1_bin DEFAULT 'x'", "", "`latin1`", "한", "a" * 65])
def test_nor_does_what_is_no_character_set(place: str, name: str) -> None:
    given = {"charset": "latin1", "collation": "latin1_bin"} | {place: name}
    column = _read("varchar(20)", **given)
    assert (column.supported, column.charset, column.collation) == (False, None, None)
    with pytest.raises(SchemaRefused, match="column c: its type"):
        MariaDB().key_type(Column("c", "varchar(20)", Family.TEXT), Column("c", "varchar(20)", Family.TEXT, **given))


def test_a_type_is_that_of_its_kind() -> None:
    assert _read("varchar(20)", "latin1", "latin1_bin").supported
    assert not _read("varchar(20)", "latin1", "latin1_bin", kind="int").supported


@pytest.mark.parametrize("text", SQLITE_TYPES)
def test_a_declared_type_is_taken(text: str) -> None:
    assert dialect.is_type(text)


@pytest.mark.parametrize("text", NO_SQLITE_TYPES)
def test_what_is_no_declared_type_gets_into_no_statement(text: str) -> None:
    assert not dialect.is_type(text)
    with pytest.raises(SchemaRefused, match="column c: its declared type"):
        dialect.SQLite().stage_type(Column("c", text, Family.TEXT))


def test_a_station_whose_type_is_a_statement_is_refused_with_its_column(tmp_path: Path) -> None:
    databases = SQLiteDatabases(tmp_path)
    hostile = "VARCHAR(9)); DROP TABLE kafka_test; --"
    for table in ("kafka_test", "other"):
        databases.create_kafka_test("control", control=True, table=table)
        databases.create_kafka_test(1, table=table)
        databases.put(1, [row(1)], table=table)
        databases.execute("control", f"ALTER TABLE {table} ADD COLUMN extra VARCHAR(9)")
    databases.execute(1, f'ALTER TABLE kafka_test ADD COLUMN extra "{hostile}"')
    command = Command(databases, tmp_path, tables={"kafka_test": KAFKA_TEST, "other": KAFKA_TEST})
    command.well("init")
    reports = command("sync", "station-1", "--json").json["reports"]
    refused, done = ([one for one in reports if one["table"] == table] for table in ("kafka_test", "other"))
    for one in refused:
        error = one["error"]
        assert error["kind"] == "SchemaRefused"
        assert "station-1/kafka_test, column extra" in f"{error['place']}: {error['what']}"
        assert hostile in error["what"]
    assert [one["applied"] for one in done if one["direction"] == "up"] == [1]
    assert databases.count("control") == 0
    assert "column extra" in command("check").out

    # Left out, it is nobody's business.
    command.topology["tables"]["kafka_test"]["exclude"] = ["master_id", "extra"]
    command.well("sync", "station-1")
    assert databases.count("control") == 1


def _read(text: str, charset: str, collation: str, kind: str = "") -> Column:
    """A column as the schema is read."""
    kind = kind or text.partition("(")[0].partition(" ")[0]
    return _column("c", text, kind, "YES", charset, collation, "", None, None, None, None)
