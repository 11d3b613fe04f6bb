"""What `check` found: notes with their level, place, and the next step to type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stationsync.errors import LoginRefused, StationOffline, StationSyncError
from stationsync.health.check_matrix import Shape
from stationsync.model.changes import Level, Note
from stationsync.pairing.fit import Finding


@dataclass(frozen=True)
class CheckedDatabase:
    """One database: what it is ("MariaDB 10.11.6", empty where it could not be asked), the notes about it, and what
    a station's tables look like."""

    place: str
    about: str
    notes: tuple[Note, ...]
    shapes: tuple[Shape, ...] = ()

    def has(self, level: Level) -> bool:
        return any(note.level is level for note in self.notes)


def of_finding(finding: Finding) -> Note:
    return Note(Level.PROBLEM if finding.refused else Level.WARNING, finding.place, finding.what, finding.next_step)


def of_error(error: StationSyncError) -> Note:
    level = Level.OFFLINE if isinstance(error, StationOffline) else Level.PROBLEM
    next_step = error.next_step
    if isinstance(error, LoginRefused):
        next_step = "Check the user and the database in its url, and the secret behind its password."
    return Note(level, error.place, error.what, next_step)


def each_once(notes: Iterable[Note]) -> tuple[Note, ...]:
    return tuple(dict.fromkeys(notes))
