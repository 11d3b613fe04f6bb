"""The processes of the local fleet: started so that they outlive us, known again, and ended with all they started.

A part is one process and what it starts. A note says which process it is, by its id and the moment of its start, as
ids are given again. The mark in the environment is inherited, so nothing that a part started can be overlooked."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cli.local.home import Home, read_json, write_json
from stationsync.errors import SetUpError

MARK = "STATIONSYNC_LOCAL_FLEET"
PART = "STATIONSYNC_LOCAL_PART"
# Seconds by which the moment of a start may seem to move: it is told by the clock of the machine.
_DRIFT = 2.0


def start(home: Home, part: str, command: Sequence[str], environment: Mapping[str, str]) -> psutil.Process:
    log = home.log(part)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        # From Python, never as a shell's background job: those ignore SIGINT, by which Prefect's programs end.
        process = subprocess.Popen(
            command,
            env={**environment, MARK: str(home.folder), PART: part},
            cwd=home.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    found = psutil.Process(process.pid)
    write_json(home.process(part), {"pid": found.pid, "started": found.create_time()})
    return found


def running(home: Home, part: str) -> psutil.Process | None:
    """The part's process; None where it has ended."""
    noted = read_json(home.process(part))
    if noted is None:
        return None
    with suppress(psutil.Error):
        found = psutil.Process(noted["pid"])
        # While its program begins, its environment is empty for a moment.
        begins = not found.environ() and lives(found)
        if abs(found.create_time() - noted["started"]) < _DRIFT and (begins or _marked(found, home, part)):
            return found
    return None


def left(home: Home, part: str | None = None) -> list[psutil.Process]:
    """Every process of the fleet, or of one part of it, whoever started it."""
    return [process for process in psutil.process_iter() if _marked(process, home, part)]


def _marked(process: psutil.Process, home: Home, part: str | None) -> bool:
    try:
        environment = process.environ()
        ours = environment.get(MARK) == str(home.folder) and part in (None, environment.get(PART))
        return ours and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def stop(home: Home, parts: Iterable[str], seconds: float = 15) -> None:
    """Ask these to end, and wait for it."""
    processes = [process for part in parts if (process := running(home, part))]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()  # one that was frozen hears nothing else
    limit = time.monotonic() + seconds
    while any(lives(process) for process in processes) and time.monotonic() < limit:
        _reap(processes)
        time.sleep(0.05)


def end(home: Home, part: str | None = None, seconds: float = 20) -> None:
    """Kill what is left, again and again: what is killed may just have started something."""
    limit = time.monotonic() + seconds
    while found := left(home, part):
        if time.monotonic() > limit:
            numbers = ", ".join(str(process.pid) for process in found)
            raise SetUpError("down", f"these processes cannot be ended: {numbers}.", next_step="End them by hand.")
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _reap(found)
        time.sleep(0.05)


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _reap(processes: Iterable[psutil.Process]) -> None:
    """Where they are our own children; an ended child stays in the list of processes until then."""
    for process in processes:
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def answer(home: Home, part: str) -> dict[str, Any] | None:
    """What the part says of itself; None until it is ready."""
    process, said = running(home, part), read_json(home.answer(part))
    return said if process and said and said["pid"] == process.pid else None


def tell_ready(home: Home, part: str, **said: Any) -> None:
    """In the part itself."""
    write_json(home.answer(part), {"pid": os.getpid(), **said})


def last_port(home: Home, part: str) -> int | None:
    return (read_json(home.answer(part)) or {}).get("port")


def wait_ready(home: Home, part: str, look: Callable[[], object], seconds: float = 120) -> None:
    """Until `look` finds something. SetUpError, with the end of its log, where the part ends or stays silent."""
    limit = time.monotonic() + seconds
    while not look():
        process = running(home, part)
        if process is None or not lives(process) or time.monotonic() > limit:
            fault = "gives no answer" if process else "has ended"
            raise SetUpError(part, f"{fault}. Its log:\n{_tail(home.log(part))}")
        time.sleep(0.1)


def _tail(log: Path) -> str:
    with suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    return ""
