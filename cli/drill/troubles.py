"""What real sites do to it: short scripts that go into a random history, by dice of their own.

What else happens in a history of a seed stays the same, whichever scripts are in the mix."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from random import Random

from cli.drill.history import (
    CONTROL,
    Alter,
    Backup,
    Delete,
    Fault,
    History,
    Include,
    Init,
    Key,
    Link,
    Lose,
    Pass,
    Permute,
    Point,
    Restore,
    Run,
    Step,
    Write,
)
from cli.drill.tables import EXTRA

# How many of the histories have none of it, and how many of the others have two.
_PLAIN, _TWO = 0.35, 0.2
# And how many have answers to conflicts.
_ANSWERED = 0.25
_SHARED = "X"
_NUMBERS = (1, 2, 3, 4)


def added(history: History, dice: Random, database: str) -> History:
    """`history` with none, one or two of the scripts."""
    if dice.random() < _PLAIN:
        return history
    for name in dice.sample(list(ALL), 2 if dice.random() < _TWO else 1):
        if name in MIX and (database == "mariadb" or name not in _SERVERS_ONLY):
            history = ALL[name](_Writer(history, dice))
    return history


def answered(history: History, dice: Random) -> History:
    """`history`, perhaps with conflicts that a person answers: by dice of their own too."""
    if dice.random() > _ANSWERED:
        return history
    w = _Writer(history, dice)
    for _ in range(dice.choice((1, 1, 2, 3))):
        key = w.key()
        both: list[Step] = [Write(side, key, late=dice.choice((0, 1))) for side in (w.station, CONTROL)]
        script = [
            *w.maybe(0.7, [Write(w.station, key), *w.run("sync")]),
            *both,
            *w.run("pull", "sync", "sync", share=0.9),
            *w.run("conflicts take", key=key if w.chance(0.8) else None),
            *w.maybe(0.3, [Write(dice.choice((w.station, CONTROL)), key)]),
            *w.run("push", "sync", "reconcile" if w.setting.sweeps else "push", share=0.7),
        ]
        w.history = w.insert(script) if w.chance(0.7) else w.spread(script)
    return w.history


class _Writer:
    """One script for a history."""

    def __init__(self, history: History, dice: Random) -> None:
        self.history = history
        self.dice = dice
        self.setting = history.setting
        self.station = dice.choice(self.setting.names)
        # Most of a script is about one row.
        self.focus = dice.choice(_NUMBERS)

    def chance(self, share: float) -> bool:
        return self.dice.random() < share

    def having(self, **changes: object) -> _Writer:
        setting = dataclasses.replace(self.setting, **changes)  # type: ignore[arg-type]
        self.setting, self.history = setting, dataclasses.replace(self.history, setting=setting)
        return self

    def swept(self) -> _Writer:
        """What only a sweep finds."""
        deletes = self.setting.deletes
        if not self.setting.sweeps:
            deletes = self.dice.choice(("ignore", "archive", "archive", "flag"))
        return self.having(sweeps=True, deletes=deletes)

    def insert(self, *scripts: Sequence[Step]) -> History:
        """Each script goes in at some place, its steps one after the other."""
        steps = list(self.history.steps)
        for script in scripts:
            at = self.dice.randrange(len(steps) + 1)
            steps[at:at] = script
        return dataclasses.replace(self.history, steps=tuple(steps))

    def spread(self, script: Sequence[Step]) -> History:
        """The steps of a script in their order, with those of the history between."""
        steps = list(self.history.steps)
        places = sorted(self.dice.randrange(len(steps) + 1) for _ in script)
        for step, at in reversed(list(zip(script, places, strict=True))):
            steps.insert(at, step)
        return dataclasses.replace(self.history, steps=tuple(steps))

    # --- parts

    def key(self) -> Key:
        return self.focus if self.chance(0.6) else self.dice.choice(_NUMBERS), f"S{self.station[-1]}"

    def keys(self, station: str, least: int = 2) -> tuple[Key, ...]:
        numbers = self.dice.sample(_NUMBERS, self.dice.randrange(least, len(_NUMBERS) + 1))
        return tuple((number, f"S{station[-1]}") for number in numbers)

    def run(self, *whats: str, share: float = 1.0, station: str = "", key: Key | None = None) -> list[Step]:
        """A run of one of these, perhaps; some are killed."""
        if not self.chance(share):
            return []
        points = (Point(self.dice.randrange(30, 130), Fault("kill")),) if self.chance(0.15) else ()
        return [Run(station or self.station, self.dice.choice(whats), points, key=key)]

    def writes(self, side: str, columns: tuple[str, ...] = ("text",), most: int = 3) -> list[Step]:
        return [Write(side, self.key(), columns) for _ in range(self.dice.randrange(1, most + 1))]

    def maybe(self, share: float, steps: Iterable[Step]) -> list[Step]:
        made = list(steps)
        return made if self.chance(share) else []


def _given_again(w: _Writer) -> History:
    """The station's newest rows are lost, its numbers start again, and new rows get the old ones."""
    w.swept().having(created=w.chance(0.6), answer=w.dice.choice(("trust", "reseed")))
    return w.insert(
        [
            *w.writes(w.station),
            *w.run("sync", share=0.85),
            *w.maybe(0.3, [*w.writes(CONTROL), *w.run("sync")]),
            *w.maybe(0.4, [Pass(60)]),
            Lose(w.station, w.dice.choice((0, 1, 2))),
            *w.run("pull", "push", "sync", "reconcile", share=0.25),
            *w.writes(w.station, most=4),
            *w.maybe(0.2, w.writes(CONTROL)),
            *w.run("pull", "sync", "reconcile", "push", share=0.8),
        ]
    )


