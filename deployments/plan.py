"""What has to change on a Prefect server, and what speaks against it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from deployments.kinds import FLEET
from deployments.wanted import Deployment
from stationsync.errors import Refused
from stationsync.fleet import OURS
from stationsync.plan import Gathering, Sample, Share

RETIRED = "retired"
# What a plan names in the place of a table, and of a side.
DEPLOYMENTS, SERVER = "deployments", "Prefect server"
# So many stations, and such a part of them, are retired unasked.
_FEW, _PART = 3, 0.1
# Tags with these prefixes are ours to set and to take away.
_PREFIXES = ("fleet:", "station:", "direction:", "group:", "database:")


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
    *,
    create_pools: bool = False,
    allow_renamed: bool = False,
    allow_retired: bool = False,
) -> Plan:
    """From what is there to what is wanted; Refused with all that speaks against it at once."""
    by_name = {one.deployment.name: one for one in found}
    of_fleet = [one for one in found if one.ours and one.deployment.tagged("fleet") == fleet]
    missing = sorted({one.work_pool for one in wanted if one.work_pool} - set(pools))
    problems = [
        *([] if create_pools else _missing_pools(missing, wanted)),
        *_taken(fleet, [by_name[one.name] for one in wanted if one.name in by_name]),
        *([] if allow_renamed else _renamed(wanted, of_fleet)),
        *([] if allow_retired else _many_retired(wanted, of_fleet)),
    ]
    if problems:
        _refuse(problems)
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


# What speaks against it: a sentence, and the next step.

_Problem = tuple[str, str]


def _missing_pools(missing: list[str], wanted: Sequence[Deployment]) -> Iterator[_Problem]:
    for pool in missing:
        stations = list(dict.fromkeys(one.station for one in wanted if one.work_pool == pool))
        yield (
            f"the server has no work pool {pool} (for {_some(stations)})",
            f"Create it: prefect work-pool create {_quoted(pool)} --type process, "
            "or: stationsync deploy --create-pools",
        )


def _taken(fleet: str, there: Sequence[Existing]) -> Iterator[_Problem]:
    """Another fleet's, or nobody's that we know. One that was registered by hand from our entrypoint is taken over."""
    others: dict[str, list[str]] = {}
    foreign = []
    for one in there:
        owner = one.deployment.tagged("fleet")
        if one.ours and owner and owner != fleet:
            others.setdefault(owner, []).append(one.deployment.name)
        elif not one.ours and one.deployment.entrypoint != f"flows.{one.deployment.kind}.{one.deployment.kind}":
            foreign.append(one.deployment.name)
    for owner, names in others.items():
        if all(name.partition("/")[0] in {kind.name for kind in FLEET} for name in names):
            yield (
                f"{_some(names)}: of the fleet {owner}, while this topology is the fleet {fleet}",
                "Two fleets on one server need names: write under defaults: fleet: NAME. "
                f"If it is the same fleet and control has moved: fleet: {owner}",
            )
            continue
        yield (
            f"{_some(names)}: of the fleet {owner}, while this topology is the fleet {fleet}",
            "Stations of two fleets on one server need different names. "
            f"If it is the same fleet and control has moved, write under defaults: fleet: {owner}",
        )
    if foreign:
        yield (
            f"{_some(foreign)}: not registered by stationsync",
            "Delete or rename what is there (prefect deployment inspect NAME), or rename the station",
        )


def _renamed(wanted: Sequence[Deployment], of_fleet: Sequence[Existing]) -> Iterator[_Problem]:
    """Control's books go by the station's name: under a new one, its rows would be another station's."""
    known = {one.deployment.station for one in of_fleet}
    names = {one.station for one in wanted}
    gone = {
        database: one.deployment.station
        for one in of_fleet
        if one.deployment.station not in names and (database := one.deployment.tagged("database"))
    }
    told: set[str] = set()
    for one in wanted:
        old = gone.get(one.tagged("database") or "")
        if old and one.station not in known | told:
            told.add(one.station)
            yield (
                f"{one.station} has the database of {old}: renamed? Control knows its rows as {old}'s, and would put "
                f"those of {one.station} into quarantine",
                f"Give it its name {old} again. If control's books know the new name: "
                "stationsync deploy --allow-renamed",
            )


def _many_retired(wanted: Sequence[Deployment], of_fleet: Sequence[Existing]) -> Iterator[_Problem]:
    """A file that was cut short, or another fleet's, would end the schedules of most stations."""
    names = {one.station for one in wanted}
    deployed = {station for one in of_fleet if not one.retired and (station := one.deployment.tagged("station"))}
    gone = sorted(deployed - names)
    if len(gone) > _FEW and len(gone) > len(deployed) * _PART:
        yield (
            f"{len(gone)} of {len(deployed)} stations are not in the file any more, and would be retired: "
            f"{_some(gone)}",
            "Look whether it is the right file, and whole. If they are to go: stationsync deploy --allow-retired",
        )


def _refuse(problems: Sequence[_Problem]) -> None:
    if len(problems) == 1:
        what, step = problems[0]
    else:
        what = "\n  ".join([f"{len(problems)} problems:", *(f"{what}." for what, _ in problems)])
        step = "\n  ".join(dict.fromkeys(step for _, step in problems))
    raise Refused("Prefect server", what, not_done="Nothing was changed.", next_step=step)


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name
