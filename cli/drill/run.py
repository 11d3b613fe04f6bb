"""The loop of a drill: history after history, in as many workers as there are cores."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.drill import processes
from cli.drill.director import Director, Outcome
from cli.drill.history import History
from cli.drill.processes import Runner
from cli.drill.tables import SUITE, TABLE
from cli.drill.world import MariaDBWorld, SQLiteWorld, World


@contextmanager
def directing(database: str, sabotage: str = "") -> Iterator[Director]:
    """Servers, processes and a folder for one history after the other."""
    processes.warm()
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


def timed(director: Director, history: History) -> tuple[Outcome, float]:
    begun = time.monotonic()
    outcome = director.play(history)
    return outcome, time.monotonic() - begun
