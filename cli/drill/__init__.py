"""`stationsync drill`: random histories with faults on throw-away databases; what was acknowledged must be there."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.drill import history as histories
from cli.drill.history import History
from cli.drill.loop import Failure, Order, Played, Totals, directing, drill, play
from cli.sandbox.servers import find_mariadbd
from stationsync.errors import UsageError

_MINUTES = 1.0
_SHRINK = 60.0


@dataclass(frozen=True)
class Wanted:
    """The options of the command; `say` takes a line for a person."""

    minutes: float | None = None
    histories: int | None = None
    seed: int | None = None
    replay: Path | None = None
    database: str | None = None
    workers: int | None = None
    say: Callable[[str], None] = print
    sabotage: str = ""
    shrink_seconds: float = _SHRINK
    suites: bool = True


@dataclass
class Result:
    """What the drill found; `folder` has the history files of `failures`."""

    database: str
    seed: int
    totals: Totals = field(default_factory=Totals)
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    folder: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": not self.failures,
            "database": self.database,
            "seed": self.seed,
            "histories": self.totals.histories,
            "seconds": round(self.seconds, 1),
            "slowest": round(self.totals.slowest, 2),
            **self.totals.counts,
            "folder": str(self.folder) if self.folder else None,
            "failures": [
                {
                    "seed": failure.history.seed,
                    "problems": list(failure.problems),
                    "shortest": histories.lines(failure.shortest),
                    "shortest_problems": list(failure.shortest_problems),
                }
                for failure in self.failures
            ],
        }


def run(wanted: Wanted) -> Result:
    """The drill as it was asked for. It ends at the first failure."""
    database = _database(wanted)
    if wanted.replay is not None:
        return _replay(wanted, database, _history(wanted.replay))
    seed = random.SystemRandom().randrange(1_000_000) if wanted.seed is None else wanted.seed
    begun = time.monotonic()
    minutes = _MINUTES if wanted.minutes is None and wanted.histories is None else wanted.minutes
    until = None if minutes is None else begun + minutes * 60
    workers = wanted.workers or os.cpu_count() or 1
    if wanted.histories is not None:
        workers = max(1, min(workers, wanted.histories))
    result = Result(database, seed)
    order = Order(database, seed, wanted.histories, until, wanted.shrink_seconds, wanted.sabotage, wanted.suites)
    wanted.say(f"Drill on {database}, {workers} workers, --seed {seed}")

    def tell(played: Played) -> bool:
        _add(result, played, wanted.say)
        if result.totals.histories % 100 == 0:
            wanted.say(_line(result, time.monotonic() - begun))
        return not result.failures

    drill(order, workers, tell)
    result.seconds = time.monotonic() - begun
    wanted.say(_line(result, result.seconds))
    return result


def _replay(wanted: Wanted, database: str, history: History) -> Result:
    begun = time.monotonic()
    result = Result(database, history.seed)
    with directing(database, wanted.sabotage, suites=history.setting.suite) as director:
        # What fails now and then only has some chances.
        for _ in range(wanted.histories or 3):
            _add(result, play(director, history, wanted.shrink_seconds), wanted.say)
            if result.failures:
                break
    result.seconds = time.monotonic() - begun
    wanted.say(_line(result, result.seconds))
    return result


def _add(result: Result, played: Played, say: Callable[[str], None]) -> None:
    result.totals.add(played)
    if played.failure is not None:
        result.failures.append(played.failure)
        result.folder = result.folder or Path(tempfile.mkdtemp(prefix="stationsync-drill-failed-"))
        for line in _written(result.folder, result.database, played.failure):
            say(line)


def _written(folder: Path, database: str, failure: Failure) -> list[str]:
    """Keep both histories; what to tell about them."""
    seed = failure.history.seed
    whole, shortest = folder / f"{seed}.history", folder / f"{seed}.shortest.history"
    whole.write_text(histories.to_text(failure.history), encoding="utf-8")
    shortest.write_text(histories.to_text(failure.shortest), encoding="utf-8")
    return [
        f"FAILED: seed {seed}",
        *(f"  {problem}" for problem in failure.problems),
        "What happened:",
        *(f"  {line}" for line in failure.log),
        f"The shortest history that still fails ({len(failure.shortest.steps)} steps):",
        *(f"  {line}" for line in histories.lines(failure.shortest)),
        *(f"  -> {problem}" for problem in failure.shortest_problems),
        f"Histories are in {folder}. Again: stationsync drill --database {database} --replay {shortest}",
    ]


def _line(result: Result, seconds: float) -> str:
    counts = result.totals.counts
    words = (("facts", "writes"), ("runs", "runs"), ("killed", "killed"), ("failed", "failed with an error"))
    told = ", ".join(f"{counts.get(name, 0):,} {word}" for name, word in words)
    more = f"{counts.get('conflicts', 0):,} conflicts, {counts.get('held', 0):,} rows in quarantine"
    verdict = f"{len(result.failures)} FAILED" if result.failures else "nothing lost, nothing doubled, all equal"
    return f"{result.totals.histories:,} histories in {seconds:.0f} s ({told}; {more}): {verdict}"


def _database(wanted: Wanted) -> str:
    if wanted.database is None:
        return "mariadb" if find_mariadbd() else "sqlite"
    if wanted.database not in ("mariadb", "sqlite"):
        raise _usage(f"no such kind of database: {wanted.database}.", "Known: mariadb, sqlite.")
    return wanted.database


def _history(file: Path) -> History:
    try:
        return histories.from_text(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _usage(
            f"{file} cannot be read: {error.strerror}.", "Name a file that a failed drill has left."
        ) from error
    except ValueError as error:
        raise _usage(f"{file}: {error}.", "Name a file that a failed drill has left.") from error


def _usage(what: str, next_step: str) -> UsageError:
    return UsageError("drill", what, not_done="Nothing was started.", next_step=next_step)
