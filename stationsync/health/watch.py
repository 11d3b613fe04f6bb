"""What the watchdog knows, and what it finds. Frozen values; who asks Prefect and control for them, and who carries the
actions out, is above (`tasks.watchdog`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_ACTIVE = ("PENDING", "RUNNING", "CANCELLING")


class Doing(StrEnum):
    CRASH = "marked as crashed"
    CANCEL = "cancelled"
    RELEASE = "released"
    START = "run started"
    FORGET = "record removed"


@dataclass(frozen=True)
class Run:
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
class Deployment:
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
class Facts:
    """All moments are UTC. `runs`: those that are not over, the scheduled ones up to `soon` after now."""

    now: datetime
    deployments: Sequence[Deployment] = ()
    runs: Sequence[Run] = ()
    workers: Sequence[Worker] = ()
    pools_paused: frozenset[str] = frozenset()
    stale: Sequence[Stale] = ()
    paused: frozenset[str] = frozenset()
    # What control said where it could not be asked.
    control: str = ""

    def runs_of(self, one: Deployment) -> list[Run]:
        return [run for run in self.runs if run.deployment == one.id]


@dataclass(frozen=True)
class Limits:
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
class Action:
    """`target`: of a run or deployment its id, of a slot its limit's name, of a worker its pool and name. `key`: two
    starts of one key are one run."""

    doing: Doing
    target: str
    name: str = ""
    key: str = ""
    count: int = 1
    why: str = ""


@dataclass(frozen=True)
class Finding:
    what: str
    where: str
    since: datetime | None
    action: Action | None = None
    next_step: str = ""


@dataclass(frozen=True)
class Told:
    """A finding and what came of it: `done` in words, empty where nothing was to be done."""

    finding: Finding
    done: str = ""
