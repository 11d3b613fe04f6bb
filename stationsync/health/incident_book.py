"""Incidents as control remembers them, so that each is told once, and once more when it is over.

An entry begins when something is seen to be wrong, is opened when it has lasted as long as its rule says, and is closed
when it is over. Telling is apart from that: whoever wants to tell takes the entry for a minute, tells, and only then
writes `told`. Two that look at once therefore tell once, and what could not be told is told later, by anyone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.statements import insert_ignore
from stationsync.health.incident_facts import fleet_facts, fresh_facts, table_facts
from stationsync.health.incidents import FoundIncidents, Incident, Subject, judge
from stationsync.model.wire import Family
from stationsync.store.bookkeeping import incident, require_books, state
from stationsync.topology.alerting import IncidentKind, Tell
from stationsync.topology.model import Topology
from stationsync.topology.notation import schedule_interval

OPENED = "stationsync.incident.opened"
OVER = "stationsync.incident.over"
# Of a try-out: `stationsync alert-test`.
TESTED = "stationsync.alert.test"
RESOURCE = "stationsync.incident"
# Of each good run of the watchdog: its silence is told by an automation. Not by the state of its runs: those events
# follow one that Prefect never sends for a scheduled run, and automations see them a quarter of an hour late.
LOOKED = "stationsync.watchdog.looked"
# Of the deploy with which that automation begins to wait: a watchdog that never runs is silent too.
DEPLOYED = "stationsync.watchdog.deployed"
WATCHDOG = "stationsync.watchdog"
# Labels of the event's resource. Each channel that is to be told has one of its own, with the value "yes".
FLEET = "stationsync.topology.fleet"
CHANNEL = "stationsync.channel"


def teller(fleet: str, channel: str) -> str:
    """The name of the automation that hands events on to a channel."""
    return f"stationsync {fleet}: tell {channel}"


# Whoever took an entry to tell it and did not come back within this time is dead.
_PATIENCE = timedelta(minutes=1)
_AT_ONCE = 200


@dataclass(frozen=True)
class Scope:
    """What was looked at: only of this can it be said that it is over. None: of all stations."""

    kinds: frozenset[IncidentKind]
    stations: frozenset[str] | None = None

    def where(self) -> sa.ColumnElement[bool]:
        kinds = incident.c.kind.in_(sorted(self.kinds))
        return kinds if self.stations is None else sa.and_(kinds, incident.c.station.in_(sorted(self.stations)))


@dataclass(frozen=True)
class RecordedIncident:
    """One incident. `opened` is None while it has not lasted long enough to be told."""

    id: int
    kind: IncidentKind
    station: str
    table: str
    since: datetime
    what: str
    next_step: str
    run: str
    opened: datetime | None
    told: datetime | None
    closed: datetime | None
    told_over: datetime | None = None

    @property
    def over(self) -> bool:
        return self.closed is not None


def compare(conn: sa.Connection, found: FoundIncidents, scope: Scope, tell: Tell, now: datetime) -> None:
    """Bring the book to what was found, in the caller's transaction."""
    known = {_subject(row): row for row in conn.execute(_lasting(scope)).mappings()}
    waiting = any(row["opened"] is None for row in known.values())
    for one in found.incidents:
        row = known.get(one.subject)
        if row is None:
            _begin(conn, one, now)
            waiting = True
        elif row["what"] != one.what:
            texts = {"what": one.what, "next_step": one.next_step}
            conn.execute(sa.update(incident).where(incident.c.id == row["id"]).values(texts))
    there = {one.subject for one in found.incidents} | found.unknown
    for subject, row in known.items():
        if subject not in there:
            _end(conn, row, now)
    if waiting:
        _open(conn, scope, tell, now)


def _lasting(scope: Scope) -> sa.Select[Any]:
    return sa.select(incident).where(incident.c.over_id == 0, scope.where())


def _subject(row: Mapping[Any, Any]) -> Subject:
    return IncidentKind(row["kind"]), row["station"], row["table_name"]


def _begin(conn: sa.Connection, one: Incident, now: datetime) -> None:
    """Unless another has just done so."""
    values = {
        "kind": one.kind,
        "station": one.station,
        "table_name": one.table,
        "over_id": 0,
        "since": min(one.since or now, now) + one.patience,
        "what": one.what,
        "next_step": one.next_step,
        "run": one.run,
    }
    ignore = insert_ignore(incident)
    conn.execute(ignore, values)


def _end(conn: sa.Connection, row: Mapping[Any, Any], now: datetime) -> None:
    """What nobody was to be told of yet leaves no trace."""
    this = sa.and_(incident.c.id == row["id"], incident.c.over_id == 0)
    conn.execute(sa.delete(incident).where(this, incident.c.opened.is_(None)))
    conn.execute(sa.update(incident).where(this).values(over_id=incident.c.id, closed=now, claimed=None))


