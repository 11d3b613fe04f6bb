"""In which zone an application stamps its rows (`modified_zone`), and what a wall clock of that zone shows. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

# As the server of the database does, with NOW().
SERVER = "server"
_FARTHEST = timedelta(hours=14)
_OFFSET = re.compile(r"([+-])(\d{1,2}):([0-5]\d)")
_SECOND = timedelta(seconds=1)
# Zones move by an hour as a rule, by three at most.
_NEAR = timedelta(hours=3)
_WRONG = "write server, UTC, an offset such as +09:00, or a time zone of the tz database such as Asia/Seoul"

# What a wall clock shows at a moment of UTC.
Wall = Callable[[datetime], datetime]


@dataclass(frozen=True)
class Forward:
    """A zone's clock was put forward (summer time began): at this moment of UTC, by so much."""

    at: datetime
    by: timedelta


def parse_zone(value: object) -> str:
    """`value` as one and the same text for one and the same zone."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(_WRONG)
    text = value.strip()
    if text.casefold() == SERVER:
        return SERVER
    if text.casefold() in ("utc", "z", "+00:00", "-00:00", "+0:00"):
        return "UTC"
    if match := _OFFSET.fullmatch(text):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return _offset_text(-offset if match[1] == "-" else offset)
    try:
        if text.casefold() == "localtime":  # that of whoever runs us
            raise ValueError
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(_WRONG) from None
    return text


def _offset_text(offset: timedelta) -> str:
    if abs(offset) > _FARTHEST:
        raise ValueError(f"{_WRONG}; no zone is more than 14:00 off UTC")
    return offset_name(offset)


def offset_name(offset: timedelta) -> str:
    """How a zone that is so far ahead of UTC is written."""
    if not offset:
        return "UTC"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{'-' if offset < timedelta(0) else '+'}{minutes // 60:02}:{minutes % 60:02}"


def wall_of(zone: str) -> Wall:
    """The wall clock of a zone that is not the server's."""
    info = _info(zone)
    return lambda utc: utc.replace(tzinfo=UTC).astimezone(info).replace(tzinfo=None)


@cache
def _info(zone: str) -> tzinfo:
    if match := _OFFSET.fullmatch(zone):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    return UTC if zone == "UTC" else ZoneInfo(zone)


def last_forward(wall: Wall, utc: datetime, within: timedelta) -> Forward | None:
    """When this clock was last put forward, no longer ago than `within`."""

    def offset(moment: datetime) -> timedelta:
        return wall(moment) - moment

    before, after = utc - within, utc
    by = offset(after) - offset(before)
    if by <= timedelta(0):
        return None
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        before, after = (before, middle) if offset(middle) == offset(utc) else (middle, after)
    # Zones move at whole seconds.
    return Forward((after + _SECOND / 2).replace(microsecond=0), by)


def earliest(wall: Wall, utc: datetime) -> datetime:
    """No row written at or after this moment is stamped before it, whatever the zone's clock did then."""
    return min(wall(utc), wall(utc + _NEAR) - _NEAR)


def latest(wall: Wall, utc: datetime) -> datetime:
    """No row written before this moment is stamped at or after it."""
    return max(wall(utc), wall(utc - _NEAR) + _NEAR)
