"""Prefect's process worker, with runs that are forks."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments.forks import client
from deployments.forks.client import ZYGOTE
from stationsync.errors import SetUpError

COMMAND = shlex.join([sys.executable, "-I", "-S", client.__file__])
# One core a run is enough; threads of numpy's would not survive a fork.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class ZygoteProcess:
    """The zygote, as the worker starts it: again, where it has ended. It ends with the worker."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        # A socket's path may not be long; the folder is ours alone.
        self.place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stationsync-"))) / "zygote"

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._stack.close()

    def ensure(self) -> None:
        """Requests wait from here on, until everything is imported."""
        if self._process is not None and self._process.poll() is None:
            return
        self.place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.place))
            listener.listen(128)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deployments.forks.zygote", str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,
            )


class ForkWorker(ProcessWorker):
    """Serves pools of the type `process`, as that worker does."""

    def __init__(self, zygote: ZygoteProcess, **options: Any) -> None:
        super().__init__(**options)
        self._zygote = zygote

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "stationsync-fork"  # in the registry of worker types, `process` stays Prefect's

    async def run(
        self, flow_run: Any, configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        if not configuration._command_configured:
            configuration.command, configuration._command_configured = COMMAND, True
        self._zygote.ensure()
        return await super().run(flow_run, configuration, task_status)


def require_pool(pool: str, queues: Sequence[str] = ()) -> None:
    """SetUpError where the server has no such pool or queue, or a pool of another type."""
    with get_client(sync_client=True) as prefect:
        try:
            kind = prefect.read_work_pool(pool).type
        except ObjectNotFound:
            what, next_step = "there is no such work pool.", "Create it: stationsync deploy --create-pools"
        else:
            if kind == "process":
                return _require_queues(prefect, pool, queues)
            what, next_step = f"is of the type {kind}, not process.", "Name another one, or serve it by its own worker."
    raise SetUpError(f"work pool {pool}", what, not_done="No run was taken.", next_step=next_step)


def _require_queues(prefect: SyncPrefectClient, pool: str, queues: Sequence[str]) -> None:
    """A worker of a queue that is not there would find nothing to do, and say nothing."""
    missing = []
    for queue in queues:
        try:
            prefect.read_work_queue_by_name(queue, work_pool_name=pool)
        except ObjectNotFound:
            missing.append(queue)
    if missing:
        raise SetUpError(
            f"work pool {pool}",
            f"has no queue {', '.join(missing)}",
            not_done="No run was taken.",
            next_step="Queues that stations.yaml names are made by: stationsync deploy. "
            f"One of your own: prefect work-queue create {shlex.quote(missing[0])} --pool {shlex.quote(pool)}",
        )


def serve(pool: str, queues: Sequence[str] = (), *, limit: int | None = None, name: str | None = None) -> None:
    """Until it is stopped."""
    settings = get_current_settings().worker
    with ZygoteProcess() as zygote:
        os.environ[ZYGOTE] = str(zygote.place)
        worker = ForkWorker(
            zygote,
            work_pool_name=pool,
            work_queues=list(queues) or None,
            limit=limit,
            name=name,
            prefetch_seconds=settings.prefetch_seconds,
            heartbeat_interval_seconds=int(settings.heartbeat_seconds),
            create_pool_if_not_found=False,
        )
        # Of both, asyncio cancels what is under way.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        try:
            asyncio.run(worker.start())
        except (KeyboardInterrupt, asyncio.CancelledError):
            print(f"Worker {worker.name!r} stopped.")
