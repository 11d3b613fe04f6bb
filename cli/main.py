"""The `stationsync` command: drives the engine directly, without Prefect. One file a verb group.

Starts in about a second: nothing here may import Prefect, pandas or Great Expectations."""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import (
    check,
    continuous,
    deploy,
    explain,
    first_hour,
    grants,
    incidents,
    metrics,
    prune,
    reconcile,
    rename,
    run,
    setup,
    station,
    status,
    up,
    worker,
)
from cli.common import Json, Settings, error_object, print_error, print_json, say
from cli.journal import commands as journal
from cli.recovery import backfill, conflicts, quarantine, reseed, reseed_control, revert, trash
from stationsync.errors import StationSyncError, unexpected


class _Commands(TyperGroup):
    """Takes the global options anywhere in the line, and turns the engine's errors into lines and exit codes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _globals_first(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StationSyncError as error:
            _show(ctx, error)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            _unexpected(ctx, error)
        except (typer.Exit, typer.Abort, EOFError):
            raise
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):
                raise  # usage errors, which Typer shows
            _unexpected(ctx, error)
        raise typer.Exit(1)


def _globals_first(args: list[str]) -> list[str]:
    """`check --topology FILE` means what `--topology FILE check` does."""
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            return [*first, *rest, arg, *waiting]
        if arg == "--topology":
            first += [arg, *([value] if (value := next(waiting, None)) is not None else [])]
        elif arg == "--debug" or arg.startswith("--topology="):
            first.append(arg)
        else:
            rest.append(arg)
    return [*first, *rest]


def _show(ctx: Any, error: StationSyncError) -> None:
    given = ctx.obj if isinstance(ctx.obj, Settings) else Settings()
    if given.debug:
        say(*traceback.format_exc().splitlines(), err=True)
    if given.json:
        print_json({"ok": False, "error": error_object(error)})
    print_error(error)


def _unexpected(ctx: Any, error: Exception) -> None:
    _show(ctx, unexpected("stationsync", error))


app = typer.Typer(
    cls=_Commands,
    help="Keeps the tables of many station databases and one control database equal, in both directions.",
    no_args_is_help=True,
    add_completion=False,
    # With locals, a traceback would show secrets.
    pretty_exceptions_enable=False,
)


@app.callback()
def _settings(
    ctx: typer.Context,
    topology: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The stations, instead of $STATIONSYNC_TOPOLOGY, stations.yaml here or deployments/stations.yaml.",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    ctx.obj = Settings(topology, debug)


app.command("new")(first_hour.new)
app.command("add-station")(first_hour.add_station)
app.command("add-table")(first_hour.add_table)
app.command("check")(check.check)
app.command("grants")(grants.grants)
app.command("init")(setup.init)
app.command("pull")(run.pull)
app.command("push")(run.push)
app.command("sync")(run.sync)
app.command("continuous")(continuous.continuous)
app.command("reconcile")(reconcile.reconcile)
app.command("backfill")(backfill.backfill)
app.command("reseed")(reseed.reseed)
app.command("trust")(reseed.trust)
app.command("reseed-control")(reseed_control.reseed_control)
app.command("trust-control")(reseed_control.trust_control)
app.command("revert")(revert.revert)
app.command("rename")(rename.rename)
app.command("deploy")(deploy.deploy)
app.command("run")(station.run)
app.command("metrics")(metrics.metrics)
app.command("pause")(station.pause)
app.command("resume")(station.resume)
app.command("logs")(station.logs)
app.command("worker")(worker.worker)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("status")(status.status)
app.command("explain")(explain.explain)
app.command("prune")(prune.prune)
app.command("incidents")(incidents.incidents)
app.command("alert-test")(incidents.alert_test)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(conflicts.app, name="conflicts")
app.add_typer(trash.app, name="trash")
app.add_typer(journal.app, name="journal")


@app.command()
def demo(
    database: Annotated[str, typer.Option(help="sqlite, or mariadb: private servers.")] = "sqlite",
    prefect: Annotated[bool, typer.Option("--prefect/--no-prefect", help="Through the flows, or the engine.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the databases there afterwards.")] = False,
) -> None:
    """Tell the whole story on throw-away databases: three stations and a control centre."""
    from cli import demo as story

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it has databases to clear away
    raise typer.Exit(story.demo(database=database, prefect=prefect, keep=keep))


@app.command()
def drill(
    minutes: Annotated[float | None, typer.Option(help="How long; one minute where nothing is said.")] = None,
    histories: Annotated[int | None, typer.Option(help="How many histories.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first history; the next ones count on.")] = None,
    replay: Annotated[Path | None, typer.Option(metavar="FILE", help="Play a history that failed again.")] = None,
    database: Annotated[str | None, typer.Option(help="mariadb (where it is found) or sqlite.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Side by side; as many as there are cores.")] = None,
    json: Json = False,
) -> None:
    """Random histories with faults on throw-away databases: no write may be lost, both sides must end equal."""
    from cli import drill as drills

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it has servers to clear away

    def tell(text: str) -> None:
        say(*text.split("\n"), err=json)

    wanted = drills.Wanted(minutes, histories, seed, replay, database, workers, tell)
    try:
        result = drills.run(wanted)
    except KeyboardInterrupt:
        say("Stopped. Everything is cleared away.", err=True)
        raise typer.Exit(130) from None
    if json:
        print_json(result.as_dict())
    raise typer.Exit(1 if result.failures else 0)


def _stop(*_: object) -> None:
    """Ctrl-C ends the process as it stands, also in the middle of waiting for a database: that loses nothing."""
    os.write(2, b"\nStopped. What was under way is rolled back; the next run goes on from the watermark.\n")
    os._exit(130)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGINT, _stop)
    app(prog_name="stationsync")


if __name__ == "__main__":
    main()
