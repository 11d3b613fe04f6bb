"""The loop of a drill: history after history, in as many workers as there are cores; each has its own servers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from cli.drill import processes
from cli.drill.director import Director, Outcome
from cli.drill.generate import Vocabulary, generate
from cli.drill.history import History
from cli.drill.processes import Runner
from cli.drill.shrink import in_order, shrink
from cli.drill.tables import SUITE, TABLE
from cli.drill.world import MariaDBWorld, SQLiteWorld, World

_SPAWN = multiprocessing.get_context("spawn")
# What depends on the moment, such as two threads, does not fail every time.
_TRIES = 2


@dataclass(frozen=True)
class Order:
    """What to drill: until `until` (on time.monotonic's clock) or `histories`, whichever comes first."""

    database: str
    seed: int
    histories: int | None = None
    until: float | None = None
    shrink_seconds: float = 60.0
    sabotage: str = ""
    suites: bool = True


@dataclass(frozen=True)
class Failure:
    history: History
    problems: tuple[str, ...]
    log: tuple[str, ...]
    shortest: History
    shortest_problems: tuple[str, ...]


@dataclass(frozen=True)
class Played:
    """One history; `failure` where something did not hold."""

    seed: int
    seconds: float
    outcome: Outcome
    failure: Failure | None = None


@dataclass
class Totals:
    histories: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0

    def add(self, played: Played) -> None:
        self.histories += 1
        self.slowest = max(self.slowest, played.seconds)
        for name in ("facts", "runs", "killed", "failed", "conflicts", "held"):
            self.counts[name] = self.counts.get(name, 0) + getattr(played.outcome, name)


@contextmanager
def directing(database: str, sabotage: str = "", *, suites: bool = True) -> Iterator[Director]:
    """Servers, processes and a folder for one history after the other."""
    processes.warm(suites=suites)
    world: World = MariaDBWorld() if database == "mariadb" else SQLiteWorld()
    runners = (Runner(), Runner())
    with tempfile.TemporaryDirectory(prefix="stationsync-drill-") as folder:
        (Path(folder) / f"{TABLE}.yaml").write_text(SUITE, encoding="utf-8")
        try:
            yield Director(world, runners, processes.environment(folder), sabotage)
        finally:
            for runner in runners:
                runner.kill()
            world.close()


def play(director: Director, history: History, shrink_seconds: float) -> Played:
    """Play a history, and where it fails find the shortest that does."""
    begun = time.monotonic()
    outcome = director.play(history)
    seconds = time.monotonic() - begun
    if not outcome.problems:
        return Played(history.seed, seconds, outcome)
    return Played(history.seed, seconds, outcome, _failure(director, history, outcome, shrink_seconds))


def _failure(director: Director, history: History, outcome: Outcome, seconds: float) -> Failure:
    last: list[Outcome] = [outcome]

    def fails(candidate: History) -> bool:
        for _ in range(1 if in_order(candidate) == candidate else _TRIES):
            found = director.play(candidate)
            if _kinds(found) & _kinds(outcome):
                last[0] = found
                return True
        return False

    shortest = shrink(history, fails, seconds)
    return Failure(history, tuple(outcome.problems), tuple(outcome.log), shortest, tuple(last[0].problems))


def _kinds(outcome: Outcome) -> set[str]:
    """What sort of thing went wrong: another one is another find."""
    return {problem.split(" ", 1)[0] for problem in outcome.problems}


def drill(order: Order, workers: int, tell: Callable[[Played], bool]) -> None:
    """Play histories of seed, seed + 1, …; `tell` hears of each and says whether to go on."""
    pipes: dict[Connection, Any] = {}
    try:
        for number in range(workers):
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_worker, args=(theirs, order, number, workers, os.environ.copy()))
            process.start()
            theirs.close()
            pipes[ours] = process
        _listen(pipes, tell)
    finally:
        for process in pipes.values():
            # It has servers to end: a signal that it can hear.
            process.terminate()
        for pipe, process in pipes.items():
            pipe.close()
            process.join(20)
            process.kill()
            process.join()


def _listen(pipes: dict[Connection, Any], tell: Callable[[Played], bool]) -> None:
    open_pipes = set(pipes)
    while open_pipes:
        for pipe in wait(list(open_pipes)):
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except EOFError:
                open_pipes.discard(pipe)
                _require_well(pipes[pipe])
                continue
            if isinstance(said, BaseException):
                raise said
            if not tell(said):
                return


def _require_well(process: Any) -> None:
    """Fewer histories than asked for, without a word, would pass for a success."""
    process.join(20)
    if process.exitcode:
        raise RuntimeError(f"a process of the drill ended with {process.exitcode}: not all histories were played")


def _worker(pipe: Connection, order: Order, number: int, workers: int, environment: dict[str, str]) -> None:
    """Every `workers`-th seed."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    try:
        with directing(order.database, order.sabotage, suites=order.suites) as director:
            for i in _numbers(order, number, workers):
                history = generate(order.seed + i, Vocabulary(order.database, order.suites))
                pipe.send(play(director, history, order.shrink_seconds))
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 - the drill itself is broken: the one who waits must hear of it
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _numbers(order: Order, number: int, workers: int) -> Iterator[int]:
    while (order.histories is None or number < order.histories) and (
        order.until is None or time.monotonic() < order.until
    ):
        yield number
        number += workers
