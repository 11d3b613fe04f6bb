"""Servers that die, hang and come back between the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cli.sandbox.servers import MariaDBServer
from support.another_server import of_side
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.sample import row

USER = "app"


class Site:
    """A station and control on servers of their own, reached by a user without special rights."""

    def __init__(self, control: MariaDBServer, station: MariaDBServer, rows: int = 450) -> None:
        self.control, self.station, self.rows = control, station, rows
        self.databases = MariaDBDatabases(control, station)
        self.databases.create_kafka_test(1)
        self.databases.create_kafka_test("control", control=True)
        urls = {}
        for name, server, where in (("control", control, "control"), ("station-1", station, 1)):
            database = self.databases.name(where)  # type: ignore[arg-type]
            server.execute(f"CREATE USER IF NOT EXISTS {USER}@'%'")
            server.execute(f"GRANT ALL ON `{database}`.* TO {USER}@'%'")
            urls[name] = server.url(database, USER)
        self.fleet = Fleet(self.databases, urls=urls, page_rows=100)
        self.fleet.init()
        self.databases.put(1, [row(n) for n in range(1, rows + 1)])

    def edit_everything(self) -> None:
        self.databases.execute("control", "UPDATE kafka_test SET text = 'edited', modify_date = UTC_TIMESTAMP()")

    def state(self, direction: str = "up") -> tuple[Any, ...]:
        sql = "SELECT status, message FROM stationsync_state WHERE direction = %s"
        return self.databases.query("control", sql, [direction])[0]

    def require_nobody_blamed(self) -> None:
        assert self.databases.count("control", "stationsync_quarantine") == 0
        assert self.databases.count("control", "stationsync_conflict") == 0

    def require_finished(self) -> None:
        self.require_nobody_blamed()
        assert self.databases.count("control") == self.rows
        self.fleet.require_equal()
        self.fleet.require_nothing_to_do()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDBServer, MariaDBServer]]:
    control, station = (MariaDBServer(program=of_side(side)) for side in ("control", "station"))
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(MariaDBServer.start, (control, station)))
        yield control, station
    finally:
        control.close()
        station.close()


@pytest.fixture
def site(servers: tuple[MariaDBServer, MariaDBServer]) -> Iterator[Site]:
    """Whatever a story did to the servers is undone after it."""
    site = Site(*servers)
    yield site
    for server in servers:
        server.thaw()
        server.start()
        server.execute("SET GLOBAL read_only = 0, max_connections = 151")
    site.databases.close()


def dying(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, deed: Callable[[], None]) -> list[int]:
    """Do `deed` just before the `at`-th call of a function; the list has an entry once it was done."""
    real, calls, done = getattr(owner, name), [0], list[int]()

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            deed()
            done.append(at)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)
    return done
