"""The bulk paths: rows survive them unchanged, and no server can make us read a file of this machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pymysql
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.databases import MariaDBDatabases

from cli.sandbox.servers import MariaDBServer
from stationsync.database.mariadb.bulk import fill, read
from stationsync.database.mariadb.dialect import MariaDB
from stationsync.errors import RowRefused
from stationsync.model.schema import RawType
from stationsync.model.wire import Family

FAMILIES = {"t": Family.TEXT, "b": Family.BINARY, "n": Family.INTEGER}
SCHEMA = pa.schema([("t", pa.string()), ("b", pa.binary()), ("n", pa.string())])
TABLE = sa.Table(
    "bulk",
    sa.MetaData(),
    sa.Column("seq", RawType("BIGINT AUTO_INCREMENT"), primary_key=True),
    sa.Column("t", RawType("LONGTEXT CHARACTER SET utf8mb4")),
    sa.Column("b", RawType("LONGBLOB")),
    sa.Column("n", RawType("BIGINT")),
    prefixes=["TEMPORARY"],
)
ROW = st.tuples(
    st.none() | st.text(st.characters(codec="utf-8"), max_size=60) | st.text("\\\t\n\r\0'\"N%`", max_size=12),
    st.none() | st.binary(max_size=60),
    st.none() | st.integers(-(2**63), 2**63 - 1).map(str),
)


@pytest.fixture(scope="module", params=["load data", "insert"])
def connection(request: pytest.FixtureRequest, mariadb_control: MariaDBServer) -> Iterator[sa.Connection]:
    """A connection as towards control, and one as towards a station."""
    databases = MariaDBDatabases(mariadb_control, mariadb_control)
    engine = MariaDB().engine(sa.make_url(databases.control_url), None, bulk=request.param == "load data")
    with engine.connect() as conn:
        yield conn
    databases.close()


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table(
        [pa.array(column, f.type) for column, f in zip(zip(*rows, strict=True), SCHEMA, strict=True)], SCHEMA
    )


def loaded(conn: sa.Connection, rows: pa.Table, max_bytes: int = 1 << 40) -> pa.Table:
    """What comes back of these rows."""
    with conn.begin():
        conn.execute(sa.text("DROP TEMPORARY TABLE IF EXISTS bulk"))
        conn.execute(sa.schema.CreateTable(TABLE))
        fill(conn, "bulk", rows, FAMILIES)
        assert conn.execute(sa.text("SHOW WARNINGS")).all() == []
        query = sa.select(*(TABLE.c[name] for name in FAMILIES)).order_by(TABLE.c.seq)
        return read(conn, query, FAMILIES, max_bytes)[0]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=30))
def test_any_row_survives(connection: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
    table = table_of(rows)
    assert loaded(connection, table).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("text", ["\\N", "NULL", "", "N", "\\", "\\\\N", "a\tb", "\n", "'", "\0", "%s", "\\\t\\\n"])
def test_text_that_looks_like_syntax_is_text(connection: sa.Connection, text: str) -> None:
    table = table_of([(text, text.encode(), None), (None, None, "1"), (text, b"", "2")])
    assert loaded(connection, table).to_pylist() == table.to_pylist()


def test_every_byte_and_every_pair_with_a_backslash(connection: sa.Connection) -> None:
    every = [bytes([byte]) for byte in range(256)]
    # U+10FFFF, which is no character, marks text that is handed on as its bytes (`stored_text`): test_no_unicode.py.
    characters = [chr(point) for point in [*range(256), 0x2028, 0xFEFF, 0xFFFF, 0x10000, 0x10FFFE]]
    texts = [*characters, *("\\" + c for c in characters), *(c + "\\" for c in characters)]
    table = table_of([(t, b, "0") for t, b in zip(texts, itertools.cycle(every))])
    assert loaded(connection, table).to_pylist() == table.to_pylist()


def test_a_slice_of_a_table_is_loaded_as_itself(connection: sa.Connection) -> None:
    """Halving a chunk slices Arrow tables, whose buffers still have the other rows."""
    table = table_of([(f"row {n}\t", bytes([n]), str(n)) for n in range(200)])
    for start, length in ((0, 1), (7, 3), (100, 100), (199, 1)):
        part = table.slice(start, length)
        assert loaded(connection, part).to_pylist() == part.to_pylist()
    chunks = pa.concat_tables([table.slice(0, 3), table.slice(50, 2)])
    assert loaded(connection, chunks).to_pylist() == chunks.to_pylist()
    assert loaded(connection, table.slice(0, 0)).num_rows == 0


def test_large_rows_behind_many_small_ones_fit_the_servers_packet(connection: sa.Connection) -> None:
    """What counts is the size of a statement, not of an average row: max_allowed_packet is 16 MB."""
    large = [("가" * 1_000_000, b"\xff" * 1_000_000, str(n)) for n in range(6)]
    table = table_of([*(("small", None, "0") for _ in range(3_000)), *large])
    back = loaded(connection, table)
    assert back.num_rows == 3_006
    assert back.slice(3_000).to_pylist() == table.slice(3_000).to_pylist()


def test_a_row_that_no_statement_holds_goes_in_whole(connection: sa.Connection) -> None:
    """Each of its values is one that the server takes: 10 MB of text, 10 MB of bytes, more when they are escaped."""
    row = [("가'\\\0" * (10 << 20 >> 3) + "x", b"\x00\xff'\\" * (10 << 20 >> 2), "1"), ("small", b"\x00", "2")]
    assert loaded(connection, table_of(row)).to_pylist() == table_of(row).to_pylist()


@pytest.mark.parametrize("connection", ["insert"], indirect=True)
def test_a_row_beyond_the_servers_packet_is_the_rows_fault_not_a_lost_connection(connection: sa.Connection) -> None:
    huge = table_of([("x" * (17 << 20), None, "1")])
    with pytest.raises(pymysql.err.DataError, match="max_allowed_packet") as refused:
        loaded(connection, huge)
    explained = MariaDB().explain_error(refused.value, "station-1", station=True)
    assert isinstance(explained, RowRefused)
    assert loaded(connection, table_of([("fits", None, "1")])).num_rows == 1


def test_reading_stops_at_the_byte_cap_and_says_so(connection: sa.Connection) -> None:
    rows = table_of([("x" * 1000, None, str(n)) for n in range(20_000)])
    with connection.begin():
        connection.execute(sa.text("DROP TEMPORARY TABLE IF EXISTS bulk"))
        connection.execute(sa.schema.CreateTable(TABLE))
        fill(connection, "bulk", rows, FAMILIES)
        query = sa.select(*(TABLE.c[name] for name in FAMILIES)).order_by(TABLE.c.seq)
        part, stopped = read(connection, query, FAMILIES, 2_000_000)
        assert stopped
        assert 1_900 <= part.num_rows < 2_100  # what is around the values counts too
        assert part.to_pylist() == rows.slice(0, part.num_rows).to_pylist()
        # The rest was left behind; the connection can be used at once.
        whole, stopped = read(connection, query, FAMILIES, 1 << 40)
        assert (whole.num_rows, stopped) == (20_000, False)
        exactly, stopped = read(connection, query.limit(part.num_rows), FAMILIES, 2_000_000)
        assert (exactly.num_rows, stopped) == (part.num_rows, False)


NAME_A_FILE = "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE bulk (t)"


@pytest.mark.parametrize("connection", ["load data"], indirect=True)
def test_a_server_that_asks_for_a_file_gets_our_buffer_only(connection: sa.Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    assert loaded(connection, table_of([("a", None, None)])).num_rows == 1
    with driver.cursor() as cursor:
        cursor.execute("TRUNCATE bulk")
        # Nothing is offered: nothing is sent.
        assert cursor.execute(NAME_A_FILE) == 0
        driver.payload = b"ours\n"
        assert cursor.execute(NAME_A_FILE) == 1
        # Offered once, not twice.
        assert cursor.execute(NAME_A_FILE) == 0
        cursor.execute("SELECT t FROM bulk")
        assert cursor.fetchall() == (("ours",),)
    driver.commit()


@pytest.mark.parametrize("connection", ["load data"], indirect=True)
def test_a_load_that_fails_leaves_nothing_to_be_asked_for(connection: sa.Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    driver.payload = b"secret\n"
    with pytest.raises(pymysql.err.ProgrammingError), driver.cursor() as cursor:
        cursor.execute("LOAD DATA LOCAL INFILE 'x' INTO TABLE no_such_table (t)")
    driver.rollback()
    assert loaded(connection, table_of([("next", None, None)])).to_pylist()[0]["t"] == "next"


@pytest.mark.parametrize("connection", ["insert"], indirect=True)
def test_a_station_is_never_offered_a_file(connection: sa.Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    assert not driver._local_infile
    assert not driver.client_flag & pymysql.constants.CLIENT.LOCAL_FILES
    loaded(connection, table_of([("a", None, None)]))
    with pytest.raises(pymysql.err.Error), driver.cursor() as cursor:
        cursor.execute(NAME_A_FILE)
