"""What a throw-away server is made of: the programs of this machine, a data folder, a port.

A new data folder is a copy of a template that is made once per user and server version.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import random
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stationsync.errors import SetUpError

HOST = "127.0.0.1"
# Below the range that systems hand out to outgoing connections: a stopped server finds its port free again.
PORTS = range(15_000, 32_000)
# The kernel takes 107 bytes (Linux) or 103 (macOS) for the path of a socket.
LONGEST_SOCKET_PATH = 100

_PLACES = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin", "/usr/local/bin", "/usr/local/mysql/bin")
# Small, so that a copy is quick.
_OPTIONS = ("--no-defaults", "--innodb-log-file-size=16M", "--innodb-use-native-aio=OFF")


def find_mariadbd() -> Path | None:
    """The MariaDB server program of this machine; None where there is none."""
    folders = os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
    for name in ("mariadbd", "mysqld"):  # 10.4 and some packages have the old name only
        found = shutil.which(name, path=folders)
        if found and "MariaDB" in _version(found):
            return Path(found)
    return None


def copy_template(target: Path, program: Path) -> None:
    """Copy the data folder of this program's template, making that first where it is missing or incomplete."""
    with _template_folder(program) as folder:
        template, ready = folder / "data", folder / "ready"
        if not ready.exists() or ready.read_text() != _inventory(template):
            # Made aside: the installer of a process that was killed may still be writing to its own.
            making = Path(tempfile.mkdtemp(prefix="making-", dir=folder)) / "data"
            _install(making, program)
            shutil.rmtree(template, ignore_errors=True)
            making.rename(template)
            making.parent.rmdir()
            ready.write_text(_inventory(template))
        half = target.with_name(f"{target.name}.copying")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(template, half)
        half.rename(target)


@contextlib.contextmanager
def _template_folder(program: Path) -> Iterator[Path]:
    """The user's template folder for this server version, locked against other processes and threads."""
    key = hashlib.sha256(f"{program} {_version(str(program))} {_OPTIONS}".encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"stationsync-mariadb-{os.getuid()}-{key}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat()
    if owner.st_uid != os.getuid() or not stat.S_ISDIR(owner.st_mode):
        raise SetUpError(str(folder), "belongs to somebody else.", next_step="Set TMPDIR to a folder of yours.")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def is_mysql(program: Path) -> bool:
    """Whether it is MySQL's server, which takes other options."""
    return "MariaDB" not in _version(str(program))


def _install(data: Path, program: Path) -> None:
    if is_mysql(program):
        # Its root may log in through the socket only.
        begin = data.with_name("begin.sql")
        begin.write_text("CREATE USER root@'%'; GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n")
        command = [str(program), "--no-defaults", "--initialize-insecure", f"--datadir={data}", *as_user()]
        command.append(f"--init-file={begin}")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        begin.unlink()
        if done.returncode:
            raise SetUpError("mysqld --initialize", f"failed:\n{done.stderr[-2000:]}")
        return
    command = [
        str(_install_db(program)),
        *_OPTIONS,
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *as_user(),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetUpError("mariadb-install-db", f"failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _inventory(folder: Path) -> str:
    """Names and sizes: cleaners of temporary folders remove old files one by one."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in files)


def mariadbd() -> Path:
    found = find_mariadbd()
    if found is None:
        raise SetUpError("this machine", "has no MariaDB server (mariadbd).", next_step="Run: make mariadb")
    return found


def _install_db(program: Path) -> Path:
    own = program.resolve().parent
    folders = os.pathsep.join((str(own), str(own.parent / "scripts"), str(own.parent / "bin"), os.defpath))
    for name in ("mariadb-install-db", "mysql_install_db"):
        found = shutil.which(name, path=folders) or shutil.which(name)
        if found:
            return Path(found)
    raise SetUpError("this machine", "has no mariadb-install-db.", next_step="Run: make mariadb")


@functools.cache
def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def as_user() -> tuple[str, ...]:
    # The server refuses to run as root unless told so by name.
    return ("--user=root",) if os.geteuid() == 0 else ()


def short_folder() -> Path:
    """A private folder whose path leaves room for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="stationsync-"))
    if len(os.fsencode(folder / "s")) > LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="stationsync-", dir="/tmp"))
    return folder


def free_port() -> int:
    """A port that is free now; whoever uses it must still be ready to find it taken."""
    chance = random.SystemRandom()  # test tools seed the usual one alike in every process
    while True:
        port = chance.choice(PORTS)
        with socket.socket() as probe:
            # As the server will: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
