"""A Prefect server that cannot keep up for a moment, such as one on SQLite ("database is locked"): which of its answers
pass, and how long they are waited for. Prefect's own retries, which would hide that and wait much longer, are off where
this is used."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from deployments.api import token_race

BUSY = frozenset({429, 502, 503, 504})
# So many failures with nothing done between them: about half a minute. A server that hangs fails once a minute only:
# so many seconds.
PATIENCE, LONGEST = 8, 90.0
Result = TypeVar("Result")


def passing(error: Exception) -> bool:
    """Whether the same request may be answered well a moment later."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in BUSY or token_race(error.response.status_code, error.response.text)
    return isinstance(error, httpx.TransportError)


class Patience:
    """Failures count until something succeeds."""

    def __init__(self) -> None:
        self.well()

    def well(self) -> None:
        self.failures, self._since = 0, time.monotonic()

    def again(self, error: Exception) -> bool:
        """Whether to ask again after this failure, `delay` seconds later."""
        self.failures += 1
        return passing(error) and self.failures <= PATIENCE and time.monotonic() - self._since < LONGEST

    @property
    def delay(self) -> float:
        return random.uniform(0.5, 1.0) * 2.0 ** min(self.failures, 3)


def patiently(request: Callable[[], Result]) -> Result:
    """The answer to a request that does no harm when it is made twice. A server that is not there is told at once."""
    patience = Patience()
    while True:
        try:
            return request()
        except Exception as error:
            if isinstance(error, httpx.ConnectError) or not patience.again(error):
                raise
            time.sleep(patience.delay)
