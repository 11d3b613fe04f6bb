"""Trying again, for runs without Prefect (whose tasks have their own retries)."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from stationsync.errors import LeaseLost, LockWait, TryAgain

P = ParamSpec("P")
T = TypeVar("T")

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
