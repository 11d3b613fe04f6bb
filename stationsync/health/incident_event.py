"""The names by which those who tell incidents and the automations that pass them on know each other."""

from __future__ import annotations

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