def _open(conn: sa.Connection, scope: Scope, tell: Tell, now: datetime) -> None:
    for kind in sorted(scope.kinds):
        rule = tell.rule(kind)
        if rule is None:
            continue
        due = sa.and_(incident.c.kind == kind, incident.c.opened.is_(None), incident.c.since <= now - rule.after)
        conn.execute(sa.update(incident).where(due, scope.where()).values(opened=now))


def beat(conn: sa.Connection, now: datetime, window: timedelta, run: str) -> None:
    """The watchdog is here. Where it was not for longer than `window`, that was an incident, and is over: nobody here
    could tell that it began, which is what an automation is for."""
    this = (incident.c.kind == IncidentKind.WATCHDOG, incident.c.over_id == 0)
    row = conn.execute(sa.select(incident).where(*this)).mappings().first()
    here = Incident(IncidentKind.WATCHDOG, "", "", "", "", run=run)
    if row is None:
        return _begin(conn, here, now)
    if now - row["since"] <= window:
        conn.execute(sa.update(incident).where(*this, incident.c.since < now).values(since=now))
        return None
    what = f"no run of the watchdog succeeded between {row['since']:%Y-%m-%d %H:%M:%S} and {now:%Y-%m-%d %H:%M:%S} UTC"
    over = {"over_id": incident.c.id, "opened": row["since"] + window, "closed": now, "what": what, "run": run}
    if conn.execute(sa.update(incident).where(*this, incident.c.since == row["since"]).values(over)).rowcount:
        _begin(conn, here, now)
    return None


def take(conn: sa.Connection, now: datetime, stations: Collection[str] | None = None) -> list[RecordedIncident]:
    """What is to be told now, the oldest first; it is the caller's to tell for a minute. In a transaction."""
    c = incident.c
    untold = sa.or_(
        sa.and_(c.opened.is_not(None), c.told.is_(None), c.closed.is_(None)),
        sa.and_(c.closed.is_not(None), c.told_over.is_(None)),
    )
    free = sa.or_(c.claimed.is_(None), c.claimed < now - _PATIENCE)
    ours = sa.true() if stations is None else c.station.in_(sorted(stations))
    rows = conn.execute(sa.select(incident).where(untold, free, ours).order_by(c.id).limit(_AT_ONCE)).mappings().all()
    taken = []
    for row in rows:
        # A row that another took meanwhile is not free any more: this waits for that one's commit, and meets none.
        claim = sa.update(incident).where(c.id == row["id"], untold, free).values(claimed=now)
        if conn.execute(claim).rowcount:
            taken.append(_entry(row))
    return taken


def read(
    conn: sa.Connection, station: str | None = None, *, over: bool = False, limit: int = 0
) -> Sequence[RecordedIncident]:
    """The incidents that last, the newest first; with `over`, those that are over as well."""
    c = incident.c
    query = sa.select(incident).where(c.opened.is_not(None)).order_by(c.id.desc())
    if station is not None:
        query = query.where(c.station == station)
    if not over:
        query = query.where(c.over_id == 0)
    return [_entry(row) for row in conn.execute(query.limit(limit) if limit else query).mappings()]


def _entry(row: Mapping[Any, Any]) -> RecordedIncident:
    names = ("since", "what", "next_step", "run", "opened", "told", "closed", "told_over")
    values = {name: row[name] for name in names}
    return RecordedIncident(
        id=row["id"], kind=IncidentKind(row["kind"]), station=row["station"], table=row["table_name"], **values
    )


# What the end of a station's run can say, from the books of that station alone.
OF_A_RUN = frozenset(
    {
        IncidentKind.FAILED,
        IncidentKind.OFFLINE,
        IncidentKind.QUARANTINE,
        IncidentKind.CONFLICTS,
        IncidentKind.BRAKE,
        IncidentKind.SKEW,
    }
)
# What only a look at the whole fleet can.
OF_THE_FLEET = OF_A_RUN | {IncidentKind.STALE, IncidentKind.DISK, IncidentKind.SIZE}
# Runs that the watchdog may miss before it counts as silent.
_MISSED = 3


@contextmanager
def _at_control(control: Database) -> Iterator[tuple[sa.Connection, datetime]]:
    with control.begin() as conn:
        yield conn, control.dialect.clock(conn, Family.DATETIME).utc


def look_at_station(control: Database, topology: Topology, station: str, run: str = "") -> list[RecordedIncident]:
    """Compare what is wrong with this station now with what was; what is to be told is the caller's to tell."""
    with _at_control(control) as (conn, now):
        facts = table_facts(conn, topology, now, [station])
        found = _shown_by(judge(facts, topology.alerts.tell), run)
        compare(conn, found, Scope(OF_A_RUN, frozenset({station})), topology.alerts.tell, now)
        return take(conn, now, [station])


