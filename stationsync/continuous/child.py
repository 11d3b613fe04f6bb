"""A process of a continuous run: its rounds, told to the process that began it (`processes`), until that says so or is
gone. Begun as `python -m stationsync.continuous.child FD`; the descriptor is that of the connection to it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread

from stationsync.continuous.division import is_of
from stationsync.continuous.rounds import Round, Rounds
from stationsync.continuous.station import Visit
from stationsync.errors import StationSyncError
from stationsync.topology import topology_file
from stationsync.topology.continuous import continuous_runs
from stationsync.topology.model import Topology

# Seconds that a visit under way has to come to its end, once the process that began us is gone.
_GRACE = 10.0


@dataclass(frozen=True)
class Setup:
    """What a child is to do: the topology's file; the continuous run that it is part of, or the stations; its part of
    how many, and the seconds between two visits."""

    file: Path
    run: str | None
    stations: tuple[str, ...]
    every: float
    part: int = 0
    parts: int = 1
    # Whether the process that began it can read secret blocks.
    blocks: bool = False

    def interval(self, topology: Topology) -> float:
        """Seconds between two visits, as the topology has them now."""
        found = [one.schedule.every for one in continuous_runs(topology) if one.name == self.run]
        return found[0].total_seconds() if found else self.every

    def names(self, topology: Topology) -> list[str]:
        """All stations of the run, as the topology has them now."""
        if self.run is None:
            return [name for name in topology.stations if name in self.stations]
        found = [one.stations for one in continuous_runs(topology) if one.name == self.run]
        return list(found[0]) if found else []

    def mine(self, topology: Topology) -> list[str]:
        return [name for name in self.names(topology) if is_of(name, self.part, self.parts)]


@dataclass(frozen=True)
class Secret:
    """A child asks for the content of a secret block by its name."""

    name: str


@dataclass(frozen=True)
class Answer:
    """To such a question; None where it cannot be read."""

    secret: str | None = field(repr=False)


@dataclass(frozen=True)
class Unread:
    """The topology was changed, and cannot be read: it is gone on with as it was."""

    message: str


class TopologyWatch:
    """The topology, read again whenever its file was changed."""

    def __init__(self, file: Path, unread: Callable[[str], None]) -> None:
        self._file, self._unread = file, unread
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> Topology | None:
        """As it is now; None where it is as it was, or cannot be read (which is told once). Raises what reading raises
        the first time."""
        first = self._seen is None
        try:
            stat = self._file.stat()
            now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if now == self._seen:
                return None
            self._seen = now
            return topology_file.load(self._file)
        except (OSError, StationSyncError) as error:
            if first:
                raise
            self._unread(str(error))
            return None


class _ToParent:
    """The connection, for several threads: what is told, and secrets that are asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()
        self._answers: SimpleQueue[str | None] = SimpleQueue()
        self._asking = Lock()
        self.end = Event()

    def visited(self, visit: Visit) -> None:
        self.tell(visit)

    def done(self, round_: Round) -> None:
        self.tell(round_)

    def tell(self, what: object) -> None:
        try:
            with self._lock:
                self._connection.send(what)
        except OSError:
            self.end.set()

    def secret(self, name: str) -> str:
        """Raises LookupError."""
        with self._asking:
            self.tell(Secret(name))
            answer = self._answers.get()
        if answer is None:
            raise LookupError
        return answer

    def listen(self) -> None:
        """What the other side says: the answer to a question, or the end."""
        while True:
            try:
                what = self._connection.recv()
            except (EOFError, OSError):
                self.end.set()
                time.sleep(_GRACE)
                # Nothing is lost: what is under way is rolled back, and the next run begins it again.
                os._exit(1)
            if isinstance(what, Answer):
                self._answers.put(what.secret)
            else:
                self.end.set()


def main(arguments: Sequence[str]) -> None:
    # Ctrl-C is for the process that began us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(arguments[0]))
    setup: Setup = connection.recv()
    parent = _ToParent(connection)
    Thread(target=parent.listen, name="listen", daemon=True).start()
    watch = TopologyWatch(setup.file, lambda message: parent.tell(Unread(message)))
    Rounds(watch.changed, setup.mine, setup.interval, parent, parent.secret if setup.blocks else None).run(parent.end)


if __name__ == "__main__":
    # Under its real name, or what it sends would be of another class.
    from stationsync.continuous import child

    child.main(sys.argv[1:])
