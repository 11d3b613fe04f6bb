"""Stands for one run: asks the zygote for a fork, passes signals on to it, and ends as it ends.

Runs by itself in a bare interpreter (python -I -S), so that it costs some milliseconds: the standard library only, and
little of it. Where no zygote answers, it becomes the run itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TextIO

ZYGOTE = "STATIONSYNC_ZYGOTE"


def main() -> None:
    passed_on = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    # Held back until it is known whom they are for.
    signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
    answers = _ask()
    if answers is None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
        os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])
    pid = int(answers.readline() or 0)
    if not pid:
        _end_with_it("The zygote ended before the run began.")
    for number in passed_on:
        signal.signal(number, lambda number, frame: _pass_on(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
    status = answers.readline()
    if not status:
        # Nobody can tell how it ends; what it told the server counts.
        _end_with_it("The zygote ended before the run did.")
    _end_as(int(status))


def _ask() -> TextIO | None:
    """Lines of the zygote's answers; None where there is no zygote."""
    place = os.environ.pop(ZYGOTE, "")
    told = json.dumps({"environment": dict(os.environ), "folder": os.getcwd()}).encode() + b"\n"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(place)
        connection.sendall(told)
    except OSError:
        return None
    return connection.makefile("r")


def _pass_on(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _end_with_it(why: str) -> NoReturn:
    """As the run did, which the kernel killed together with its zygote."""
    print(why, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(1)  # not reached


def _end_as(status: int) -> None:
    if status >= 0:
        sys.exit(status)
    number = -status
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
