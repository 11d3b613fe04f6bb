"""The one word for how a table stands. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """In the order of precedence: of several that fit, the first is told. Worst first in a list is `URGENCY`."""

    PAUSED = "paused"  # somebody paused the station: no run begins
    NEW = "new"  # control has no table or bookkeeping for it yet
    FAILED = "failed"  # a last run was refused or failed: a person has to look
    OFFLINE = "off-line"  # the last run found no station: normal operation, it will catch up
    NEVER = "never"  # no run ever came to its end
    STALE = "stale"  # older than `stale_after` allows
    BEHIND = "behind"  # fresh; edits wait to go down, or rows for others that have to come first
    OK = "ok"


URGENCY = (
    State.FAILED, State.NEW, State.NEVER, State.STALE, State.OFFLINE, State.PAUSED, State.BEHIND, State.OK,
)  # fmt: skip


def state_of(
    *, paused: bool, initialised: bool, failed: bool, offline: bool, never: bool, stale: bool, waiting: int
) -> State:
    told = (
        (paused, State.PAUSED),
        (not initialised, State.NEW),
        (failed, State.FAILED),
        (offline, State.OFFLINE),
        (never, State.NEVER),
        (stale, State.STALE),
        (waiting > 0, State.BEHIND),
    )
    return next((state for holds, state in told if holds), State.OK)
