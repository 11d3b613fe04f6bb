"""Prefect's process worker, with runs that are forks."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Cancelled
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments.forks import client
from deployments.forks.client import ZYGOTE
from stationsync.errors import SetUpError

COMMAND = shlex.join([sys.executable, "-I", "-S", client.__file__])
_SUPERSEDED = "A later run of this deployment was due as well, and brings the same changes. (stationsync's worker)"
# Requests to the server.
_AT_ONCE = 4
# What a run may take, with some rows, beside others on the machine.
_MEMORY = 256 * 1024 * 1024
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

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        """After an outage many runs of each deployment are due at once. One carries all changes."""
        late = superseded([entry.flow_run for entry in flow_run_response])
        gate = asyncio.Semaphore(_AT_ONCE)

        async def skip(run: FlowRun) -> None:
            async with gate:
                # Not by force: another worker may have taken it. Where it fails, it is due at the next look again.
                with suppress(httpx.HTTPError):
                    await self.client.set_flow_run_state(run.id, Cancelled(message=_SUPERSEDED))

        await asyncio.gather(*map(skip, late))
        skipped = {run.id for run in late}
        return await super()._submit_scheduled_flow_runs(
            [entry for entry in flow_run_response if entry.flow_run.id not in skipped]
        )


def superseded(due: Sequence[FlowRun]) -> list[FlowRun]:
    """Of the runs that a schedule made of one deployment, with the same parameters, all but the latest. What a person
    asked for is no schedule's."""
    latest: dict[str, FlowRun] = {}
    skipped = []
    for run in sorted((one for one in due if one.auto_scheduled), key=_due):
        key = json.dumps([str(run.deployment_id), run.parameters], sort_keys=True, default=str)
        if key in latest:
            skipped.append(latest[key])
        latest[key] = run
    return skipped


def _due(run: FlowRun) -> datetime:
    moment = run.next_scheduled_start_time or run.expected_start_time
    return moment if moment is not None else datetime.max.replace(tzinfo=UTC)


def usual_limit() -> int:
    """Runs at the same time: they mostly wait for databases, but each takes memory, and what is over four a core only
    makes all of them later."""
    room = psutil.virtual_memory().total // _MEMORY
    return int(max(2, min(4 * (os.cpu_count() or 1), room)))


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
            limit=limit or usual_limit(),
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
