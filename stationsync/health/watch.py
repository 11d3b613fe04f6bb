"""What the watchdog knows, what it finds, and what it does about it. Frozen values and pure rules; who asks Prefect and
control for them, and who carries the actions out, is above (`tasks.watchdog`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from stationsync.model.amounts import format_age

_ACTIVE = ("PENDING", "RUNNING", "CANCELLING")


class Doing(StrEnum):
    CRASH = "marked as crashed"
    CANCEL = "cancelled"
    RELEASE = "released"
    START = "run started"
    FORGET = "record removed"


@dataclass(frozen=True)
class WatchedRun:
    """A run that is not over, or crashed lately. `since`: in its state; `scheduled`: by its schedule, not by a person;
    `again`: by us, for one that crashed. `heartbeat`: the last one, None where there was none; `leased`: whether the
    lease of any of its station's tables is held, None where nobody looked."""

    id: str
    name: str
    deployment: str
    state: str
    since: datetime
    due: datetime | None = None
    scheduled: bool = True
    again: bool = False
    heartbeat: datetime | None = None
    leased: bool | None = None

    @property
    def active(self) -> bool:
        return self.state in _ACTIVE


@dataclass(frozen=True)
class WatchedDeployment:
    """`beat`: how often its runs say that they live, None where they do not; `slots`: how many of its concurrency
    limit are taken, at both of two looks."""

    id: str
    name: str
    pool: str | None
    station: str | None = None
    paused: bool = False
    scheduled: bool = True
    beat: timedelta | None = None
    limit: str | None = None
    slots: int = 0

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Worker:
    pool: str
    name: str
    seen: datetime
    every: timedelta


@dataclass(frozen=True)
class Stale:
    """A station with data that is too old. `why` in words."""

    station: str
    since: datetime | None
    why: str
    offline: bool = False


@dataclass(frozen=True)
class WatchdogFacts:
    """All moments are UTC. `runs`: those that are not over, the scheduled ones up to `soon` after now."""

    now: datetime
    deployments: Sequence[WatchedDeployment] = ()
    runs: Sequence[WatchedRun] = ()
    workers: Sequence[Worker] = ()
    pools_paused: frozenset[str] = frozenset()
    stale: Sequence[Stale] = ()
    paused: frozenset[str] = frozenset()
    # What control said where it could not be asked.
    control: str = ""

    def runs_of(self, one: WatchedDeployment) -> list[WatchedRun]:
        return [run for run in self.runs if run.deployment == one.id]


@dataclass(frozen=True)
class WatchdogLimits:
    """How long is too long. `missed`: heartbeats in a row; without any, `silent`. `held`: so many times as long where
    the lease is held, because somebody works there."""

    missed: float = 2.5
    silent: timedelta = timedelta(minutes=30)
    held: float = 10
    pending: timedelta = timedelta(seconds=90)
    late: timedelta = timedelta(seconds=30)
    waiting: timedelta = timedelta(minutes=2)
    soon: timedelta = timedelta(seconds=90)
    again: timedelta = timedelta(minutes=5)
    told: timedelta = timedelta(minutes=10)
    forgotten: timedelta = timedelta(hours=1)
    crashed: timedelta = timedelta(minutes=10)
    actions: int = 500


@dataclass(frozen=True)
class WatchdogAction:
    """`target`: of a run or deployment its id, of a slot its limit's name, of a worker its pool and name. `key`: two
    starts of one key are one run."""

    doing: Doing
    target: str
    name: str = ""
    key: str = ""
    count: int = 1
    why: str = ""


@dataclass(frozen=True)
class WatchdogFinding:
    what: str
    where: str
    since: datetime | None
    action: WatchdogAction | None = None
    next_step: str = ""


@dataclass(frozen=True)
class Handled:
    """A finding and what came of it: `done` in words, empty where nothing was to be done."""

    finding: WatchdogFinding
    done: str = ""


# Kinds of deployments that bring a station up to date.
SYNCING = ("sync", "pull", "push")


def patience(run: WatchedRun, beat: timedelta | None, limits: WatchdogLimits) -> timedelta:
    """How long this run may go without a sign."""
    quiet = limits.silent if beat is None else limits.missed * beat
    return quiet * limits.held if run.leased else quiet


