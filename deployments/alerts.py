"""The blocks and automations that a topology's alerts want on the Prefect server. Pure but for reading secrets.

Who tells is our code: it sends one event for each incident, labelled with the channels that are to be told. Each
channel has an automation that hands such an event on through the channel's block. What no code of ours can tell, that
a run was killed or that the watchdog is silent, automations see by themselves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from stationsync.health.incident_book import (
    CHANNEL,
    DEPLOYED,
    FLEET,
    LOOKED,
    OPENED,
    OVER,
    RESOURCE,
    TESTED,
    WATCHDOG,
    silence,
    teller,
)
from stationsync.model.amounts import format_duration
from stationsync.pairing.pair import Blocks
from stationsync.topology import secrets
from stationsync.topology.alerting import Channel, ChannelKind, IncidentKind
from stationsync.topology.fleet import OURS, fleet_name, fleet_of, fleet_tag
from stationsync.topology.model import Topology

# Which automations are those of `deploy`: it touches no others.
MARK = f"{OURS}:deploy"
# Prefect has no block for any address of Apprise's, but its Slack block hands those that are not Slack's to Apprise.
TYPES = {
    ChannelKind.WEBHOOK: "webhook",
    ChannelKind.SLACK: "slack-webhook",
    ChannelKind.TEAMS: "ms-teams-webhook",
    ChannelKind.EMAIL: "slack-webhook",
    ChannelKind.APPRISE: "slack-webhook",
}
# Exit codes of processes, and of containers, that ended by a signal.
_BY_SIGNAL = ("-*", "13?", "14?")
_JSON = "{{ event.payload | tojson }}"
_SUBJECT, _TEXT = "{{ event.payload.subject }}", "{{ event.payload.text }}"


@dataclass(frozen=True)
class Block:
    """A receiver's address. The `fingerprint` tells whether it is another, without reading it back."""

    name: str
    way: ChannelKind
    address: SecretStr = field(repr=False)
    fingerprint: str

    @property
    def key(self) -> str:
        """As the server tells blocks apart: type/name."""
        return f"{TYPES[self.way]}/{self.name}"


@dataclass(frozen=True)
class Automation:
    """As the client sends it, but that `{"block": type/name}` and `{"deployment": name}` stand for their ids."""

    name: str
    description: str
    tags: tuple[str, ...]
    trigger: Mapping[str, Any]
    actions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class WantedAlerts:
    blocks: tuple[Block, ...] = ()
    automations: tuple[Automation, ...] = ()


def wanted_alerts(topology: Topology, blocks: Blocks | None = None) -> WantedAlerts:
    """Raises UsageError where a secret is missing."""
    fleet, channels = fleet_of(topology), topology.alerts.channels
    reached = {name: channel for name, channel in channels.items() if channel.address is not None}
    receivers = {name: _block(fleet, name, channel, blocks) for name, channel in reached.items()}
    automations = [_channel(topology, name, receivers[name]) for name in reached]
    if channels and topology.alerts.tell.crashed:
        automations.append(_crashes(topology, f"alerts/{fleet_name(topology)}"))
    told = [receivers[name] for name, channel in reached.items() if channel.takes(IncidentKind.WATCHDOG, "", None)]
    if told and (window := silence(topology)):
        automations.append(_silence(topology, window, told))
    return WantedAlerts(tuple(receivers.values()), tuple(automations))


def block_prefix(fleet: str) -> str:
    """How the names of a fleet's blocks begin: readable, and no other fleet's."""
    readable = re.sub(r"[^a-z0-9]+", "-", fleet.lower()).strip("-")[:40]
    return f"{OURS}-{readable}-{hashlib.sha256(fleet.encode()).hexdigest()[:6]}-"


def _block(fleet: str, name: str, channel: Channel, blocks: Blocks | None) -> Block:
    place = f"alerts.channels.{name}.{channel.way}"
    address = secrets.resolve(channel.address, place, blocks)
    assert address is not None  # a channel with an address has a reference to it
    if channel.way is ChannelKind.EMAIL:
        address = _plain_text(address)
    # Slow and salted: nobody finds the address by trying. Short: it need not tell more than that it is another.
    salt = f"{fleet}/{name}/{channel.way}".encode()
    digest = hashlib.scrypt(address.get_secret_value().encode(), salt=salt, n=2**14, r=8, p=1, dklen=6)
    return Block(block_prefix(fleet) + name, channel.way, address, digest.hex())


