"""`stationsync demo` as a person runs it: the installed program, a process of its own, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest
from support.command import PROGRAM
from support.paths import ROOT
from support.processes import kill
from support.waiting import PATIENCE, wait_until

CLAIMS = (
    "no value changed on its way: Korean, emoji, NULL and empty text",
    "exactly 120 edits and 35 new rows were written, nothing for Jeju",
    "not one write reached the databases of Seoul and Jeju",
    "different columns: both edits live",
    "Jeju's text is kept, beside the one that won",
    "59 rows went up, one is in quarantine",
    "the good version went up and released the entry",
    "that is no failure: Busan is off-line",
    "its 25 edits went up and control's 15 came down: nothing is lost",
    "the five deleted rows are in the trash",
    "nothing to do, anywhere",
    "every station and control have the same rows, value by value",
    "control has these 30,090 rows and no other",
)
# The story with its last chapter only, after somebody changed a row behind everybody's back.
_SABOTAGED = """
import sys
from cli import demo
from cli.demo.sample import SITES
def sabotage(tell):
    tell.run("pull")
    tell.fleet.edit("control", SITES[0], [7], text="nobody knows")
demo.CHAPTERS = (("Sabotage", sabotage), demo.CHAPTERS[-1])
sys.exit(demo.demo(prefect=False))
"""


class Demo:
    """A demo in the background. All that it starts inherits a mark and a folder for temporary files."""

    def __init__(self, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._mark = uuid.uuid4().hex
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self._out = folder / "out.txt"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                env={
                    **os.environ,
                    "STATIONSYNC_TEST_MARK": self._mark,
                    "TMPDIR": str(self._temporary),
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._out.read_text(encoding="utf-8")

    def end(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the demo did not end:\n{self.output}")

    def wait_for(self, text: str) -> None:
        def said() -> bool:
            if text in self.output:
                return True
            assert self.process.poll() is None, self.output
            return False

        wait_until(said, text)

    def processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("STATIONSYNC_TEST_MARK") == self._mark and process.status() != "zombie"
        except psutil.Error:
            return False

    def require_nothing_left(self) -> None:
        # The template of MariaDB's data folder is made once, and stays.
        left = [path.name for path in self._temporary.iterdir() if not path.name.startswith("stationsync-mariadb-")]
        assert left == []
        wait_until(lambda: not self.processes(), "the end of its processes")  # watchers end a moment later


class Demos:
    """Starts demos; whatever a failed test leaves running is ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Demo] = []

    def __call__(self, *args: str, **environment: str) -> Demo:
        return self.start([str(PROGRAM), "demo", *args], **environment)

    def start(self, command: Sequence[str], **environment: str) -> Demo:
        demo = Demo(self._folder, command, environment)
        self._started.append(demo)
        return demo

    def close(self) -> None:
        for demo in self._started:
            for process in demo.processes():
                kill(process)
            demo.process.wait()


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[Demos]:
    demos = Demos(tmp_path)
    yield demos
    demos.close()


def require_the_whole_story(demo: Demo, good: str = "✓", bad: str = "✗") -> None:
    code = demo.end()
    assert code == 0, demo.output
    told = " ".join(demo.output.split())
    assert [claim for claim in CLAIMS if f"{good} {claim}" not in told] == []
    assert bad not in told.replace(f"a {bad} ends the demo", "")
    assert "Traceback" not in told
    assert "All of it came true" in told
    demo.require_nothing_left()


def test_the_story_through_the_engine_alone_on_mariadb(demos: Demos) -> None:
    require_the_whole_story(demos("--no-prefect", "--database", "mariadb", COLUMNS="100"))


def test_the_story_needs_no_terminal_and_nothing_waits_at_the_end(demos: Demos) -> None:
    """On SQLite, in forty columns of ASCII."""
    demo = demos("--no-prefect", "--keep", "--database", "sqlite", COLUMNS="40", PYTHONIOENCODING="ascii")
    require_the_whole_story(demo, "ok", "FAILED:")
    assert "--keep keeps nothing" in demo.output
    assert "station-1|10,055|10,055|" in "".join(demo.output.split())


def test_the_story_through_the_flows_whatever_prefect_is_set_up_here(demos: Demos) -> None:
    demo = demos(PREFECT_API_URL="http://127.0.0.1:1/api", STATIONSYNC_TOPOLOGY="/nowhere.yaml")
    require_the_whole_story(demo)
    assert "The runs are Prefect flows" in demo.output
    assert "WARNING | Flow run 'sync station-2' - station-2: does not answer" in demo.output


def test_a_difference_is_seen_and_ends_the_demo_with_1(demos: Demos) -> None:
    demo = demos.start([sys.executable, "-c", _SABOTAGED], PYTHONPATH=str(ROOT))
    assert demo.end() == 1, demo.output
    assert "DIFFERENT" in demo.output
    assert "✗ every station and control have the same rows, value by value" in demo.output
    demo.require_nothing_left()


@pytest.mark.parametrize(
    ("database", "number", "code"), [("sqlite", signal.SIGINT, 130), ("mariadb", signal.SIGTERM, 143)]
)
def test_stopped_half_way_it_clears_everything_away(
    demos: Demos, database: str, number: signal.Signals, code: int
) -> None:
    demo = demos("--no-prefect", "--database", database)
    demo.wait_for("3  Edits at control")
    demo.process.send_signal(number)
    assert demo.end() == code, demo.output
    assert "Traceback" not in demo.output
    demo.require_nothing_left()


def test_stopped_inside_a_flow_it_clears_everything_away(demos: Demos) -> None:
    demo = demos()
    demo.wait_for("1  The first load")
    time.sleep(0.3)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 130, demo.output
    demo.require_nothing_left()


def test_an_unknown_kind_of_database_is_a_usage_error(demos: Demos) -> None:
    demo = demos("--database", "oracle")
    assert demo.end() == 2
    assert "no such kind of database: oracle" in demo.output
    demo.require_nothing_left()
