"""Rows of a write that other rows stand in the way of, or that are missing: they wait, and the rest goes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stationsync.errors import DuplicateKey, ParentMissing, RowRefused
from stationsync.model.reasons import Code

Key = tuple[str | bytes, ...]


@dataclass(frozen=True)
class BlockedRow:
    """A row that cannot be written yet: its number in the write, its key, why."""

    n: int
    key: Key
    why: str


class Blocked(RowRefused):
    """These rows cannot be written yet; nothing was. `code`: what they wait for. `holders`: keys of rows of the same
    owner that are in the way, and were no part of the write."""

    def __init__(self, place: str, held: Sequence[BlockedRow], code: Code, holders: Collection[Key] = ()) -> None:
        super().__init__(place, held[0].why)
        self.held = tuple(held)
        self.code = code
        self.holders = frozenset(holders)


def code_of(refused: RowRefused) -> Code:
    """Of a row that a database does not take: whether it may go in later."""
    if isinstance(refused, Blocked):
        return refused.code
    if isinstance(refused, ParentMissing):
        return Code.WAITS_FOR_ROW
    return Code.WAITS_FOR_VALUE if isinstance(refused, DuplicateKey) else Code.REFUSED
