"""Garbage of a server on SQLite is collected beside its event loop, never on it."""

from __future__ import annotations

import subprocess
import sys

from support.waiting import PATIENCE

# A cycle that nothing but the collector finds; what it says of the thread on which that happens.
STORY = """
import gc, sys, threading, time
from deployments.sqlite_server import collect_apart

class Cursor:
    def __init__(self):
        self.itself = self
    def __del__(self):
        where.append(threading.current_thread().name)

where = []
if "apart" in sys.argv:
    collect_apart(every=0.05)
    Cursor()
limit = time.monotonic() + 120
while not where and time.monotonic() < limit:
    if "apart" not in sys.argv:
        Cursor()
    kept = [[] for _ in range(100_000)]
print(where[0])
"""


def collected(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", STORY, *args], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout.strip()


def test_garbage_is_collected_on_a_thread_of_its_own() -> None:
    assert collected() == "MainThread", "as Python does it"
    assert collected("apart") == "garbage"
