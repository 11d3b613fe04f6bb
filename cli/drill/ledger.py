"""What the applications were told: every write with the versions that it replaced. Pure.

Every written value begins with a token that is used once, so that each version is known for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cli.drill.history import Key

Row = Mapping[str, str | None]


def token(value: str | None) -> str | None:
    """The token of a value; what follows it only makes the value long, or bad."""
    return value.split(" ", 1)[0] if value else None


@dataclass(frozen=True)
class Fact:
    """One row written (or deleted: `wrote` is empty) in a transaction whose COMMIT was acknowledged; where the
    connection was lost meanwhile it is not `certain`. `replaced` are the tokens that the application saw and
    wrote over. By column."""

    side: str
    key: Key
    wrote: Mapping[str, str]
    replaced: Mapping[str, str]
    certain: bool = True

    @property
    def deletes(self) -> bool:
        return not self.wrote


@dataclass
class Ledger:
    """All facts of a history, and what control's applications know of control's own columns."""

    facts: list[Fact] = field(default_factory=list)
    own: dict[Key, set[str | None]] = field(default_factory=dict)
    numbers: dict[Key, set[int]] = field(default_factory=dict)
    # Rows of stations that a restore or a loss has taken, and of which it has brought another version; and those that
    # somebody took out of the trash.
    vanished: set[tuple[str, Key]] = field(default_factory=set)
    put_back: set[tuple[str, Key]] = field(default_factory=set)
    brought_back: set[Key] = field(default_factory=set)

    def lost(self, present: Iterable[str], kept: Iterable[str]) -> list[Fact]:
        """Acknowledged writes of which a version is neither `present` in a table, nor `kept` aside, nor was it
        replaced by an application that had seen it."""
        here = set(present) | set(kept)
        observed = here | {one for fact in self.facts for one in fact.replaced.values()}
        real = [fact for fact in self.facts if self._happened(fact, observed)]
        accounted = here | {one for fact in real for one in fact.replaced.values()}
        return [fact for fact in self.facts if fact.certain and set(fact.wrote.values()) - accounted]

    @staticmethod
    def _happened(fact: Fact, observed: set[str]) -> bool:
        """Of a write whose end is not known, somebody has seen the version, or it never was. Of a delete, nobody can
        tell: it may have been."""
        return fact.certain or fact.deletes or bool(observed & set(fact.wrote.values()))

    def deleted(self) -> set[tuple[str, Key]]:
        """Rows that an application has deleted at some time, or may have; or that went with their table."""
        return {(fact.side, fact.key) for fact in self.facts if fact.deletes} | self.vanished

    def home(self) -> dict[str, tuple[Key, str]]:
        """Token -> the row and the column that it was written to."""
        return {one: (fact.key, column) for fact in self.facts for column, one in fact.wrote.items()}