def _older_copies(w: _Writer) -> History:
    """An older copy of the station's table comes back, and whoever works there goes on with it."""
    w.swept().having(created=w.chance(0.3), answer=w.dice.choice(("trust", "reseed")))
    script = [
        *w.writes(w.station),
        *w.run("sync", share=0.8),
        Backup(w.station),
        *w.maybe(0.5, [Pass(60)]),
        *w.writes(w.station, most=4),
        *w.run("sync", share=0.8),
        *w.maybe(0.5, [*w.writes(CONTROL), *w.run("sync", share=0.8)]),
        *w.maybe(0.2, [Delete(w.station, w.key()), *w.run("reconcile")]),
        Restore(side=w.station),
        *w.maybe(0.3, w.writes(w.station)),
        *w.maybe(0.3, w.writes(CONTROL)),
        *w.run("sync", "reconcile", "reconcile", "push", "backfill", "trust", "reseed", share=0.85),
    ]
    return w.insert(script) if w.chance(0.6) else w.spread(script)


def _later_columns(w: _Writer) -> History:
    """A column that is synchronised later: excluded at first, or added at control first."""
    if w.setting.excluded or any(isinstance(step, Alter) for step in w.history.steps):
        return w.history
    w.swept()
    both = [*w.writes(CONTROL, (EXTRA,)), *w.maybe(0.6, w.writes(w.station, ("text", EXTRA)))]
    w.dice.shuffle(both)
    first = [*w.writes(w.station), *w.run("sync")]
    syncs = w.run("sync", share=0.4)
    if w.chance(0.5):
        w.having(excluded=True)
        script = [*first, *both, *syncs, Include(), *w.maybe(0.8, [Init()])]
        return w.insert([*script, *w.maybe(0.5, w.writes(w.station, (EXTRA,))), *w.run("sync", "reconcile")])
    theirs: list[Step] = [Alter(name) for name in w.setting.names]
    script = [*first, Alter(CONTROL), *w.maybe(0.3, [Init()]), *w.writes(CONTROL, (EXTRA,)), *syncs, *theirs]
    script += [*w.maybe(0.5, w.writes(w.station, (EXTRA,))), Init(), *w.run("sync", "reconcile")]
    return w.insert(script)


def _out_of_the_trash(w: _Writer) -> History:
    """A row is deleted, its key is given again, perhaps by another station, and somebody brings the old row back."""
    w.having(sweeps=True, deletes=w.dice.choice(("archive", "archive", "archive", "flag")), created=w.chance(0.3))
    other = w.dice.choice(w.setting.names)
    key = w.key() if other == w.station else (w.dice.choice(_NUMBERS), _SHARED)
    return w.insert(
        [
            Write(w.station, key),
            *w.run("sync"),
            *w.maybe(0.3, [Write(CONTROL, key), *w.run("sync")]),
            Delete(w.station, key),
            *w.run("reconcile"),
            *w.maybe(0.85, [Write(other, key), *w.run("sync", share=0.85, station=other)]),
            *w.maybe(0.7, [Delete(CONTROL, key)]),
            *w.maybe(0.2, [Write(other, key)]),
            *w.run("trash restore", key=key),
            *w.maybe(0.2, [Write(CONTROL, key)]),
            *w.run("sync", "push", "reconcile", "reconcile", share=0.9, station=other),
        ]
    )


def _permutations(w: _Writer) -> History:
    """Unique values are swapped, rotated, shifted among rows, and handed on by deleted ones."""
    w.having(seats=True)
    scripts = []
    for _ in range(w.dice.choice((1, 2))):
        script: list[Step] = [Write(w.station, key) for key in w.keys(w.station)]
        script += w.run("sync", share=0.7)
        for _ in range(w.dice.choice((1, 1, 2, 3))):
            how = w.dice.choice(("rotate", "rotate", "shift", *(["close up"] if w.setting.sweeps else [])))
            script.append(Permute(w.dice.choice((w.station, w.station, CONTROL)), w.keys(w.station), how))
            script += w.run("pull", "push", "sync", "reconcile" if w.setting.sweeps else "sync", share=0.5)
        scripts.append(script)
    return w.insert(*scripts)


def _circles(w: _Writer) -> History:
    """Rows that refer to each other, in chains and circles."""
    w.having(links=True)
    scripts: list[list[Step]] = []
    for _ in range(w.dice.choice((1, 2, 2))):
        side = w.dice.choice((w.station, w.station, w.station, CONTROL))
        link = Link(side, w.keys(w.station, least=1), w.chance(0.6))
        scripts.append([*w.run("sync", share=0.3), link, *w.run("pull", "push", "sync", share=0.6)])
    return w.insert(*scripts)


def _zones(w: _Writer) -> History:
    """The applications stamp UTC, and their server is nine hours ahead."""
    w.having(zone="UTC")
    return w.insert([*w.writes(w.station), *w.run("sync"), Pass(w.dice.choice((60, 3600, 9 * 3600)))])


ALL: dict[str, Callable[[_Writer], History]] = {
    "given again": _given_again,
    "older copies": _older_copies,
    "later columns": _later_columns,
    "out of the trash": _out_of_the_trash,
    "permutations": _permutations,
    "circles": _circles,
    "zones": _zones,
}
# Only a server says that a table was made anew.
_SERVERS_ONLY = ("given again", "older copies", "circles", "zones")
# Those that are drilled.
MIX = frozenset(ALL)