def quiet(facts: WatchdogFacts, limits: WatchdogLimits) -> list[WatchedRun]:
    """Runs that are worth asking about: heartbeats and leases."""
    beats = {one.id: one.beat for one in facts.deployments}
    running = (run for run in facts.runs if run.state in ("RUNNING", "CANCELLING") and run.deployment in beats)
    return [run for run in running if _silence(run, facts.now) > patience(run, beats[run.deployment], limits)]


def _silence(run: WatchedRun, now: datetime) -> timedelta:
    return now - max(moment for moment in (run.since, run.heartbeat) if moment is not None)


def judge(facts: WatchdogFacts, limits: WatchdogLimits) -> list[WatchdogFinding]:
    """Everything that is not as it should be, what is to be done about it beside it."""
    found = [
        *_control(facts),
        *_dead_runs(facts, limits),
        *_stuck_pending(facts, limits),
        *_late(facts, limits),
        *_leaked(facts),
        *_crashed(facts, limits),
        *_nobody(facts, limits),
        *_dead_workers(facts, limits),
        *_stale(facts, limits),
    ]
    return _bounded(found, limits)


def _control(facts: WatchdogFacts) -> Iterator[WatchdogFinding]:
    if facts.control:
        yield WatchdogFinding(
            "control could not be asked how old its data is", "control", None, next_step=facts.control
        )


