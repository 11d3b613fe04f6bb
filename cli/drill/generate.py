"""A random history from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from cli.drill import troubles
from cli.drill.history import (
    CONTROL,
    Alter,
    Backup,
    Delete,
    End,
    Fault,
    History,
    Init,
    Jump,
    Key,
    Own,
    Pass,
    Point,
    Restore,
    Run,
    Setting,
    Step,
    Write,
)
from cli.drill.tables import EXTRA, TEXTS

_SHARED = "X"
# How many of the histories restore control's table.
_RESTORED = 0.2
_POLICIES = ("newest", "newest", "station", "control", "merge", "merge")


@dataclass(frozen=True)
class Vocabulary:
    """What may happen on a kind of database; `suites`: with expectations on rows, which are slow to load."""

    kind: str = "mariadb"
    suites: bool = True


def generate(seed: int, vocabulary: Vocabulary) -> History:
    history = _Author(Random(seed), vocabulary).history(seed)
    history = troubles.added(history, Random(f"troubles {seed}"), vocabulary.kind)
    return troubles.answered(history, Random(f"answers {seed}"))


@dataclass
class _Author:
    random: Random
    vocabulary: Vocabulary
    transactions: list[tuple[int, str]] = field(default_factory=list)
    written: list[Key] = field(default_factory=list)
    count: int = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, *options: Any) -> Any:
        return self.random.choice(options)

    def history(self, seed: int) -> History:
        sweeps = self.chance(0.65)
        self.setting = Setting(
            policy=self.pick(*_POLICIES),
            stations=self.pick(2, 2, 3),
            deletes=self.pick("ignore", "archive", "archive", "flag") if sweeps else "ignore",
            suite=self.chance(0.15) and self.vocabulary.suites,
            sweeps=sweeps,
            fraction=self.chance(0.4),
            page_rows=self.pick(1, 2, 3, 50),
            edits_last=self.chance(0.3),
        )
        # One skew for a history, where no sweep finds what a clock that went to and fro has hidden.
        steps: list[Step] = [Jump(name, self.pick(-600, 600)) for name in self.setting.names if self.chance(0.3)]
        # Which of the dear ones this history has.
        self.altered = self.chance(0.06)
        self.crashes = self.vocabulary.kind == "mariadb" and self.chance(0.12)
        self.network = self.vocabulary.kind == "mariadb" and self.chance(0.4)
        for name in self.setting.names:
            steps += [self.write(name, tx=0) for _ in range(self.pick(1, 2, 4))]
        for _ in range(self.random.randrange(4, 16)):
            steps += self.some()
        return History(seed, self.setting, tuple(self.with_a_restore(seed, steps)))

    def with_a_restore(self, seed: int, steps: list[Step]) -> list[Step]:
        """By a dice of its own: what else happens in a history of this seed stays the same."""
        dice = Random(f"restore {seed}")
        if dice.random() > _RESTORED or self.altered:
            return steps
        first, last = sorted(dice.randrange(len(steps) + 1) for _ in range(2))
        kills = tuple(dice.randrange(20, 120) for _ in range(dice.choice((0, 0, 1, 3))))
        return [*steps[:first], Backup(), *steps[first:last], Restore(kills), *steps[last:]]

    def some(self) -> list[Step]:
        if self.chance(0.45):
            return [self.run()]
        if self.altered and self.chance(0.15):
            return [Init() if self.chance(0.3) else Alter(self.side())]
        # On SQLite nobody sees an open transaction: what is committed later than `lookback`, only a sweep finds.
        unseen = self.vocabulary.kind == "sqlite" and self.transactions and not self.setting.sweeps
        if self.chance(0.1) and not unseen:
            return [Pass(self.pick(1, 3, 10, 60, 600))]
        if self.setting.sweeps and self.chance(0.05):
            return [Jump(self.side(), self.pick(-600, -60, -5, 5, 60, 600))]
        return [self.act() for _ in range(self.pick(1, 1, 2, 4))]

    # --- applications

    def side(self) -> str:
        return CONTROL if self.chance(0.45) else self.pick(*self.setting.names)

    def key(self, side: str) -> Key:
        if side == CONTROL and self.written and self.chance(0.8):
            return self.random.choice(self.written)  # control's applications only see what came up
        owner = self.pick(*self.setting.names) if side == CONTROL else side
        return self.pick(1, 1, 2, 2, 3, 4), _SHARED if self.chance(0.06) else f"S{owner[-1]}"

    def act(self) -> Step:
        """What an application does."""
        side = self.side()
        if self.chance(0.06):
            return Own(self.key(CONTROL))
        if self.transactions and self.chance(0.4):
            number, side = self.random.choice(self.transactions)
            if self.chance(0.5):
                self.transactions.remove((number, side))
                return End(number, self.chance(0.8))
            return self.write(side, number)
        if self.chance(0.12):
            self.count += 1
            self.transactions.append((self.count, side))
            return self.write(side, self.count)
        if self.setting.sweeps and self.chance(0.1):
            # Of control's rows, nobody but us deletes any.
            station = self.pick(*self.setting.names)
            return Delete(station, self.key(station))
        return self.write(side, 0)

    def write(self, side: str, tx: int) -> Write:
        columns = tuple(name for name in TEXTS if self.chance(0.6)) or ("text",)
        if self.altered:
            columns = (*columns, EXTRA) if self.chance(0.5) else columns
        form = "good"
        if side != CONTROL and self.chance(0.08):
            form = "marked" if self.setting.suite and self.chance(0.6) else "long"
        late, stamped = self.pick(0, 0, 0, 0, 1, 2), True
        if self.setting.sweeps:
            late, stamped = (self.pick(60, 3600) if self.chance(0.05) else late), not self.chance(0.05)
        cut = self.pick("question", "answer") if not tx and self.chance(0.03) else ""
        cut = cut if self.vocabulary.kind == "mariadb" else ""
        waits = not tx and not cut and self.chance(0.1)
        key = self.key(side)
        if side != CONTROL and key not in self.written:
            self.written.append(key)
        return Write(side, key, columns, late, stamped, form, cut, tx, waits)

    # --- runs and faults

    def run(self) -> Run:
        station = self.pick(*self.setting.names)
        what = self.pick("pull", "push", "sync", "sync")
        if self.setting.sweeps and self.chance(0.15):
            what = "reconcile"
        elif self.chance(0.12):
            what = "backfill"
        points = [Point(self.at(what), self.inner(station)) for _ in range(self.pick(0, 0, 1, 1, 2, 4))]
        blocked = (self.act(),) if self.transactions and self.chance(0.5) else ()
        points.sort(key=lambda point: point.at)
        return Run(station, what, tuple(points), blocked, self.chance(0.25))

    def at(self, what: str) -> int:
        """The statement: connecting and reading the tables' shapes takes the first ones, the work comes behind."""
        first = 45 if self.vocabulary.kind == "mariadb" else 35
        last = first + {"pull": 80, "push": 70, "sync": 170, "reconcile": 220, "backfill": 300}[what]
        return self.random.randrange(1, first) if self.chance(0.15) else self.random.randrange(first, last)

    def inner(self, station: str) -> Step:
        if self.chance(0.55):
            return self.act()
        if self.chance(0.15):
            return Run(self.pick(station, *self.setting.names), self.pick("pull", "push", "sync"))
        return self.fault(station)

    def fault(self, station: str) -> Fault:
        if self.vocabulary.kind == "sqlite":
            return Fault("kill")
        side = self.pick(CONTROL, station)
        if self.crashes and self.chance(0.3):
            return Fault("kill server", side) if self.chance(0.7) else Fault("freeze", side, self.pick(50, 200, 2000))
        if self.network and self.chance(0.5):
            what = self.pick("cut", "refuse", "half open", "slow", "cut up", "cut down", "cut down", "heal", "heal")
            amount = {"slow": self.pick(1, 2), "cut up": self.bytes(), "cut down": self.bytes()}.get(what, 0)
            return Fault(what, side, amount)
        what = self.pick("kill", "kill", "kill", "sent", "deadlock", "lock wait", "full", "lost", "kill sessions")
        return Fault(what, side if what == "kill sessions" else "")

    def bytes(self) -> int:
        return self.random.randrange(0, self.pick(1, 50, 500, 5000))
