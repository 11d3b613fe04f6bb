"""A table put back from an older backup, or whose newest rows are lost; our bookkeeping is not put back.

What only that table had is lost with it, and nobody but the backup is to blame. Everything else must be there
afterwards. For control, somebody then types reseed-control; for a station, what its next run asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.drill import invariants, reading
from cli.drill.actors import Actors
from cli.drill.history import CONTROL, Backup, Fault, Lose, Point, Restore, Run
from cli.drill.tables import TABLE
from cli.drill.world import World


@dataclass(frozen=True)
class _Kept:
    """A backup: the rows of a side."""

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class Backups:
    """The last backup of each side of a history."""

    def __init__(self, world: World, actors: Actors, initialise: Callable[[], None]) -> None:
        self._world = world
        self._actors = actors
        self._initialise = initialise
        self._last: dict[str, _Kept] = {}

    def step(self, step: Backup | Restore | Lose, run: Callable[[Run], Mapping[str, Any]]) -> list[str]:
        """Nobody else is at work. What went wrong, in words."""
        match step:
            case Backup():
                self._last[step.side] = self._read(step.side)
            case Lose():
                names, rows = dataclasses.astuple(self._read(step.station))
                at = names.index("modify_date")
                left = sorted(rows, key=lambda row: (str(row[at] or ""), row))[: -step.rows] if step.rows else []
                self._put_back(step.station, _Kept(names, tuple(left)))
            case Restore():
                return self._restore(step, run)
        return []

    def _restore(self, step: Restore, run: Callable[[Run], Mapping[str, Any]]) -> list[str]:
        backup = self._last.get(step.side)
        if backup is None or backup.names != self._names(step.side):
            return []  # none, or it has not the columns of now
        self._world.heal()
        self._put_back(step.side, backup)
        if step.side != CONTROL:
            return []
        names = self._actors.setting.names
        kills = (*step.kills, *[0] * len(names))
        return [p for name, kill in zip(names, kills, strict=False) for p in self._reseed(name, kill, run)]

    def _reseed(self, name: str, kill: int, run: Callable[[Run], Mapping[str, Any]]) -> list[str]:
        """Typed again, until it comes to its end; after `init` where it asks for that."""
        points = (Point(kill, Fault("kill")),) if kill else ()
        for some in (points, (), (), ()):
            said = run(Run(name, "reseed-control", some))
            if "reports" in said:
                return []
            if said.get("error") == "NotInitialised":
                self._initialise()
        return [f"reseed-control {name} did not come to its end"]

    def _names(self, side: str) -> tuple[str, ...]:
        own = ("master_id", "own", "gone") if side == CONTROL else ()
        return (*reading.columns(self._world, side), *own)

    def _read(self, side: str) -> _Kept:
        names = self._names(side)
        return _Kept(names, tuple(self._world.query(side, f"SELECT {', '.join(names)} FROM {TABLE}")))

    def _put_back(self, side: str, backup: _Kept) -> None:
        before = reading.read(self._world, self._actors.setting)
        if side == CONTROL:
            self._load_control(backup)
        else:
            self._world.rebuild(side, backup.names, backup.rows)
        after = reading.read(self._world, self._actors.setting)
        _excuse(self._actors, side, before, after)

    def _load_control(self, backup: _Kept) -> None:
        marks = ", ".join(["%s"] * len(backup.names))
        sql = self._world.sql(f"INSERT INTO {TABLE} ({', '.join(backup.names)}) VALUES ({marks})")
        with self._world.unchecked(CONTROL) as cursor:
            cursor.execute(f"DELETE FROM {TABLE}")
            for row in backup.rows:
                cursor.execute(sql, row)
        _forget_own(self._actors, backup)


def _excuse(actors: Actors, side: str, before: invariants.Seen, after: invariants.Seen) -> None:
    """Versions of that side that stood in its table only were acknowledged by a table that is gone; and with them
    goes what they had replaced."""
    elsewhere = {one for _, _, row in after.rows() for one in invariants.tokens(row)}
    elsewhere |= {one for based in after.base.values() for one in invariants.tokens(based.row)}
    elsewhere |= set(invariants.kept(after))
    ours, left = (seen.control if side == CONTROL else seen.stations[side] for seen in (before, after))
    gone = {one for row in ours.values() for one in invariants.tokens(row)} - elsewhere
    facts = actors.ledger.facts
    for i in reversed(range(len(facts))):
        if facts[i].side == side and gone & set(facts[i].wrote.values()):
            gone |= set(facts[i].replaced.values()) - elsewhere
            facts[i] = dataclasses.replace(facts[i], certain=False)
    if side != CONTROL:
        actors.ledger.vanished |= {(side, key) for key in ours.keys() - left.keys()}
        actors.ledger.put_back |= {(side, key) for key in left if left[key] != ours.get(key)}


def _forget_own(actors: Actors, backup: _Kept) -> None:
    """Control's own columns are as they were; a row that comes again has none, and another number."""
    own = {(int(row[0]), str(row[1])): row[backup.names.index("own")] for row in backup.rows}
    ledger = actors.ledger
    for key in ledger.own:
        ledger.own[key] = {own.get(key)}
    for key in list(ledger.numbers.keys() - own.keys()):
        del ledger.numbers[key]