def _dead_runs(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    names = {one.id: one.name for one in facts.deployments}
    for run in quiet(facts, limits):
        silent = format_age(_silence(run, facts.now))
        if run.state == "CANCELLING":
            doing = WatchdogAction(
                Doing.CANCEL, run.id, run.name, why=f"It gave no sign for {silent} while it was cancelled."
            )
        else:
            doing = WatchdogAction(
                Doing.CRASH, run.id, run.name, why=f"No heartbeat for {silent}: its process is gone."
            )
        where = f"{names[run.deployment]}, run {run.name}"
        yield WatchdogFinding("run without a heartbeat", where, run.heartbeat or run.since, doing)


def _stuck_pending(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    names = {one.id: one.name for one in facts.deployments}
    for run in facts.runs:
        if run.state == "PENDING" and facts.now - run.since > limits.pending and run.deployment in names:
            why = f"Its worker took it {format_age(facts.now - run.since)} ago and never started it."
            doing = WatchdogAction(Doing.CRASH, run.id, run.name, why=why)
            where = f"{names[run.deployment]}, run {run.name}"
            yield WatchdogFinding("run stuck before its start", where, run.since, doing)


def _late(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    """Of runs that nobody started, the newest carries all changes. What a person started is left alone."""
    for one in facts.deployments:
        waiting = [
            run
            for run in facts.runs_of(one)
            if run.state == "SCHEDULED" and run.scheduled and run.due and facts.now - run.due > limits.late
        ]
        for run in sorted(waiting, key=_due)[:-1]:
            why = "A later run of the same deployment waits too, and brings the same changes."
            yield WatchdogFinding(
                "late runs pile up", one.name, run.due, WatchdogAction(Doing.CANCEL, run.id, run.name, why=why)
            )


def _due(run: WatchedRun) -> datetime:
    return run.due or run.since


def _leaked(facts: WatchdogFacts) -> Iterator[WatchdogFinding]:
    held = Counter(run.deployment for run in facts.runs if run.active)
    for one in facts.deployments:
        leaked = one.slots - held[one.id]
        if one.limit and leaked > 0:
            why = "No run holds it: every further run would be cancelled."
            doing = WatchdogAction(Doing.RELEASE, one.limit, one.name, count=leaked, why=why)
            yield WatchdogFinding("concurrency slot without a run", one.name, None, doing)


def _crashed(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    """Prefect retries no run whose process is gone. One run takes its place; if that crashes too, the schedule does."""
    for one in facts.deployments:
        runs = facts.runs_of(one)
        over = [run for run in runs if run.state == "CRASHED" and facts.now - run.since <= limits.crashed]
        if not over or one.paused or one.station in facts.paused or len(over) < len(runs):
            continue
        last = max(over, key=lambda run: run.since)
        if last.scheduled and not last.again:
            why = f"{last.name} crashed, and no run was to begin soon."
            doing = WatchdogAction(Doing.START, one.id, one.name, key=f"watchdog-again-{last.id}", why=why)
            yield WatchdogFinding("run crashed", f"{one.name}, run {last.name}", last.since, doing)


def _nobody(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    """Pools where runs wait and nobody takes them: the one thing that no program of ours can put right."""
    pools = {one.id: one.pool for one in facts.deployments}
    oldest: dict[str, datetime] = {}
    for run in facts.runs:
        pool = pools.get(run.deployment)
        if pool and run.state == "SCHEDULED" and facts.now - _due(run) > limits.waiting:
            oldest[pool] = min(oldest.get(pool, facts.now), _due(run))
    alive = {worker.pool for worker in facts.workers if _alive(worker, facts.now)}
    for pool, since in sorted(oldest.items()):
        if pool in facts.pools_paused:
            step = f"Resume it: prefect work-pool resume {pool!r}"
            yield WatchdogFinding("runs wait: the work pool is paused", pool, since, next_step=step)
        elif pool not in alive:
            step = f"Start a worker: systemctl restart stationsync-worker, or: stationsync worker --pool {pool!r}"
            yield WatchdogFinding("runs wait: the work pool has no worker", pool, since, next_step=step)


def _alive(worker: Worker, now: datetime) -> bool:
    return now - worker.seen <= 3 * worker.every


def _dead_workers(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    """Told as long as it is news, and always where nobody else serves the pool: one that was started again mostly has
    another name."""
    served = {worker.pool for worker in facts.workers if _alive(worker, facts.now)}
    for worker in facts.workers:
        age = facts.now - worker.seen
        if _alive(worker, facts.now) or (worker.pool in served and limits.told < age <= limits.forgotten):
            continue
        old = worker.pool in served and age > limits.forgotten
        doing = WatchdogAction(Doing.FORGET, worker.pool, worker.name) if old else None
        step = "" if old else "Look at its machine. systemd starts it again; by hand: stationsync worker"
        yield WatchdogFinding("worker gives no sign", f"{worker.pool}/{worker.name}", worker.seen, doing, step)


def _stale(facts: WatchdogFacts, limits: WatchdogLimits) -> Iterator[WatchdogFinding]:
    """A run is started where none is under way and none will begin soon by itself."""
    for stale in facts.stale:
        if stale.station in facts.paused:
            continue
        ours = [one for one in facts.deployments if one.station == stale.station and one.kind in SYNCING]
        scheduled = [one for one in ours if one.scheduled]
        coming = [run for one in ours for run in facts.runs_of(one) if run.state != "CRASHED"]
        what, step = f"stale: {stale.why}", ""
        if stale.offline:
            step = "The station is off-line: its next run tries again."
        elif ours and not scheduled:
            step = "Its deployments have no schedule."
        elif scheduled and all(one.paused for one in scheduled):
            continue
        elif not coming:
            for one in scheduled:
                if not one.paused:
                    yield WatchdogFinding(what, stale.station, stale.since, _start(one, stale, facts.now, limits))
            if scheduled:
                continue
        yield WatchdogFinding(what, stale.station, stale.since, next_step=step or _explained(coming, ours))


def _explained(coming: Sequence[WatchedRun], ours: Sequence[WatchedDeployment]) -> str:
    if not ours:
        return "It has no deployment. Register it: stationsync deploy"
    return "A run is under way." if any(run.active for run in coming) else "A run begins soon."


def _start(one: WatchedDeployment, stale: Stale, now: datetime, limits: WatchdogLimits) -> WatchdogAction:
    # Two watchdogs of one moment have one key; and a station that stays stale gets a run now and then, not every time.
    turn = int(now.timestamp() // limits.again.total_seconds())
    why = f"{stale.station} is stale ({stale.why}) and no run was to begin soon."
    return WatchdogAction(Doing.START, one.id, one.name, key=f"watchdog-{one.id}-{turn}", why=why)


def _bounded(found: Iterable[WatchdogFinding], limits: WatchdogLimits) -> list[WatchdogFinding]:
    """After a long standstill there is much to clear away: not all of it in one go."""
    kept: list[WatchdogFinding] = []
    actions = 0
    for finding in found:
        actions += finding.action is not None
        if finding.action is None or actions <= limits.actions:
            kept.append(finding)
    if actions > limits.actions:
        what = f"{actions - limits.actions:,} more things to clear away"
        kept.append(WatchdogFinding(what, "fleet", None, next_step="The next runs of the watchdog go on with them."))
    return kept
