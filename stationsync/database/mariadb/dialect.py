"""MariaDB 10.4+ and MySQL 8.0.17+ through PyMySQL. Where they differ, a statement is told when it is compiled (`text`),
or the server is asked (`server.is_mariadb`)."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pymysql
import sqlalchemy as sa
from pymysql.constants import ER, SERVER_STATUS
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.pool import NullPool

from stationsync.database.dialect import NO_LIMIT, Clock, ColumnTypes, ComparedColumn, MistypedValue, Sizes
from stationsync.database.mariadb import bulk as loading
from stationsync.database.mariadb import definition, numbers, text
from stationsync.database.mariadb import digest as mariadb_digest
from stationsync.database.mariadb import server as mariadb_sizes
from stationsync.database.mariadb.bulk import BufferConnection, fill, keep_alive, read
from stationsync.database.mariadb.errors import TOO_OLD, explain
from stationsync.database.mariadb.schema import (
    column_types,
    generated_from,
    is_identifier,
    is_type,
    reflect,
    table_facts,
    without_transactions,
)
from stationsync.database.mariadb.server import is_mariadb, oldest_open
from stationsync.database.mariadb.settings import (
    BRIEF_TIMEOUT,
    BRIEFLY,
    MYSQL_LEAST,
    READ_TIMEOUT,
    own,
    settings,
    version_of,
)
from stationsync.database.mariadb.settings import is_mariadb as server_is_mariadb
from stationsync.database.new_table import NewTable
from stationsync.database.table_facts import TableFacts
from stationsync.errors import RowRefused, SchemaRefused, StationSyncError
from stationsync.model import stored_text
from stationsync.model.schema import Column, TableShape
from stationsync.model.wire import Family
from stationsync.topology import zones
from stationsync.topology.zones import SERVER

# For the next transaction only: all that it reads is of one moment, and it cannot write.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_LONG = ("text", "mediumtext", "longtext", "blob", "mediumblob", "longblob", "json")
# Character sets (and none) whose bytes are those of UTF-8.
_AS_UTF8 = (None, "utf8mb4", "utf8mb3", "utf8", "ascii")
_SKIPS_LOCKED = (10, 6)

# Binary log chatter and deprecations: they say nothing about values.
_HARMLESS_NOTES = frozenset(
    {
        ER.TABLE_EXISTS_ERROR, ER.BAD_TABLE_ERROR, ER.WARN_DEPRECATED_SYNTAX, numbers.BINLOG_UNSAFE_STATEMENT,
        numbers.WARN_DEPRECATED_SYNTAX_NO_REPLACEMENT, numbers.WARN_UTF8_ALIAS, numbers.WARN_COLLATION_UTF8MB3,
        numbers.WARN_CHARSET_UTF8MB3,
    }
)  # fmt: skip

_CLOCK = sa.text(
    "SELECT UTC_TIMESTAMP(6), CONVERT_TZ(UTC_TIMESTAMP(6), '+00:00', @@global.time_zone),"
    " CONVERT_TZ(UTC_TIMESTAMP(6) - INTERVAL :seconds SECOND, '+00:00', @@global.time_zone)"
)


def _ddl(column: Column) -> str:
    # The driver takes a % (in a label of an ENUM) for a parameter.
    return _plain_type(column).replace("%", "%%")


def _plain_type(column: Column) -> str:
    """A type in a server's words. Columns of others are refused by name (`supported`) before a statement is made."""
    known = is_type(column.type) and is_identifier(column.charset) and is_identifier(column.collation)
    if not known:
        raise SchemaRefused(f"column {column.name}", "its type, or character set, is none that is known")
    return column.type


def _lock_names(conn: sa.Connection, *names: str) -> list[str]:
    """MySQL allows 64 characters; the name is the database's own, so two products on one server do not meet."""
    database = conn.scalar(sa.text("SELECT DATABASE()"))
    return ["stationsync:" + hashlib.sha256(f"{database}:{name}".encode()).hexdigest()[:40] for name in names]


