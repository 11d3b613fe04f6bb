"""Rows that a database does not take together are found by halving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypeVar

Item = TypeVar("Item")


class Addable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


Done = TypeVar("Done", bound=Addable)


def in_halves(items: Sequence[Item], work: Callable[[Sequence[Item]], Done]) -> Done:
    """What the first half and the second came to."""
    middle = len(items) // 2
    return work(items[:middle]) + work(items[middle:])
