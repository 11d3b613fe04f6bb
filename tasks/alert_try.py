"""A test alert through the real automation and block of a channel."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.events import Event, Resource

from stationsync.errors import SetUpError
from stationsync.health.incident_book import CHANNEL, FLEET, RESOURCE, TESTED, teller
from stationsync.topology.fleet import fleet_of
from stationsync.topology.model import Topology
from tasks.deliveries import Outcome, outcomes
from tasks.incident_events import post

_SECONDS = 30.0


def try_channel(topology: Topology, channel: str) -> Outcome | None:
    """Send one, and wait for what becomes of it; None where that is not known in time. Raises httpx.HTTPError, and
    SetUpError where the channel is not deployed."""
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