def _plain_text(address: SecretStr) -> SecretStr:
    """Apprise would send our lines as HTML, where they run into one."""
    text = address.get_secret_value()
    if "format=" in text:
        return address
    return SecretStr(f"{text}{'&' if '?' in text else '?'}format=text")


def _channel(topology: Topology, name: str, block: Block) -> Automation:
    fleet = fleet_of(topology)
    return Automation(
        teller(fleet, name),
        f"Hands alerts on to the channel {name} ({block.way}, address {block.fingerprint}). By: stationsync deploy",
        automation_tags(topology),
        {
            "type": "event",
            "posture": "Reactive",
            "expect": sorted((OPENED, OVER, TESTED)),
            "match": {"prefect.resource.id": f"{RESOURCE}.*", FLEET: fleet, f"{CHANNEL}.{name}": "yes"},
        },
        (_notify(block, _SUBJECT, _TEXT, _JSON),),
    )


def _notify(block: Block, subject: str, text: str, payload: str) -> Mapping[str, Any]:
    if block.way is ChannelKind.WEBHOOK:
        return {"type": "call-webhook", "block_document_id": {"block": block.key}, "payload": payload}
    return {
        "type": "send-notification",
        "block_document_id": {"block": block.key},
        "subject": subject,
        "body": text,
    }


def _crashes(topology: Topology, looker: str) -> Automation:
    """A killed run cannot tell: it is looked for at once. What its worker says of it is there at once; the event of
    its state would be seen late where the run was a scheduled one."""
    return Automation(
        f"stationsync {fleet_of(topology)}: look when a run was killed",
        f"Starts {looker}, which tells it once however often it happens. By: stationsync deploy",
        automation_tags(topology),
        {
            "type": "event",
            "posture": "Reactive",
            "expect": ["prefect.worker.executed-flow-run"],
            "match": {"prefect.resource.id": "prefect.worker.*"},
            # Runs of stations only: else a look that is killed would start the next.
            "match_related": [
                related_tag(fleet_tag(topology)),
                related_tag("station:*"),
                {"prefect.resource.role": "flow-run", "prefect.infrastructure.status-code": [*_BY_SIGNAL]},
            ],
        },
        ({"type": "run-deployment", "source": "selected", "deployment_id": {"deployment": looker}},),
    )


def _silence(topology: Topology, window: timedelta, blocks: list[Block]) -> Automation:
    """Nothing else can tell when the watchdog itself does not run, or cannot reach control; also not since it was
    deployed. Once: it begins anew with the watchdog's next good run, which tells that it is back."""
    fleet, within = fleet_of(topology), format_duration(window)
    subject = f"fleet {fleet}: watchdog"
    what = f"no run of the watchdog has succeeded for {within}: nothing is watched, and nothing is told."
    step = (
        "See why its last runs failed, or did not start: that a worker of its pool is up, and control. "
        "prefect flow-run ls --flow-name watchdog"
    )
    said = {"event": "opened", "fleet": fleet, "kind": "watchdog", "station": "", "table": ""}
    text = f"{subject}\nWhat happened: {what}\nNext step: {step}"
    payload = json.dumps({**said, "what": what, "next_step": step, "subject": subject, "text": text})
    return Automation(
        f"stationsync {fleet}: the watchdog is silent",
        f"Tells when no run of the watchdog has succeeded for {within}. By: stationsync deploy",
        automation_tags(topology),
        {
            "type": "event",
            "posture": "Proactive",
            "after": [DEPLOYED, LOOKED],
            "expect": [LOOKED],
            "match": {"prefect.resource.id": f"{WATCHDOG}.*", FLEET: fleet},
            # With nothing here, Prefect would begin to wait anew after each alert, and tell it again and again.
            "for_each": ["prefect.resource.id"],
            "within": window.total_seconds(),
        },
        tuple(_notify(block, subject, text, payload) for block in blocks),
    )


def related_tag(name: str) -> Mapping[str, str]:
    return {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{name}"}


def automation_tags(topology: Topology) -> tuple[str, ...]:
    return MARK, fleet_tag(topology)
