"""Incidents as events of Prefect's: what automations turn into notifications, and the event feed shows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.events import Event, RelatedResource, Resource
from prefect.utilities.urls import url_for

from stationsync.health.incident_book import CHANNEL, FLEET, OPENED, OVER, RESOURCE, RecordedIncident
from stationsync.model.amounts import format_age
from stationsync.model.printable import in_a_chat
from stationsync.topology.fleet import OURS, fleet_of
from stationsync.topology.model import Topology

# A message may quote rows' keys, a schema's differences or a server's words: receivers cut at a few thousand.
_WHAT, _STEP, _SUBJECT = 1_500, 600, 150


def send(events: Sequence[Event]) -> None:
    """Hand them to the server, which has them when this returns. Raises httpx.HTTPError."""
    with get_client(sync_client=True) as client:
        post(client, events)


def post(client: SyncPrefectClient, events: Sequence[Event]) -> None:
    client.request("POST", "/events", json=[one.model_dump(mode="json") for one in events])


def event_of(topology: Topology, entry: RecordedIncident, key: str = "") -> Event:
    """The same entry is always the same event: a server that has it does not take it twice."""
    fleet, name = fleet_of(topology), OVER if entry.over else OPENED
    resource = {
        "prefect.resource.id": f"{RESOURCE}.{fleet}.{entry.station or '-'}.{entry.table or '-'}.{entry.kind}",
        "prefect.resource.name": f"{_place(fleet, entry)}: {entry.kind}",
        FLEET: fleet,
        "stationsync.kind": str(entry.kind),
        "stationsync.station": entry.station,
        "stationsync.table": entry.table,
        **{f"{CHANNEL}.{channel}": "yes" for channel in channels_of(topology, entry)},
    }
    related = [{"prefect.resource.id": f"prefect.tag.{OURS}", "prefect.resource.role": "tag"}]
    if entry.run:
        related.append({"prefect.resource.id": f"prefect.flow-run.{entry.run}", "prefect.resource.role": "flow-run"})
    return Event(
        id=uuid5(NAMESPACE_URL, f"{RESOURCE}/{fleet}/{key or entry.id}/{entry.since.isoformat()}/{name}"),
        event=name,
        resource=Resource(resource),
        related=[RelatedResource(one) for one in related],
        payload=payload_of(fleet, entry),
    )


def channels_of(topology: Topology, entry: RecordedIncident) -> list[str]:
    """The names of the channels that are to be told of it."""
    station = topology.stations.get(entry.station)
    group = station.group if station else None
    channels = topology.alerts.channels
    return [name for name, one in channels.items() if one.takes(entry.kind, entry.station, group)]


def payload_of(fleet: str, entry: RecordedIncident) -> dict[str, Any]:
    """What a webhook is sent, and, under `subject` and `text`, what a person reads."""
    url = url_for("flow-run", obj_id=entry.run) if entry.run else None
    what, step = _cut(entry.what, _WHAT), _cut(entry.next_step, _STEP)
    word = "over" if entry.over else "opened"
    place = _place(fleet, entry)
    subject = _cut(f"{place}: {entry.kind}{' is over' if entry.over else ''}", _SUBJECT)
    lines = [subject]
    if entry.closed is not None:
        lines += [f"It lasted {format_age(entry.closed - entry.since)}. What had happened: {what}"]
    else:
        lines += [f"What happened: {what}", f"Next step: {step}"]
    lines += [f"Since: {entry.since:%Y-%m-%d %H:%M:%S} UTC", *([f"Run: {url}"] if url else [])]
    return {
        "event": word, "fleet": fleet, "kind": str(entry.kind), "station": entry.station, "table": entry.table,
        "what": what, "next_step": "" if entry.over else step, "since": f"{entry.since.isoformat()}Z",
        "run": url or "", "subject": subject, "text": "\n".join(lines),
    }  # fmt: skip


def _place(fleet: str, entry: RecordedIncident) -> str:
    if not entry.station:
        return f"fleet {fleet}"
    return f"{entry.station}/{entry.table}" if entry.table else entry.station


def _cut(text: str, most: int) -> str:
    """One line of at most so many letters, that no receiver takes for markup."""
    return textwrap.shorten(in_a_chat(text), most, placeholder=" …")
