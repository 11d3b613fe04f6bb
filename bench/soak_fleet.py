"""A Prefect server and workers as a production has them, each restarted some seconds after it ended; and what kills
them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from cli.sandbox.files import HOST, free_port
from deployments import settings

RESTART = 3.0  # seconds, as of a supervisor


class Service:
    """A program that is started again when it ends."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name, self._command, self._folder = name, command, folder
        self._environment = {**os.environ, **environment}
        self.starts = 0
        self._ended: float | None = None
        self.start()

    def start(self) -> None:
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        self.starts += 1
        self._ended = None

    def supervise(self) -> None:
        if self.process.poll() is None:
            return
        now = time.monotonic()
        self._ended = self._ended or now
        if now - self._ended >= RESTART:
            self.start()

    def family(self) -> list[psutil.Process]:
        """It and all that it has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def close(self) -> None:
        family = self.family()
        self.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=20)
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()


class SoakFleet:
    """`environment` is for everything that is to talk to this server."""

    def __init__(self, folder: Path, workers: int, limit: int, topology: Path, database: str | None) -> None:
        self._folder, self._workers, self._limit = folder, workers, limit
        port = free_port()
        self.url = f"http://{HOST}:{port}/api"
        self.environment = {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_UI_URL": f"http://{HOST}:{port}",
            **settings.environment(),
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "STATIONSYNC_TOPOLOGY": str(topology),
            **({"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {}),
        }
        start = ["prefect", "server", "start"] if database else ["deployments.sqlite_server"]
        command = [sys.executable, "-m", *start, "--host", HOST, "--port", str(port), "--no-ui"]
        self.services = [Service("server", command, self.environment, folder)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise)
        self.killed: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for service in reversed(self.services):
            service.close()

    def start_workers(self) -> None:
        command = [sys.executable, "-m", "cli.main", "worker", "--pool", "soak", "--limit", str(self._limit)]
        for n in range(1, self._workers + 1):
            name = f"worker-{n}"
            self.services.append(Service(name, [*command, "--name", name], self.environment, self._folder))

    def wait_ready(self, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            assert time.monotonic() < until, "the Prefect server gives no answer"
            time.sleep(0.3)

    def run(self, *args: str) -> str:
        """A `stationsync` command, to its end."""
        command = [sys.executable, "-m", "cli.main", *args]
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout

    def kill_something(self, chance: random.Random) -> None:
        """A run, a worker, a worker with its runs, or the server: kill -9."""
        server, *workers = self.services
        what = chance.choices(("run", "worker", "worker and runs", "server"), (3, 3, 3, 1))[0]
        service = server if what == "server" else chance.choice(workers)
        family = service.family()
        forks = [one for one in family if "zygote" in _command(one) and "zygote" in _command(one.parent())]
        if what == "run":
            family = forks[:1]
        elif what != "worker and runs":
            family = family[:1]
        if family:
            self.killed.append((time.time(), f"{what} ({service.name})"))
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def _supervise(self) -> None:
        while not self._stop.wait(0.5):
            for service in self.services:
                service.supervise()


def _command(process: psutil.Process | None) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline()) if process else ""
    return ""
