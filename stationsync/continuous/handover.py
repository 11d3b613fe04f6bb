"""Two continuous runs of one name: the later one warms up beside the earlier, says that it waits, and goes on once the
earlier has ended. The locks are of sessions at control, so that whoever is killed holds none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stationsync.database.connection import Database, LastingSession
from stationsync.errors import StationSyncError

# Seconds between two tries to take over.
_LOOK = 0.5


class Turn:
    """One run's view: whether it is its turn (`mine`), and whether another waits for it to end."""

    def __init__(self, control: Database, name: str) -> None:
        self._control, self._session = control, LastingSession(control)
        self._name, self._next = f"/continuous/{name}", f"/continuous/{name}/next"
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
            self._session.drop()
            self.mine = False
        if self.mine:
            return False
        with suppress(StationSyncError):
            return not self.take()
        return False

    def _ask(self, name: str, *, take: bool) -> bool:
        dialect = self._control.dialect
        with self._session.transaction() as conn:
            return (dialect.try_lease if take else dialect.lease_held)(conn, name)

    def _free(self, name: str) -> None:
        with suppress(StationSyncError), self._session.transaction() as conn:
            self._control.dialect.free_lease(conn, name)

    def end(self) -> None:
        self.mine = False
        self._session.drop()


@contextmanager
def turn(control: Database, name: str) -> Iterator[Turn]:
    """Given back at the end, whatever happens."""
    one = Turn(control, name)
    try:
        yield one
    finally:
        one.end()
