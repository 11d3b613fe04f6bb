"""`prune`: what the flow maintenance does each day, now."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from cli.common import Json, print_json, print_table, say, settings
from cli.prefect_api import prune_history, read_block
from stationsync.errors import StationSyncError
from stationsync.maintenance import prune as engine
from stationsync.maintenance.rule import PrunedPart

_HISTORY = "Prefect's run history"


def prune(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be pruned.")] = False,
    json: Json = False,
) -> None:
    """Delete what is over and old: settled conflicts, released quarantine, trash, journal, log files; and with a
    Prefect API configured, old runs with their logs and artifacts. What is unresolved stays."""
    given = settings(ctx)
    done = engine.prune(given.topology, read_block, dry_run=dry_run)
    old = engine.what_is_old(given.topology, given.control)
    try:
        found = prune_history(given.topology, old, dry_run=dry_run)
    except StationSyncError as error:  # what was pruned so far is told all the same
        found = [PrunedPart(_HISTORY, note=f"left out: {error}", failed=True)]
    left_out = PrunedPart(_HISTORY, note="left out: no Prefect API is configured (PREFECT_API_URL)")
    done = replace(done, parts=(*done.parts, *(found if found is not None else [left_out])))
    if json:
        print_json(done.as_dict() | {"summary": done.summary()})
    else:
        lines = done.lines()
        print_table(tuple(lines[0]), [tuple(line.values()) for line in lines])
        summary = done.summary()
        say(summary[:1].upper() + summary[1:])
    if done.failed:
        raise typer.Exit(1)
