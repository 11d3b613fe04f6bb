"""The loop of a continuous run in one process: round after round, each station that is due is visited.

A round begins with one look at control, about all stations. Stations are visited by some threads at a time; those that
failed the last time by others, so that nobody waits for a station that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from stationsync.continuous import look, rule
from stationsync.continuous.look import ControlLook, Place
from stationsync.continuous.station import Visit, WatchedStation
from stationsync.database.connection import Database, LastingSession
from stationsync.errors import StationSyncError, guarded
from stationsync.keeping import books
from stationsync.model.wire import Family
from stationsync.pairing.pair import Blocks, control_of, pairs
from stationsync.topology.model import Topology

# Visits at a time; and of stations that failed the last time.
_AT_ONCE, _FAILING = 12, 4
# Seconds between two notes in the books that stations were found equal.
_NOTED_EVERY = 10.0
# Seconds that a round waits for a visit before it goes on without it.
_PATIENCE = 2.0


@dataclass(frozen=True)
class Round:
    """How a round went, and how many stations there are. `ran`: visits that came to their end and ran something,
    `running`: those that have not come to it; `failing`: stations whose last visit failed; `seconds` it took.
    `message`: why control could not be asked."""

    stations: int
    visited: int
    ran: int
    failing: tuple[str, ...]
    paused: tuple[str, ...]
    seconds: float
    running: int = 0
    message: str = ""


class Listener(Protocol):
    """Who is told what came of the visits that did something, or failed, and of each round."""

    def visited(self, visit: Visit) -> None: ...
    def done(self, round_: Round) -> None: ...


@dataclass
class Fleet:
    """The stations that are visited, and control as they have it."""

    control: Database
    session: LastingSession
    stations: dict[str, WatchedStation] = field(default_factory=dict)


class Rounds:
    """`load` gives the topology as it is now, None where it is as it was before; `mine` which of its stations are
    visited here; `every`: seconds between two visits of a station, as the topology has it."""

    def __init__(
        self,
        load: Callable[[], Topology | None],
        mine: Callable[[Topology], Sequence[str]],
        every: Callable[[Topology], float],
        listener: Listener,
        blocks: Blocks | None = None,
    ) -> None:
        self._load, self._mine, self._every_of, self._every = load, mine, every, 0.0
        self._listener, self._blocks = listener, blocks
        self._fleet: Fleet | None = None
        self._topology: Topology | None = None
        self._busy: dict[str, Future[Visit]] = {}
        # Tables that looks found equal since the books were written, and when the books were.
        self._equal: set[Place] = set()
        self._noted = 0.0

    def run(self, end: Event) -> None:
        """Until `end` is set; a visit under way is waited for."""
        with (
            ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="visit") as pool,
            ThreadPoolExecutor(_FAILING, thread_name_prefix="failing") as failing,
        ):
            try:
                while not end.is_set():
                    begun = time.monotonic()
                    self._round(begun, pool, failing)
                    end.wait(self._until_next(begun))
            finally:
                wait(self._busy.values())
                self._collect()
                with suppress(StationSyncError):
                    self._note(force=True)
                self.close()

    def close(self) -> None:
        if self._fleet is not None:
            self._fleet.session.drop()
            for station in self._fleet.stations.values():
                station.close()

    def _round(self, begun: float, pool: ThreadPoolExecutor, failing: ThreadPoolExecutor) -> None:
        fleet = self._fleet = self._changed(self._fleet)
        due = [one for one in fleet.stations.values() if one.next <= begun and one.name not in self._busy]
        message, seen = "", ControlLook()
        if due:
            try:
                with guarded("control"):
                    seen = self._look(fleet, due)
            except StationSyncError as error:
                fleet.session.drop()
                due, message = [], str(error)
        visits = [one for one in due if one.name not in seen.paused]
        for one in due:
            if one.name in seen.paused:
                one.next = rule.next_round(begun, self._every)
        for one in visits:
            self._busy[one.name] = (failing if one.failures else pool).submit(one.visit, seen, begun)
        waited_for = [self._busy[one.name] for one in visits if not one.failures]
        if waited_for:
            wait(waited_for, timeout=min(_PATIENCE, self._every))
        ran = self._collect()
        with suppress(StationSyncError):
            self._note()
        failing_now = tuple(sorted(one.name for one in fleet.stations.values() if one.failing))
        paused, seconds = tuple(sorted(seen.paused & fleet.stations.keys())), time.monotonic() - begun
        counts = len(fleet.stations), len(visits), ran
        self._listener.done(Round(*counts, failing_now, paused, seconds, len(self._busy), message))

    def _until_next(self, begun: float) -> float:
        """Seconds until a station is due; it may be that visits under way end meanwhile."""
        stations = self._fleet.stations.values() if self._fleet else ()
        soonest = min((one.next for one in stations if one.name not in self._busy), default=begun + self._every)
        return max(self._every / 10, min(soonest, begun + self._every) - time.monotonic())

    def _changed(self, fleet: Fleet | None) -> Fleet:
        """The stations of the topology as it is now. What is known of those that did not change stays."""
        topology = self._load()
        if topology is None and fleet is not None:
            return fleet
        assert topology is not None, "the first topology"
        before, self._topology = self._topology, topology
        control = control_of(topology, self._blocks)
        if fleet is not None:
            fleet.session.drop()
        every, self._every = self._every, self._every_of(topology)
        same = before is not None and _common(before) == _common(topology) and every == self._every
        found: dict[str, WatchedStation] = {}
        kept: Mapping[str, WatchedStation] = fleet.stations if fleet else {}
        for name in self._mine(topology):
            if same and before is not None and name in kept and before.stations[name] == topology.stations[name]:
                found[name] = kept[name]
                continue
            whole = rule.whole_every(topology.stale_after(name))
            found[name] = WatchedStation(pairs(topology, name, None, self._blocks), self._every, whole)
        for name, station in kept.items():
            if found.get(name) is not station and name not in self._busy:
                station.close()
        return Fleet(control, LastingSession(control), found)

    def _look(self, fleet: Fleet, due: Sequence[WatchedStation]) -> ControlLook:
        opened = [one for station in due for one in station.opened]
        with fleet.session.transaction() as conn:
            return look.at_control(conn, opened, [one.name for one in due])

    def _collect(self) -> int:
        """Take in what came of visits that are done; how many of them ran something."""
        ran = 0
        for name, future in list(self._busy.items()):
            if not future.done():
                continue
            del self._busy[name]
            visit = future.result()
            self._equal |= set(visit.equal)
            if visit.reports:
                ran += 1
                self._listener.visited(visit)
        return ran

    def _note(self, *, force: bool = False) -> None:
        """In the books: these tables were found equal just now, so nothing of them is old."""
        if not self._equal or self._fleet is None or not (force or time.monotonic() - self._noted >= _NOTED_EVERY):
            return
        try:
            with self._fleet.session.transaction() as conn:
                at = self._fleet.control.dialect.clock(conn, Family.DATETIME).utc
                books.write_equal(conn, self._equal, at)
        except StationSyncError:
            self._fleet.session.drop()
            raise
        self._equal, self._noted = set(), time.monotonic()


def _common(topology: Topology) -> object:
    return topology.control, topology.journal, topology.tables, topology.defaults.stale_after
