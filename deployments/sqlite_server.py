"""`prefect server start` for a server whose database is SQLite: python -m deployments.sqlite_server [its options].

Python collects garbage on whichever thread happens to ask for memory; in this server, mostly on its event loop. A
cursor among the garbage waits there for its connection, that one for SQLite's only writer, and the writer for the
event loop, to commit: nothing is answered until SQLite gives up, after 60 s ("database is locked"; seen with Prefect
3.8 when many runs are due at once, as after a restart). On a thread of its own the collector waits alone."""

from __future__ import annotations

import gc
import sys
import threading
import time

EVERY = 2.0
# What lived through this many collections is looked at once in as many.
FULL = 30


def collect_apart(every: float = EVERY) -> None:
    """From now on garbage is collected on a thread of its own, each `every` seconds."""
    gc.disable()
    threading.Thread(target=_collect, args=(every,), name="garbage", daemon=True).start()


def _collect(every: float) -> None:
    times = 0
    while True:
        time.sleep(every)
        times += 1
        gc.collect(2 if times % FULL == 0 else 1)


def main() -> None:
    collect_apart()
    from prefect.cli import app

    sys.argv[1:1] = ["server", "start"]
    app()


if __name__ == "__main__":
    main()
