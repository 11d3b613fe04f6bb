"""One run at a time per (station, table), whichever its direction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from stationsync.errors import StationSyncError, secondary
from stationsync.pair import Pair
from stationsync.session import Session


@contextmanager
def lease(pair: Pair, kind: str = "") -> Iterator[Session | None]:
    """A session that holds the lease of this pair, or None where another run has it.

    The database session that holds the lock is the one that writes: when it dies, the database frees the lock and
    rolls the transaction back, both at once. `kind` names another lease of the same pair: a sweep's keeps sweeps
    apart, and no run waits for it."""
    name = f"{pair.place}/{kind}" if kind else pair.place
    with pair.control.connect() as conn:
        with conn.begin():
            free = pair.control.dialect.try_lease(conn, name)
        if not free:
            yield None
            return
        session = Session(pair, conn)
        try:
            yield session
        except Exception as error:
            with secondary(error):
                session.journal.finish()
                _free(pair, conn, name)
            raise
        else:
            session.journal.finish()
            _free(pair, conn, name)
        finally:
            session.close()


def _free(pair: Pair, conn: sa.Connection, name: str) -> None:
    """Now, and not when the server gets round to noticing that we are gone: a push comes right behind its pull."""
    # A session that is lost has lost its lock as well.
    with suppress(StationSyncError, sa.exc.SQLAlchemyError), conn.begin():
        pair.control.dialect.free_lease(conn, name)
