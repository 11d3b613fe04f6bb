"""When runs start, as stations.yaml says it. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import Discriminator, Tag, ValidationInfo, field_validator

from stationsync.model.amounts import format_duration
from stationsync.topology.notation import Duration, Frozen, When


class Continuous(Frozen):
    """A schedule of runs that go on: each synchronises its stations `every` so often for the time of `run`, and hands
    over to the next one."""

    every: Duration
    run: Duration = timedelta(minutes=10)

    @field_validator("every")
    @classmethod
    def _every(cls, every: timedelta) -> timedelta:
        if every < timedelta(seconds=1):
            raise ValueError("an interval is at least 1s")
        return every

    @field_validator("run")
    @classmethod
    def _run(cls, run: timedelta, info: ValidationInfo) -> timedelta:
        least = max(timedelta(minutes=1), 2 * info.data.get("every", timedelta(0)))
        if not least <= run <= timedelta(days=1):
            raise ValueError(f"a run goes on for {format_duration(least)} at least, a day at most")
        return run

    def __str__(self) -> str:
        return f"every {format_duration(self.every)}, in runs of {format_duration(self.run)}"


# Told apart by their form, so that each is checked, and explained, as what it is.
_SyncSchedule = Annotated[
    Annotated[When | None, Tag("[when]")] | Annotated[Continuous, Tag("[continuous]")],
    Discriminator(lambda value: "[continuous]" if isinstance(value, (Mapping, Continuous)) else "[when]"),
]


class Schedule(Frozen):
    """When each kind of run starts: an interval ("5m"), a cron expression, or None: ad hoc only."""

    sync: _SyncSchedule = None
    pull: When | None = None
    push: When | None = None
    reconcile: When | None = None

    def overridden(self, by: Schedule | None) -> Schedule:
        """Field by field; null switches one off. `sync` and `pull`/`push` stand for the same work, so
        naming either drops what is inherited of the other."""
        named = by.model_fields_set if by else frozenset()
        dropped = {"pull", "push"} if "sync" in named else {"sync"} if {"pull", "push"} & named else set()
        kept = {name: getattr(self, name) for name in Schedule.model_fields if name not in dropped | named}
        return Schedule(**kept, **{name: getattr(by, name) for name in named})


class FleetSchedule(Schedule):
    """Of the whole fleet: every station's runs, and those that are the fleet's own."""

    watchdog: When | None = "1m"
    maintenance: When | None = "15 2 * * *"
    fleet_report: When | None = "5m"
