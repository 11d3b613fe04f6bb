"""The local fleet's databases as everybody but their own site sees them: over the network, or as files."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymysql

from cli.demo.databases import Databases, schema_of
from cli.demo.fleet import CONTROL
from cli.demo.sample import SITES
from cli.local import parts
from cli.local.home import Home
from cli.sandbox.files import HOST
from stationsync.errors import StationOffline

# The parts that have a database.
PLACES = (CONTROL, *(site.name for site in SITES))


class Servers(Databases):
    kind = "mariadb"

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports

    def url(self, name: str) -> str:
        return f"mysql+pymysql://root@{HOST}:{self._ports[name]}/{schema_of(name)}"

    def _open(self, name: str) -> pymysql.Connection[Any]:
        try:
            return pymysql.connect(
                host=HOST,
                port=self._ports[name],
                user="root",
                database=schema_of(name),
                charset="utf8mb4",
                connect_timeout=10,
                ssl_disabled=True,
            )
        except pymysql.err.OperationalError as error:
            raise StationOffline(name, f"its database does not answer: {error.args[-1]}") from error

    def _sql(self, sql: str) -> str:
        return sql


class Files(Databases):
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.db"

    def url(self, name: str) -> str:
        return f"sqlite:///{self.path(name)}"

    def _open(self, name: str) -> sqlite3.Connection:
        try:
            return sqlite3.connect(f"file:{self.path(name)}?mode=rw", uri=True, timeout=30)
        except sqlite3.OperationalError as error:
            raise StationOffline(name, f"its database cannot be opened: {error}") from error

    def _sql(self, sql: str) -> str:
        return sql.replace("%s", "?")


def databases_of(home: Home, kind: str) -> Databases:
    if kind == "sqlite":
        return Files(home.databases)
    return Servers({name: parts.last_port(home, name) or 0 for name in PLACES})
