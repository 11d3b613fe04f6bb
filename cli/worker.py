"""`worker`: takes the runs of a work pool."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from cli.common import say, settings
from stationsync.topology.positions import ENVIRONMENT
from stationsync.topology.topology_file import topology_path


def worker(
    ctx: typer.Context,
    pool: Annotated[str, typer.Option(help="The work pool; a pool of the type `process`.")],
    queue: Annotated[
        list[str] | None, typer.Option(help="Only from this queue of the pool; may be given again.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many runs at the same time, at most.", show_default="four a core, as memory allows"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="How the UI names it.", show_default=False)] = None,
) -> None:
    """Take the runs of a work pool, until stopped. Needs the topology and its secrets, and PREFECT_API_URL.

    Each run is a fork of a process that has everything loaded: about a fifth of the work of `prefect worker start`,
    which serves as well."""
    given = settings(ctx)
    assert given.topology.stations  # whatever is wrong with the file is said now, and not by each run
    os.environ[ENVIRONMENT] = str(topology_path(given.topology_file).absolute())
    # A run taken before its time holds its station's slot, and is cancelled where the run before it still has that.
    os.environ.setdefault("PREFECT_WORKER_PREFETCH_SECONDS", "0")
    # Here, because Prefect takes seconds to import.
    from deployments.api import answering, events_fault, require_api

    url = require_api("stationsync worker")
    from deployments.forks.serve import require_pool, serve

    with answering(url, not_done="No run was taken."):
        require_pool(pool, queue or ())
    if fault := asyncio.run(events_fault()):
        say(f"warning: {fault}", err=True)
    serve(pool, queue or (), limit=limit, name=name)
