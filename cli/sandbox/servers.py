"""Private MariaDB servers for tests, demo, bench and fault drill: none outlives the process that started it.

Each server has its own folder, port, socket and temporary folder, listens on loopback only, and reads none
of the machine's configuration. A normal end runs `close`; for every other end a tiny shell waits on a pipe
whose other end only the parent holds. (`PR_SET_PDEATHSIG` would not do: it fires when the *thread* that
started the server ends.)
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pymysql

from cli.sandbox.files import HOST, as_user, copy_template, find_mariadbd, free_port, is_mysql, mariadbd, short_folder
from stationsync.errors import SetUpError

__all__ = ["MariaDBServer", "find_mariadbd"]

_COMMON = (
    "--no-defaults",
    f"--bind-address={HOST}",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-log-file-size=16M",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-buffer-pool-load-at-startup=OFF",
    # Many servers on one machine would use up the kernel's asynchronous I/O slots.
    "--innodb-use-native-aio=OFF",
)
# MySQL has another option for the log, a second port that nobody asks for, and a limit for recursive queries.
_MYSQL = (
    *(option for option in _COMMON if "innodb-log-file-size" not in option),
    "--innodb-redo-log-capacity=32M",
    "--mysqlx=OFF",
    "--cte-max-recursion-depth=1000000",
)
# The kernel keeps what the server wrote: safe against kill -9, not against a power cut.
_FAST = ("--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--debug-no-sync")
_DURABLE = ("--innodb-flush-log-at-trx-commit=1",)

# The server's pid is on disk before the server exists, so that the watcher can never miss it.
_LAUNCH = 'echo $$ > "$0"; exec "$@"'
# A line on standard input says that all is well; the end of input without one says that the parent is dead.
_WATCH = """
trap '' HUP INT TERM
read -r line && exit
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s "$0/pid" ] && break; sleep 0.1; done
if [ -s "$0/pid" ]; then
  pid=$(cat "$0/pid")
  kill -9 "$pid"
  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>&- || break; sleep 0.1; done
fi
rm -rf "$0"
"""


class MariaDBServer:
    """One private server. Starts on `with` or `start()`; `root` has no password and every right.

    `folder` keeps data and log in a place of the caller's (they stay after `close`); otherwise both are
    thrown away. `options` go last, so they win. `durable` syncs every commit, as a real server does.
    `program` is another server than this machine's. `timezone` is an offset such as "+09:00": a fresh server knows
    no names.
    """

    host = HOST

    def __init__(
        self,
        folder: Path | None = None,
        *,
        options: Sequence[str] = (),
        timezone: str | None = None,
        buffer_pool: str = "64M",
        durable: bool = False,
        program: Path | None = None,
    ) -> None:
        self._program = program
        self._run = short_folder()
        self._owner = os.getpid()
        self.folder = folder or self._run
        self.socket = self._run / "s"
        self.port = free_port()
        mysql = program is not None and is_mysql(program)
        self._options = (
            *(_COMMON if not mysql else _MYSQL),
            *(_DURABLE if durable else _FAST if not mysql else _FAST[:2]),
            f"--innodb-buffer-pool-size={buffer_pool}",
            *((f"--default-time-zone={timezone}",) if timezone else ()),
            *options,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._known = False  # somebody may know the port
        atexit.register(self.close)

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- life

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.running else None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def log_tail(self) -> str:
        """The last lines of the server's log, for messages."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def start(self) -> None:
        """Start and wait until it answers. The first start picks another port when somebody took ours."""
        if self.running:
            return
        self._prepare()
        for attempt in range(5):
            self._launch()
            try:
                self.wait_ready()
            except SetUpError:
                self.kill()
                if attempt == 4 or "Bind on TCP/IP port" not in self.log_tail:
                    raise
            else:
                self._known = True
                return
            if self._known:  # clients have this port: wait for it
                time.sleep(1)
            else:
                self.port = free_port()

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait for the first answer on our own socket, so that another server cannot answer for ours."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self.running:
            if self.socket.exists():
                with contextlib.suppress(pymysql.err.OperationalError):
                    return self.execute("DO 1")
            time.sleep(0.02)
        problem = "gave no answer" if self.running else "ended"
        raise SetUpError(f"MariaDB in {self.folder}", f"the server {problem}. Its log:\n{self.log_tail}")

    def stop(self, seconds: float = 60) -> None:
        """An orderly shutdown; the data stays. Clients see their connections closed, then refused."""
        if self._process and self.running:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)  # a frozen server hears nothing else
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL: what a crash is. The data stays; the next start recovers it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            (self._run / "pid").unlink(missing_ok=True)
            self.socket.unlink(missing_ok=True)
            self._process = None

    def restart(self) -> None:
        """Stop and start again: same port, same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers, as with a dead link."""
        if self._process and self.running:
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)  # until then some thread may still answer

    def thaw(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and throw away what is ours. A folder of the caller's is shut down in order and kept."""
        if os.getpid() != self._owner:  # a forked child inherits this object, not the server
            return
        if self.folder == self._run:
            self.kill()
        else:
            self.stop()
        if self._watcher:
            self._watcher.communicate(b"done\n")
            self._watcher = None
        shutil.rmtree(self._run, ignore_errors=True)

    # --- use

    def execute(self, sql: str, database: str | None = None) -> None:
        """One statement as root, committed."""
        self.query(sql, database)

    def query(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """One statement as root, committed; its rows."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def connect(self, database: str | None = None, *, autocommit: bool = True) -> pymysql.Connection[Any]:
        """A root connection through the socket; the caller closes it."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=autocommit,
            connect_timeout=10,
            ssl_disabled=True,  # the driver reads the system's certificates for each connection otherwise
        )

    def create_database(self, name: str) -> None:
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    def create_user(self, name: str, password: str, grants: Sequence[str]) -> None:
        """`grants` are the middles of GRANT statements: "SELECT, UPDATE ON `test`.*"."""
        secret = password.replace("\\", "\\\\").replace("'", "''")
        self.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{secret}'")
        for grant in grants:
            self.execute(f"GRANT {grant} TO '{name}'@'%'")

    def url(self, database: str, user: str = "root", password: str = "") -> str:
        """The SQLAlchemy address of a database here."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"mysql+pymysql://{user}{secret}@{self.host}:{self.port}/{database}"

    # --- inside

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        """Watcher first, so that it also clears up a half-made data folder."""
        self._run.mkdir(mode=0o700, exist_ok=True)
        (self._run / "tmp").mkdir(exist_ok=True)
        if self._watcher is None:
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, str(self._run)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        if not self._data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            copy_template(self._data, self._program or mariadbd())

    def _launch(self) -> None:
        program = [
            str(self._program or mariadbd()),
            *self._options,
            f"--datadir={self._data}",
            f"--port={self.port}",
            f"--socket={self.socket}",
            f"--tmpdir={self._run / 'tmp'}",
            f"--pid-file={self._run / 'mariadbd.pid'}",
            *as_user(),
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCH, str(self._run / "pid"), *program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
