"""A private PostgreSQL for a Prefect server, where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.sandbox.files import HOST, free_port

_USER = "postgres"


def binaries() -> Path | None:
    """The folder of its programs, the newest version's; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    beside = shutil.which("postgres")
    return found[-1].parent if found else Path(beside).parent if beside else None


class Postgres:
    def __init__(self, folder: Path) -> None:
        programs = binaries()
        assert programs is not None
        self._programs = programs
        self._folder = folder / "postgres"
        self.port = free_port()

    @property
    def url(self) -> str:
        """As Prefect takes it."""
        return f"postgresql+asyncpg://{_USER}@{HOST}:{self.port}/prefect"

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700)
        if os.getuid() == 0:
            shutil.chown(self._folder, _USER, _USER)
            for parent in [*self._folder.parents][:2]:
                parent.chmod(parent.stat().st_mode | 0o011)  # the server's own user goes through
        self._run("initdb", "-D", str(self._folder / "data"), "-U", _USER, "-A", "trust", "-E", "UTF8")
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-h", HOST, "-p", str(self.port)]
        with (self._folder.parent / "postgres.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-k", str(self._folder), "-c", "max_connections=300"],
                user=self._user, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                cwd=self._folder,
            )  # fmt: skip
        until = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.2)
        self._run("createdb", "-h", HOST, "-p", str(self.port), "-U", _USER, "prefect")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _user(self) -> str | None:
        """It refuses to run as root."""
        return pwd.getpwnam(_USER).pw_name if os.getuid() == 0 else None

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, name: str, *args: str) -> None:
        command = [str(self._programs / name), *args]
        subprocess.run(command, user=self._user, check=True, capture_output=True, cwd=self._folder)
