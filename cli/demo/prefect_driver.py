"""This driver calls the real flows, so that every run stands in the UI. The only module here that needs Prefect."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.demo.engine_driver import Kind
from cli.demo.fleet import DemoFleet
from cli.demo.prefect_server import PrefectServer
from stationsync.errors import Refused
from stationsync.model.changes import Report


class PrefectDriver:
    def __init__(self, flows: dict[str, Any]) -> None:
        self._flows = flows

    def run(self, kind: Kind, station: str) -> list[Report]:
        state = self._flows[kind](station, return_state=True)
        if not state.is_completed():
            raise Refused(f"flow {kind} {station}", f"ended {state.name}: {state.message}", not_done="The demo stops.")
        reports: list[Report] = state.result()
        return reports


def _not_of_a_task(record: logging.LogRecord) -> bool:
    """Of a failed task Prefect prints its traceback. The flow says the same in one line, and what became of it."""
    return not record.name.startswith("prefect.task_runs")


@contextmanager
def prefect_driver(fleet: DemoFleet, server: PrefectServer) -> Iterator[PrefectDriver]:
    """The flows, told of this server and this fleet. Prefect reads its settings when it is imported: now."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ |= server.environment
    os.environ["STATIONSYNC_TOPOLOGY"] = str(fleet.file)
    os.environ["STATIONSYNC_RETRY_SECONDS"] = "0.2"
    # What a run logs stands in the UI in full; here, its warnings.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "WARNING"
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.pull import pull
    from flows.push import push
    from flows.reconcile import reconcile
    from flows.sync import sync

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_not_of_a_task)
    server.wait_ready()
    # Without heartbeats: ending each run would wait a second for their thread.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            yield PrefectDriver({"pull": pull, "push": push, "sync": sync, "reconcile": reconcile})
        finally:
            # Its threads would go on trying to tell a server that is gone.
            EventsWorker.drain_all()
            APILogWorker.drain_all()
