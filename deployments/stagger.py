"""Spreads the runs of a fleet over time. Pure: the same station always has the same place.

- An interval begins at an anchor: a fixed date and an offset within the interval, by a hash of the station.
- Of a cron expression the minutes are shifted, by up to the gap to its next run and less than an hour: 200 stations
  of `30 3 * * *` run between 3:30 and 4:29. A run never moves to another day: then less is shifted.
- Push and reconcile lag behind, so that they do not ask for the lease at the moment of the station's own pull. That
  holds for intervals that are multiples of one another, and longer than the lag.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cronsim import CronSim

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LAG = {"push": 29, "reconcile": 47}
_DAY = frozenset(range(24))


def anchor(station: str, kind: str, interval: timedelta) -> datetime:
    """One moment of the station's runs; the others are whole intervals away."""
    seconds = max(1, int(interval.total_seconds()))
    return EPOCH + timedelta(seconds=(_number(station) + _LAG.get(kind, 0)) % seconds)


def cron(station: str, expression: str) -> str:
    """The expression with the station's shift."""
    _, hour_text, *days = expression.split()
    fields = CronSim(expression, EPOCH)
    minutes, hours = sorted(fields.minutes), sorted(fields.hours)
    shift = _number(station) % _window(minutes, hours)
    if not shift:
        return expression
    moved = sorted((minute + shift) % 60 for minute in minutes)
    # `_window` lets all minutes pass the hour, or none, unless every hour is named anyway.
    if set(hours) != _DAY and minutes[-1] + shift > 59:
        hour_text = _text([hour + 1 for hour in hours])
    return " ".join([_text(moved), hour_text, *days])


def _window(minutes: list[int], hours: list[int]) -> int:
    every_hour, last = set(hours) == _DAY, 60 - minutes[-1]
    gaps = [after - before for before, after in zip(minutes, [*minutes[1:], minutes[0] + 60], strict=True)]
    if every_hour:
        return min(gaps)
    if len(minutes) == 1 and hours[-1] < 23:
        return 60
    return min(*gaps, last)


def _text(values: list[int]) -> str:
    """As a field: a step where they have one."""
    steps = {after - before for before, after in pairwise(values)}
    if len(values) > 2 and len(steps) == 1:
        step = steps.pop()
        return f"{values[0]}-{values[-1]}" + (f"/{step}" if step > 1 else "")
    return ",".join(map(str, values))


def _number(station: str) -> int:
    """Of all machines and Python versions alike, which `hash` is not."""
    return int.from_bytes(hashlib.sha256(station.encode()).digest()[:8])
