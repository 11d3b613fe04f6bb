"""One run at a time per (station, table), whichever its direction; and trying again, for runs without Prefect (whose
tasks have their own retries)."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import DatabaseBusy, LeaseLost, LockWait, StationSyncError, TryAgain, secondary
from stationsync.pairing.pair import Pair
from stationsync.session.session import Session
from stationsync.store.pauses import require_running

P = ParamSpec("P")
T = TypeVar("T")

SWEEP, BACKFILL = "sweep", "backfill"
# Held by a further session of the run that has the lease, as long as that writes too.
_SECOND = "second"
# Held by a run that waits for the chunk of a backfill to end.
_NEXT = "next"
# Seconds: a run waits so long for a chunk at most, and looks so often; what a person started waits so long for runs.
_PATIENCE, _LOOK = 60.0, 0.02
PATIENCE = 120.0


@dataclass(frozen=True)
class Timing:
    """The clock, and how to wait, in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


TIMING = Timing()


@contextmanager
def lease(pair: Pair, kind: str = "", *, chunk: bool = False, even_paused: bool = False) -> Iterator[Session | None]:
    """A session that holds the lease of this pair, or None where another run has it. Raises StationPaused.

    The database session that holds the lock is the one that writes: when it dies, the database frees the lock and
    rolls the transaction back, both at once. `kind` names another lease of the same pair: a sweep's keeps sweeps
    apart, and no run waits for it. A `chunk` is a backfill's: a run that meets one waits for it, and goes first."""
    name = lease_name(pair, kind)
    with pair.control.connect() as conn:
        with conn.begin():
            if not even_paused:
                require_running(conn, pair.name)
            free = _try(pair, conn, kind)
        if not (free or kind or chunk):
            free = _after_a_chunk(pair, conn)
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


def tries(
    place: str,
    *,
    patience: float | None = None,
    delays: tuple[float, float] = (0.1, 2.0),
    timing: Timing = TIMING,
    not_done: str = "",
    next_step: str = "",
) -> Iterator[None]:
    """A turn for each try to take a lease that other runs have, with pauses between them that grow from the first of
    `delays` to the second. Raises DatabaseBusy once they have had it for `patience` seconds (PATIENCE)."""
    patience = PATIENCE if patience is None else patience
    until, (delay, longest) = timing.now() + patience, delays
    while True:
        yield
        if timing.now() > until:
            what = f"other runs have held the lease for {patience:.0f} s."
            raise DatabaseBusy(place, what, not_done=not_done, next_step=next_step)
        timing.sleep(delay * random.uniform(0.5, 1.5))
        delay = min(2 * delay, longest)


@contextmanager
def held(pair: Pair, *, at_control: bool = False) -> Iterator[Session]:
    """An open session with the lease of the pair; waits for a run that has it. What is done `at_control` only needs no
    station, and a paused one may have it. Raises DatabaseBusy, StationPaused, and what opening a session raises."""
    again = "Run the same command again."
    for _ in tries(pair.place, not_done="Nothing was done.", next_step=again):
        with lease(pair, even_paused=at_control) as session:
            if session is not None:
                session.open_at_control() if at_control else session.open()
                yield session
                return


@contextmanager
def leases(pairs: Sequence[Pair]) -> Iterator[list[Session] | None]:
    """Sessions of these pairs of one station, all on the connection that holds all their leases. None where another run
    has one of them: nobody waits with a lease in hand. Raises StationPaused."""
    control = pairs[0].control
    with control.connect() as conn:
        names = [lease_name(pair, "") for pair in pairs]
        taken = 0
        with conn.begin():
            require_running(conn, pairs[0].name)
            while taken < len(names) and _try(pairs[taken], conn):
                taken += 1
        sessions = [Session(pair, conn) for pair in pairs]
        try:
            yield sessions if taken == len(names) else None
        finally:
            for session in sessions:
                session.journal.finish()
                session.close()
            for name in names[:taken]:
                _free(pairs[0], conn, name)


@contextmanager
def alone(control: Database, name: str) -> Iterator[bool]:
    """Whether nobody else does what has this name for the whole fleet; as long as this lasts, nobody else will. Where
    control cannot be asked, nobody knows of another."""
    with ExitStack() as stack:
        try:
            conn = stack.enter_context(control.connect())
            with control.transaction(conn):
                free = control.dialect.try_lease(conn, f"/{name}")
        except StationSyncError:
            free = True
        yield free


