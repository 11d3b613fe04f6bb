"""The databases of the drill: control and stations on throw-away servers or in files, and the networks between."""

from __future__ import annotations

import abc
import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql

from cli.drill import tables
from cli.drill.history import CONTROL, Fault, Setting
from cli.drill.proxy import HOST, Proxy
from cli.drill.tables import BASE, STATIONS, TABLE
from cli.sandbox.servers import MariaDBServer
from stationsync.pairing.pair import control_of, pairs
from stationsync.setup.initialise import initialise
from stationsync.store import bookkeeping
from stationsync.topology.topology_file import from_mapping

ELSEWHERE = "+09:00"
SIDES = (CONTROL, *(f"station-{n}" for n in range(1, STATIONS + 1)))
NETWORK = (pymysql.err.OperationalError, pymysql.err.InterfaceError, pymysql.err.InternalError)
_REFUSED = (pymysql.err.IntegrityError, sqlite3.IntegrityError)  # a value that is taken, a row that others refer to
FAILED = (*NETWORK, *_REFUSED, sqlite3.OperationalError, OSError)


def _memory() -> Path | None:
    memory = Path("/dev/shm")  # noqa: S108 - only a place, if there is one; the folder in it is private
    return memory if memory.is_dir() else None


class World(abc.ABC):
    """Control and three stations. Statements have `%s` for parameters; `{lock}` locks rows where a database can."""

    kind: str

    def __init__(self) -> None:
        self._made: tuple[bool, ...] = ()  # the shape with which the tables were made
        self._setting = Setting()
        self.altered: set[str] = set()  # where there is the column EXTRA
        self.included = False  # whether it is in the topology
        self._files = tempfile.TemporaryDirectory(prefix="stationsync-drill-", dir=_memory())
        self.journal = Path(self._files.name) / "journal"

    @abc.abstractmethod
    def url(self, side: str) -> str:
        """As the engine reaches it."""

    @abc.abstractmethod
    def open(self, side: str, wait: float = 0) -> Any:
        """An application's connection; `wait`: seconds for locks."""

    @abc.abstractmethod
    def begin(self, connection: Any) -> None: ...

    @abc.abstractmethod
    def sql(self, text: str) -> str:
        """A statement as this database takes it."""

    @abc.abstractmethod
    def fault(self, fault: Fault) -> None: ...

    @abc.abstractmethod
    def heal(self) -> None:
        """All servers and networks are well again."""

    def close(self) -> None:
        self._files.cleanup()

    @abc.abstractmethod
    def _make(self, side: str) -> None:
        """An empty database with the table."""

    @abc.abstractmethod
    def _begin_anew(self) -> None:
        """Nobody is connected any more."""

    def cut_commit(self, side: str, what: str) -> bool:
        """The next COMMIT of an application loses its question or its answer; False where that cannot be done."""
        return False

    @abc.abstractmethod
    def number(self) -> int:
        """How far the AUTO_INCREMENT of control's table has come."""

    def query(self, side: str, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """One statement, committed, past all networks."""
        with contextlib.closing(self._direct(side)) as connection:
            cursor = connection.cursor()
            cursor.execute(self.sql(sql), tuple(params))
            found = list(cursor.fetchall())
            connection.commit()
            return found

    @abc.abstractmethod
    def _direct(self, side: str) -> Any: ...

    @property
    def more(self) -> tuple[str, ...]:
        return tables.more(self._setting)

    def topology(self) -> dict[str, Any]:
        urls = {side: self.url(side) for side in SIDES}
        return tables.topology(self._setting, urls, included=self.included) | {"journal": str(self.journal)}

    def reset(self, setting: Setting) -> None:
        """As it was before the first history."""
        self._setting = setting
        self.heal()
        self._begin_anew()
        shutil.rmtree(self.journal, ignore_errors=True)
        shape, altered = tables.shape(setting), {*SIDES} if setting.excluded else set()
        anew = self._made != shape or self.altered or self.included
        self._made, self.altered, self.included = shape, altered, False
        for side in SIDES:
            self._make(side) if anew else self._empty(side)
        if anew:
            self.initialise()

    def _empty(self, side: str) -> None:
        books = [table.name for table in bookkeeping.metadata.sorted_tables]
        names = [TABLE, BASE, *books] if side == CONTROL else [TABLE]
        with self.unchecked(side) as cursor:
            for name in names:
                cursor.execute(f"DELETE FROM {name}")

    @contextlib.contextmanager
    def unchecked(self, side: str) -> Iterator[Any]:
        """A cursor for which references do not count, as when a backup is loaded; committed at the end."""
        with contextlib.closing(self._direct(side)) as connection:
            cursor = connection.cursor()
            if self.kind == "mariadb":
                cursor.execute("SET foreign_key_checks = 0")
            yield cursor
            connection.commit()

    def rebuild(self, side: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A station's table is made anew with these rows; its numbers go on behind them."""
        marks = ", ".join(["%s"] * len(names))
        with self.unchecked(side) as cursor:
            cursor.execute(f"DROP TABLE {TABLE}")
            for statement in tables.ddl(self.kind, side, self._setting, extra=side in self.altered):
                cursor.execute(statement)
            for row in rows:
                cursor.execute(self.sql(f"INSERT INTO {TABLE} ({', '.join(names)}) VALUES ({marks})"), tuple(row))

    def initialise(self) -> None:
        """`stationsync init`; raises what it tells of the table."""
        topology = from_mapping(self.topology())
        every = [pair for name in self._setting.names for pair in pairs(topology, name)]
        for error in initialise(control_of(topology), every).errors.values():
            raise error

    def alter(self, side: str) -> None:
        if side not in self.altered:
            self.query(side, tables.alter())
            self.altered.add(side)


class SQLiteWorld(World):
    kind = "sqlite"

    def _path(self, side: str) -> Path:
        return Path(self._files.name) / f"{side}.db"

    def url(self, side: str) -> str:
        return f"sqlite:///{self._path(side)}"

    def open(self, side: str, wait: float = 0) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path(side), timeout=wait, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def _direct(self, side: str) -> sqlite3.Connection:
        return self.open(side, 20)

    def begin(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")

    def sql(self, text: str) -> str:
        return text.replace("%s", "?").replace("{lock}", "")

    def fault(self, fault: Fault) -> None:
        """There is no server and no network."""

    def heal(self) -> None: ...

    def number(self) -> int:
        found = self.query(CONTROL, f"SELECT seq FROM sqlite_sequence WHERE name = '{TABLE}'")
        return int(found[0][0]) if found else 0

    def _make(self, side: str) -> None:
        for leftover in self._path(side).parent.glob(f"{side}.db*"):
            leftover.unlink()
        for statement in tables.ddl(self.kind, side, self._setting):
            self.query(side, statement)

    def _begin_anew(self) -> None: ...


class MariaDBWorld(World):
    """Two servers, control's and the stations'. The engine and the applications have networks of their own."""

    kind = "mariadb"
    _USERS = ("sync", "app")

    def __init__(self) -> None:
        super().__init__()
        self._servers = {name: MariaDBServer(buffer_pool="16M") for name in ("control", "stations")}
        try:
            for server in self._servers.values():
                server.start()
                server.create_user("app", "", ["ALL ON *.*"])
            # INSERT is for `reseed` only.
            own = ["SELECT, INSERT, UPDATE, CREATE TEMPORARY TABLES ON *.*", "PROCESS ON *.*"]
            self._servers["control"].create_user("sync", "", ["ALL ON `control`.*", "PROCESS ON *.*"])
            self._servers["stations"].create_user("sync", "", own)
        except BaseException:
            self._close_servers()
            raise
        self._networks = {(user, name): Proxy(s.port) for user in self._USERS for name, s in self._servers.items()}

    def _of(self, side: str) -> str:
        return "control" if side == CONTROL else "stations"

    def url(self, side: str) -> str:
        port = self._networks["sync", self._of(side)].port
        return f"mysql+pymysql://sync@{HOST}:{port}/{side}"

    def open(self, side: str, wait: float = 0) -> Any:
        connection = pymysql.connect(
            host=HOST, port=self._networks["app", self._of(side)].port, user="app", database=side,
            charset="utf8mb4", connect_timeout=3, read_timeout=8, write_timeout=3, ssl_disabled=True,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {round(wait)}")
        return connection

    def _direct(self, side: str) -> Any:
        return self._servers[self._of(side)].connect(side)

    def begin(self, connection: Any) -> None:
        connection.begin()

    def sql(self, text: str) -> str:
        return text.replace("{lock}", "FOR UPDATE")

    def cut_commit(self, side: str, what: str) -> bool:
        self._networks["app", self._of(side)].cut_after("up" if what == "question" else "down", 0)
        return True

    def number(self) -> int:
        sql = "SELECT auto_increment FROM information_schema.tables WHERE table_schema = 'control' AND table_name = %s"
        return int(self.query(CONTROL, sql, [TABLE])[0][0])

    def fault(self, fault: Fault) -> None:
        name = self._of(fault.side)
        server, network = self._servers[name], self._networks["sync", name]
        match fault.what:
            case "kill sessions":
                self._kill_sessions(server, "sync")
            case "kill server":
                server.kill()
                server.start()
                self._set_zone()
            case "freeze":
                server.freeze()
                time.sleep(fault.amount / 1000)
                server.thaw()
            case "cut":
                network.cut()
            case "refuse":
                network.refuse()
            case "half open":
                network.half_open()
            case "slow":
                network.slow(fault.amount / 1000)
            case "cut up" | "cut down":
                network.cut_after(fault.what.removeprefix("cut "), fault.amount)
            case "heal":
                network.heal()

    @staticmethod
    def _kill_sessions(server: MariaDBServer, *users: str) -> None:
        names = ", ".join(f"'{user}'" for user in users)
        for (number,) in server.query(f"SELECT id FROM information_schema.processlist WHERE user IN ({names})"):
            with contextlib.suppress(pymysql.err.OperationalError):  # gone meanwhile
                server.execute(f"KILL {number}")

    def heal(self) -> None:
        for server in self._servers.values():
            server.thaw()
            if not server.running:
                server.start()
        self._set_zone()
        for network in self._networks.values():
            network.heal()

    def _set_zone(self) -> None:
        """The stations' server has a zone of its own where their applications stamp in another one."""
        zone = ELSEWHERE if self._setting.zone else "SYSTEM"
        self._servers["stations"].execute(f"SET GLOBAL time_zone = '{zone}'")

    def _begin_anew(self) -> None:
        for network in self._networks.values():
            network.cut()
        for server in self._servers.values():
            self._kill_sessions(server, *self._USERS)

    def _make(self, side: str) -> None:
        server = self._servers[self._of(side)]
        server.execute(f"DROP DATABASE IF EXISTS `{side}`")
        server.create_database(side)
        for statement in tables.ddl(self.kind, side, self._setting):
            self.query(side, statement)

    def close(self) -> None:
        for network in self._networks.values():
            network.close()
        self._close_servers()
        super().close()

    def _close_servers(self) -> None:
        for server in self._servers.values():
            server.close()
