"""In which order rows take the values of unique indexes that others of them still have. Pure.

A row is a number. `Wants` says whose value each row is to take: rows that move as well, by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

Wants = Mapping[int, Set[int]]


@dataclass(frozen=True)
class Park:
    """This row is to give up its values before it has its new ones."""

    row: int


@dataclass(frozen=True)
class Move:
    """These rows take their values, in any order."""

    rows: frozenset[int]


def cannot(wants: Wants, refused: Set[int]) -> dict[int, int]:
    """Rows that cannot take their values because a row that would have to move first cannot: each with that row."""
    waiting: dict[int, set[int]] = {}
    for row, holders in wants.items():
        for holder in holders:
            waiting.setdefault(holder, set()).add(row)
    found: dict[int, int] = {}
    todo = list(refused)
    while todo:
        holder = todo.pop()
        for row in waiting.get(holder, ()):
            if row not in found and row not in refused:
                found[row] = holder
                todo.append(row)
    return found


def on_circles(wants: Wants) -> set[int]:
    """Rows that no order lets move: those of circles, and those that are to have a value of theirs."""
    moved = set[int]()
    for step in steps(wants):
        if isinstance(step, Park):
            break
        moved |= step.rows
    return {*wants, *(holder for holders in wants.values() for holder in holders)} - moved


def steps(wants: Wants) -> Iterator[Park | Move]:
    """A row moves after those that free its values; of a circle, one row is parked first."""
    left = {row: set(holders) for row, holders in wants.items()}
    for holders in wants.values():
        for holder in holders:
            left.setdefault(holder, set())
    waiting: dict[int, set[int]] = {}
    for row, holders in left.items():
        for holder in holders:
            waiting.setdefault(holder, set()).add(row)
    free = {row for row, holders in left.items() if not holders}
    while left:
        if free:
            yield Move(frozenset(free))
            freed = free
        else:
            row = _on_a_circle(left)
            yield Park(row)
            freed = {row}
        for row in freed:
            if free:
                del left[row]
            for other in waiting.pop(row, ()):
                if other in left:
                    left[other].discard(row)
        free = {row for row, holders in left.items() if not holders}


def _on_a_circle(left: Mapping[int, Set[int]]) -> int:
    row, seen = next(iter(left)), set[int]()
    while row not in seen:
        seen.add(row)
        row = next(iter(left[row]))
    return row
