"""A continuous run as Prefect shows it: one table of all its stations, and a trace of its own for each station that
moved rows, failed, or came back. A station of which nothing is to be said costs nothing here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from stationsync.continuous.child import Setup, TopologyWatch, Unread
from stationsync.continuous.division import processes_for
from stationsync.continuous.handover import Turn
from stationsync.continuous.processes import Died, Processes, Told
from stationsync.continuous.rounds import Round
from stationsync.continuous.station import Visit
from stationsync.model.amounts import format_duration
from stationsync.model.changes import Counts, Report, Status
from stationsync.topology import topology_file
from stationsync.topology.continuous import ContinuousRun, continuous_runs
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.incidents import tell_station
from tasks.report import artifact_key, final_state, leave_artifact
from tasks.told import RunLog, leave_table

# Seconds between two tables of all stations, and between two traces of one station.
_TABLE_EVERY, _TRACE_EVERY = 60.0, 20.0
# Traces left at a time, before what the processes tell is listened to again.
_TRACES_AT_ONCE = 5
# Seconds that a run goes on for want of the next one; that a later one waits for its turn; and between two questions
# whether one waits.
_OVERTIME, _PATIENCE, _ASKED_EVERY = 60.0, 300.0, 1.0
_ROWS = 1000


@dataclass
class _Line:
    """What is known of one station."""

    station: str
    visits: int = 0
    counts: Counts = field(default_factory=Counts)
    status: str = ""
    message: str = ""
    failing: bool = False
    moved_at: datetime | None = None
    # Reports of which no trace was left yet, and when the last one was.
    waiting: list[Report] = field(default_factory=list)
    traced: float = float("-inf")


class Traces:
    """What the processes tell, as it comes, and what is left of it in Prefect."""

    def __init__(self, topology: Topology, run: ContinuousRun) -> None:
        self.topology, self._run = topology, run
        self._lines = {name: _Line(name) for name in run.stations}
        self._rounds: dict[int, Round] = {}
        self._log = RunLog()
        self._table = time.monotonic()
        self.rounds = 0
        # What cannot be read is told by the processes.
        self._watch = TopologyWatch(topology_file.topology_path(), lambda _: None)

    def is_warm(self, processes: int) -> bool:
        """Whether so many processes have been through their stations once."""
        return len(self._rounds) == processes and not any(one.running for one in self._rounds.values())

    def is_wanted(self) -> bool:
        """Whether the topology still has this run, with whichever stations; the processes see to these themselves."""
        if (topology := self._watch.changed()) is None:
            return True
        run = named_run(topology, self._run.name)
        if run is not None:
            self.topology, self._run = topology, run
            self._lines = {name: self._lines.get(name) or _Line(name) for name in run.stations}
        return run is not None

    def take(self, part: int, told: Told) -> None:
        match told:
            case Visit():
                self._visited(told)
            case Round():
                if told.message and self._message(part) != told.message:
                    self._log.warning("Control cannot be asked. %s", told.message)
                self._rounds[part] = told
                self.rounds += told.visited > 0
            case Unread(message=message):
                self._log.warning("The topology was changed and cannot be read; this goes on as before. %s", message)
            case Died(part=_, code=code):
                self._log.warning("A process ended with %s; another goes on with its stations.", code)
                self._rounds.pop(part, None)

    def _message(self, part: int) -> str:
        return self._rounds[part].message if part in self._rounds else ""

    def _visited(self, visit: Visit) -> None:
        line = self._lines.get(visit.station)
        if line is None:
            return  # it was taken out meanwhile
        news = visit.failing != line.failing or visit.moved
        line.visits += 1
        line.failing = visit.failing
        line.status, line.message = _worst(visit.reports)
        if visit.moved:
            line.moved_at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
            line.counts = sum((report.counts for report in visit.reports), line.counts)
        # Of a station that fails again and again, as of one that is found equal, there is nothing new to say.
        if news:
            moved = [one for one in visit.reports if one.counts.moved]
            line.waiting += visit.reports if visit.failing else moved or visit.reports

    def leave(self, *, last: bool = False) -> None:
        """Traces of the stations that wait longest, all at the `last`; and the table, where it is due."""
        now = time.monotonic()
        due = [one for one in self._lines.values() if one.waiting and (last or now - one.traced >= _TRACE_EVERY)]
        due.sort(key=lambda one: one.traced)
        for line in due if last else due[:_TRACES_AT_ONCE]:
            reports, line.waiting, line.traced = line.waiting, [], now
            trace(line.station, reports, return_state=True)
            tell_station(self.topology, line.station)
        if last or now - self._table >= _TABLE_EVERY:
            self._table = now
            self._leave_table()

    def _leave_table(self) -> None:
        lines = sorted(self._lines.values(), key=lambda one: (not one.failing, one.moved_at is None, one.station))
        failing = sum(one.failing for one in lines)
        text = f"{len(lines):,} stations, {failing:,} failing, {self.rounds:,} rounds, {self.rows:,} rows moved"
        more = [f"The first {_ROWS:,}; those that fail come first."] if len(lines) > _ROWS else []
        rows = [_row(line) for line in lines[:_ROWS]]
        key, title = artifact_key(_safe(self._run.name), "continuous"), f"continuous {self._run.name}: {text}"
        leave_table(rows, key, title, text=more)

    @property
    def rows(self) -> int:
        return sum(one.counts.applied for one in self._lines.values())

    def state(self) -> State[Any]:
        """Red only where no station at all could be synchronised: each that fails has a trace of its own."""
        failing = [one for one in self._lines.values() if one.failing]
        words = f"{len(self._lines):,} stations, {self.rounds:,} rounds, {self.rows:,} rows moved"
        if failing:
            words += f"; {len(failing):,} fail, such as {failing[0].station}: {failing[0].message}"
        if failing and len(failing) == len(self._lines) and not all(one.status == Status.OFFLINE for one in failing):
            return Failed(message=words)
        return Completed(message=words)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower()).strip("-")


def _worst(reports: Sequence[Report]) -> tuple[str, str]:
    for report in reports:
        if report.message:
            return str(report.status), report.message
    return (str(reports[-1].status) if reports else ""), ""


def _row(line: _Line) -> dict[str, Any]:
    return {
        "station": line.station,
        "result": "failing" if line.failing else line.status,
        "runs": line.visits,
        "applied": line.counts.applied,
        "conflicts": line.counts.conflicts,
        "quarantined": line.counts.quarantined,
        "last moved": line.moved_at.isoformat(sep=" ") if line.moved_at else "",
        "notes": line.message,
    }


@task(name="station", task_run_name="sync {station}", cache_policy=NO_CACHE, persist_result=False)
def trace(station: str, reports: Sequence[Report]) -> State[list[Report]]:
    """What a station's runs did, as the artifact that its own deployment leaves too."""
    leave_artifact("sync", station, reports)
    return final_state(list(reports))