def look_at_fleet(
    control: Database,
    topology: Topology,
    others: Sequence[Incident] = (),
    looked_for: Collection[IncidentKind] = (),
    run: str = "",
    *,
    watchdog: bool = False,
) -> list[RecordedIncident]:
    """The same of all stations and of the fleet. `others`: incidents that the books cannot show, of the kinds
    `looked_for`, such as runs that crashed. The `watchdog` says in the books that it was here."""
    tell = topology.alerts.tell
    fresh = fresh_facts(control, topology)
    with _at_control(control) as (conn, now):
        require_books(conn)
        facts = [*table_facts(conn, topology, now), *fresh]
        found = judge(facts, tell, fleet_facts(conn, control, topology))
        more = tuple(one for one in others if tell.rule(one.kind) is not None)
        found = _shown_by(replace(found, incidents=_together(found.incidents, more)), run)
        compare(conn, found, Scope(OF_THE_FLEET | frozenset(looked_for)), tell, now)
        if watchdog and (window := silence(topology)):
            beat(conn, now, window, run)
        return take(conn, now)


def silence(topology: Topology) -> timedelta | None:
    """For how long the watchdog may not be heard of; None where nobody waits for it."""
    rule, when = topology.alerts.tell.watchdog, topology.defaults.schedule.watchdog
    if rule is None or when is None:
        return None
    interval = schedule_interval(when)
    # Nothing is known of a cron expression: then it is as the rule says.
    return max(rule.after, _MISSED * interval) if interval else rule.after


def _together(found: Sequence[Incident], more: Sequence[Incident]) -> tuple[Incident, ...]:
    """What the books say goes before what somebody else says of the same."""
    return tuple({one.subject: one for one in (*more, *found)}.values())


def _shown_by(found: FoundIncidents, run: str) -> FoundIncidents:
    return replace(found, incidents=tuple(one if one.run else replace(one, run=run) for one in found.incidents))


def told(control: Database, entries: Sequence[RecordedIncident]) -> None:
    """Write down that they were told. Only after that is it so."""
    with _at_control(control) as (conn, now):
        for one in entries:
            # Of one that is over, nobody is told later that it began.
            column = "told_over" if one.over else "told"
            conn.execute(sa.update(incident).where(incident.c.id == one.id).values({column: now, "claimed": None}))


def not_told(control: Database, entries: Sequence[RecordedIncident]) -> None:
    """They could not be told: the next one may try at once."""
    with _at_control(control) as (conn, _):
        this = incident.c.id.in_([one.id for one in entries])
        conn.execute(sa.update(incident).where(this).values(claimed=None))


def incidents(
    control: Database, station: str | None = None, *, over: bool = False, limit: int = 0
) -> Sequence[RecordedIncident]:
    """What lasts, or with `over` what was as well; the newest first."""
    with _at_control(control) as (conn, _):
        require_books(conn)
        return read(conn, station, over=over, limit=limit)


def incidents_now(
    control: Database, topology: Topology, station: str | None = None, *, over: bool = False, limit: int = 0
) -> Sequence[RecordedIncident]:
    """The same, with what the books say is wrong and nobody has looked at yet, such as the failure of a command's run:
    number 0. What has to last for a while before it is told is left to those who look again."""
    tell = topology.alerts.tell
    with _at_control(control) as (conn, now):
        require_books(conn)
        known = read(conn, station, over=over)
        found = judge(table_facts(conn, topology, now, [station] if station else None), tell).incidents
    lasting = {(one.kind, one.station, one.table) for one in known if not one.over}
    new = [one for one in found if one.subject not in lasting and (rule := tell.rule(one.kind)) and not rule.after]
    entries = [
        RecordedIncident(
            0, one.kind, one.station, one.table, one.since or now, one.what, one.next_step, one.run, now, None, None
        )
        for one in new
    ]
    return [*entries, *known][: limit or None]


def told_within(control: Database, within: timedelta) -> list[RecordedIncident]:
    """What was last told so lately: that it began, or that it is over."""
    c = incident.c
    with _at_control(control) as (conn, now):
        last = sa.or_(sa.and_(c.over_id == 0, c.told > now - within), c.told_over > now - within)
        return [_entry(row) for row in conn.execute(sa.select(incident).where(last)).mappings()]


def heard_of(control: Database, station: str, since: datetime) -> bool:
    """A run of this station has reached control after that."""
    with _at_control(control) as (conn, _):
        query = sa.select(sa.func.max(state.c.run_at)).where(state.c.station == station)
        last: datetime | None = conn.scalar(query)
        return last is not None and last > since
