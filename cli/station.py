"""`pause`, `resume`: whether runs of a station may begin. `run`, `logs`: its runs on a Prefect server."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from enum import StrEnum
from json import loads as json_of
from typing import Annotated, Any
from uuid import UUID

import typer

from cli.common import Json, Station, Table, print_json, say, settings
from cli.prefect_api import NO_RUN, api_is_configured, run_ended, run_logs, set_paused, start_deployment
from stationsync.errors import StationSyncError, UsageError
from stationsync.store import pauses

_NO_API = "no Prefect API is configured (PREFECT_API_URL)"


class RunKind(StrEnum):
    SYNC = "sync"
    PULL = "pull"
    PUSH = "push"
    RECONCILE = "reconcile"
    BACKFILL = "backfill"


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
    say(f"{station}: {done}. Nothing is lost: the station is only behind.")
    _tell(told, "paused")
    say(f"To let it run again: stationsync resume {station}")


def resume(ctx: typer.Context, station: Station, json: Json = False) -> None:
    """Let runs of a paused station begin again; the next one brings all that came meanwhile."""
    given = settings(ctx)
    given.require_names(station)
    was = pauses.resume(given.control, station)
    told = _on_the_server(ctx, station, paused=False, holds="Runs may begin again, but its schedules are still paused.")
    if json:
        print_json({"ok": True, "station": station, "was_paused": was is not None, **told})
        return
    say(f"{station}: was {was}; runs may begin again." if was else f"{station}: was not paused.")
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
        say(f"On the Prefect server: {', '.join(told['deployments'])} {what}.")
    else:
        say(f"On the Prefect server nothing was {what}: {told['note']}.")


def run(
    ctx: typer.Context,
    station: Station,
    kind: Annotated[RunKind, typer.Option(help="Which of its deployments.")] = RunKind.SYNC,
    table: Table = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            help="A parameter of the run, as its form has it: since=2024-05-01, allow_deletes=true; "
            "may be given again.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it, and end as the command of this name would.")] = False,
    json: Json = False,
) -> None:
    """Start a Prefect deployment of a station, now; a worker runs it."""
    settings(ctx).topology.station(station)
    if table:
        settings(ctx).topology.options(station, table)
    given = _parameters(param or ())
    if kind is RunKind.BACKFILL and not given.keys() & {"since", "until", "from_key", "to_key", "all"}:
        raise UsageError(
            "run --kind backfill",
            "no range is named",
            not_done=NO_RUN,
            next_step="Add one: -p since=2024-05-01 -p until=2024-06-01; -p from_key=1000 -p to_key=1999; -p all=true.",
        )
    if table:
        given["table"] = table
    started = start_deployment(f"{kind}/{station}", {"station": station, **given} if given else None)
    if not json:
        say(f"{started.deployment}: run {started.name} ({started.run_id}) is scheduled; a worker will take it.")
        if started.url:
            say(started.url)
    if not wait:
        if json:
            print_json({"ok": True, "station": station, **vars(started)})
        return
    ended = run_ended(started.run_id, None if json else say)
    if json:
        print_json({"ok": ended.code == 0, "station": station, **vars(started), **vars(ended)})
    else:
        said = f" - {ended.message}" if ended.message else ""
        say(*f"{started.deployment}: {ended.state}{said}".split("\n"))
    raise typer.Exit(ended.code)


def _parameters(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE each, the value as JSON where it is some, as `prefect deployment run -p` takes them."""
    parameters: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise UsageError("run", f"this is no parameter: {one!r}", not_done=NO_RUN, next_step="Write NAME=VALUE.")
        if name == "station":
            raise UsageError("run", "the station is named already", not_done=NO_RUN, next_step=f"Leave {one!r} out.")
        try:
            parameters[name] = json_of(text)
        except ValueError:
            parameters[name] = text
    return parameters


def logs(
    ctx: typer.Context,
    station: Station,
    run: Annotated[UUID | None, typer.Option(help="Of this run only, by its id.", show_default=False)] = None,
    kind: Annotated[RunKind | None, typer.Option(help="Of its last run of this kind.", show_default=False)] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="The last lines, so many at most.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
) -> None:
    """The log of a station's last run, from the Prefect server."""
    topology = settings(ctx).topology
    topology.station(station)
    for line in run_logs(topology, station, str(run) if run else None, kind, lines, follow):
        say(*line.split("\n"))
