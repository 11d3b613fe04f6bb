"""The process that runs are forks of. It has no threads, no connections, and nothing of any run.

Started with a bound and listening socket as its argument, and a pipe from the worker on standard input: when that
ends, it takes no more requests, and ends after its last fork."""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# A client sends its request at once.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Request:
    """One run: its environment and working directory. It writes where the zygote does: a pipe to the worker would
    break with the worker, and Rich ends a program that meets a broken pipe."""

    environment: Mapping[str, str]
    folder: str


def preload() -> None:
    """All that a run imports, so that no run has to."""
    import prefect.flow_engine  # noqa: F401

    from deployments.kinds import schemas
    from stationsync.sync.validation import validate_one_row

    schemas()  # loads all flows
    validate_one_row()


class Zygote:
    def __init__(self, listener: socket.socket, parent: int) -> None:
        self._listener = listener
        self._parent = parent
        # None: the client is gone.
        self._forks: dict[int, socket.socket | None] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(parent, selectors.EVENT_READ)
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._serving = True

    def serve(self) -> Request | None:
        """Forks for whoever asks. Returns in each fork, with its request; None when there is no more to do."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # whoever stops the worker stops us by the pipe
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        while self._serving or self._forks:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if (request := self._accept()) is not None:
                        return request
                elif key.fd == self._wake:
                    self._reap()
                elif key.fd == self._parent:
                    self._stop()
                else:
                    self._client_gone(key.fd)
        return None

    def _accept(self) -> Request | None:
        client, _ = self._listener.accept()
        try:
            client.settimeout(_PATIENCE)
            request = read_request(client)
        except (OSError, ValueError):
            client.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._become(client)
            return request
        self._forks[pid] = client
        self._selector.register(client, selectors.EVENT_READ)
        with suppress(OSError):
            client.sendall(f"{pid}\n".encode())
        return None

    def _become(self, client: socket.socket) -> None:
        """In the fork: nothing of the zygote's is left open."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for one in (self._listener, client, *filter(None, self._forks.values())):
            one.close()
        for fd in (self._wake, self._woken):
            os.close(fd)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (client := self._forks.pop(pid)) is not None:
                self._selector.unregister(client)
                with suppress(OSError):
                    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                client.close()

    def _client_gone(self, fd: int) -> None:
        """The client stands for the run: whoever kills it means the run."""
        found = ((pid, one) for pid, one in self._forks.items() if one is not None and one.fileno() == fd)
        pid, client = next(found, (0, None))
        if client is None:
            return
        self._selector.unregister(client)
        client.close()
        self._forks[pid] = None
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        self._serving = False
        self._selector.unregister(self._listener)
        self._selector.unregister(self._parent)
        self._listener.close()


def read_request(client: socket.socket) -> Request:
    """Raises OSError, ValueError where it is none."""
    with client.makefile("rb") as incoming:
        told: dict[str, Any] = json.loads(incoming.readline())
    try:
        return Request(told["environment"], told["folder"])
    except KeyError as missing:
        raise ValueError("no request") from missing


def run(request: Request) -> int:
    """In the fork: what `python -m prefect.engine` does with this environment; its exit code."""
    os.setsid()
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    sys.argv = ["prefect.engine"]
    sys.modules.pop("prefect.engine", None)  # it is the main program now
    try:
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter ends a program
        traceback.print_exc()
        return 1
    return 0


def main() -> int:
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        preload()
        gc.freeze()
        request = Zygote(listener, parent=0).serve()
    return 0 if request is None else run(request)


if __name__ == "__main__":
    sys.exit(main())
