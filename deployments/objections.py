"""What speaks against bringing a Prefect server to a topology. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from deployments.kinds import CONTINUOUS, FLEET
from deployments.wanted import Deployment
from stationsync.errors import Refused

if TYPE_CHECKING:
    from deployments.plan import Existing

# So many stations, and such a part of them, are retired unasked.
_FEW, _PART = 3, 0.1
# A sentence, and the next step.
Problem = tuple[str, str]


@dataclass(frozen=True)
class Allowed:
    """What a person has said yes to."""

    create_pools: bool = False
    renamed: bool = False
    retired: bool = False
    moved: bool = False


NOTHING = Allowed()
EVERYTHING = Allowed(create_pools=True, renamed=True, retired=True, moved=True)


def objections(
    fleet: str,
    wanted: Sequence[Deployment],
    by_name: Mapping[str, Existing],
    of_fleet: Sequence[Existing],
    missing: list[str],
    allowed: Allowed,
) -> list[Problem]:
    """All at once; `missing` are work pools."""
    return [
        *([] if allowed.create_pools else _missing_pools(missing, wanted)),
        *_taken(fleet, [by_name[one.name] for one in wanted if one.name in by_name]),
        *([] if allowed.moved else _moved(fleet, wanted, of_fleet)),
        *([] if allowed.renamed else _renamed(wanted, of_fleet)),
        *([] if allowed.retired else _many_retired(wanted, of_fleet)),
    ]


def _missing_pools(missing: list[str], wanted: Sequence[Deployment]) -> Iterator[Problem]:
    for pool in missing:
        stations = list(dict.fromkeys(one.station for one in wanted if one.work_pool == pool))
        yield (
            f"the server has no work pool {pool} (for {some(stations)})",
            f"Create it: prefect work-pool create {quoted(pool)} --type process, or: stationsync deploy --create-pools",
        )


def _taken(fleet: str, there: Sequence[Existing]) -> Iterator[Problem]:
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
        if all(name.partition("/")[0] in {kind.name for kind in (CONTINUOUS, *FLEET)} for name in names):
            yield (
                f"{some(names)}: of the fleet {owner}, while this topology is the fleet {fleet}",
                "Two fleets on one server need names: write under defaults: fleet: NAME. "
                f"If it is the same fleet and control has moved: fleet: {owner}, and: stationsync deploy --allow-moved",
            )
            continue
        yield (
            f"{some(names)}: of the fleet {owner}, while this topology is the fleet {fleet}",
            "Stations of two fleets on one server need different names. "
            f"If it is the same fleet and control has moved, write under defaults: fleet: {owner}, and: "
            "stationsync deploy --allow-moved",
        )
    if foreign:
        yield (
            f"{some(foreign)}: not registered by stationsync",
            "Delete or rename what is there (prefect deployment inspect NAME), or rename the station",
        )


def _renamed(wanted: Sequence[Deployment], of_fleet: Sequence[Existing]) -> Iterator[Problem]:
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


def _many_retired(wanted: Sequence[Deployment], of_fleet: Sequence[Existing]) -> Iterator[Problem]:
    """A file that was cut short, or another fleet's, would end the schedules of most stations."""
    names = {one.station for one in wanted}
    deployed = {station for one in of_fleet if not one.retired and (station := one.deployment.tagged("station"))}
    gone = sorted(deployed - names)
    if len(gone) > _FEW and len(gone) > len(deployed) * _PART:
        yield (
            f"{len(gone)} of {len(deployed)} stations are not in the file any more, and would be retired: {some(gone)}",
            "Look whether it is the right file, and whole. If they are to go: stationsync deploy --allow-retired",
        )


def _moved(fleet: str, wanted: Sequence[Deployment], of_fleet: Sequence[Existing]) -> Iterator[Problem]:
    """A copy of another fleet's file, with its name: the two would take each other's deployments away in turn."""
    ours = {one.tagged("control") for one in wanted}
    if any(there not in ours for one in of_fleet if (there := one.deployment.tagged("control"))):
        yield (
            f"the fleet {fleet} is on this server already, with another control database",
            "If this is another fleet, give it a name of its own: under defaults: fleet: NAME. "
            "If its control has moved: stationsync deploy --allow-moved",
        )


def refuse(place: str, problems: Sequence[Problem]) -> NoReturn:
    if len(problems) == 1:
        what, step = problems[0]
    else:
        what = "\n  ".join([f"{len(problems)} problems:", *(f"{what}." for what, _ in problems)])
        step = "\n  ".join(dict.fromkeys(step for _, step in problems))
    raise Refused(place, what, not_done="Nothing was changed.", next_step=step)


def some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name
