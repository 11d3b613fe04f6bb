"""`stationsync demo`: the whole story on throw-away databases, told on the terminal.

Nothing of this machine is used or changed: databases, Prefect server and settings live in a temporary folder."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from cli.demo import fleet as fleets
from cli.demo import proof, story
from cli.demo.engine_driver import Driver, EngineDriver
from cli.demo.fleet import DemoFleet
from cli.demo.prefect_server import PrefectServer
from cli.demo.sample import SITES
from cli.demo.tables import Screen
from cli.demo.telling import Chapter, Telling
from stationsync.errors import SetUpError
from stationsync.health.check import check
from stationsync.model.changes import Level

CHAPTERS: tuple[tuple[str, Chapter], ...] = (
    ("The first load", story.first_load),
    ("Edits at stations go up", story.edits_at_stations),
    ("Edits at control go to the right station only", story.edits_at_control),
    ("Both sides edit the same row", story.both_sides_edit),
    ("A bad row holds nobody up", story.a_bad_row),
    ("A station is off-line, and comes back", story.off_line),
    ("Deletes, and edits that nobody stamped", story.whole_tables),
    ("Once more: nothing to do", story.nothing_to_do),
    ("Side by side, with proof", proof.side_by_side),
)


def demo(database: str = "sqlite", prefect: bool = True, keep: bool = False) -> int:
    """Tell the story; the exit code is 1 where it did not come true, 130 after Ctrl-C."""
    fleets.require_known(database)
    screen = Screen()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with ExitStack() as stack:
            stack.callback(signal.signal, signal.SIGINT, signal.default_int_handler)
            return _demo(screen, stack, database, prefect, keep)
    except KeyboardInterrupt:
        screen.say("Stopped. Everything is cleared away.")
        return 130


def _terminated(*_: object) -> None:
    sys.exit(143)  # through all that clears up


def _demo(screen: Screen, stack: ExitStack, database: str, prefect: bool, keep: bool) -> int:
    begun = time.monotonic()
    _welcome(screen, prefect)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stationsync-demo-")))
    server = stack.enter_context(closing(PrefectServer(folder))) if prefect else None
    fleet = _fleet(screen, stack, database, folder)
    driver = _driver(screen, stack, fleet, server)
    # From here on, a second Ctrl-C does not stop the clearing up.
    stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
    tell = Telling(screen, fleet, driver)
    for number, (title, chapter) in enumerate(CHAPTERS, 1):
        with tell.chapter(number, title):
            chapter(tell)
    _farewell(tell, time.monotonic() - begun)
    if keep:
        _stay(screen, fleet, server)
    return 1 if tell.broken else 0


def _welcome(screen: Screen, prefect: bool) -> None:
    screen.space()
    screen.say("stationsync demo", style="bold")
    cities = ", ".join(f"{site.city} ({site.rows:,})" for site in SITES)
    screen.say(f"Three charging sites keep their charging sessions in databases of their own: {cities}.")
    screen.say(
        "A control centre has the rows of all. Both sides edit them; stationsync keeps them equal: up, from a station",
        "to control, and down, from control to the row's own station.",
    )
    screen.space()
    screen.say("Every ✓ below was checked in the databases themselves; a ✗ ends the demo with exit code 1.")
    how = "are Prefect flows, as in production" if prefect else "call the engine, as the stationsync command does"
    screen.say(f"The runs {how}. All of it is thrown away at the end.")
    screen.space()


def _fleet(screen: Screen, stack: ExitStack, database: str, folder: Path) -> DemoFleet:
    """The databases, filled; and the check that a person would run first."""
    kind = "SQLite files" if database == "sqlite" else "private MariaDB servers"
    with screen.waiting(f"four databases filled, on {kind}"):
        fleet = DemoFleet(stack.enter_context(fleets.opened(database, folder)), folder)
        fleet.prepare()
    os.environ["STATIONSYNC_EXPECTATIONS"] = str(fleet.expectations)
    with screen.waiting("stationsync check: connections, tables, clocks and expectations are in order"):
        found = check(fleet.control, [fleet.pairs(site.name) for site in SITES])
        wrong = [note.what for one in found for note in one.notes if note.level in (Level.PROBLEM, Level.OFFLINE)]
    if wrong:
        raise SetUpError("demo", "; ".join(wrong))
    return fleet


def _driver(screen: Screen, stack: ExitStack, fleet: DemoFleet, server: PrefectServer | None) -> Driver:
    if server is None:
        return EngineDriver(fleet)
    with screen.waiting("a Prefect server of the demo's own answers"):
        from cli.demo.prefect_driver import prefect_driver

        driver = stack.enter_context(prefect_driver(fleet, server))
    screen.say(f"Watch the runs while they happen: {server.ui}/runs")
    return driver


def _farewell(tell: Telling, seconds: float) -> None:
    screen = tell.screen
    screen.title("The end")
    if tell.broken:
        screen.say(f"{len(tell.broken)} claims did not hold:", style="bold red")
        for text in tell.broken:
            screen.claim(text, holds=False)
    else:
        screen.say(f"All of it came true, in {seconds:.0f} seconds.", style="bold green")
    screen.space()
    screen.say("Where to go next:")
    screen.pairs(_NEXT)


_NEXT = (
    ("your own stations", "write deployments/stations.yaml, then: stationsync check, stationsync init"),
    ("a first run", "stationsync sync STATION, stationsync status"),
    ("with Prefect", "stationsync demo --keep, and look at the runs in the browser"),
    ("on real servers", "stationsync demo --database mariadb"),
    ("how it works", "README.md, docs/ARCHITECTURE.md"),
)


def _stay(screen: Screen, fleet: DemoFleet, server: PrefectServer | None) -> None:
    """Leave everything running until somebody says that it is enough."""
    if not sys.stdin.isatty():
        screen.say("There is no terminal to wait at, so --keep keeps nothing.")
        return
    screen.say("Everything is still there. In another terminal:")
    if server:
        screen.line(f"{server.ui}/runs")
    screen.line(f"export STATIONSYNC_TOPOLOGY={fleet.file} STATIONSYNC_EXPECTATIONS={fleet.expectations}")
    screen.line("stationsync status; stationsync conflicts list; stationsync sync station-1")
    for name in (fleets.CONTROL, *(site.name for site in SITES)):
        screen.line(fleet.databases.where(name))
    screen.space()
    with suppress(EOFError):
        input("  Enter ends it and clears everything away. ")
