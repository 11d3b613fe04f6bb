"""Durations and sizes as they are written: in stations.yaml and commands, and in what people read.

By hand: pydantic's ByteSize takes "10%" for ten bytes and 5Gbit for a size; humanize has no short form of two units."""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = timedelta(days=365)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "": 1}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)")
_BYTES = {"T": 10**12, "G": 10**9, "M": 10**6, "K": 10**3, "": 1}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)B?", re.IGNORECASE)


def parse_duration(value: object) -> timedelta:
    """From "60s", "5m", "2h", "1d", or a number of seconds. Raises ValueError."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        match = None if isinstance(value, bool) else DURATION.fullmatch(str(value).strip())
        if match is None:
            raise ValueError("write a duration: 60s, 5m, 2h, 1d, or a number of seconds")
        seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 <= seconds <= LONGEST.total_seconds():
        raise ValueError(f"a duration is between 0 and {LONGEST.days}d")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """The shortest notation that `parse_duration` reads back to the same value: of what somebody set."""
    for unit in ("d", "h", "m"):
        whole, rest = divmod(duration, timedelta(seconds=_SECONDS[unit]))
        if whole and not rest:
            return f"{whole}{unit}"
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def format_age(age: timedelta | None) -> str:
    """The two largest units of what was measured: "3d 4h", "12m 5s"; nothing where there is none."""
    if age is None:
        return ""
    rest, parts = max(0, int(age.total_seconds())), []
    for unit in "dhms":
        number, rest = divmod(rest, _SECONDS[unit])
        parts += [f"{number}{unit}"] if number else []
    return " ".join(parts[:2]) or "0s"


def parse_size(value: object) -> int:
    """Bytes, from "50GB", "500 MB" or a number. Raises ValueError."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("write a size: 500MB, 50GB, 1TB, or a number of bytes")
    return int(float(match[1]) * _BYTES[match[2].upper()])


def format_size(size: int | None) -> str:
    """In the largest unit that fits: "19.0 GB", "512 B"; nothing where there is none."""
    if size is None:
        return ""
    for unit, number in _BYTES.items():
        if unit and size >= number:
            return f"{size / number:,.1f} {unit}B"
    return f"{size} B"
