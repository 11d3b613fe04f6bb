"""What the watchdog tells: an artifact, and the state that its run ends in."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.schemas.objects import State
from prefect.events.schemas.events import Event, Resource
from prefect.states import Completed, Failed

from stationsync.health.incident_book import FLEET, WATCHDOG
from stationsync.health.watch import Handled
from stationsync.topology.fleet import fleet_of
from stationsync.topology.model import Topology
from tasks.incident_events import send
from tasks.report import fleet_key
from tasks.told import leave_table, message

_LINES = 200


def leave_watch_artifact(topology: Topology, told: Sequence[Handled]) -> None:
    """The table that the UI shows, with the history of all runs behind it."""
    first, *rest = _lines(told)
    rows, key = [_row(one) for one in told[:_LINES]], fleet_key(topology, "watchdog")
    leave_table(rows, key, "watchdog", text=[first], notes=rest)


def tell_of_watchdog(topology: Topology, event: str) -> None:
    """LOOKED: this run of it did its work. DEPLOYED: it is to be heard of from now on."""
    fleet = fleet_of(topology)
    resource = {"prefect.resource.id": f"{WATCHDOG}.{fleet}", "prefect.resource.name": f"watchdog {fleet}"}
    send([Event(event=event, resource=Resource({**resource, FLEET: fleet}))])


def _row(one: Handled) -> dict[str, str]:
    finding = one.finding
    return {
        "what": finding.what,
        "where": finding.where,
        "since": f"{finding.since:%Y-%m-%d %H:%M:%S} UTC" if finding.since else "",
        "done": one.done,
        "next step": finding.next_step,
    }


def watch_state(told: Sequence[Handled], control: str) -> State[list[Handled]]:
    """Red only where the watchdog could not do its work: what it finds is told by alerts."""
    if control:
        return Failed(message=message([control]))
    return Completed(message=message(_lines(told)), data=list(told))


def _lines(told: Sequence[Handled]) -> list[str]:
    if not told:
        return ["Nothing to put right."]
    lines = [f"{one.finding.where}: {one.finding.what}{f'. {one.done}' if one.done else ''}" for one in told[:_LINES]]
    more = [f"and {len(told) - _LINES:,} more"] if len(told) > _LINES else []
    done = sum(one.finding.action is not None for one in told)
    return [f"{len(told):,} found, {done:,} acted on.", *lines, *more]
