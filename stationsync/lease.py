"""One run at a time per (station, table), whichever its direction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stationsync.pair import Pair
from stationsync.session import Session


@contextmanager
def lease(pair: Pair) -> Iterator[Session | None]:
    """A session that holds the lease of this pair, or None where another run has it.

    The database session that holds the lock is the one that writes: when it dies, the database frees the lock and
    rolls the transaction back, both at once."""
    with pair.control.connect() as conn:
        with conn.begin():
            free = pair.control.dialect.try_lease(conn, f"{pair.name}/{pair.table}")
        if not free:
            yield None
            return
        session = Session(pair, conn)
        try:
            yield session
        finally:
            session.close()
