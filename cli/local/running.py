"""Brings the local fleet up, part by part, and down again. Both go on from wherever something was killed."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cli.demo.tables import Screen
from cli.local import parts, programs, receiver, sample
from cli.local.databases import PLACES, databases_of
from cli.local.home import Home, LocalFleet, make_own
from cli.local.programs import SERVER, WORKER
from cli.sandbox.files import HOST, find_mariadbd, free_port
from stationsync.errors import Refused, SetUpError

# In the order in which they are started. Runs of a killed worker come to their end by themselves, so it is not
# cleared away before the next one is started.
PARTS = (SERVER, *PLACES, receiver.NAME, WORKER)


def up(home: Home, screen: Screen, database: str | None, port: int | None) -> tuple[LocalFleet, list[str]]:
    """Start whatever does not run; the fleet, and the parts that were started."""
    fleet = home.read()
    if fleet is None:
        _require_empty(home)
    if fleet is None or not fleet.filled:
        clear(home)
        fleet = _begin(home, database, port)
    missing = [part for part in PARTS if parts.running(home, part) is None]
    if not missing:
        return fleet, []
    if SERVER in missing:
        fleet = _with_port(home, fleet, port)
    make_own(Path(fleet.scratch))
    _start(home, fleet, (part for part in missing if part != WORKER))
    _wait(home, screen, fleet, missing)
    if WORKER in missing:
        _start(home, fleet, [WORKER])
        with screen.waiting("a worker that takes the runs"):
            parts.wait_ready(home, WORKER, lambda: programs.worker_answers(fleet))
    return replace(fleet, filled=True), missing


def _require_empty(home: Home) -> None:
    """What is not ours is never cleared away."""
    if any(home.folder.iterdir()):
        raise Refused(
            str(home.folder),
            "holds something else than a local fleet.",
            not_done="Nothing was started, and nothing there was touched.",
            next_step="Name a folder that is empty or new: --folder FOLDER",
        )


def _begin(home: Home, database: str | None, port: int | None) -> LocalFleet:
    kind = database or ("mariadb" if find_mariadbd() else "sqlite")
    scratch = Path(tempfile.gettempdir()) / f"stationsync-up-{secrets.token_hex(4)}"
    fleet = LocalFleet(kind, port or free_port(), str(scratch))
    home.databases.mkdir(exist_ok=True)
    home.write(fleet)  # before there is anything to be cleared away
    return fleet


def _with_port(home: Home, fleet: LocalFleet, port: int | None) -> LocalFleet:
    """The one that is asked for, or the last one; refused where somebody else has it."""
    parts.end(home, SERVER)
    fleet = replace(fleet, port=port or fleet.port)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, fleet.port))
        except OSError as error:
            raise SetUpError(
                f"port {fleet.port}",
                f"cannot be used: {error.strerror}.",
                not_done="The Prefect server was not started.",
                next_step="Name another one: make up PORT=4201, or stationsync up --port 4201",
            ) from None
    home.write(fleet)
    return fleet


def _start(home: Home, fleet: LocalFleet, names: Iterable[str]) -> None:
    environment = programs.environment(home, fleet)
    for name in names:
        if name != WORKER:
            parts.end(home, name)
        parts.start(home, name, programs.command(name, home, fleet), environment)


def _wait(home: Home, screen: Screen, fleet: LocalFleet, missing: list[str]) -> None:
    kind = "SQLite files" if fleet.database == "sqlite" else "private MariaDB servers"
    with screen.waiting(f"control and three stations, on {kind}"):
        for name in (*PLACES, receiver.NAME):
            parts.wait_ready(home, name, lambda name=name: parts.answer(home, name))  # type: ignore[misc]
        databases = databases_of(home, fleet.database)
        sample.write_settings(home, databases)
        write_helpers(home, fleet)
        if not fleet.filled:
            sample.fill(databases)
            sample.initialise_control(home)
            home.write(replace(fleet, filled=True))
    if SERVER in missing:
        with screen.waiting("a Prefect server, with its pages"):
            parts.wait_ready(home, SERVER, lambda: programs.server_answers(fleet))
    with screen.waiting("deployments with their schedules"):
        programs.deploy(home, fleet, f"http://{HOST}:{parts.last_port(home, receiver.NAME)}/")


def write_helpers(home: Home, fleet: LocalFleet) -> None:
    """For a person's shell: variables to be read, and a way to the databases without a client program."""
    python = Path(sys.executable)
    lines = [f"export {name}={_quoted(value)}\n" for name, value in programs.for_people(home, fleet).items()]
    lines.append(f'export PATH={_quoted(python.parent)}:"$PATH"\n')
    home.environment.write_text("".join(lines), encoding="utf-8")
    script = f'#!/bin/sh\nexec {_quoted(python)} -m cli.local.sql {_quoted(home.folder)} "$@"\n'
    home.sql.write_text(script, encoding="utf-8")
    home.sql.chmod(0o755)


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "'\\''") + "'"


def down(home: Home, names: Iterable[str] = ()) -> None:
    """End all of it, or these parts. What was killed, frozen or half started is found by its mark."""
    if chosen := tuple(names):
        parts.stop(home, chosen)
        for name in chosen:
            parts.end(home, name)
        return
    # The worker first: it shall not see its server end and try for long to reach it.
    parts.stop(home, [WORKER])
    parts.stop(home, [*PLACES, receiver.NAME, SERVER])
    parts.end(home)
    if fleet := home.read():
        shutil.rmtree(fleet.scratch, ignore_errors=True)


def clear(home: Home) -> None:
    """Nothing of it is left but the folder itself, which is the lock."""
    down(home)
    # Last, what tells that the folder is ours.
    for path in sorted(home.folder.iterdir(), key=lambda path: path == home.note):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove(home: Home) -> None:
    clear(home)
    home.folder.rmdir()
