"""What has to change on a Prefect server, and what speaks against it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from deployments.objections import NOTHING, Allowed, objections, refuse
from deployments.wanted import Deployment
from stationsync.model.plan import Gathering, Sample, Share
from stationsync.topology.fleet import OURS

RETIRED = "retired"
# What a plan names in the place of a table, and of a side.
DEPLOYMENTS, SERVER = "deployments", "Prefect server"
# Tags with these prefixes are ours to set and to take away.
_PREFIXES = ("fleet:", "control:", "station:", "direction:", "group:", "database:")


@dataclass(frozen=True)
class Existing:
    """A deployment on the server; its `deployment` has our tags only."""

    deployment: Deployment
    other_tags: frozenset[str] = frozenset()
    retired: bool = False
    # Slugs of schedules that somebody paused.
    inactive: frozenset[str] = frozenset()
    job_variables: Mapping[str, Any] = field(default_factory=dict)
    id: UUID | None = None

    @property
    def ours(self) -> bool:
        return OURS in self.deployment.tags


def is_our_tag(tag: str) -> bool:
    return tag == OURS or tag.startswith(_PREFIXES)


@dataclass(frozen=True)
class Change:
    """`what` says in words what differs, one entry a field."""

    to: Deployment
    before: Existing
    what: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    new: tuple[Deployment, ...] = ()
    changed: tuple[Change, ...] = ()
    retired: tuple[Existing, ...] = ()
    unchanged: int = 0
    pools: tuple[str, ...] = ()
    # What is wrong with the server and not ours to change.
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.pools) + len(self.new) + len(self.changed) + len(self.retired)

    def lines(self) -> Iterator[str]:
        yield from (f"+ work pool {pool} (process)" for pool in self.pools)
        yield from (f"+ {one.name}: {_placed(one)}" for one in self.new)
        yield from (f"~ {change.to.name}: {', '.join(change.what)}" for change in self.changed)
        yield from (f"- {one.deployment.name}: retired, its runs are kept" for one in self.retired)

    def shares(self) -> tuple[Share, ...]:
        """As a plan of rows is told: station by station, new deployments as inserts, retired ones as deletes."""
        gathering = Gathering()
        told = [
            *(("inserts", one, _placed(one)) for one in self.new),
            *(("updates", change.to, ", ".join(change.what)) for change in self.changed),
            *(("deletes", one.deployment, "retired, its runs are kept") for one in self.retired),
        ]
        for kind, one, what in told:
            gathering.add(Share.of(one.station, DEPLOYMENTS, SERVER, kind, [Sample((one.name,), what)]))
        return gathering.shares

    def as_dict(self) -> dict[str, Any]:
        return {
            "pools": list(self.pools),
            "warnings": list(self.warnings),
            "new": [one.name for one in self.new],
            "changed": [{"deployment": change.to.name, "what": list(change.what)} for change in self.changed],
            "retired": [one.deployment.name for one in self.retired],
            "unchanged": self.unchanged,
        }


def compare(
    fleet: str,
    wanted: Sequence[Deployment],
    found: Sequence[Existing],
    pools: Iterable[str],
    allowed: Allowed = NOTHING,
) -> Plan:
    """From what is there to what is wanted; Refused with all that speaks against it at once."""
    by_name = {one.deployment.name: one for one in found}
    of_fleet = [one for one in found if one.ours and one.deployment.tagged("fleet") == fleet]
    missing = sorted({one.work_pool for one in wanted if one.work_pool} - set(pools))
    if problems := objections(fleet, wanted, by_name, of_fleet, missing, allowed):
        refuse("Prefect server", problems)
    names = {one.name for one in wanted}
    both = [(one, by_name[one.name]) for one in wanted if one.name in by_name]
    changed = tuple(Change(to, before, what) for to, before in both if (what := difference(to, before)))
    return Plan(
        new=tuple(one for one in wanted if one.name not in by_name),
        changed=changed,
        retired=tuple(one for one in of_fleet if one.deployment.name not in names and not one.retired),
        unchanged=len(both) - len(changed),
        pools=tuple(missing),
    )


def difference(to: Deployment, before: Existing) -> tuple[str, ...]:
    """In words; empty where the server has what is wanted."""
    was = before.deployment
    fields = [one.name for one in dataclasses.fields(to)]
    differ = [name for name in fields if getattr(to, name) != getattr(was, name)]
    back = ["in use again (was retired)"] if before.retired else []
    mine = [] if before.ours else ["taken over (was registered by hand)"]
    return (*back, *mine, *(_in_words(name, to, was) for name in differ))


def _in_words(name: str, to: Deployment, was: Deployment) -> str:
    if name == "schedules":
        old, new = (", ".join(map(str, one.schedules)) or "no schedule" for one in (was, to))
        return f"{new} (was {old})" if new != old else f"{new}, at another moment"
    if name == "tags":
        return " ".join(
            [f"+{tag}" for tag in sorted(to.tags - was.tags)] + [f"-{tag}" for tag in sorted(was.tags - to.tags)]
        )
    word = {"limit": "concurrency limit", "collision": "collision strategy", "heartbeat": "heartbeats on"}.get(
        name, name.replace("_", " ")
    )
    if name in ("work_pool", "work_queue", "limit", "collision"):
        return f"{word} {getattr(to, name) or 'default'} (was {getattr(was, name) or 'default'})"
    return word


def _placed(one: Deployment) -> str:
    queue = f", queue {one.work_queue}" if one.work_queue else ""
    return f"{', '.join(map(str, one.schedules)) or 'no schedule'}; work pool {one.work_pool}{queue}"
