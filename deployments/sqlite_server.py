"""`prefect server start` for a server whose database is SQLite: python -m deployments.sqlite_server [its options].

Python collects garbage on whichever thread happens to ask for memory; in this server, mostly on its event loop. A
cursor among the garbage waits there for its connection, that one for SQLite's only writer, and the writer for the
event loop, to commit: nothing is answered until SQLite gives up, after 60 s ("database is locked"; seen with Prefect
3.8 when many runs are due at once, as after a restart). On a thread of its own the collector waits alone.

Prefect also looks for the names of all time zones on the disk, at each schedule that it reads: a sixth of the server's
work while a fleet is deployed. Here it does so once."""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import threading
import time
import zoneinfo

# Seconds. Often, as Python would do it: a forgotten cursor also holds its connection to what it has read.
EVERY = 0.05
# One round in so many is for what has lived through one collection; one in so many for everything.
OLDER, FULL = 10, 400


def collect_apart(every: float = EVERY) -> None:
    """From now on garbage is collected on a thread of its own, each `every` seconds."""
    gc.disable()
    threading.Thread(target=_collect, args=(every,), name="garbage", daemon=True).start()


def _collect(every: float) -> None:
    for times in itertools.count(1):
        time.sleep(every)
        gc.collect(2 if times % FULL == 0 else 1 if times % OLDER == 0 else 0)
        if times == FULL:
            gc.freeze()  # the modules: they stay, and to look through them takes half a second each time


def main() -> None:
    collect_apart()
    zoneinfo.available_timezones = functools.cache(zoneinfo.available_timezones)
    from prefect.cli import app

    sys.argv[1:1] = ["server", "start"]
    app()


if __name__ == "__main__":
    main()
