"""A site of the local fleet: its database, and the application that writes there. A process of its own.

Ended, it takes its database out of reach, as a station that goes off-line does; the data stays. Where the database is
killed, it ends as well."""

from __future__ import annotations

import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cli.demo.databases import schema_of
from cli.local import parts
from cli.local.application import Application
from cli.local.databases import Files, databases_of
from cli.local.home import Home
from cli.sandbox.servers import MariaDBServer

Lives = Callable[[], bool]


def main(folder: str, name: str, kind: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    home = Home(Path(folder))
    opened = _server if kind == "mariadb" else _file
    with opened(home, name) as lives:
        _wait_filled(home)
        application = Application(databases_of(home, kind), name)
        while lives():
            application.work()
            time.sleep(application.pause)
    sys.exit(f"{name}: its database has ended.")


def _wait_filled(home: Home) -> None:
    while not ((fleet := home.read()) and fleet.filled):
        time.sleep(0.2)


@contextmanager
def _server(home: Home, name: str) -> Iterator[Lives]:
    # UTC, whatever this machine has: the application stamps its rows in it.
    with closing(MariaDBServer(home.databases / name, timezone="+00:00", buffer_pool="32M")) as server:
        server.port = parts.last_port(home, name) or server.port
        server.start()
        server.execute(f"CREATE DATABASE IF NOT EXISTS `{schema_of(name)}` CHARACTER SET utf8mb4")
        parts.tell_ready(home, name, port=server.port)
        yield lambda: server.running


@contextmanager
def _file(home: Home, name: str) -> Iterator[Lives]:
    path = Files(home.databases).path(name)
    path.parent.mkdir(exist_ok=True)
    away = path.with_suffix(".away")
    if away.exists():
        away.rename(path)
    path.touch()
    parts.tell_ready(home, name)
    try:
        yield path.exists
    finally:
        if path.exists():
            # Nobody is in the middle of a transaction, which would end in another file than it began.
            with closing(sqlite3.connect(path, timeout=10)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                path.rename(away)


if __name__ == "__main__":
    main(*sys.argv[1:])
