"""One run at a time per (station, table), whichever its direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from stationsync.errors import StationSyncError, secondary
from stationsync.pair import Pair
from stationsync.session import Session

SWEEP = "sweep"


@contextmanager
def lease(pair: Pair, kind: str = "") -> Iterator[Session | None]:
    """A session that holds the lease of this pair, or None where another run has it.

    The database session that holds the lock is the one that writes: when it dies, the database frees the lock and
    rolls the transaction back, both at once. `kind` names another lease of the same pair: a sweep's keeps sweeps
    apart, and no run waits for it."""
    name = _name(pair, kind)
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


def held(pairs: Sequence[Pair]) -> bool:
    """Whether anybody has a lease of any of these pairs of one control. Takes none."""
    if not pairs:
        return False
    control = pairs[0].control
    with control.connect() as conn, conn.begin():
        return any(control.dialect.lease_held(conn, _name(pair, kind)) for pair in pairs for kind in ("", SWEEP))


def _name(pair: Pair, kind: str) -> str:
    return f"{pair.place}/{kind}" if kind else pair.place


def _free(pair: Pair, conn: sa.Connection, name: str) -> None:
    """Now, and not when the server gets round to noticing that we are gone: a push comes right behind its pull."""
    # A session that is lost has lost its lock as well.
    with suppress(StationSyncError, sa.exc.SQLAlchemyError), conn.begin():
        pair.control.dialect.free_lease(conn, name)
