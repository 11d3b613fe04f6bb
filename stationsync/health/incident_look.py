"""Looking at control's books for incidents, and remembering what was found: the whole, for those who tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.health import incident_book
from stationsync.health.incident_book import Entry, Scope
from stationsync.health.incident_facts import fleet_facts, fresh_facts, table_facts
from stationsync.health.incidents import Found, Incident, judge
from stationsync.model.wire import Family
from stationsync.store.bookkeeping import require_books, state
from stationsync.topology.alerting import Kind
from stationsync.topology.model import Topology
from stationsync.topology.notation import schedule_interval

# What the end of a station's run can say, from the books of that station alone.
OF_A_RUN = frozenset({Kind.FAILED, Kind.OFFLINE, Kind.QUARANTINE, Kind.CONFLICTS, Kind.BRAKE, Kind.SKEW})
# What only a look at the whole fleet can.
OF_THE_FLEET = OF_A_RUN | {Kind.STALE, Kind.DISK, Kind.SIZE}
# Runs that the watchdog may miss before it counts as silent.
_MISSED = 3


@contextmanager
def _at_control(control: Database) -> Iterator[tuple[sa.Connection, datetime]]:
    with control.begin() as conn:
        yield conn, control.dialect.clock(conn, Family.DATETIME).utc


def look_at_station(control: Database, topology: Topology, station: str, run: str = "") -> list[Entry]:
    """Compare what is wrong with this station now with what was; what is to be told is the caller's to tell."""
    with _at_control(control) as (conn, now):
        facts = table_facts(conn, topology, now, [station])
        found = _shown_by(judge(facts, topology.alerts.tell), run)
        incident_book.compare(conn, found, Scope(OF_A_RUN, frozenset({station})), topology.alerts.tell, now)
        return incident_book.take(conn, now, [station])


def look_at_fleet(
    control: Database,
    topology: Topology,
    others: Sequence[Incident] = (),
    looked_for: Collection[Kind] = (),
    run: str = "",
    *,
    watchdog: bool = False,
) -> list[Entry]:
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
        incident_book.compare(conn, found, Scope(OF_THE_FLEET | frozenset(looked_for)), tell, now)
        if watchdog and (window := silence(topology)):
            incident_book.beat(conn, now, window, run)
        return incident_book.take(conn, now)


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


def _shown_by(found: Found, run: str) -> Found:
    return replace(found, incidents=tuple(one if one.run else replace(one, run=run) for one in found.incidents))


def told(control: Database, entries: Sequence[Entry]) -> None:
    """Write down that they were told. Only after that is it so."""
    with _at_control(control) as (conn, now):
        incident_book.write_told(conn, entries, now)


def not_told(control: Database, entries: Sequence[Entry]) -> None:
    with _at_control(control) as (conn, _):
        incident_book.give_back(conn, entries)


def incidents(control: Database, station: str | None = None, *, over: bool = False, limit: int = 0) -> Sequence[Entry]:
    """What lasts, or with `over` what was as well; the newest first."""
    with _at_control(control) as (conn, _):
        require_books(conn)
        return incident_book.read(conn, station, over=over, limit=limit)


def incidents_now(
    control: Database, topology: Topology, station: str | None = None, *, over: bool = False, limit: int = 0
) -> Sequence[Entry]:
    """The same, with what the books say is wrong and nobody has looked at yet, such as the failure of a command's run:
    number 0. What has to last for a while before it is told is left to those who look again."""
    tell = topology.alerts.tell
    with _at_control(control) as (conn, now):
        require_books(conn)
        known = incident_book.read(conn, station, over=over)
        found = judge(table_facts(conn, topology, now, [station] if station else None), tell).incidents
    lasting = {(one.kind, one.station, one.table) for one in known if not one.over}
    new = [one for one in found if one.subject not in lasting and (rule := tell.rule(one.kind)) and not rule.after]
    entries = [
        Entry(0, one.kind, one.station, one.table, one.since or now, one.what, one.next_step, one.run, now, None, None)
        for one in new
    ]
    return [*entries, *known][: limit or None]


def told_within(control: Database, within: timedelta) -> list[Entry]:
    """What was told so lately, as it was told."""
    with _at_control(control) as (conn, now):
        return incident_book.told_since(conn, now - within)


def heard_of(control: Database, station: str, since: datetime) -> bool:
    """A run of this station has reached control after that."""
    with _at_control(control) as (conn, _):
        query = sa.select(sa.func.max(state.c.run_at)).where(state.c.station == station)
        last: datetime | None = conn.scalar(query)
        return last is not None and last > since
