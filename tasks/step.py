"""What all steps have in common as Prefect tasks.

- Nothing is cached or persisted: a cached step would skip work, and rows have no place in Prefect's storage.
- Tried again with growing, jittered delays where `worth_retrying` says so; anything else fails at once.
- No timeout of Prefect's: it cannot end a wait for a socket. The driver's timeouts do (10 s to connect, 180 s to
  read), and what they raise is tried again.
- No tags: each tag would cost a request to the server per task run.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import opaque

from stationsync.errors import StationSyncError, guarded
from stationsync.session.lease import worth_retrying

P = ParamSpec("P")
T = TypeVar("T")

RETRIES = 3
# The first delay; each further one is twice as long. Demo and tests have no time for the usual 2, 4, 8 seconds.
RETRY_SECONDS = float(os.environ.get("STATIONSYNC_RETRY_SECONDS") or 2)


def retry_if_worth(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition. A plain function: of a method or a partial, Prefect silently makes "never"."""
    return isinstance(state.data, BaseException) and worth_retrying(state.data)


def step(name: str, place: str) -> Callable[[Callable[P, T]], Task[P, T]]:
    """Make a function a task. `place` is where its arguments have station and table, such as "session.pair.place"."""
    as_task = task(
        name=name,
        task_run_name=f"{name} {{{place}}}",
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(RETRY_SECONDS),
        retry_jitter_factor=0.5,
        retry_condition_fn=retry_if_worth,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return lambda function: as_task(_told_plainly(function, place))


def _told_plainly(function: Callable[P, T], place: str) -> Callable[P, T]:
    """Our messages say where, what, and what next. The driver's own errors behind them would fill the log with
    pages of tracebacks each time a station is off-line, and may quote rows."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        try:
            with guarded(f"{{{place}}}".format(**given.arguments)):
                return function(*args, **kwargs)
        except StationSyncError as error:
            raise error from None

    return call


def as_step(wrapped: Task[P, T]) -> Callable[P, T]:
    """The task as a plain function. Prefect would search all arguments for futures, row by row and key by key;
    `opaque` spares that, and still lets the UI draw which step took what from which."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        whole: Any = [opaque(value) for value in args]
        named: Any = {name: opaque(value) for name, value in kwargs.items()}
        return wrapped(*whole, **named)

    return call
