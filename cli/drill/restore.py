"""Control's table put back from an older backup, its bookkeeping not; and the person who then types reseed-control.

What only control's table had since the backup is lost with it, and nobody but the backup is to blame. Everything else
must be there afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.drill import invariants, reading
from cli.drill.actors import Actors
from cli.drill.history import CONTROL, Backup, Fault, Point, Restore, Run
from cli.drill.tables import COLUMNS, TABLE
from cli.drill.world import World

_COLUMNS = (*COLUMNS, "master_id", "own", "gone")


@dataclass(frozen=True)
class _Kept:
    """A backup: control's rows, and how many facts there were."""

    rows: tuple[tuple[Any, ...], ...]
    facts: int


class Backups:
    """The last backup of a history."""

    def __init__(self, world: World, actors: Actors) -> None:
        self._world = world
        self._actors = actors
        self._last: _Kept | None = None

    def step(self, step: Backup | Restore, run: Callable[[Run], Mapping[str, Any]]) -> list[str]:
        """Nobody else is at work. What went wrong, in words."""
        if self._world.altered:
            return []  # a backup has not the columns of now
        if isinstance(step, Backup):
            rows = self._world.query(CONTROL, f"SELECT {', '.join(_COLUMNS)} FROM {TABLE}")
            self._last = _Kept(tuple(rows), len(self._actors.ledger.facts))
            return []
        if self._last is None:
            return []
        self._world.heal()
        _put_back(self._world, self._actors, self._last)
        names = self._actors.setting.names
        kills = (*step.kills, *[0] * len(names))
        return [problem for name, kill in zip(names, kills, strict=False) for problem in _reseed(name, kill, run)]


def _reseed(name: str, kill: int, run: Callable[[Run], Mapping[str, Any]]) -> list[str]:
    """Typed again, until it comes to its end."""
    points = (Point(kill, Fault("kill")),) if kill else ()
    for some in (points, (), (), ()):
        if "reports" in run(Run(name, "reseed-control", some)):
            return []
    return [f"reseed-control {name} did not come to its end"]


def _put_back(world: World, actors: Actors, backup: _Kept) -> None:
    _excuse(world, actors, backup)
    world.query(CONTROL, f"DELETE FROM {TABLE}")
    marks = ", ".join(["%s"] * len(_COLUMNS))
    for row in backup.rows:
        world.query(CONTROL, f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({marks})", row)
    _forget_own(actors, backup)


def _excuse(world: World, actors: Actors, backup: _Kept) -> None:
    """Writes at control since the backup that stand nowhere else were acknowledged by a table that is gone."""
    seen = dataclasses.replace(reading.read(world, actors.setting), control={})
    elsewhere = {one for _, _, row in seen.rows() for one in invariants.tokens(row)}
    elsewhere |= {one for based in seen.base.values() for one in invariants.tokens(based.row)}
    elsewhere |= set(invariants.kept(seen))
    facts = actors.ledger.facts
    for i in range(backup.facts, len(facts)):
        if facts[i].side == CONTROL and set(facts[i].wrote.values()) - elsewhere:
            facts[i] = dataclasses.replace(facts[i], certain=False)


def _forget_own(actors: Actors, backup: _Kept) -> None:
    """Control's own columns are as they were; a row that comes again has none, and another number."""
    own = {(int(row[0]), str(row[1])): row[_COLUMNS.index("own")] for row in backup.rows}
    ledger = actors.ledger
    for key in ledger.own:
        ledger.own[key] = {own.get(key)}
    for key in list(ledger.numbers.keys() - own.keys()):
        del ledger.numbers[key]
