"""Whether a connection has waited in vain for a lock: from then on it goes carefully (see `locked`)."""

from __future__ import annotations

import time

import sqlalchemy as sa

from stationsync.database.dialect import Dialect

# A run looks for what it can do without locked rows for so many seconds. Then all is locked, and it gives up.
_PATIENCE = 40.0


class Care:
    """Of one connection: whether a wait was in vain, and how long it is worth going on since."""

    def __init__(self) -> None:
        self._until: float | None = None

    @property
    def on(self) -> bool:
        return self._until is not None

    def begin(self, dialect: Dialect, conn: sa.Connection) -> None:
        """From here on. Outside of a transaction, whose end would not take it back."""
        self._until = time.monotonic() + _PATIENCE
        with conn.begin():
            dialect.wait_briefly(conn)

    def progressed(self) -> None:
        """Something went through beside the locked rows: not all is locked."""
        if self._until:
            self._until = time.monotonic() + _PATIENCE

    def give_up(self) -> None:
        self._until = 0.0

    @property
    def over(self) -> bool:
        return self._until is not None and time.monotonic() > self._until
