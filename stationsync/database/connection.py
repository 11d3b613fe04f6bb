"""A database we talk to: how to connect, and our own errors instead of the driver's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache

import sqlalchemy as sa
from pydantic import SecretStr

from stationsync.database.dialect import Dialect
from stationsync.database.mariadb.dialect import MariaDB
from stationsync.database.sqlite.dialect import SQLite
from stationsync.errors import StationSyncError
from stationsync.topology.tls import Tls, context

_ENGINES = 64


def dialect_of(url: sa.URL) -> Dialect:
    """The dialect for a URL: MariaDB or MySQL through PyMySQL, or SQLite. The same object every time."""
    return _dialect(url.get_backend_name())


@cache
def _dialect(backend: str) -> Dialect:
    return SQLite() if backend == "sqlite" else MariaDB()


@dataclass(frozen=True)
class Database:
    """`place` names it in messages ("control", "station-1"); `password` is asked for at the first connection."""

    place: str
    url: sa.URL
    password: Callable[[], SecretStr | None] = field(repr=False)
    is_station: bool
    tls: Tls | None = None

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.url)

    @contextmanager
    def connect(self, *, brief: bool = False) -> Iterator[sa.Connection]:
        """One session, closed at the end; the driver's errors come out as ours. `brief`: for statements that are
        answered in moments, so that a server which says nothing for some seconds is off-line.

        Raises StationOffline / LeaseLost, LoginRefused, and what the block meets."""
        engine = self._brief_engine if brief else self._engine
        with self.errors(), engine.connect() as conn:
            yield conn

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction in a session of its own, committed at the end."""
        with self.connect() as conn, conn.begin():
            yield conn

    @contextmanager
    def transaction(self, conn: sa.Connection) -> Iterator[None]:
        """One transaction of an open session, committed at the end; the driver's errors come out as ours."""
        with self.errors(), conn.begin():
            yield

    @cached_property
    def _engine(self) -> sa.Engine:
        return self._engine_for(False)

    @cached_property
    def _brief_engine(self) -> sa.Engine:
        return self._engine_for(True)

    def _engine_for(self, brief: bool) -> sa.Engine:
        secret = self.password()
        password = secret.get_secret_value() if secret else None
        if self.tls:
            # Its files are read anew, since certificates end.
            tls = context(self.tls, self.place)
            return self.dialect.engine(self.url, password, bulk=not self.is_station, tls=tls, brief=brief)
        return _engine_of(self.url, password, not self.is_station, brief)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the driver's errors of this database inside the block."""
        try:
            yield
        except StationSyncError:
            raise
        except Exception as error:
            if (stopped := _stopped(error)) is not None:
                raise stopped from None
            ours = self.dialect.explain_error(error, self.place, station=self.is_station)
            if ours is None:
                raise
            raise ours from error


class LastingSession:
    """One session that stays open between its transactions, begun at the first; after `drop`, at the next."""

    def __init__(self, database: Database, *, brief: bool = False) -> None:
        self._database, self._brief = database, brief
        self._connection: sa.Connection | None = None
        self._stack = ExitStack()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Raises as `Database.connect` does; what to do with the session then (`drop`) is the caller's to say."""
        if self._connection is None:
            self._connection = self._stack.enter_context(self._database.connect(brief=self._brief))
        with self._database.transaction(self._connection):
            yield self._connection

    def drop(self) -> None:
        """Close it, whatever state it is in."""
        self._connection = None
        stack, self._stack = self._stack, ExitStack()
        # It may be lost already; closing can only say so again.
        with suppress(Exception):
            stack.close()


@lru_cache(_ENGINES)
def _engine_of(url: sa.URL, password: str | None, bulk: bool, brief: bool) -> sa.Engine:
    # One for all connections of a process (it pools none): it keeps what it has compiled.
    return dialect_of(url).engine(url, password, bulk=bulk, brief=brief)


def _stopped(error: BaseException) -> BaseException | None:
    """Ctrl-C or a cancelled run, where clearing up after it met a connection that it had left in pieces."""
    seen: BaseException | None = error
    while seen is not None:
        if not isinstance(seen, Exception):
            return seen
        seen = seen.__context__
    return None
