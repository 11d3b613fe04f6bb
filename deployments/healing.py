"""The automation that ends runs whose process is gone, where nobody is left to see it: not even the watchdog, which
sees it sooner and asks control before. Pure."""

from __future__ import annotations

from deployments.alerts import Automation, automation_tags, related_tag
from deployments.wanted import HEARTBEAT
from stationsync.fleet import fleet_of, fleet_tag
from stationsync.topology import Topology

# So many heartbeats in a row are missing. Fewer, and a short standstill of the server would end runs that live.
MISSED = 4


def zombies(topology: Topology) -> Automation:
    """A run that gave no sign is Crashed, so that its concurrency slot is free and the next run begins."""
    fleet, within = fleet_of(topology), MISSED * HEARTBEAT
    return Automation(
        f"stationsync {fleet}: a run without heartbeats has crashed",
        f"Marks runs that gave no sign for {within} s as Crashed. By: stationsync deploy",
        automation_tags(topology),
        {
            "type": "event",
            "posture": "Proactive",
            "after": ["prefect.flow-run.heartbeat"],
            # By the names of states, of which our flows have their own: any of them is a sign.
            "expect": ["prefect.flow-run.*"],
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": [related_tag(fleet_tag(topology))],
            "for_each": ["prefect.resource.id"],
            "within": float(within),
        },
        (
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "message": f"No heartbeat for {within} s: its process is gone. (Automation of stationsync's)",
            },
        ),
    )
