"""What `up` says at its end: where everything is, and what to try."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.demo.sample import SITES, TABLE, connector
from cli.demo.tables import Screen
from cli.local import parts
from cli.local.home import Home, LocalFleet, home_at
from cli.local.programs import WORKER
from cli.local.running import PARTS


@dataclass(frozen=True)
class Try:
    """`verbs`: the commands of stationsync that it needs."""

    what: str
    commands: tuple[str, ...]
    verbs: tuple[str, ...] = ()


def tries(home: Home) -> tuple[Try, ...]:
    """Rows up to number 100 are left alone by the applications."""
    sql, update, now = _shown(home.sql), f"UPDATE {TABLE} SET", "modify_date = CURRENT_TIMESTAMP"
    folder = "" if home == home_at(None) else f" --folder {_shown(home.folder)}"
    select = f"SELECT text, price FROM {TABLE} WHERE id = 7"
    return (
        Try("see how it stands", ("stationsync status",), ("status",)),
        Try(
            "edit a row in control: it goes down to station-1, and to no other",
            (
                f"""{sql} control "{update} text = 'by hand', {now} WHERE id = 7 AND code LIKE 'SEOUL-%'\"""",
                f'stationsync run station-1 --wait; {sql} station-1 "{select}"',
            ),
            ("run",),
        ),
        Try(
            "break a row: a price below zero goes to quarantine, the rest goes on; a good price releases it",
            (
                f'{sql} station-1 "{update} price = -1, {now} WHERE id = 8"',
                "stationsync quarantine list",
            ),
            ("quarantine",),
        ),
        Try(
            "stop a station: its database is out of reach, edits for it wait in control; then bring it back",
            (f"stationsync down station-2{folder}", f"stationsync up{folder}"),
            ("down", "up"),
        ),
        Try(
            "look at the alerts: of the broken row; of the station, when it was away for a minute",
            (f"tail -f {_shown(home.alerts)}",),
            ("alert-test",),
        ),
        Try(
            "pause a station, and let it go on",
            ("stationsync pause station-3", "stationsync resume station-3"),
            ("pause", "resume"),
        ),
        Try(
            "read a station's rows again, while the live runs go on",
            (f"stationsync backfill station-3 --table {TABLE} --all",),
            ("backfill",),
        ),
        Try(
            "see what moved; and what taking back the last minute's edits of control would come to",
            ("stationsync journal list --since 5m", "stationsync revert --since 1m --direction down --dry-run"),
            ("journal", "revert"),
        ),
        Try(
            "ask why a row looks as it does",
            (f"stationsync explain station-1 {TABLE} 7 {connector(SITES[0], 7)}",),
            ("explain",),
        ),
        Try(
            "kill the worker in the middle of its work, and start another: nothing is lost",
            (f"kill -9 {_pid(home, WORKER)}", f"stationsync up{folder}"),
            ("up",),
        ),
        Try("end all of it", (f"stationsync down{folder}",), ("down",)),
    )


def tell(screen: Screen, home: Home, fleet: LocalFleet, started: Collection[str], verbs: Collection[str]) -> None:
    screen.space()
    if not started:
        screen.say("It is running already.", style="bold green")
    elif set(started) != set(PARTS):
        screen.say(f"It was running; started again: {', '.join(started)}.", style="bold green")
    else:
        screen.say("It is running, and goes on when this command has ended.", style="bold green")
    screen.say("The pages of the Prefect server (runs begin within half a minute):")
    screen.line(f"{fleet.ui}/deployments")
    screen.line(f"{fleet.ui}/runs")
    screen.space()
    screen.say("What to try. First, in each shell, so that commands find this fleet:")
    screen.line(f". {_shown(home.environment)}")
    for one in tries(home):
        if set(one.verbs) <= set(verbs):
            screen.say(f"• {one.what}")
            for command in one.commands:
                screen.line(command)
    screen.space()
    screen.say("The processes, each with its log in", f"{_shown(home.log('x').parent)}:")
    screen.pairs(_processes(home))


def _shown(path: Path) -> str:
    """As short as it can be typed here."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(f"./{path}" if not path.is_absolute() else str(path))


def _processes(home: Home) -> Iterator[tuple[str, str]]:
    for part in PARTS:
        yield part, _pid(home, part)


def _pid(home: Home, part: str) -> str:
    process = parts.running(home, part)
    return str(process.pid) if process else "has ended"
