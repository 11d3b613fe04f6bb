"""Random histories against the real engine: applications write at both sides between any two steps of a run, late
commits carry old stamps, runs are killed. After the shared model of the design (`base_model.py`), with the databases
for its dictionaries and a clock that only the history moves."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from stationsync.database.connection import Database, dialect_of
from stationsync.database.dialect import Clock, Dialect
from stationsync.model.changes import Policy
from stationsync.sync import push, runs
from support.databases import Databases, Where
from support.fleet import Fleet

BEGIN = datetime(2024, 1, 1)
VALUES = ("a", "b")
KEYS = range(1, 5)
OPTIONS: dict[str, Any] = {"key": ["id"], "modified": "m", "lookback": "30s", "page_rows": 2}
_DDL = "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(20), b VARCHAR(20), m DATETIME NOT NULL)"
_BOOKS = ("base_t", "state", "conflict", "quarantine", "before")
_TABLES = ("t", *(f"stationsync_{name}" for name in _BOOKS))


class Killed(BaseException):
    """The run ends here, as a kill -9 would end it."""


@dataclass(frozen=True)
class Clocked(Database):
    """A database whose clock is the history's."""

    time: Callable[[], datetime] = datetime.now

    @property
    def dialect(self) -> Dialect:
        dialect: Any = copy.copy(dialect_of(self.url))  # everyone else's keeps its own clock
        dialect.clock = lambda *_: Clock(self.time(), self.time())
        return dialect


