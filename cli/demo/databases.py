"""The demo's databases as their own applications see them: plain drivers, nothing of the sync in between."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql

from cli.demo.sample import COLUMNS, TABLE
from cli.sandbox.servers import MariaDBServer

Row = tuple[Any, ...]
_NO_ROW = dict.fromkeys(COLUMNS)


class Databases(abc.ABC):
    """One database for control and one for each station, by name. SQL has `%s` for parameters."""

    kind: str

    @abc.abstractmethod
    def url(self, name: str) -> str: ...

    @abc.abstractmethod
    def _open(self, name: str) -> Any:
        """A raw connection, autocommit off."""

    @abc.abstractmethod
    def _sql(self, sql: str) -> str: ...

    def query(self, name: str, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """One statement, committed; its rows."""
        with contextlib.closing(self._open(name)) as connection:
            cursor = connection.cursor()
            cursor.execute(self._sql(sql), tuple(params))
            rows = list(cursor.fetchall())
            connection.commit()
            return rows

    def change(self, name: str, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each of `rows`, in one transaction."""
        with contextlib.closing(self._open(name)) as connection:
            connection.cursor().executemany(self._sql(sql), [tuple(row) for row in rows])
            connection.commit()

    def insert(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        marks = ", ".join(["%s"] * len(COLUMNS))
        sql = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({marks})"
        self.change(name, sql, ([row[column] for column in COLUMNS] for row in rows))

    def rows(self, name: str, code: str, number: int | None = None) -> list[Row]:
        """The rows of a site, in the order of their ids. Dates as text, as both kinds of database write them."""
        one, params = ("", [f"{code}-%"]) if number is None else (" AND id = %s", [f"{code}-%", number])
        sql = f"SELECT {', '.join(COLUMNS)} FROM {TABLE} WHERE code LIKE %s{one} ORDER BY id, code"
        found = self.query(name, sql, params)
        return [tuple(v if v is None or isinstance(v, int) else str(v) for v in row) for row in found]

    def row(self, name: str, code: str, number: int) -> dict[str, Any]:
        """One row of a site; empty where it is not there, which a claim will find."""
        return next((dict(zip(COLUMNS, row, strict=True)) for row in self.rows(name, code, number)), _NO_ROW)

    def count(self, name: str) -> int:
        return int(self.query(name, f"SELECT COUNT(*) FROM {TABLE}")[0][0])

    def digest(self, name: str, code: str) -> tuple[int, str]:
        """How many rows a site has here, and a checksum over every value of theirs, NULL told from empty."""
        rows = self.rows(name, code)
        return len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


class OurDatabases(Databases):
    """Those that the demo has started: it takes them away and looks behind them."""

    # What a person sees happen when a station goes off-line.
    outage: str

    @abc.abstractmethod
    def take_away(self, name: str) -> None:
        """The station is off-line from here on."""

    @abc.abstractmethod
    def bring_back(self, name: str) -> None: ...

    @abc.abstractmethod
    def trace(self, name: str) -> object:
        """Differs after anything was written there, be it the same values again."""

    @abc.abstractmethod
    def where(self, name: str) -> str:
        """How a person opens it."""


class SQLiteFiles(OurDatabases):
    kind = "sqlite"
    outage = "its database file is out of reach"

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = {name: folder / f"{name}.db" for name in names}
        for path in self._paths.values():
            path.touch()

    def url(self, name: str) -> str:
        return f"sqlite:///{self._paths[name]}"

    def where(self, name: str) -> str:
        return f"sqlite3 {self._paths[name]}"

    def take_away(self, name: str) -> None:
        self._paths[name].rename(self._away(name))

    def bring_back(self, name: str) -> None:
        self._away(name).rename(self._paths[name])

    def _away(self, name: str) -> Path:
        return self._paths[name].with_suffix(".away")

    def trace(self, name: str) -> object:
        # SQLite counts its write transactions in the file's header.
        return hashlib.sha256(self._paths[name].read_bytes()).hexdigest()

    def _open(self, name: str) -> sqlite3.Connection:
        return sqlite3.connect(self._paths[name], timeout=30)

    def _sql(self, sql: str) -> str:
        return sql.replace("%s", "?")


class MariaDBServers(OurDatabases):
    kind = "mariadb"
    outage = "its database server is stopped"

    def __init__(self, names: Sequence[str]) -> None:
        self._servers = {name: MariaDBServer() for name in names}

    def start(self) -> None:
        with ThreadPoolExecutor(len(self._servers)) as pool:
            list(pool.map(MariaDBServer.start, self._servers.values()))
        for name, server in self._servers.items():
            server.create_database(schema_of(name))

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    def url(self, name: str) -> str:
        return self._servers[name].url(schema_of(name))

    def where(self, name: str) -> str:
        return f"mariadb -u root -S {self._servers[name].socket} {schema_of(name)}"

    def take_away(self, name: str) -> None:
        self._servers[name].stop()

    def bring_back(self, name: str) -> None:
        self._servers[name].start()

    def trace(self, name: str) -> object:
        # The server has this one database, and counts every row written since it was started.
        sql = "SHOW GLOBAL STATUS WHERE variable_name IN ('Handler_write', 'Handler_update', 'Handler_delete')"
        return self._servers[name].query(sql)

    def _open(self, name: str) -> pymysql.Connection[Any]:
        return self._servers[name].connect(schema_of(name), autocommit=False)

    def _sql(self, sql: str) -> str:
        return sql


def schema_of(name: str) -> str:
    return name.replace("-", "_")