@contextmanager
def all_leases(control: Database, pairs: Sequence[Pair]) -> Iterator[sa.Connection | None]:
    """A control session that holds every lease of these pairs, or None where anybody has one of them."""
    kinds = ("", SWEEP, BACKFILL)
    with control.connect() as conn:
        with control.transaction(conn):
            free = all(_try(pair, conn, kind) for pair in pairs for kind in kinds)
        yield conn if free else None


def is_any_held(pairs: Sequence[Pair]) -> bool:
    """Whether anybody has a lease of any of these pairs of one control. Takes none."""
    if not pairs:
        return False
    control = pairs[0].control
    with control.connect() as conn, conn.begin():
        return any(
            control.dialect.lease_held(conn, lease_name(pair, kind))
            for pair in pairs
            for kind in ("", SWEEP, BACKFILL, _SECOND)
        )


@contextmanager
def second(session: Session) -> Iterator[sa.Connection | None]:
    """A further connection to control on which a run writes beside its own `session`; None where there is none to be
    had. It has a lock of its own, and nobody gets the lease while that is held: should the run's session die, the next
    run begins when this one has ended too. Raises LeaseLost where the session has died before."""
    pair = session.pair
    name = lease_name(pair, _SECOND)
    with pair.control.connect() as conn:
        with conn.begin():
            free = pair.control.dialect.try_lease(conn, name)
        with session.transaction():
            # Whoever has got the lease before we had the lock did not see it. Then ours is lost, and this says so.
            session.control.scalar(sa.select(sa.literal(1)))
        try:
            yield conn if free else None
        finally:
            with suppress(StationSyncError, sa.exc.SQLAlchemyError):
                conn.rollback()
            _free(pair, conn, name)


def awaited(pair: Pair) -> bool:
    """Whether a run waits for the chunk of a backfill to end."""
    return _is_held(pair, _NEXT)


def _after_a_chunk(pair: Pair, conn: sa.Connection) -> bool:
    """Wait for the lease where a backfill is under way: it has the lease for one chunk, and lets others go first."""
    if not _is_held(pair, BACKFILL):
        return False
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        # One is the next at a time, and stays it until it has the lease.
        with lease(pair, _NEXT) as turn:
            while turn is not None and time.monotonic() < until:
                with conn.begin():
                    if _try(pair, conn):
                        return True
                _wait()
        _wait()
    return False


def _try(pair: Pair, conn: sa.Connection, kind: str = "") -> bool:
    unless = "" if kind else lease_name(pair, _SECOND)
    return pair.control.dialect.try_lease(conn, lease_name(pair, kind), unless)


def _wait() -> None:
    time.sleep(_LOOK * random.uniform(0.5, 1.5))


def _is_held(pair: Pair, kind: str) -> bool:
    with pair.control.connect() as conn, conn.begin():
        return pair.control.dialect.lease_held(conn, lease_name(pair, kind))


def lease_name(pair: Pair, kind: str = "") -> str:
    return f"{pair.place}/{kind}" if kind else pair.place


def _free(pair: Pair, conn: sa.Connection, name: str) -> None:
    """Now, and not when the server gets round to noticing that we are gone: a push comes right behind its pull."""
    # A session that is lost has lost its lock as well.
    with suppress(StationSyncError, sa.exc.SQLAlchemyError), conn.begin():
        pair.control.dialect.free_lease(conn, name)


# --- trying again

DELAYS = (0.5, 2.0)


def worth_retrying(error: BaseException) -> bool:
    """A step may succeed if tried again: the environment's fault, and the lease is still ours. Who waited for a lock
    has waited long enough: the next run comes."""
    return isinstance(error, TryAgain) and not isinstance(error, LeaseLost | LockWait)


def with_retries(step: Callable[P, T], delays: tuple[float, ...] = DELAYS) -> Callable[P, T]:
    """`step`, tried again after growing, jittered delays (seconds)."""

    @functools.wraps(step)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        for delay in delays:
            try:
                return step(*args, **kwargs)
            except TryAgain as error:
                if not worth_retrying(error):
                    raise
                time.sleep(delay * random.uniform(0.5, 1.5))
        return step(*args, **kwargs)

    return tried