class Inline:
    """In place of the thread that reads ahead, so that a history happens in the same order every time."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args))
        except Exception as error:  # noqa: BLE001 - the future hands it on
            future.set_exception(error)
        return future


class Stage:
    """The two tables and the books, made once and emptied for each history."""

    def __init__(
        self,
        databases: Databases,
        policy: Policy,
        monkeypatch: pytest.MonkeyPatch,
        editable: Sequence[str] | None = None,
    ) -> None:
        self.databases = databases
        self.editable = VALUES if editable is None else editable
        for where in ("control", 1):
            databases.execute(where, _DDL)
            databases.execute(where, "CREATE INDEX t_modified ON t (m, id)")
        self.fleet = Fleet(databases, tables={"t": {**OPTIONS, "conflicts": str(policy), "editable": editable}})
        self.fleet.init()
        self._open: dict[Where, Any] = {where: databases._open(where, autocommit=True) for where in ("control", 1)}
        databases._opened.extend(self._open.values())
        monkeypatch.setattr(runs, "ThreadPoolExecutor", Inline)
        self._send = push.send
        monkeypatch.setattr(push, "send", self._chaotic_send)
        self.world: World

    def sql(self, where: Where, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with contextlib.closing(self._open[where].cursor()) as cursor:
            cursor.execute(*self.databases._statement(sql, params))
            return list(cursor.fetchall())

    def play(self, random: Random, skew: int, steps: int) -> None:
        """One history, then peace: both sides must be equal, and no write may be lost."""
        for table in _TABLES:
            self.sql("control", f"DELETE FROM {table}")
        self.sql(1, "DELETE FROM t")
        self.world = World(self, random, skew)
        self.world.play(steps)

    def _chaotic_send(self, *args: Any) -> Any:
        self.world.chaos()
        sent = self._send(*args)
        self.world.chaos()
        return sent


@dataclass(frozen=True)
class Late:
    """A write that is committed only at `due`, under the stamp it was given when it was made."""

    due: int
    side: Where
    key: int
    column: str
    value: str
    stamp: datetime


class World:
    """One history. Every written value is unique, so that what became of it can be told."""

    def __init__(self, stage: Stage, random: Random, skew: int) -> None:
        self.stage = stage
        self.random = random
        self.skew = skew
        self.time = 10_000
        self.written: set[str] = set()
        self.superseded: set[str] = set()
        self.late: list[Late] = []
        self.peace = False
        self.log: list[object] = []
        (pair,) = stage.fleet.pairs()
        control = Clocked(**_fields(pair.control), time=lambda: self.now("control"))
        station = Clocked(**_fields(pair.station), time=lambda: self.now(1))
        self.pair = replace(pair, control=control, station=station)
        plain = runs.plain_steps()
        self.steps = replace(plain, merge=self._merge(plain.merge))

    def _merge(self, merge: Callable[..., Any]) -> Callable[..., Any]:
        def after_chaos(*args: Any) -> Any:
            self.chaos()
            return merge(*args)

        return after_chaos

    def now(self, where: Where) -> datetime:
        return BEGIN + timedelta(seconds=self.time + (0 if where == "control" else self.skew))

    # --- applications

    def write(self, side: Where, key: int) -> None:
        self.time += self.random.choice([0, 0, 1, 3])
        value = f"{side}-{len(self.written)}"
        if not self.stage.sql(side, "SELECT id FROM t WHERE id = %s", [key]):
            if side != "control":
                self._insert(key, value)
            return
        wait = self.random.randrange(1, 20) if self.random.random() < 0.15 else 0
        column = self.random.choice(self.stage.editable if side == "control" else VALUES)
        write = Late(self.time + wait, side, key, column, value, self.now(side))
        self.written.add(value)
        if wait:
            self.late.append(write)
        else:
            self._commit(write)

    def _insert(self, key: int, value: str) -> None:
        values = [value, f"{value}'"]
        self.written.update(values)
        self.log.append((self.time, "insert", key, values))
        self.stage.sql(1, "INSERT INTO t (id, a, b, m) VALUES (%s, %s, %s, %s)", [key, *values, str(self.now(1))])

    def _commit(self, write: Late) -> None:
        ((before,),) = self.stage.sql(write.side, f"SELECT {write.column} FROM t WHERE id = %s", [write.key])
        self.superseded.add(before)
        self.log.append((self.time, write))
        sql = f"UPDATE t SET {write.column} = %s, m = %s WHERE id = %s"
        self.stage.sql(write.side, sql, [write.value, str(write.stamp), write.key])

    def tick(self, seconds: int) -> None:
        self.time += seconds
        due = [write for write in self.late if write.due <= self.time]
        self.late = [write for write in self.late if write.due > self.time]
        for write in due:
            self._commit(write)

    def chaos(self) -> None:
        """What may happen between any two steps: writes, late commits, a kill."""
        if self.peace:
            return
        for _ in range(self.random.choice([0, 0, 1, 2])):
            self.write(self.random.choice(["control", 1]), self.random.choice(KEYS))
        self.tick(self.random.choice([0, 1, 1, 5]))
        if self.random.random() < 0.12:
            self.log.append((self.time, "killed"))
            raise Killed

    # --- the history

    def play(self, steps: int) -> None:
        for _ in range(steps):
            with contextlib.suppress(Killed):
                self.chaos()
                for run in self.random.choice([(runs.pull,), (runs.push_edits,), (runs.pull, runs.push_edits)]):
                    self.log.append((self.time, run.__name__, run(self.pair, self.steps).counts))
        self.peace = True
        self.tick(20)
        for _ in range(3):
            self.tick(10)
            reports = [runs.pull(self.pair, self.steps), runs.push_edits(self.pair, self.steps)]
            self.log.append((self.time, [report.counts for report in reports]))
        assert [str(report.status) for report in reports] == ["nothing to do"] * 2, self.told()
        self._require_equal()
        lost = self.written - set(self._final()) - self.superseded - set(self._kept())
        assert not lost, f"lost {lost}{self.told()}"

    def told(self) -> str:
        return "\n" + "\n".join(map(str, self.log))

    def _final(self) -> Iterator[str]:
        for row in self.stage.sql(1, "SELECT a, b FROM t"):
            yield from row

    def _require_equal(self) -> None:
        station = self.stage.sql(1, "SELECT id, a, b, m FROM t ORDER BY id")
        assert self.stage.sql("control", "SELECT id, a, b, m FROM t ORDER BY id") == station, self.told()
        base = "SELECT id, a, b, m FROM stationsync_base_t WHERE stationsync_pending = 0 ORDER BY id"
        assert self.stage.sql("control", base) == station, self.told()

    def _kept(self) -> Iterator[str]:
        """The values that lost, as the conflict table has them."""
        query = "SELECT loser, columns, station_row, control_row FROM stationsync_conflict"
        for loser, columns, station, control in self.stage.sql("control", query):
            rows = {"station": [station], "control": [control], "both": [station, control]}[loser]
            for row in map(json.loads, rows):
                yield from (row[name] for name in json.loads(columns) if name in VALUES)


def _fields(database: Database) -> dict[str, Any]:
    return {name: getattr(database, name) for name in ("place", "url", "password", "is_station")}
