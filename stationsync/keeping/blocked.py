"""Rows of a write that other rows stand in the way of, or that are missing: they wait, and the rest goes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stationsync.errors import RowRefused

Key = tuple[str | bytes, ...]


@dataclass(frozen=True)
class Held:
    """A row that cannot be written yet: its number in the write, its key, why."""

    n: int
    key: Key
    why: str


class Blocked(RowRefused):
    """These rows cannot be written yet; nothing was. `words`: how their reason in quarantine begins. `holders`: keys of
    rows of the same owner that are in the way, and were no part of the write."""

    def __init__(self, place: str, held: Sequence[Held], words: str, holders: Collection[Key] = ()) -> None:
        super().__init__(place, held[0].why)
        self.held = tuple(held)
        self.words = words
        self.holders = frozenset(holders)
