"""Whether what was told has arrived: Prefect's automations leave an event of what became of each of their actions.

Prefect tries once. A receiver that is away for a minute would have been told nothing, and a server that was killed may
have taken an event and done nothing: what has not arrived is sent again, to that channel only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.events import Event, Resource

from stationsync.health.incident_book import CHANNEL, Entry, teller
from stationsync.topology.fleet import fleet_of
from stationsync.topology.model import Topology
from tasks.incident_events import channels_of, event_of, post

# Minutes after it was told at which it is sent again; after the last one it stays untold there.
AGAIN = (1, 2, 4, 8, 16, 32, 60)
KEPT = timedelta(minutes=90)
_PAGE = 50
_DONE = "prefect.automation.action.executed"
_FAILED = "prefect.automation.action.failed"


@dataclass(frozen=True)
class Outcome:
    """What became of an event at a channel."""

    event: UUID
    arrived: bool
    said: str


def outcomes(client: SyncPrefectClient, teller_name: str, events: Sequence[UUID], since: datetime) -> list[Outcome]:
    """Of these events, as far as this automation is through with them."""
    found = []
    for start in range(0, len(events), _PAGE):
        part = events[start : start + _PAGE]
        wanted = {
            "occurred": {"since": since.astimezone(UTC).isoformat()},
            "event": {"name": [_DONE, _FAILED]},
            "resource": {"labels": {"prefect.resource.name": teller_name}},
            "related": {"id": [f"prefect.event.{one}" for one in part]},
        }
        body = {"filter": wanted, "limit": _PAGE}
        page = client.request("POST", "/events/filter", json=body).json()
        found += [outcome for event in page["events"] for outcome in _outcome(event, part)]
    return found


def _outcome(event: dict[str, Any], events: Collection[UUID]) -> Iterable[Outcome]:
    payload, ids = event["payload"], {one["prefect.resource.id"] for one in event["related"]}
    status = payload.get("status_code")
    # A webhook that answers "no" is an action that was done, to Prefect.
    arrived = event["event"] == _DONE and not (isinstance(status, int) and status >= 400)
    said = f"HTTP {status}" if status else str(payload.get("reason") or "")
    return (Outcome(one, arrived, said) for one in events if f"prefect.event.{one}" in ids)


def send_again(topology: Topology, entries: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """Of what was told a while ago: to each channel where it has not arrived. Raises httpx.HTTPError."""
    now, fleet = datetime.now(UTC), fleet_of(topology)
    sent: list[tuple[str, Entry]] = []
    with get_client(sync_client=True) as client:
        for channel, of_channel in _by_channel(topology, entries).items():
            tries = {one.id: [_again(event_of(topology, one), channel, n) for n in (0, *AGAIN)] for one in of_channel}
            ids = [event.id for events in tries.values() for event in events]
            arrived = {one.event for one in outcomes(client, teller(fleet, channel), ids, now - KEPT) if one.arrived}
            for entry in of_channel:
                due = [n for n in AGAIN if timedelta(minutes=n) <= now - _told(entry)]
                if due and not {event.id for event in tries[entry.id]} & arrived:
                    post(client, [_again(event_of(topology, entry), channel, due[-1])])
                    sent.append((channel, entry))
    return sent


def _by_channel(topology: Topology, entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        for channel in channels_of(topology, entry):
            if topology.alerts.channels[channel].address is not None:
                found.setdefault(channel, []).append(entry)
    return found


def _told(entry: Entry) -> datetime:
    moment = entry.told_over if entry.over else entry.told
    assert moment is not None  # only what was told is looked at
    return moment.replace(tzinfo=UTC)


def _again(event: Event, channel: str, minutes: int) -> Event:
    """The same for one channel only; each try is an event of its own, whoever sends it."""
    if not minutes:
        return event
    labels = {name: value for name, value in event.resource.root.items() if not name.startswith(f"{CHANNEL}.")}
    resource = Resource({**labels, f"{CHANNEL}.{channel}": "yes"})
    return event.model_copy(update={"id": uuid5(event.id, f"{channel}/{minutes}"), "resource": resource})
