"""`up` and `down`: a fleet to play with, on this machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.common import say
from stationsync.errors import UsageError

Folder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where all of it is kept; .fleet in the checkout.", show_default=False),
]


def up(
    ctx: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the Prefect server; a free one.", show_default=False)
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="sqlite, or mariadb: private servers. MariaDB where it is installed.", show_default=False),
    ] = None,
    folder: Folder = None,
) -> None:
    """Start a fleet to play with: Prefect server, worker, control, three stations with applications that write.

    Where some of it runs already, the rest is started. It goes on until `stationsync down`."""
    from cli.demo.tables import Screen
    from cli.local import running
    from cli.local.home import home_at
    from cli.local.telling import tell

    if database not in (None, "sqlite", "mariadb"):
        what, step = f"no such kind of database: {database}.", "Known: sqlite, mariadb."
        raise UsageError("up", what, not_done="Nothing was started.", next_step=step)
    home, screen = home_at(folder), Screen()
    _catch_signals()
    with home.locked():
        new = home.read() is None
        try:
            fleet, started = running.up(home, screen, database, port)
        except BaseException as error:
            # What was there before goes on; of a first start nothing is left but its logs.
            if new and home.read():
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                running.down(home)
            if isinstance(error, KeyboardInterrupt):
                say("Stopped.", err=True)
                raise typer.Exit(130) from None
            raise
        root = ctx.find_root().command
        tell(screen, home, fleet, started, getattr(root, "commands", {}))


def down(
    part: Annotated[
        list[str] | None, typer.Argument(help="Only these, such as station-2: it is off-line then.", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the databases, for the next `up`.")] = False,
    folder: Folder = None,
) -> None:
    """End the fleet that `up` started, whatever of it was killed, and remove its folder."""
    from cli.local import parts, running
    from cli.local.home import home_at

    home, names = home_at(folder), part or []
    for name in names:
        if name not in running.PARTS:
            known = f"Known: {', '.join(running.PARTS)}."
            raise UsageError("down", f"no such part: {name}.", not_done="Nothing was ended.", next_step=known)
    if home.read() is None:
        parts.end(home)  # somebody may have removed the folder
        say("Nothing is running.")
        return
    _catch_signals()
    with home.locked():
        if names or keep:
            running.down(home, names)
        else:
            running.remove(home)
    ended = ", ".join(names) or "Everything"
    say(f"{ended} has ended." if len(names) < 2 else f"{ended} have ended.")
    if names:
        say("Start again: stationsync up")


def _catch_signals() -> None:
    """There is something to clear away."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
