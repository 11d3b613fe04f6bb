"""Two continuous runs of one name: the later one warms up beside the earlier, says that it waits, and goes on once the
earlier has ended. The locks are of sessions at control, so that whoever is killed holds none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import StationSyncError

# Seconds between two tries to take over.
_LOOK = 0.5


class Turn:
    """One run's view: whether it is its turn (`mine`), and whether another waits for it to end."""

    def __init__(self, control: Database, name: str) -> None:
        self._control = control
        self._name, self._next = f"/continuous/{name}", f"/continuous/{name}/next"
        self._connection: sa.Connection | None = None
        self.mine = False

    def take(self) -> bool:
        """Whether it is our turn by now. Raises StationSyncError where control cannot be asked."""
        if not self.mine:
            self.mine = self._ask(self._name, take=True)
            if self.mine:
                self._free(self._next)
        return self.mine

    def wait_for(self, seconds: float) -> bool:
        """Say that we wait, and wait. False where another does already, or the time is over."""
        until = time.monotonic() + seconds
        if self.take():
            return True
        if not self._ask(self._next, take=True):
            return False
        while time.monotonic() < until:
            if self.take():
                return True
            time.sleep(_LOOK)
        self._free(self._next)
        return False

    def is_awaited(self) -> bool:
        """Whether another waits; also true where our turn was lost with the session, and another has it."""
        try:
            if self._ask(self._next, take=False):
                return True
        except StationSyncError:
            # The session is gone, and the lock with it.
            self._drop()
            self.mine = False
        if self.mine:
            return False
        with suppress(StationSyncError):
            return not self.take()
        return False

    def _ask(self, name: str, *, take: bool) -> bool:
        if self._connection is None:
            connecting = self._control.connect()
            self._connection = connecting.__enter__()
            self._leave = connecting.__exit__
        dialect = self._control.dialect
        with self._control.transaction(self._connection):
            return (dialect.try_lease if take else dialect.lease_held)(self._connection, name)

    def _free(self, name: str) -> None:
        if self._connection is not None:
            with suppress(StationSyncError), self._control.transaction(self._connection):
                self._control.dialect.free_lease(self._connection, name)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection = None
            with suppress(Exception):
                self._leave(None, None, None)

    def end(self) -> None:
        self.mine = False
        self._drop()


@contextmanager
def turn(control: Database, name: str) -> Iterator[Turn]:
    """Given back at the end, whatever happens."""
    one = Turn(control, name)
    try:
        yield one
    finally:
        one.end()
