"""Fresh databases for one test, the same on MariaDB and SQLite: one control, any number of stations.

`where` is "control" or the number of a station. SQL has `%s` for parameters on both; plain drivers carry it,
so that a test never sees the data through the code that it tests.
"""

from __future__ import annotations

import abc
import contextlib
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pymysql

from cli.sandbox.servers import MariaDBServer
from support import sample
from support.another_server import any_mysql, with_sequences

Where = Literal["control"] | int
Row = tuple[Any, ...]


class Databases(abc.ABC):
    kind: str

    def __init__(self) -> None:
        self._opened: list[Any] = []

    @property
    def control_url(self) -> str:
        return self.url("control")

    def station_url(self, number: int) -> str:
        """Each number is one database; the first use creates it, empty."""
        return self.url(number)

    @abc.abstractmethod
    def url(self, where: Where) -> str: ...

    @abc.abstractmethod
    def _open(self, where: Where, *, autocommit: bool) -> Any: ...

    def connect(self, where: Where) -> Any:
        """A raw DB-API connection, autocommit off, for open transactions. Closed after the test."""
        connection = self._open(where, autocommit=False)
        self._opened.append(connection)
        return connection

    def query(self, where: Where, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        with contextlib.closing(self._open(where, autocommit=True)) as connection:
            cursor = connection.cursor()
            cursor.execute(*self._statement(sql, params))
            return list(cursor.fetchall())

    def execute(self, where: Where, sql: str, params: Sequence[Any] = ()) -> None:
        self.query(where, sql, params)

    def _statement(self, sql: str, params: Sequence[Any]) -> tuple[Any, ...]:
        return (sql, tuple(params)) if params else (sql,)

    def create_kafka_test(self, where: Where, control: bool = False, table: str = "kafka_test") -> None:
        """The sample table; `control` gives it control's own key `master_id`."""
        for statement in sample.ddl(self.kind, table, control=control):
            self.execute(where, statement)

    def put(self, where: Where, rows: Sequence[Mapping[str, Any]], table: str = "kafka_test") -> None:
        """Insert rows, in one transaction."""
        with contextlib.closing(self._open(where, autocommit=False)) as connection:
            cursor = connection.cursor()
            for row in rows:
                names = ", ".join(f"`{name}`" for name in row)
                marks = ", ".join(["%s"] * len(row))
                sql = f"INSERT INTO `{table}` ({names}) VALUES ({marks})"
                cursor.execute(*self._statement(sql, [_plain(value) for value in row.values()]))
            connection.commit()

    def rows(
        self, where: Where, table: str = "kafka_test", columns: str = sample.COLUMNS, order: str = "id, code"
    ) -> list[Row]:
        """The synchronised columns, ordered by key. Dates as text, so that both kinds compare equal."""
        found = self.query(where, f"SELECT {columns} FROM `{table}` ORDER BY {order}")
        return [tuple(_plain(value) for value in row) for row in found]

    def count(self, where: Where, table: str = "kafka_test") -> int:
        return int(self.query(where, f"SELECT COUNT(*) FROM `{table}`")[0][0])

    def close(self) -> None:
        for connection in self._opened:
            # A test may have killed the server, or closed the connection itself.
            with contextlib.suppress(pymysql.err.Error, sqlite3.Error):
                connection.close()
        self._opened.clear()


class MariaDBDatabases(Databases):
    kind = "mariadb"

    def __init__(self, control: MariaDBServer, station: MariaDBServer) -> None:
        super().__init__()
        self._servers = {"control": control, "station": station}
        self._tag = uuid.uuid4().hex[:12]
        self._names: dict[Where, str] = {}

    def server(self, where: Where) -> MariaDBServer:
        """The server, shared with other tests: look and add users; never stop it or set globals."""
        return self._servers["control" if where == "control" else "station"]

    def name(self, where: Where) -> str:
        """The name of the database."""
        if where not in self._names:
            name = f"control_{self._tag}" if where == "control" else f"station_{where}_{self._tag}"
            self.server(where).create_database(name)
            self._names[where] = name
        return self._names[where]

    def url(self, where: Where) -> str:
        return self.server(where).url(self.name(where))

    def _open(self, where: Where, *, autocommit: bool) -> Any:
        return self.server(where).connect(self.name(where), autocommit=autocommit)

    def _statement(self, sql: str, params: Sequence[Any]) -> tuple[Any, ...]:
        return super()._statement(with_sequences(sql) if any_mysql() else sql, params)

    def close(self) -> None:
        super().close()
        for where, name in self._names.items():
            self._drop(self.server(where), name)
        self._names.clear()

    @staticmethod
    def _drop(server: MariaDBServer, name: str) -> None:
        # Whoever still has a transaction open there would make the DROP wait for ever.
        sql = f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        for (number,) in server.query(sql):
            with contextlib.suppress(pymysql.err.OperationalError):  # gone meanwhile
                server.execute(f"KILL {number}")
        server.execute(f"DROP DATABASE IF EXISTS `{name}`")


class SQLiteDatabases(Databases):
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def path(self, where: Where) -> Path:
        path = self._folder / ("control.db" if where == "control" else f"station_{where}.db")
        path.touch()
        return path

    def url(self, where: Where) -> str:
        return f"sqlite:///{self.path(where)}"

    def _open(self, where: Where, *, autocommit: bool) -> Any:
        return sqlite3.connect(
            self.path(where),
            timeout=10,
            isolation_level=None if autocommit else "DEFERRED",
            check_same_thread=False,
        )

    def _statement(self, sql: str, params: Sequence[Any]) -> tuple[Any, ...]:
        return (sql.replace("%s", "?").replace("%%", "%"), tuple(params)) if params else (sql,)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, datetime | date) else value
