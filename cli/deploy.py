"""`deploy`: the stations' Prefect deployments, brought to what the topology says."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.common import DryRun, Json, print_json, say, settings
from stationsync.model.details import plan_as_json
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.topology.model import Topology


def deploy(
    ctx: typer.Context,
    dry_run: DryRun = False,
    create_pools: Annotated[
        bool, typer.Option("--create-pools", help="Create the work pools that are missing, for process workers.")
    ] = False,
    allow_renamed: Annotated[
        bool, typer.Option("--allow-renamed", help="Accept a new station with the database of one that is gone.")
    ] = False,
    allow_retired: Annotated[
        bool, typer.Option("--allow-retired", help="Accept that many stations are gone from the file.")
    ] = False,
    allow_moved: Annotated[
        bool, typer.Option("--allow-moved", help="Accept that control is another database than before.")
    ] = False,
    prefect_yaml: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Only write FILE, for `prefect deploy --all`; asks no server.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Register, update and retire the Prefect deployments of every station, those of the fleet, and its alerts.

    A station that was taken out is paused and tagged as retired; its runs are kept."""
    topology = settings(ctx).topology
    # Here, because Prefect takes seconds to import.
    if prefect_yaml:
        _write(prefect_yaml, topology, json=json)
        return
    from deployments.deploy import carry_out_all, look_at_all
    from deployments.objections import Allowed

    changes = look_at_all(topology, Allowed(create_pools, allow_renamed, allow_retired, allow_moved))
    plan, alerts = changes.plan, changes.alerts
    if not json:
        for line in changes.lines():
            say(line)
        for warning in plan.warnings:
            say(f"Warning: {warning}.", err=True)
    if not dry_run:
        _carry_out(lambda: carry_out_all(topology, changes))
    if json:
        more = plan_as_json(list(plan.shares())) if dry_run else {}
        print_json({"ok": True, "dry_run": dry_run, **plan.as_dict(), "alerts": alerts.as_dict(), **more})
        return
    counts = f"{len(plan.new):,} new, {len(plan.changed):,} changed, {len(plan.retired):,} retired"
    if alerts.size:
        counts += f", {alerts.size:,} blocks and automations"
    say(
        f"{counts}, {plan.unchanged:,} as they were."
        if plan.size or alerts.size
        else f"Nothing to do: {plan.unchanged:,} as they are."
    )
    if dry_run:
        say(NOTHING_CHANGED)


def _write(prefect_yaml: Path, topology: Topology, *, json: bool) -> None:
    from deployments.prefect_yaml import render

    prefect_yaml.write_text(render(topology), encoding="utf-8")
    if json:
        print_json({"ok": True, "written": str(prefect_yaml)})
    else:
        say(f"{prefect_yaml}: written.")


def _carry_out(change: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # there is more to say than that it stopped
    try:
        change()
    except KeyboardInterrupt:
        say("Stopped. Each change was made whole or not at all; the rest: stationsync deploy", err=True)
        raise typer.Exit(130) from None
