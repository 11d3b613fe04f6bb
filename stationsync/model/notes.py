"""What was found when a database was looked at, with its place and the next step to type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    PROBLEM = "problem"
    OFFLINE = "off-line"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Note:
    level: Level
    place: str
    what: str
    next_step: str = ""
