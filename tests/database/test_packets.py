"""Results are read many packets at a time, and give what the driver would have given, row by row."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from pymysql.cursors import SSCursor
from support.databases import MariaDBDatabases

from cli.sandbox.servers import MariaDBServer
from stationsync.database.mariadb.dialect import MariaDB
from stationsync.database.mariadb.packets import RowReader

# Around the widths in which a length is written, and far beyond one packet.
SIZES = (0, 1, 250, 251, 252, 65_535, 65_536, 70_000)


@pytest.fixture
def connection(mariadb_control: MariaDBServer) -> Iterator[sa.Connection]:
    databases = MariaDBDatabases(mariadb_control, mariadb_control)
    with MariaDB().engine(sa.make_url(databases.control_url), None, bulk=True).connect() as conn:
        yield conn
        conn.invalidate()  # some tests leave it in pieces
    databases.close()


def rows_of(conn: sa.Connection, sql: str, columns: int) -> list[tuple[Any, ...]]:
    driver: Any = conn.connection.dbapi_connection
    found: list[tuple[Any, ...]] = []
    with SSCursor(driver) as cursor:
        cursor.execute(sql)
        with RowReader(driver, columns) as reader:
            for batch in reader.batches():
                found += zip(*(column.to_pylist() for column in batch), strict=True)
    return found


def by_the_driver(conn: sa.Connection, sql: str) -> list[tuple[Any, ...]]:
    driver: Any = conn.connection.dbapi_connection
    with driver.cursor() as cursor:
        cursor.execute(sql)
        return [tuple(v if v is None or isinstance(v, bytes) else str(v).encode() for v in row) for row in cursor]


def test_lengths_of_every_width_and_null_among_them(connection: sa.Connection) -> None:
    chosen = random.Random(1)
    lengths = [chosen.choice((None, *SIZES)) for _ in range(600)]
    values = " UNION ALL ".join(
        f"SELECT {i}, {'NULL' if n is None else f'REPEAT(CHAR(97 + {i} % 26), {n})'}, 'end'" if i else
        f"SELECT {i} n, {'NULL' if n is None else f'REPEAT(CHAR(97), {n})'} v, 'end' e"
        for i, n in enumerate(lengths)
    )  # fmt: skip
    sql = f"SELECT * FROM ({values}) x ORDER BY n"
    found = rows_of(connection, sql, 3)
    assert found == by_the_driver(connection, sql)
    assert [None if value is None else len(value) for _, value, _ in found] == lengths


def test_many_rows_in_many_batches_and_the_connection_goes_on(connection: sa.Connection) -> None:
    sql = "SELECT seq, IF(seq % 7 = 0, NULL, MD5(seq)), '' FROM seq_1_to_200000"
    for _ in range(2):
        found = rows_of(connection, sql, 3)
        assert len(found) == 200_000
        assert found[6] == (b"7", None, b"")
        assert [int(number) for number, *_ in found] == list(range(1, 200_001))
    assert rows_of(connection, "SELECT 1 FROM seq_1_to_3 WHERE seq > 5", 1) == []
    assert connection.scalar(sa.text("SELECT 42")) == 42


def test_a_row_larger_than_a_packet(connection: sa.Connection) -> None:
    sizes = (9_000_000, 8_000_001, 3)
    columns = ", ".join(f"REPEAT('{letter}', {n})" for letter, n in zip("abc", sizes, strict=True))
    found = rows_of(connection, f"SELECT 0, 'x', 'y' UNION ALL SELECT {columns} UNION ALL SELECT 1, NULL, 'z'", 3)
    assert [tuple(map(len, row)) for row in found[:2]] == [(1, 1, 1), sizes]
    assert found[1][1] == b"b" * 8_000_001
    assert found[2] == (b"1", None, b"z")
    assert connection.scalar(sa.text("SELECT 42")) == 42


def test_reading_that_stops_early_leaves_the_connection_usable(connection: sa.Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    for rows, more in ((500_000, True), (3, True), (1, False)):
        with SSCursor(driver) as cursor:
            cursor.execute(f"SELECT seq, MD5(seq) FROM seq_1_to_{rows}")
            with RowReader(driver, 2) as reader:
                first, *others = reader.batches(1)
            assert (len(first[0]), others, reader.stopped) == (1, [], more)
        assert connection.scalar(sa.text("SELECT 42")) == 42


def test_what_is_raised_while_rows_are_looked_at_closes_the_connection(connection: sa.Connection) -> None:
    """What is left of the result is nobody's: no later statement may take it for its answer."""
    driver: Any = connection.connection.dbapi_connection
    with pytest.raises(ZeroDivisionError), SSCursor(driver) as cursor:  # noqa: PT012 - it is about where it is raised
        cursor.execute("SELECT seq, MD5(seq) FROM seq_1_to_500000")
        with RowReader(driver, 2) as reader:
            for _ in reader.batches():
                raise ZeroDivisionError
    assert not driver.open


def test_an_error_in_the_middle_is_the_server_s_and_the_connection_stays(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET SESSION max_statement_time = 0.2")
    with pytest.raises(pymysql.err.OperationalError, match="max_statement_time"):
        rows_of(connection, "SELECT seq, SLEEP(0.001) FROM seq_1_to_100000", 2)
    assert connection.scalar(sa.text("SELECT 42")) == 42


def test_a_connection_that_is_killed_while_it_reads(connection: sa.Connection, mariadb_control: MariaDBServer) -> None:
    number = connection.scalar(sa.text("SELECT CONNECTION_ID()"))

    def kill() -> None:
        time.sleep(0.3)
        mariadb_control.execute(f"KILL {number}", "mysql")

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(pymysql.err.OperationalError):
        rows_of(connection, "SELECT seq, SLEEP(0.001) FROM seq_1_to_100000", 2)
    killer.join()
