"""Plays one history against a world: who does what when, which faults come in between, and what holds at the end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.drill import invariants, reading, restore
from cli.drill.actors import Actors
from cli.drill.history import (
    CONTROL,
    INNER,
    Alter,
    Backup,
    Delete,
    End,
    Fault,
    History,
    Include,
    Init,
    Jump,
    Link,
    Lose,
    Own,
    Pass,
    Permute,
    Restore,
    Run,
    Setting,
    Step,
    Write,
)
from cli.drill.processes import Runner
from cli.drill.runner import Job
from cli.drill.world import World
from stationsync.errors import StationSyncError

# A run that says nothing for that long waits for a lock, most likely.
_SILENCE = 0.12
_HANGS = 45.0
# Errors that faults from outside may bring about.
_EXPECTED = frozenset({"StationOffline", "DatabaseBusy", "LockWait", "LeaseLost"})
_ROUNDS = 12


@dataclass
class Outcome:
    """What came of a history. `log`: what happened, for a person."""

    problems: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    facts: int = 0
    runs: int = 0
    killed: int = 0
    failed: int = 0
    conflicts: int = 0
    held: int = 0


class Director:
    def __init__(
        self, world: World, runners: tuple[Runner, Runner], environment: Mapping[str, str], sabotage: str = ""
    ) -> None:
        self.world = world
        self._runners = runners
        self._environment = environment
        self._sabotage = sabotage

    def play(self, history: History) -> Outcome:
        self.begin(history.setting)
        try:
            for step in history.steps:
                self.step(step)
            return self.finish()
        finally:
            self.end()

    def begin(self, setting: Setting) -> None:
        self.setting = setting
        self.world.reset(setting)
        self._actors = Actors(self.world, setting)
        self._outcome = Outcome()
        self._beside: Run | None = None
        self._backups = restore.Backups(self.world, self._actors, self._initialise)

    def finish(self) -> Outcome:
        """Let it go quiet, and check what must hold."""
        self._quiet()
        if self.setting.edits_last and not self._outcome.problems:
            self._edit_all()
        if not self._outcome.problems:
            self._check()
        return self._outcome

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for runner in self._runners:
            if runner.busy:
                runner.kill()
        self.world.heal()
        self._actors.close()

    # --- steps

    def step(self, step: Step) -> None:
        match step:
            case Write() | Delete() | Own() | Permute() | Link():
                self._actors.do(step)
            case End():
                self._actors.end(step.tx, commit=step.commit)
            case Jump():
                self._shift(step.seconds, step.side)
            case Pass():
                self._shift(step.seconds, CONTROL, *self.setting.names)
            case Alter():
                if self._alone():
                    self.world.alter(step.side)
            case Init():
                if self._alone():
                    self._initialise()
            case Backup() | Restore() | Lose():
                if self._alone():
                    self._outcome.problems += self._backups.step(step, self._run)
                    # Nobody loads a backup in no time: what is written then is not stamped in the second of before.
                    # Nor is a version of the second of a backup told by its stamp from the one that is in it.
                    backed_up = 0 if isinstance(step, Backup) and step.side == CONTROL else 2
                    self._shift(backed_up if isinstance(step, Backup) else 60, CONTROL, *self.setting.names)
            case Include():
                self.world.included = self.setting.excluded
            case Fault():
                if step.what not in INNER:
                    self.world.fault(step)
            case Run():
                self._run(step)

    def _alone(self) -> bool:
        """Open transactions, or a run under way, would hold a change of tables up."""
        if self._actors.open or any(runner.busy for runner in self._runners):
            return False
        self._actors.join()
        self._actors.close()
        return True

    def _shift(self, seconds: int, *sides: str) -> None:
        for side in sides:
            self._actors.offsets[side] = self._actors.offsets.get(side, 0) + seconds

    def _initialise(self) -> None:
        try:
            self.world.initialise()
        except StationSyncError as error:
            self._outcome.log.append(f"init: {error}")

    # --- runs

    def _job(self, step: Run) -> Job:
        points = {point.at: "pause" for point in step.points}
        points |= {p.at: p.do.what for p in step.points if isinstance(p.do, Fault) and p.do.what in INNER}
        return Job(
            self.world.topology(),
            step.station,
            step.what,
            points,
            dict(self._actors.offsets),
            self._actors.held(),
            step.threaded,
            self._environment,
            self._sabotage,
            self.setting.answer,
            step.key,
        )

    def _run(self, step: Run) -> dict[str, Any]:
        """Drive one run to its end, with all that happens meanwhile."""
        runner, beside = self._runners
        waiting: dict[int, list[Step]] = {}
        for point in step.points:
            waiting.setdefault(point.at, []).append(point.do)
        blocked = [*step.blocked]
        runner.start(self._job(step))
        limit = time.monotonic() + _HANGS
        while True:
            said = runner.hear(_SILENCE)
            if said is None:
                self._silence(blocked)
            elif "at" in said:
                for inner in waiting.pop(said["at"], []):
                    self._meanwhile(inner)
                runner.go_on()
            else:
                break
            if time.monotonic() > limit:
                said = {"unexpected": "the run hangs"}
                runner.kill()
                break
        self._told(step, said)
        if step.what == "trash restore" and step.key:
            self._actors.ledger.brought_back.add(step.key)
        while beside.busy and time.monotonic() < limit:
            self._hear_beside(_SILENCE)
        self._actors.join()
        # What would have come at statements that it never had comes now.
        for inner in (*(one for rest in waiting.values() for one in rest), *blocked):
            if not isinstance(inner, Run) and not (isinstance(inner, Fault) and inner.what in INNER):
                self.step(inner)
        return said

    def _meanwhile(self, step: Step) -> None:
        beside = self._runners[1]
        if not isinstance(step, Run):
            self.step(step)
        elif not beside.busy:
            self._beside = step
            beside.start(self._job(dataclasses.replace(step, points=(), blocked=())))
            self._hear_beside(_SILENCE)

    def _hear_beside(self, seconds: float) -> None:
        said = self._runners[1].hear(seconds)
        if said is not None and self._beside is not None:
            self._told(self._beside, said)
        elif said is None:
            self._silence([])

    def _silence(self, blocked: list[Step]) -> None:
        """Nobody says anything: somebody holds a lock."""
        if blocked:
            self.step(blocked.pop(0))
        else:
            for tx in list(self._actors.open):
                self._actors.end(tx, commit=tx % 2 == 1)

    def _told(self, step: Run, said: dict[str, Any]) -> None:
        outcome = self._outcome
        outcome.runs += 1
        name = f"{step.what} {step.station}"
        if "killed" in said:
            outcome.killed += 1
            outcome.log.append(f"{name}: killed")
        elif "unexpected" in said:
            outcome.problems.append(f"{name} ended unexpectedly: {said['unexpected']}")
        elif "error" in said:
            outcome.failed += 1
            outcome.log.append(f"{name}: {said['error']}: {said['message']}")
            if said["error"] not in _EXPECTED and not (self.world.altered and said["error"] == "NotInitialised"):
                outcome.problems.append(f"{name} ended with {said['error']}: {said['message']}")
        else:
            brief = [f"{r['direction']} {r['status']} {_counts(r)}" for r in said["reports"]]
            outcome.log.append(f"{name}: {'; '.join(brief)} ({said['statements']} statements)")

    # --- the end

    def _quiet(self) -> None:
        """All is well again, and runs go on until there is nothing left to do."""
        self.world.heal()
        self._actors.join()
        for tx in list(self._actors.open):
            self._actors.end(tx, commit=True)
        self._actors.close()
        self.world.included = self.setting.excluded
        if self.world.altered:
            self._initialise()
        for _ in range(_ROUNDS):
            self._shift(60, CONTROL, *self.setting.names)
            statuses = self._everywhere("sync")
            if set(statuses) == {"nothing to do"} and self.setting.sweeps:
                statuses = self._everywhere("reconcile")
            if set(statuses) == {"nothing to do"} or self._outcome.problems:
                return
            if "under way" in statuses:
                time.sleep(0.05)  # the server has not noticed yet that a session is gone
        self._outcome.problems.append(f"no peace after {_ROUNDS} rounds: {statuses}")

    def _everywhere(self, what: str) -> list[str]:
        """Run it at all stations; how the runs ended."""
        ends = [self._run(Run(name, what)) for name in self.setting.names]
        return [r["status"] for end in ends for r in end.get("reports", [{"status": end.get("error", "?")}])]

    def _edit_all(self) -> None:
        """Edits of rows that both sides have: an update uses up no AUTO_INCREMENT number of control."""
        seen = reading.read(self.world, self.setting)
        held = {(one.station, one.key) for one in seen.held}
        before = self.world.number()
        for station, rows in seen.stations.items():
            for key in rows.keys() & seen.control.keys():
                if (station, key) not in held and seen.base[key].station == station:
                    self.step(Write(station, key))
        self._everywhere("sync")
        if (after := self.world.number()) != before:
            self._outcome.problems.append(f"edits used up numbers of control's table: {before} to {after}")

    def _check(self) -> None:
        seen = reading.read(self.world, self.setting)
        ledger = self._actors.ledger
        self._outcome.facts = len(ledger.facts)
        self._outcome.conflicts, self._outcome.held = len(seen.conflicts), len(seen.held)
        self._outcome.problems += invariants.problems(ledger, seen, self.setting)


def _counts(report: Mapping[str, Any]) -> str:
    names = ("read", "applied", "settled", "conflicts", "quarantined", "released", "missing", "changed", "deleted")
    return " ".join(f"{name} {report[name]}" for name in names if report.get(name))
