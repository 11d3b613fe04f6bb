"""Whether what was told has arrived: Prefect's automations leave an event of what became of each of their actions.

Prefect tries once. A receiver that is away for a minute would have been told nothing, and a server that was killed may
have taken an event and done nothing: what has not arrived is sent again, to that channel only."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.events import Event, Resource

from stationsync.errors import SetUpError
from stationsync.health.incident_book import CHANNEL, FLEET, RESOURCE, TESTED, RecordedIncident, teller
from stationsync.topology.fleet import fleet_of
from stationsync.topology.model import Topology
from tasks.incident_events import channels_of, event_of, post

# Minutes after it was told at which it is sent again; after the last one it stays untold there.
AGAIN = (1, 2, 4, 8, 16, 32, 60)
KEPT = timedelta(minutes=90)
# So long a test alert is waited for.
_SECONDS = 30.0
_PAGE = 50
_DONE = "prefect.automation.action.executed"
_FAILED = "prefect.automation.action.failed"


@dataclass(frozen=True)
class Delivery:
    """What became of an event at a channel."""

    event: UUID
    arrived: bool
    said: str


def outcomes(client: SyncPrefectClient, teller_name: str, events: Sequence[UUID], since: datetime) -> list[Delivery]:
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


def _outcome(event: dict[str, Any], events: Collection[UUID]) -> Iterable[Delivery]:
    payload, ids = event["payload"], {one["prefect.resource.id"] for one in event["related"]}
    status = payload.get("status_code")
    # A webhook that answers "no" is an action that was done, to Prefect.
    arrived = event["event"] == _DONE and not (isinstance(status, int) and status >= 400)
    said = f"HTTP {status}" if status else str(payload.get("reason") or "")
    return (Delivery(one, arrived, said) for one in events if f"prefect.event.{one}" in ids)


def send_again(topology: Topology, entries: Sequence[RecordedIncident]) -> list[tuple[str, RecordedIncident]]:
    """Of what was told a while ago: to each channel where it has not arrived. Raises httpx.HTTPError."""
    now, fleet = datetime.now(UTC), fleet_of(topology)
    sent: list[tuple[str, RecordedIncident]] = []
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


def _by_channel(topology: Topology, entries: Sequence[RecordedIncident]) -> dict[str, list[RecordedIncident]]:
    found: dict[str, list[RecordedIncident]] = {}
    for entry in entries:
        for channel in channels_of(topology, entry):
            if topology.alerts.channels[channel].address is not None:
                found.setdefault(channel, []).append(entry)
    return found


def _told(entry: RecordedIncident) -> datetime:
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


def try_channel(topology: Topology, channel: str) -> Delivery | None:
    """Send a test alert through the channel, and wait for what becomes of it; None where that is not known in time.
    Raises httpx.HTTPError, and SetUpError where the channel is not deployed."""
    fleet, begun = fleet_of(topology), datetime.now(UTC)
    event = _event(fleet, channel)
    with get_client(sync_client=True) as client:
        _require(client, fleet, channel)
        post(client, [event])
        limit = time.monotonic() + _SECONDS
        while time.monotonic() < limit:
            if found := outcomes(client, teller(fleet, channel), [event.id], begun):
                return found[0]
            time.sleep(0.5)
    return None


def _event(fleet: str, channel: str) -> Event:
    subject, what = f"fleet {fleet}: a test of the channel {channel}", "Nothing: somebody tries this channel out."
    payload = {
        "event": "test", "fleet": fleet, "kind": "test", "station": "", "table": "", "what": what, "next_step": "",
        "since": datetime.now(UTC).isoformat(), "run": "", "subject": subject,
        "text": f"{subject}\nWhat happened: {what}",
    }  # fmt: skip
    resource = {
        "prefect.resource.id": f"{RESOURCE}.{fleet}.-.-.test",
        "prefect.resource.name": subject,
        FLEET: fleet,
        f"{CHANNEL}.{channel}": "yes",
    }
    return Event(id=uuid4(), event=TESTED, resource=Resource(resource), payload=payload)


def _require(client: SyncPrefectClient, fleet: str, channel: str) -> None:
    found = client.read_automations_by_name(teller(fleet, channel))
    if not found or not found[0].enabled:
        what = "is switched off on the Prefect server" if found else "is not on the Prefect server yet"
        raise SetUpError(
            f"alerts.channels.{channel}",
            f"the automation of this channel {what}.",
            not_done="Nothing was sent.",
            next_step="Switch it on in the UI, under Automations." if found else "Run: stationsync deploy",
        )