def _require_known(connection: BufferConnection) -> None:
    """An older MySQL has no collation that compares UTF-8 byte by byte, trailing spaces included."""
    version = connection.get_server_info()
    if not server_is_mariadb(version) and version_of(version) < MYSQL_LEAST:
        connection.close()
        raise pymysql.err.NotSupportedError(TOO_OLD, f"the server is MySQL {version}")


def _take(connection: BufferConnection, database: str | None, *, station: bool, lacking: set[str]) -> None:
    """The session is ours, whatever the server and its init_connect made of it. Closed where that fails."""
    try:
        own(connection, settings(connection.get_server_info(), station=station), lacking)
        if connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
            connection.rollback()  # its init_connect began one
        if database:
            connection.select_db(database)
        keep_alive(connection)
    except BaseException:
        connection.close()
        raise


def _begin(conn: sa.Connection) -> None:
    if conn.get_execution_options().get("stationsync_snapshot"):
        conn.exec_driver_sql(SNAPSHOT)


class MariaDB:
    name = "mariadb"
    is_server = True

    def engine(
        self,
        url: sa.URL,
        password: str | None,
        *,
        bulk: bool,
        tls: ssl.SSLContext | None = None,
        brief: bool = False,
    ) -> sa.Engine:
        lacking: set[str] = set()

        # The password is handed to the driver only: no engine, URL or exception of SQLAlchemy ever holds it.
        def connect() -> BufferConnection:
            options: dict[str, Any] = {"host": url.host, "port": url.port or 3306, "user": url.username}
            # As bytes: PyMySQL would encode text as latin1, and the server compares UTF-8.
            secret = (password or "").encode()
            options |= {"database": url.database, "password": secret, "charset": "utf8mb4"}
            # A cut network must not hold the lease for long; a page without an index may take its time.
            options |= {"connect_timeout": 10, "read_timeout": BRIEF_TIMEOUT if brief else READ_TIMEOUT}
            options |= {"write_timeout": BRIEF_TIMEOUT if brief else 60}
            # Set with all the others.
            options |= {"local_infile": bulk, "autocommit": None}
            options |= {"ssl": tls} if tls else {}
            connection = BufferConnection(**(options | dict(url.query)))
            _require_known(connection)
            _take(connection, url.database, station=not bulk, lacking=lacking)
            return connection

        engine = sa.create_engine("mysql+pymysql://", creator=connect, poolclass=NullPool, hide_parameters=True)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def reflect(self, conn: sa.Connection, table: str) -> TableShape | None:
        return reflect(conn, table)

    def without_transactions(self, conn: sa.Connection, prefix: str) -> Mapping[str, str]:
        return without_transactions(conn, prefix)

    def column_types(self, conn: sa.Connection, table: str) -> ColumnTypes:
        return column_types(conn, table)

    def table_facts(self, conn: sa.Connection, table: str) -> TableFacts:
        return table_facts(conn, table)

    def uses_index(self, conn: sa.Connection, query: sa.Select[Any]) -> bool:
        words = query.compile(conn, compile_kwargs={"literal_binds": True})
        return any(row["possible_keys"] for row in conn.exec_driver_sql(f"EXPLAIN {words}").mappings())

    def json_columns(self, conn: sa.Connection, table: str) -> frozenset[str]:
        return definition.json_columns(conn, table)

    def collations(self, conn: sa.Connection) -> frozenset[str]:
        return definition.collations(conn)

    def create_statements(self, new: NewTable) -> tuple[str, ...]:
        return definition.create_statements(new)

    def clock(self, conn: sa.Connection, family: Family, zone: str = SERVER, within: timedelta = timedelta(0)) -> Clock:
        # DATETIME columns hold the wall time of the server's own zone, not of our session's.
        utc, now, then = conn.execute(_CLOCK, {"seconds": int(within.total_seconds())}).one()
        seconds, allowed = oldest_open(conn)
        age = None if seconds is None else timedelta(seconds=seconds)
        if family is Family.TIMESTAMP:
            return Clock(utc, utc, age, allowed, server=now)
        if zone != SERVER:
            wall = zones.wall_of(zone)
            return Clock(wall(utc), utc, age, allowed, zones.last_forward(wall, utc, within), now)
        moved = now - then > within + timedelta(seconds=1)
        forward = zones.last_forward(partial(self.server_wall, conn), utc, within) if moved else None
        return Clock(now, utc, age, allowed, forward, now)

    def server_wall(self, conn: sa.Connection, utc: datetime) -> datetime:
        wall = sa.func.convert_tz(utc.isoformat(sep=" "), "+00:00", sa.literal_column("@@global.time_zone"))
        return conn.execute(sa.select(sa.cast(wall, DATETIME(fsp=6)))).scalar_one()

    def wait_briefly(self, conn: sa.Connection) -> None:
        brief = {"lock_wait_timeout": BRIEFLY, "innodb_lock_wait_timeout": BRIEFLY}
        conn.exec_driver_sql("SET SESSION " + ", ".join(f"{name} = {seconds}" for name, seconds in brief.items()))

    def skips_locked(self, conn: sa.Connection) -> bool:
        return not is_mariadb(conn) or (conn.dialect.server_version_info or ()) >= _SKIPS_LOCKED

    def sizes(self, conn: sa.Connection) -> Sizes:
        return mariadb_sizes.sizes(conn)

    def table_sizes(self, conn: sa.Connection) -> Mapping[str, int]:
        return mariadb_sizes.table_sizes(conn)

    def recover(self, conn: sa.Connection, tables: Sequence[str]) -> list[str]:
        return mariadb_sizes.recover(conn, tables)

    def try_lease(self, conn: sa.Connection, name: str, unless: str = "") -> bool:
        lock, other = _lock_names(conn, name, unless)
        # In this order: whoever takes the other one looks at this one afterwards.
        taken = conn.execute(sa.select(sa.func.GET_LOCK(lock, 0), sa.func.IS_USED_LOCK(other))).one()
        if taken[0] == 1 and unless and taken[1] is not None:
            self.free_lease(conn, name)
            return False
        return bool(taken[0] == 1)

    def lease_held(self, conn: sa.Connection, name: str) -> bool:
        [lock] = _lock_names(conn, name)
        return conn.scalar(sa.select(sa.func.IS_USED_LOCK(lock))) is not None

    def lease_held_there(self, conn: sa.Connection, name: str) -> bool:
        # The name has the database in it.
        return self.lease_held(conn, name)

    def free_lease(self, conn: sa.Connection, name: str) -> None:
        [lock] = _lock_names(conn, name)
        conn.scalar(sa.select(sa.func.RELEASE_LOCK(lock)))

    def exact(self, expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        return text.exact(expression, column)

    def stage_type(self, column: Column) -> str:
        if column.family is Family.TIMESTAMP:
            # Older servers would make it NOT NULL ON UPDATE CURRENT_TIMESTAMP unasked.
            return f"{_plain_type(column)} NULL DEFAULT NULL"
        if not column.is_text:
            return _ddl(column)
        return f"{_ddl(column)} CHARACTER SET {column.charset} COLLATE {column.charset}_nopad_bin"

    def is_long(self, column: Column) -> bool:
        return column.type.startswith(_LONG) and column.charset in _AS_UTF8

    def content_digest(self, expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        return sa.func.sha2(expression, 256)

    def roomy_type(self, column: Column) -> str:
        kind = _plain_type(column).split("(")[0]
        if kind in ("char", "varchar"):
            return f"longtext CHARACTER SET {column.charset} COLLATE {column.charset}_nopad_bin"
        return "longblob" if kind in ("binary", "varbinary") else self.stage_type(column)

    def key_type(self, column: Column, identity: Column) -> str:
        if column.family is Family.TIMESTAMP:
            return f"{_plain_type(column)} DEFAULT '2000-01-01 00:00:00'"
        if not identity.is_text:
            return _ddl(column)
        _plain_type(identity)
        return f"{_ddl(column)} CHARACTER SET {identity.charset} COLLATE {identity.collation}"

    def readable(
        self, expression: sa.ColumnElement[Any], column: Column, other: Column | None = None
    ) -> sa.ColumnElement[Any]:
        # FLOAT prints six digits; as DOUBLE it prints all that there are.
        if column.type.startswith("float"):
            return sa.cast(expression, sa.Double())
        return text.text_of(expression, column, other)

    def assigned(self, expression: sa.ColumnElement[Any], source: Column, target: Column) -> sa.ColumnElement[Any]:
        # From column to column, the server cuts what is too long for a smaller TEXT or BLOB without a word.
        small = target.type.startswith(("tiny", "text", "blob", "medium")) and source.type != target.type
        return sa.func.concat(expression) if small and target.family in (Family.TEXT, Family.BINARY) else expression

    def read_all(self, conn: sa.Connection, query: sa.Select[Any], families: Mapping[str, Family]) -> pa.Table:
        return self.read(conn, query, families, NO_LIMIT)[0]

    def read(
        self,
        conn: sa.Connection,
        query: sa.Select[Any],
        families: Mapping[str, Family],
        max_bytes: int,
        odd: list[MistypedValue] | None = None,
    ) -> tuple[pa.Table, bool]:
        return read(conn, query, families, max_bytes)

    def digest(self, columns: Sequence[ComparedColumn]) -> sa.ColumnElement[int]:
        return mariadb_digest.digest(columns)

    def bucket(self, columns: Sequence[ComparedColumn], number: int) -> sa.ColumnElement[int]:
        return mariadb_digest.bucket(columns, number)

    def combined(self, digests: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.func.bit_xor(digests)

    def fill(
        self, conn: sa.Connection, table: sa.Table, rows: pa.Table, families: Mapping[str, Family], place: str
    ) -> None:
        for column in rows.column_names:
            for stored in stored_text.found_in(rows[column]).values():
                if (charset := text.charset_of(table.c[column].type)) and not stored.fits(charset):
                    raise RowRefused(place, f"column {column}: {stored.shown} of {stored.charset} is none of {charset}")
        fill(conn, table.name, rows, families)
        self.refuse_changed_values(conn, place)

    def loads(self, conn: sa.Connection) -> bool:
        return loading.loads(conn)

    def load_new(
        self, conn: sa.Connection, rows: pa.Table, into: Sequence[tuple[sa.Table, Mapping[str, str | int]]]
    ) -> bool:
        return loading.load_new(conn, rows, [(table.name, given) for table, given in into])

    def refuse_changed_values(self, conn: sa.Connection, place: str) -> None:
        for _, code, message in conn.exec_driver_sql("SHOW WARNINGS LIMIT 20"):
            if int(code) not in _HARMLESS_NOTES:
                raise RowRefused(place, str(message))

    def generated_from(self, conn: sa.Connection, table: str) -> Mapping[str, str]:
        return generated_from(conn, table)

    @contextmanager
    def unchecked(self, conn: sa.Connection) -> Iterator[None]:
        depth = conn.info.get("unchecked", 0)
        conn.info["unchecked"] = depth + 1
        conn.exec_driver_sql("SET SESSION foreign_key_checks = 0")
        try:
            yield
        finally:
            conn.info["unchecked"] = depth
            # A connection that is lost has lost the setting as well.
            with suppress(sa.exc.DBAPIError):
                if not depth:
                    conn.exec_driver_sql("SET SESSION foreign_key_checks = 1")

    def explain_error(self, error: BaseException, place: str, *, station: bool) -> StationSyncError | None:
        driver = getattr(error, "orig", None) or error
        return explain(driver, place, station=station) if isinstance(driver, pymysql.err.Error | OSError) else None
