"""How durations, schedules, shares and names are written in `stations.yaml`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from stationsync.model.amounts import DURATION, parse_duration
from stationsync.topology.zones import parse_zone

BASE_PREFIX = "stationsync_base_"
NAME_LIMIT = 64
_MAX_BAD = re.compile(r"(?P<percent>[0-9]+(?:\.[0-9]+)?)\s*%(?:\s+or\s+(?P<floor>[0-9]+))?|(?P<rows>[0-9]+)")
_FLEET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,62}")


class Frozen(BaseModel):
    # Pydantic shows the input in its messages by default; here that may be a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def schedule_interval(text: str) -> timedelta | None:
    """The interval that `text` names, or None where it is a cron expression."""
    return parse_duration(text) if DURATION.fullmatch(text.strip()) else None


def _check_schedule(text: str) -> str:
    interval = schedule_interval(text)
    if interval is None:
        _check_cron(text)
    elif interval < timedelta(seconds=1):
        raise ValueError("an interval is at least 1s")
    return text.strip()


def _check_cron(text: str) -> None:
    # What not every cron knows, and Prefect's does not: seconds, the last day, the second Monday.
    if len(text.split()) != 5 or re.search(r"[#?]|(?<![a-z])l", text.lower()):
        raise ValueError("write an interval such as 5m, or a cron expression of five fields")
    try:
        CronSim(text, datetime(2026, 1, 1))
    except CronSimError as error:
        raise ValueError(f"the cron expression is wrong: {error}") from None


@dataclass(frozen=True)
class MaxBad:
    """How many bad rows one chunk may have: the greater of a count and a share of the rows read.

    A bare percentage is exact, so it also stops a chunk of one bad row; hence the default has a floor.
    """

    rows: int = 100
    percent: Decimal = Decimal(50)

    @classmethod
    def parse(cls, value: object) -> MaxBad:
        """From 20 (rows), "10%", or "10% or 20" (whichever is more)."""
        if isinstance(value, MaxBad):
            return value
        match = None if isinstance(value, bool) else _MAX_BAD.fullmatch(str(value).strip())
        if match is None or Decimal(match["percent"] or 0) > 100:
            raise ValueError('write a number of rows, a percentage such as "10%", or both: "10% or 20"')
        return cls(rows=int(match["rows"] or match["floor"] or 0), percent=Decimal(match["percent"] or 0))

    def exceeded(self, bad: int, read: int) -> bool:
        return bad > self.rows and bad * 100 > self.percent * read


_FEW_DELETES = 20


@dataclass(frozen=True)
class MaxDeletes:
    """How many deletes one sweep may carry over: the smaller of a count and a share of the rows; a small table may
    lose 20 rows all the same, unless a smaller count is written."""

    rows: int | None = 1_000
    percent: Decimal | None = Decimal(10)

    @classmethod
    def parse(cls, value: object) -> MaxDeletes:
        """From 500 (rows), "5%", or "5% or 500" (whichever is less)."""
        if isinstance(value, MaxDeletes):
            return value
        match = None if isinstance(value, bool) else _MAX_BAD.fullmatch(str(value).strip())
        if match is None or Decimal(match["percent"] or 0) > 100:
            raise ValueError('write a number of rows, a percentage such as "10%", or both: "10% or 1000"')
        count = match["rows"] or match["floor"]
        return cls(int(count) if count else None, Decimal(match["percent"]) if match["percent"] else None)

    def limit(self, known: int) -> int:
        """Of so many rows that the base knows."""
        share = None if self.percent is None else max(_FEW_DELETES, int(self.percent * known / 100))
        return min(limit for limit in (self.rows, share) if limit is not None)


def check_identifier(name: str) -> str:
    if not name.strip() or len(name) > NAME_LIMIT or "`" in name or "\0" in name:
        raise ValueError(f"a table or column name has 1 to {NAME_LIMIT} characters and no backtick or NUL")
    return name


def _check_fleet(name: str) -> str:
    if not _FLEET.fullmatch(name):
        raise ValueError("a fleet's name has letters, digits and . _ : / - and at most 63 of them")
    return name


def _check_work_name(name: str) -> str:
    if not name.strip() or set(name) & set("/%&<>"):
        raise ValueError("the name of a work pool or queue has none of / % & < >")
    return name


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("write a time zone of the tz database, such as UTC or Asia/Seoul") from None
    return name


def _check_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := repeated(names):
        raise ValueError(f"names {twice} twice")
    return names


def repeated(names: Iterable[str]) -> str | None:
    """The first name that stands there before. Databases compare column names without case."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            return name
        seen.add(name.casefold())
    return None


def common(some: Iterable[str], others: Iterable[str]) -> str:
    folded = {name.casefold() for name in others}
    return ", ".join(name for name in some if name.casefold() in folded)


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Identifier = Annotated[str, AfterValidator(check_identifier)]
Columns = Annotated[tuple[Identifier, ...], AfterValidator(_check_unique)]
When = Annotated[str, AfterValidator(_check_schedule)]
FleetName = Annotated[str, AfterValidator(_check_fleet)]
WorkName = Annotated[str, AfterValidator(_check_work_name)]
TimeZone = Annotated[str, AfterValidator(_check_time_zone)]
ModifiedZone = Annotated[str, BeforeValidator(parse_zone)]
