"""A Prefect server for the demo: one process on a free port, thrown away at the end with all it wrote."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cli.sandbox.files import HOST, free_port
from stationsync.errors import SetUpError

# A line says that all is well; the end of input without one says that the parent is dead: end the server.
_WATCH = 'trap "" HUP INT TERM; read -r line && exit; kill -9 -- "-$0"'


class PrefectServer:
    """Starts at once; `wait_ready` waits for its first answer, which takes 10 to 30 seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "prefect"
        self._folder.mkdir()
        self.port = free_port()
        self.ui = f"http://{HOST}:{self.port}"
        self.environment = {
            "PREFECT_HOME": str(self._folder),
            "PREFECT_API_URL": f"{self.ui}/api",
            # On another port than 4200, links and pages must be told.
            "PREFECT_UI_URL": self.ui,
            "PREFECT_SERVER_UI_API_URL": f"{self.ui}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        self._start()

    def _start(self) -> None:
        args = ["--host", HOST, "--port", str(self.port)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # it would compile Prefect anew each time
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deployments.sqlite_server", *args],
                env=kept | self.environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which ends the server last
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def log(self) -> Path:
        return self._folder / "server.log"

    def wait_ready(self, seconds: float = 120) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.ui}/api/health", timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.1)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise SetUpError("the Prefect server", f"gave no answer. Its log:\n{tail}", next_step="Try: --no-prefect")

    def close(self) -> None:
        """At once: there is nothing in it worth an orderly end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._watcher.communicate(b"done\n")
