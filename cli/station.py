"""`pause`, `resume`: whether runs of a station may begin. `run`, `logs`: its runs on a Prefect server."""

from __future__ import annotations

import getpass
import os
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from cli.common import Json, Station, Table, print_json, settings
from cli.prefect_api import api_is_configured, run_ended, run_logs, set_paused, start_deployment
from stationsync import pauses
from stationsync.errors import StationSyncError

_NO_API = "no Prefect API is configured (PREFECT_API_URL)"


class Kind(StrEnum):
    SYNC = "sync"
    PULL = "pull"
    PUSH = "push"
    RECONCILE = "reconcile"


def pause(
    ctx: typer.Context,
    station: Station,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at the status.")] = "",
    json: Json = False,
) -> None:
    """Let no run of a station begin, however it is started, until it is resumed. Nothing is lost meanwhile.

    A run that is under way goes on to the end of its table. Where a Prefect API is configured, the station's
    deployments are paused there as well."""
    given = settings(ctx)
    given.require_names(station)
    done = pauses.pause(given.control, station, _who(), reason)
    told = _on_the_server(ctx, station, paused=True, holds="The pause holds all the same: no run of it begins.")
    if json:
        print_json({"ok": True, "station": station, "since": done.since, "by": done.who, "reason": done.reason, **told})
        return
    typer.echo(f"{station}: {done}. Nothing is lost: the station is only behind.")
    _tell(told, "paused")
    typer.echo(f"To let it run again: stationsync resume {station}")


def resume(ctx: typer.Context, station: Station, json: Json = False) -> None:
    """Let runs of a paused station begin again; the next one brings all that came meanwhile."""
    given = settings(ctx)
    given.require_names(station)
    was = pauses.resume(given.control, station)
    told = _on_the_server(ctx, station, paused=False, holds="Runs may begin again, but its schedules are still paused.")
    if json:
        print_json({"ok": True, "station": station, "was_paused": was is not None, **told})
        return
    typer.echo(f"{station}: was {was}; runs may begin again." if was else f"{station}: was not paused.")
    _tell(told, "resumed")


def _who() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):  # a user without a name, such as in a container
        return f"user {os.getuid()}"


def _on_the_server(ctx: typer.Context, station: str, *, paused: bool, holds: str) -> dict[str, Any]:
    if not api_is_configured():
        return {"deployments": [], "note": _NO_API}
    try:
        found = set_paused(settings(ctx).topology, station, paused)
    except StationSyncError as error:
        again = f"stationsync {'pause' if paused else 'resume'} {station}"
        raise type(error)(
            error.place, error.what, not_done=f"{holds} Its deployments on the server were left as they are.",
            next_step=f"{error.next_step} Then run again: {again}",
        ) from error  # fmt: skip
    return {"deployments": found, "note": None if found else "the server has no deployment of this station"}


def _tell(told: dict[str, Any], what: str) -> None:
    if told["deployments"]:
        typer.echo(f"On the Prefect server: {', '.join(told['deployments'])} {what}.")
    else:
        typer.echo(f"On the Prefect server nothing was {what}: {told['note']}.")


def run(
    ctx: typer.Context,
    station: Station,
    kind: Annotated[Kind, typer.Option(help="Which of its deployments.")] = Kind.SYNC,
    table: Table = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it, and end as the command of this name would.")] = False,
    json: Json = False,
) -> None:
    """Start a Prefect deployment of a station, now; a worker runs it."""
    settings(ctx).topology.station(station)
    if table:
        settings(ctx).topology.options(station, table)
    started = start_deployment(f"{kind}/{station}", {"station": station, "table": table} if table else None)
    if not json:
        typer.echo(f"{started.deployment}: run {started.name} ({started.run_id}) is scheduled; a worker will take it.")
        if started.url:
            typer.echo(started.url)
    if not wait:
        if json:
            print_json({"ok": True, "station": station, **vars(started)})
        return
    ended = run_ended(started.run_id, None if json else typer.echo)
    if json:
        print_json({"ok": ended.code == 0, "station": station, **vars(started), **vars(ended)})
    else:
        typer.echo(f"{started.deployment}: {ended.state}{f' - {ended.message}' if ended.message else ''}")
    raise typer.Exit(ended.code)


def logs(
    ctx: typer.Context,
    station: Station,
    run: Annotated[UUID | None, typer.Option(help="Of this run only, by its id.", show_default=False)] = None,
    kind: Annotated[Kind | None, typer.Option(help="Of its last run of this kind.", show_default=False)] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="The last lines, so many at most.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
) -> None:
    """The log of a station's last run, from the Prefect server."""
    topology = settings(ctx).topology
    topology.station(station)
    for line in run_logs(topology, station, str(run) if run else None, kind, lines, follow):
        typer.echo(line)
