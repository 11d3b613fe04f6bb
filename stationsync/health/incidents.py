"""What is wrong now, from facts of the books. Pure.

An incident is one kind of trouble with one table, or with a station as a whole, or with the fleet. How much of it there
is, such as how many rows are in quarantine, is no part of what it is: more of the same is not another incident."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stationsync.health.freshness import Freshness
from stationsync.model.amounts import format_age, format_duration, format_size
from stationsync.topology.alerting import DiskRule, IncidentKind, SizeRule, Tell

Subject = tuple[IncidentKind, str, str]


@dataclass(frozen=True)
class Incident:
    """`station` and `table` are empty where it is not of one. `since` where it is known better than by looking.
    `run`: the flow run that shows it, where there is one. `patience`: so long it is no incident yet."""

    kind: IncidentKind
    station: str
    table: str
    what: str
    next_step: str
    since: datetime | None = None
    run: str = ""
    patience: timedelta = timedelta()

    @property
    def subject(self) -> Subject:
        return self.kind, self.station, self.table


@dataclass(frozen=True)
class TableHealth:
    """What the books have of one table. `failed`: what the last runs that failed said. `sweep`: what the last reconcile
    said, where it failed; `braked`: because of too many deletes, or a station that went back."""

    station: str
    table: str
    offline: str | None = None
    failed: tuple[str, ...] = ()
    sweep: str | None = None
    braked: bool = False
    sweeping: bool = False
    quarantined: int = 0
    conflicts: int = 0
    skew: timedelta | None = None
    max_skew: timedelta = timedelta(seconds=5)
    fresh: Freshness | None = None


@dataclass(frozen=True)
class Disk:
    """`where` in words, such as "control's disk"."""

    where: str
    free: int
    total: int


@dataclass(frozen=True)
class FleetFacts:
    size: int | None = None
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True)
class FoundIncidents:
    """`unknown`: subjects that are not over, for nothing can be said of them now: whether a table still fails, of a
    station that is off-line since."""

    incidents: tuple[Incident, ...]
    unknown: frozenset[Subject] = field(default_factory=frozenset)


def judge(tables: Iterable[TableHealth], tell: Tell, fleet: FleetFacts | None = None) -> FoundIncidents:
    """All that is wrong and that somebody wants to be told of."""
    tables = list(tables)
    shared = _shared(tables)
    found: dict[Subject, Incident] = {}
    unknown: set[Subject] = set()
    for facts in tables:
        unknown |= set(_unknown(facts))
        for incident in _of_table(facts, tell, shared):
            found.setdefault(incident.subject, incident)
    for incident in _of_fleet(fleet or FleetFacts(), tell):
        found.setdefault(incident.subject, incident)
    told = {subject: one for subject, one in found.items() if tell.rule(one.kind) is not None}
    # Old because it is off-line, or fails: that is one incident, with a rule of its own.
    failing = {(facts.station, facts.table) for facts in tables if facts.failed} if tell.failed else set()
    explained = {subject for subject in told if subject[0] is IncidentKind.STALE and _explained(subject, told, failing)}
    unknown = (unknown - told.keys()) | explained
    return FoundIncidents(tuple(one for subject, one in told.items() if subject not in explained), frozenset(unknown))


def _shared(tables: Iterable[TableHealth]) -> frozenset[tuple[str, str]]:
    """(station, message) that several tables of a station fail with, such as a wrong password: one fault of the
    station, not as many as it has tables."""
    counts = Counter((facts.station, message) for facts in tables for message in set(facts.failed))
    return frozenset(one for one, number in counts.items() if number > 1)


def _explained(stale: Subject, told: Collection[Subject], failing: Collection[tuple[str, str]]) -> bool:
    _, station, table = stale
    offline, failed = (
        (kind, station, of) in told for kind, of in ((IncidentKind.OFFLINE, ""), (IncidentKind.FAILED, table))
    )
    return offline or failed or (station, table) in failing


def _unknown(facts: TableHealth) -> Iterator[Subject]:
    here = (facts.station, facts.table)
    if facts.offline is not None:
        yield IncidentKind.FAILED, *here
        yield IncidentKind.FAILED, facts.station, ""
    if facts.sweeping or facts.offline is not None:
        yield IncidentKind.BRAKE, *here


def _of_table(facts: TableHealth, tell: Tell, shared: Collection[tuple[str, str]]) -> Iterator[Incident]:
    here, of = (facts.station, facts.table), f"{facts.station} --table {facts.table}"
    if facts.offline is not None:
        # Of the station, not of its tables: the first that did not answer was the last to be asked.
        step = (
            "Nothing is lost. See that its database and the way to it are up; the next run catches up, or at once: "
            f"stationsync sync {facts.station}"
        )
        yield Incident(IncidentKind.OFFLINE, facts.station, "", facts.offline, step)
    if facts.sweep is not None and facts.braked:
        step = f"Look at what it would do, and decide: stationsync reconcile {of} --dry-run"
        yield Incident(IncidentKind.BRAKE, *here, facts.sweep, step)
    common = [message for message in facts.failed if (facts.station, message) in shared]
    if common:
        step = f"Mend it, then try at once: stationsync sync {facts.station}"
        yield Incident(IncidentKind.FAILED, facts.station, "", " ".join(dict.fromkeys(common)), step)
    swept = [facts.sweep] if facts.sweep is not None and not facts.braked else []
    failed = [one for one in (*facts.failed, *swept) if one not in common]
    if failed:
        command = f"stationsync sync {of}" if set(failed) & set(facts.failed) else f"stationsync reconcile {of}"
        yield Incident(
            IncidentKind.FAILED, *here, " ".join(dict.fromkeys(failed)), f"Mend it, then try at once: {command}"
        )
    yield from _of_rows(facts, tell)
    if facts.skew is not None and abs(facts.skew) > facts.max_skew:
        what = f"the station's clock is {facts.skew.total_seconds():+.0f} s off control's"
        step = (
            "Set the station's clock (NTP). Until then conflicts are decided with its stamps corrected by as much: "
            f"stationsync check {facts.station}"
        )
        yield Incident(IncidentKind.SKEW, facts.station, "", what, step)
    if facts.fresh is not None and facts.fresh.stale:
        yield _stale(facts.fresh)


def _of_rows(facts: TableHealth, tell: Tell) -> Iterator[Incident]:
    here, of = (facts.station, facts.table), f"{facts.station} --table {facts.table}"
    if tell.quarantine and facts.quarantined >= tell.quarantine.rows:
        what = f"{facts.quarantined:,} {_rows(facts.quarantined)} in quarantine"
        yield Incident(IncidentKind.QUARANTINE, *here, what, f"See why, row by row: stationsync quarantine list {of}")
    if tell.conflicts and facts.conflicts >= tell.conflicts.rows:
        within = format_duration(tell.conflicts.within)
        what = f"{facts.conflicts:,} {_rows(facts.conflicts)} in conflict within {within}: both sides changed them"
        step = f"The policy decided, and both versions are kept: stationsync conflicts list {of}"
        step += "; what lost is right: stationsync conflicts take ID; looked at: stationsync conflicts done ID"
        yield Incident(IncidentKind.CONFLICTS, *here, what, step)


def _rows(number: int) -> str:
    return "row" if number == 1 else "rows"


def _stale(fresh: Freshness) -> Incident:
    if fresh.lag is None:
        what = "no run ever succeeded"
    else:
        age, limit = format_age(fresh.lag), format_duration(fresh.stale_after)
        what = f"{fresh.why}: control has what was there {age} ago, which is more than {limit}"
    said = f". Last message: {fresh.message}" if fresh.message else ""
    step = f"See how it stands: stationsync status {fresh.station}; run it: stationsync sync {fresh.station}"
    # Of a station that is new, the first run may not have had its turn yet.
    patience = fresh.stale_after if fresh.lag is None else timedelta()
    return Incident(IncidentKind.STALE, fresh.station, fresh.table, what + said, step, fresh.since, patience=patience)


def _of_fleet(facts: FleetFacts, tell: Tell) -> Iterator[Incident]:
    full = [disk for disk in facts.disks if tell.disk and _short(disk, tell.disk)]
    if full:
        each = (f"{one.where}: {format_size(one.free)} of {format_size(one.total)} free" for one in full)
        step = "Make room. Old runs, trash and journal are pruned by the flow maintenance"
        yield Incident(IncidentKind.DISK, "", "", "; ".join(each), step)
    if isinstance(tell.size, SizeRule) and facts.size is not None and facts.size > tell.size.over:
        what = f"control's database has {format_size(facts.size)}, more than {format_size(tell.size.over)}"
        step = "See what is large. Old trash and journal are pruned by the flow maintenance"
        yield Incident(IncidentKind.SIZE, "", "", what, step)


def _short(disk: Disk, rule: DiskRule) -> bool:
    return disk.free < rule.free.needed(disk.total)
