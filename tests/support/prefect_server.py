"""A real Prefect server and real workers for tests: processes of their own, none of which outlives the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import pytest

from cli.sandbox.files import free_port
from deployments import settings
from support.paths import ROOT
from support.waiting import PATIENCE, eventually, wait_until

# A line says that all is well; the end of input without one says that the parent is dead: end the group.
_WATCH = 'trap "" HUP INT TERM; read -r line && exit; kill -9 "-$0"; rm -rf "$1"'


class Program:
    """A Prefect program in the background. It leads a process group, which ends with it."""

    def __init__(
        self, name: str, args: list[str], environment: Mapping[str, str], folder: Path, module: str = "prefect"
    ) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            # From Python, never as a shell's background job: those ignore SIGINT, by which Prefect ends.
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, str(self.process.pid), str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9, with everything that it started."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for one in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(started, timeout=PATIENCE)
        self.process.wait()

    @property
    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._watcher.poll() is not None:
            return
        runs = psutil.Process(self.process.pid).children(recursive=True) if self.running else []
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        # A worker that ends leaves its runs behind, and they their leases.
        self.process.kill()
        for left in runs:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        psutil.wait_procs(runs, timeout=PATIENCE)
        self.process.wait()
        self._watcher.communicate(b"done\n")


class PrefectServer:
    """A server on a free port, with a home, and so a database, of its own; `environment` is for its programs.
    `pages`: with the UI, for a browser."""

    def __init__(self, *, pages: bool = False, **environment: str) -> None:
        self._pages, self._more = pages, environment
        self.folder = Path(tempfile.mkdtemp(prefix="stationsync-prefect-server-"))
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        self._port = free_port()
        self.ui = f"http://127.0.0.1:{self._port}"
        self.url = f"{self.ui}/api"
        # On another port than the usual one, its pages have to be told where the API is.
        pages = {"PREFECT_SERVER_UI_API_URL": self.url, "PREFECT_UI_URL": self.ui} if self._pages else {}
        self.environment = {**_environment(self.folder, self.url), **pages, **self._more}
        template = _template()
        if template and template.exists():
            shutil.copyfile(template, self.folder / "prefect.db")
        self.start_server()
        if template and not template.exists():
            _keep(self.folder / "prefect.db", template)
        return self

    def start_server(self) -> None:
        """Also again, on the same port and database, after it ended."""
        args = ["--host", "127.0.0.1", "--port", str(self._port), *([] if self._pages else ["--no-ui"])]
        self.server = self._start(f"server-{len(self._programs)}", args, module="deployments.sqlite_server")
        self._wait_ready(self.server)

    def pause(self) -> None:
        """It stands still: an idle server, with what tests left behind in it, takes a tenth of a core."""
        self.server.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.server.process.send_signal(signal.SIGCONT)

    def forget(self) -> None:
        """Delete all deployments, their runs to come and all automations: schedules that a test left behind would fall
        due while the server stands still, and keep it busy for minutes afterwards."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for kind in ("deployments", "automations"):
                wait_until(lambda kind=kind: not _may_have_more(client, kind), f"the end of all {kind}")  # type: ignore[misc]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in reversed(self._programs):
            program.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def logs(self) -> str:
        """What all programs said last, for a failed test."""
        return "\n".join(f"--- {program.log.name}\n{program.tail}" for program in self._programs)

    def everything(self) -> bytes:
        """All that it keeps: database, write-ahead log, what its programs said."""
        kept = [path for path in self.folder.rglob("*") if path.is_file()]
        return b"\n".join(path.read_bytes() for path in kept)

    def run(self, *args: str, cwd: Path = ROOT, **environment: str) -> str:
        """A `prefect` command, to its end; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *args],
            env={**self.environment, **environment},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, (
            f"prefect {' '.join(args)} ended with {done.returncode}:\n{done.stdout}\n{self.logs}"
        )
        return done.stdout

    def worker(self, pool: str, *more: str, **environment: str) -> Program:
        """A process worker of this pool, with `more` options; it ends with the server."""
        args = ["worker", "start", "--type", "process", "--pool", pool, "--name", f"worker-{len(self._programs)}"]
        args += more
        return self._start(f"worker-{len(self._programs)}", args, environment)

    def fork_worker(self, pool: str, **environment: str) -> Program:
        """Our own worker."""
        name = f"fork-worker-{len(self._programs)}"
        return self._start(name, ["worker", "--pool", pool, "--name", name], environment, "cli.main")

    def _start(
        self, name: str, args: list[str], environment: Mapping[str, str] | None = None, module: str = "prefect"
    ) -> Program:
        program = Program(name, args, {**self.environment, **(environment or {})}, self.folder, module)
        self._programs.append(program)
        return program

    def _wait_ready(self, program: Program) -> None:
        def answers() -> bool | None:
            if not program.running:
                pytest.fail(f"The Prefect server ended:\n{program.tail}", pytrace=False)
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{self.url}/health", timeout=5).status_code == 200 or None
            return None

        eventually(answers, "an answer of the Prefect server", self)


def _template() -> Path | None:
    """The database of a server that has just begun: to make its tables takes longer than all the rest of its start.
    It is kept for the servers to come; None where its folder is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"stationsync-prefect-{version('prefect')}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "prefect.db" if folder.lstat().st_uid == os.getuid() and not folder.is_symlink() else None


def _keep(database: Path, template: Path) -> None:
    making = template.with_name(f"making-{os.getpid()}.db")
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(making)) as copy:
        source.backup(copy)
    making.replace(template)


def _may_have_more(client: httpx.Client, kind: str) -> bool:
    """Deletes those that the server names at once; also true where it answers otherwise, as when SQLite is locked."""
    try:
        found = client.post(f"{kind}/filter", json={"limit": 200}).raise_for_status().json()
        for one in found:
            client.delete(f"{kind}/{one['id']}")
    except httpx.HTTPError:
        time.sleep(0.5)
        return True
    return bool(found)


def _environment(home: Path, url: str) -> dict[str, str]:
    """Of this server's programs. Bytecode is written: without it, every process would compile Prefect anew."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        **settings.environment(),
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        # Tests hold runs by a lock while they kill them.
        "STATIONSYNC_LOCK_WAIT": "60",
        "COLUMNS": "200",
    }
