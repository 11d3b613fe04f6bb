"""The fault drill: bounded and seeded on both kinds of database; and it finds engines that were spoilt on purpose."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.share import share
from support.waiting import PATIENCE
from typer.testing import CliRunner

from cli import drill
from cli.drill import Wanted, history
from cli.drill.history import Backup, History, Restore, Run, Setting, Write
from cli.drill.loop import Failure, Order, Played
from cli.drill.loop import drill as drill_loop
from cli.main import app


def drilled(**options: Any) -> tuple[drill.Result, list[str]]:
    said: list[str] = []
    return drill.run(Wanted(say=said.append, **options)), said


def test_random_histories_on_sqlite() -> None:
    histories = share(4, 25)
    result, said = drilled(database="sqlite", histories=histories, seed=5, workers=1, suites=False)
    assert not result.failures, "\n".join(said)
    assert (result.totals.histories, result.totals.counts["killed"] > 0) == (histories, True)


@pytest.mark.long
def test_random_histories_with_faults_on_mariadb() -> None:
    """`make soak` plays thousands."""
    histories = share(4, 12)
    result, said = drilled(database="mariadb", histories=histories, seed=9, workers=2)
    assert not result.failures, "\n".join(said)
    counts = result.totals.counts
    assert result.totals.histories == histories
    assert [name for name in ("facts", "killed", "failed", "conflicts", "held") if not counts[name]] == []


def test_a_worker_that_dies_ends_the_drill() -> None:
    def tell(played: Played) -> bool:
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        return True

    with pytest.raises(RuntimeError, match="a process of the drill ended with -9"):
        drill_loop(Order("sqlite", seed=1, histories=100, suites=False), 1, tell)


# A seed that finds it, or was near one when histories were others; how few steps must show it (None: it is enough
# that it is found, the shrinker has tests of its own); the words.
PLANTED: dict[str, tuple[int, int | None, str]] = {
    "blind_merge": (212, None, "lost: "),
    "forgetful_conflicts": (200, None, "lost: "),
    "careless_quarantine": (220, 1, "control does not"),
    "early_base": (300, None, "lost: "),
    "burning_updates": (231, None, "used up numbers"),
    "forgetful_journal": (200, None, "the journal tells"),
}


@pytest.mark.long
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_and_shrunk(fault: str) -> None:
    seed, steps, words = PLANTED[fault]
    options = {"database": "sqlite", "sabotage": f"support.sabotage:{fault}", "workers": 1}
    seconds = 0 if steps is None else 120
    result, said = drilled(histories=30, seed=seed, suites=False, shrink_seconds=seconds, **options)
    (failure,) = result.failures
    assert steps is None or len(failure.shortest.steps) <= steps, "\n".join(said)
    assert any(words in problem for problem in failure.shortest_problems), failure.shortest_problems
    # What it leaves behind fails again, and is sound for an engine that is.
    assert result.folder is not None
    file = result.folder / f"{failure.history.seed}.shortest.history"
    assert said[-2].endswith(f"--replay {file}")
    assert drilled(replay=file, shrink_seconds=0, **options)[0].failures
    assert not drilled(replay=file, histories=1, database="sqlite")[0].failures


RESTORED = (Write("station-1", (1, "S1")), Run("station-1", "sync"))
RESTORED = (*RESTORED, Backup(), *RESTORED, Write("control", (1, "S1")), Restore(), *RESTORED[1:])


def test_a_fault_of_the_way_back_from_an_older_control_is_found(tmp_path: Path) -> None:
    file = tmp_path / "1.history"
    file.write_text(history.to_text(History(1, Setting(sweeps=True), RESTORED)), encoding="utf-8")
    options: dict[str, Any] = {"replay": file, "histories": 1, "database": "sqlite", "shrink_seconds": 0}
    assert not drilled(**options)[0].failures
    (failure,) = drilled(sabotage="support.sabotage:forgetful_reseed", **options)[0].failures
    assert any("lost: " in problem for problem in failure.problems), failure.problems


HISTORY = History(1, Setting(), (Write("station-1", (1, "S1")), Run("station-1", "sync"), Write("control", (1, "S1"))))


def test_the_command_replays_a_file_and_prints_one_object(tmp_path: Path) -> None:
    file = tmp_path / "1.history"
    file.write_text(history.to_text(HISTORY), encoding="utf-8")
    command = ["drill", "--replay", str(file), "--histories", "1", "--database", "sqlite", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *command], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ok"], told["histories"], told["facts"], told["failures"]) == (True, 1, 2, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--database", "oracle"], "Known: mariadb, sqlite"),
        (["--replay", "nowhere.history"], "cannot be read"),
        (["--replay", __file__], "is no history|Extra data|Expecting"),
    ],
)
def test_what_cannot_be_drilled_is_refused(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["drill", *arguments])
    assert result.exit_code == 2
    assert any(word in result.output for word in words.split("|")), result.output


def test_a_failure_ends_the_command_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(HISTORY, ("lost: x",), (), HISTORY, ("lost: x",))
    monkeypatch.setattr(drill, "run", lambda wanted: drill.Result("sqlite", 1, failures=[failure]))
    result = CliRunner().invoke(app, ["drill", "--json"])
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["ok"], told["failures"][0]["problems"]) == (False, ["lost: x"])
    assert told["failures"][0]["shortest"] == history.lines(HISTORY)
