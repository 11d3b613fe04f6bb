"""The rules of DESIGN.md, sections 2 and 3, as a model of dictionaries: one station, one control, random histories.

Applications write at both sides, transactions stay open, runs are cut off between any two steps; besides, what real
sites do: either side comes back from an older copy, in whole or in a few rows; keys are given again; a column is
synchronised later; a station, or control, is trusted as it is. Two things must hold: both sides converge, and every
write is final, or was superseded by somebody who had seen it, or is kept. A fault can be planted, which a test must
find.

Not told, and not played: rows that come back at a station whose clock is ahead. Against a version that control stamped
they may be older, and look newer, by as much as the clocks differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

LOOKBACK, SETTLE = 30, 2
STATION, CONTROL = "S", "C"


@dataclass(frozen=True)
class Row:
    """Every value that is ever written is another one. `made`: when the row was made, for life."""

    values: tuple[str | None, ...]
    at: int
    made: int


Table = dict[int, Row]
# What the rule keeps; a test plants its absence.
KEEPS = ("older", "older control", "trust", "trust control", "given again", "later column")


class World:
    def __init__(self, seed: int, policy: str = "newest", columns: int = 3, skew: int = 0, without: str = "") -> None:
        self.random = Random(seed)
        self.policy, self.skew, self.without = policy, skew, without
        self.time = 1_000
        self.columns, self.synced = columns, columns - 1
        self.sides: dict[str, Table] = {STATION: {}, CONTROL: {}}
        self.base: Table = {}
        self.pending: set[int] = set()
        self.marks = {STATION: 0, CONTROL: 0}
        self.copies: dict[str, Table] = {STATION: {}, CONTROL: {}}
        # A side that was put back, and of which nobody has said yet who is right: runs are refused.
        self.doubtful: str | None = None
        # Rows that were put back by hand: nobody writes them before they were looked at.
        self.quiet: set[int] = set()
        self.open: list[tuple[int, Callable[[], None]]] = []
        self.written: set[str] = set()
        self.superseded: set[str] = set()
        self.kept: set[str] = set()
        self.peace = False

    # --- applications

    def value(self, side: str) -> str:
        value = f"{side}{len(self.written)}"
        self.written.add(value)
        return value

    def write(self, side: str, key: int) -> None:
        table = self.sides[side]
        self.time += self.random.choice([0, 0, 1, 3])
        stamp = self.time + (self.skew if side == STATION else 0)
        if key in self.quiet:
            return
        if key not in table:
            if side == STATION:
                values = tuple(self.value(side) if i < self.synced else None for i in range(self.columns))
                table[key] = Row(values, stamp, self.time)
            return
        column, value, made = self.random.randrange(self.synced), self.value(side), table[key].made

        def commit() -> None:
            row = self.sides[side].get(key)
            if row is None or row.made != made or key in self.quiet:
                self.superseded.add(value)  # never committed
                return
            self.supersede(row.values[column])
            self.sides[side][key] = replace(row, values=_with(row.values, column, value), at=max(stamp, 1))

        if self.random.random() < 0.15:
            self.open.append((self.time + self.random.randrange(1, 20), commit))
        else:
            commit()

    def supersede(self, value: str | None) -> None:
        if value is not None:
            self.superseded.add(value)

    def tick(self, seconds: int) -> None:
        self.time += seconds
        due = [commit for at, commit in self.open if at <= self.time]
        self.open = [one for one in self.open if one[0] > self.time]
        for commit in due:
            commit()

    def chaos(self) -> bool:
        """Between any two steps. True: cut off here."""
        if self.peace:
            return False
        for _ in range(self.random.choice([0, 0, 1, 2])):
            self.write(self.random.choice([STATION, CONTROL]), self.random.randrange(4))
        self.tick(self.random.choice([0, 1, 1, 5]))
        return self.random.random() < 0.12

    # --- what real sites do

    def trouble(self) -> None:
        if self.doubtful:
            return
        side = self.random.choice([STATION, CONTROL])
        what = self.random.choice(["copy", "copy", "restore", "few", "again", "column"])
        if what == "copy":
            self.copies[side] = dict(self.sides[side])
        elif what == "restore" and self.copies[side]:
            self.put_back(side, list(self.sides[side]))
            self.doubtful = side
        elif what == "few" and self.copies[side]:
            key = self.random.randrange(4)
            self.put_back(side, [key])
            self.quiet.add(key)
        elif what == "again" and (key := self.random.randrange(4)) in self.sides[STATION] and key not in self.quiet:
            self.lose(STATION, self.sides[STATION][key])
            del self.sides[STATION][key]
            self.write(STATION, key)
        elif what == "column" and self.synced < self.columns:
            self.add_column()

    def put_back(self, side: str, keys: list[int]) -> None:
        table = self.sides[side]
        for key in keys:
            old, row = self.copies[side].get(key), table.get(key)
            # A key that was given again since is another row, and a row of fewer columns another table.
            if old is None or row is None or old.made != row.made or _width(old) != _width(row):
                continue
            self.lose(side, row)
            table[key] = old

    def lose(self, side: str, row: Row) -> None:
        """What the other side has not is lost with this one: nothing could keep it."""
        other = self.sides[CONTROL if side == STATION else STATION]
        there = {value for one in other.values() for value in one.values} | self.kept
        self.superseded |= {value for value in row.values if value is not None and value not in there}

    def add_column(self) -> None:
        """Filled at one side or both, then synchronised: nobody knows who is right."""
        for _, commit in self.open:
            commit()
        self.open = []
        last = self.columns - 1
        for side, table in self.sides.items():
            for key, row in table.items():
                if self.random.random() < 0.5:
                    table[key] = replace(row, values=_with(row.values, last, self.value(side)))
        self.synced = self.columns
        for key, row in self.base.items():
            # Planted: the base takes control's value, as if nobody had edited it there.
            known = self.sides[CONTROL].get(key) if self.without == "later column" else None
            self.base[key] = replace(row, values=_with(row.values, last, known.values[last] if known else None))
        self.marks = {STATION: 0, CONTROL: 0}
        self.copies = {STATION: {}, CONTROL: {}}

    # --- the rule

    def keep(self, why: str, *rows: Row | None) -> None:
        if why != self.without:
            self.kept |= {value for row in rows if row is not None for value in row.values if value is not None}

    def older(self, row: Row, known: Row) -> bool:
        return row.at < known.at or row.at < known.at - self.skew

    def trust(self) -> None:
        """Whoever says that a side is right has not looked at each row."""
        side, self.doubtful = self.doubtful, None
        for key, known in self.base.items():
            station, control = self.sides[STATION].get(key), self.sides[CONTROL].get(key)
            # Column by column the merge keeps only what both sides changed.
            if side == STATION and station != known and (control == known or self.policy == "merge"):
                self.keep("trust", control)
            elif side == CONTROL and control != known:
                self.keep("trust control", known)
                self.pending.add(key)
        self.marks[STATION] = 0

    def merge(self, key: int, row: Row) -> None:
        control, known = self.sides[CONTROL].get(key), self.base.get(key)
        if known == row:
            return
        self.pending.discard(key)
        if known is not None and known.made != row.made and row != control:
            self.keep("given again", control, known)
            self.sides[CONTROL][key] = self.base[key] = row
        elif control is None or control == row:
            self.sides[CONTROL][key] = self.base[key] = row
        elif known is not None and control == known:
            if self.older(row, known):
                self.keep("older", control)
            self.sides[CONTROL][key] = self.base[key] = row
        else:
            result = self.decide(row, control, known)
            if known is not None and self.older(row, known):
                self.keep("older", control)
            if known is not None and self.older(control, known):
                self.keep("older control", row)
            self.sides[CONTROL][key], self.base[key] = result, row
            if result != row:
                self.pending.add(key)

    def decide(self, row: Row, control: Row, known: Row | None) -> Row:
        newer = row if row.at - self.skew > control.at else control
        if self.policy != "merge" or known is None:
            winner = {"newest": newer, "station": row, "control": control, "merge": newer}[self.policy]
            self.keep("conflict", control if winner is row else row)
            return winner
        values: list[str | None] = []
        for mine, theirs, was in zip(row.values, control.values, known.values, strict=True):
            values.append(mine if theirs in (was, mine) else theirs if mine == was else None)
            if mine != theirs and was not in (mine, theirs):
                values[-1] = mine if newer is row else theirs
                lost = theirs if newer is row else mine
                self.kept |= {lost} if lost is not None else set()
        return Row(tuple(values), max(row.at, control.at), row.made)

    # --- runs

    def pull(self, *, everything: bool = False) -> None:
        if self.doubtful:
            return
        bound, start = self.time + self.skew - SETTLE, self.marks[STATION] - LOOKBACK
        read = {key: row for key, row in self.sides[STATION].items() if everything or row.at >= start}
        if self.chaos() or self.doubtful:
            return
        for key, row in read.items():
            self.merge(key, row)
        if not everything:
            self.marks[STATION] = max(self.marks[STATION], bound)

    def push(self, *, everything: bool = False) -> None:
        if self.doubtful:
            return
        bound, start = self.time - SETTLE, self.marks[CONTROL] - LOOKBACK
        edits = {
            key: (row, self.base[key])
            for key, row in self.sides[CONTROL].items()
            if key in self.base and row != self.base[key] and (everything or key in self.pending or row.at >= start)
        }
        for row, known in edits.values():
            if self.older(row, known):
                self.keep("older control", known)
        if self.chaos() or self.doubtful:
            return
        table, arrived = self.sides[STATION], set[int]()
        for key, (row, known) in edits.items():
            if table.get(key) == known:
                table[key] = row
            if table.get(key) == row:
                arrived.add(key)
        if self.chaos():
            return
        for key, (row, _) in edits.items():
            if key in arrived:
                self.base[key] = row
                self.pending.discard(key)
            else:
                self.pending.add(key)
        self.marks[CONTROL] = max(self.marks[CONTROL], bound)

    def sweep(self) -> None:
        self.pull(everything=True)
        self.push(everything=True)

    # --- a history

    def play(self, steps: int = 30) -> list[str]:
        """What does not hold."""
        for _ in range(steps):
            self.chaos()
            if self.random.random() < 0.3:
                self.trouble()
            if self.doubtful and self.random.random() < 0.5:
                self.trust()
            self.random.choice([self.pull, self.push, self.sweep, lambda: (self.pull(), self.push())])()
        self.peace = True
        self.tick(50)
        if self.doubtful:
            self.trust()
        for _ in range(4):
            self.tick(50)
            self.sweep()
        found = [] if self.sides[STATION] == self.sides[CONTROL] == self.base else ["the sides are not equal"]
        final = {value for row in self.sides[STATION].values() for value in row.values}
        lost = self.written - final - self.superseded - self.kept
        return [*found, *(f"{value} is lost" for value in sorted(lost))]


def _with(values: tuple[str | None, ...], column: int, value: str | None) -> tuple[str | None, ...]:
    return (*values[:column], value, *values[column + 1 :])


def _width(row: Row) -> int:
    return sum(value is not None for value in row.values)