def named_run(topology: Topology, name: str) -> ContinuousRun | None:
    return next((one for one in continuous_runs(topology) if one.name == name), None)


def go_on(topology: Topology, run: ContinuousRun, turn: Turn) -> State[Any]:
    """Keep the stations of `run` equal for its time, and until the next one waits. Raises StationSyncError where
    control cannot be asked at the beginning."""
    traces = Traces(topology, run)
    setup = Setup(topology_file.topology_path().absolute(), run.name, (), run.schedule.every.total_seconds())
    number = processes_for(len(run.stations))
    with Processes(setup, number, secret_block) as processes:
        if not _our_turn(turn, processes, traces, number):
            return Completed(name="UnderWay", message=f"another run of {run.name} waits for its turn already")
        until = time.monotonic() + run.schedule.run.total_seconds() + _OVERTIME
        RunLog().info("%s stations, every %s", len(run.stations), format_duration(run.schedule.every))
        for _ in _while(lambda: time.monotonic() < until and not turn.is_awaited() and traces.is_wanted()):
            _listen(processes, traces)
        for told in processes.end():
            traces.take(0, told)
    traces.leave(last=True)
    return traces.state()


def _our_turn(turn: Turn, processes: Processes, traces: Traces, number: int) -> bool:
    """Wait for it; where another run is at work, warm up beside it first."""
    if turn.take():
        return True
    warm_by = time.monotonic() + _PATIENCE
    for _ in _while(lambda: not traces.is_warm(number) and not turn.take() and time.monotonic() < warm_by):
        _listen(processes, traces)
    return turn.wait_for(_PATIENCE)


def _while(go: Callable[[], bool]) -> Iterator[None]:
    while go():
        yield


def _listen(processes: Processes, traces: Traces) -> None:
    for part, told in processes.told(_ASKED_EVERY):
        traces.take(part, told)
    traces.leave()
