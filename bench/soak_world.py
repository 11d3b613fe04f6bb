"""The databases of a soak, and applications that write at all sides all the time and remember what they were told."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cli.drill.actors import Actors
from cli.drill.history import CONTROL, Delete, Key, Setting, Write
from cli.drill.tables import topology
from cli.drill.world import FAILED, MariaDBWorld

ROWS = 200
_DELETES = 0.03
# Of control's application, which has all stations' rows to edit, and a station's; seconds.
_PAUSE = {CONTROL: 0.2}
_STATION_PAUSE = 1.0


class SoakWorld(MariaDBWorld):
    """Control and many stations, on two servers."""

    def build(self, setting: Setting) -> None:
        self._setting = setting
        for side in (CONTROL, *setting.names):
            self._make(side)

    def open(self, side: str, wait: float = 0) -> Any:
        return super().open(side, wait or 5)

    def stations_yaml(self, setting: Setting) -> dict[str, Any]:
        urls = {side: self.url(side) for side in (CONTROL, *setting.names)}
        return topology(setting, urls, included=True) | {"journal": str(self.journal)}


def key(station: str, number: int) -> Key:
    return number, station


@contextmanager
def writing(actors: Actors, setting: Setting, seed: int) -> Iterator[threading.Event]:
    """Applications at work, one thread a side, until the event is set or the block is left."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_write, args=(actors, setting, side, random.Random(f"{seed} {side}"), stop))
        for side in (CONTROL, *setting.names)
    ]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _write(actors: Actors, setting: Setting, side: str, chance: random.Random, stop: threading.Event) -> None:
    while not stop.wait(chance.expovariate(1 / _PAUSE.get(side, _STATION_PAUSE))):
        station = chance.choice(setting.names) if side == CONTROL else side
        row = key(station, chance.randrange(ROWS))
        if side != CONTROL and chance.random() < _DELETES:
            step: Write | Delete = Delete(side, row)
        else:
            step = Write(side, row, chance.choice((("text",), ("note",), ("text", "note"))))
        with suppress(*FAILED):
            actors.do(step)
