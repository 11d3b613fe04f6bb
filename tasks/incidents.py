"""Telling what is wrong: at the end of a station's run, of that station; from the watchdog, of the whole fleet.

An alert is never a reason for a run to fail, nor a server that is down a reason to forget one: what cannot be told
stays in control's books and is told by the next that looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

import httpx
from prefect.runtime import flow_run

from stationsync.database.connection import Database
from stationsync.errors import NotInitialised, StationSyncError, TryAgain
from stationsync.health import incident_book
from stationsync.health.incident_book import RecordedIncident
from stationsync.health.incidents import Incident
from stationsync.pairing.pair import control_of
from stationsync.topology.alerting import ChannelKind, IncidentKind
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.control_incident import control_is_back, control_is_gone
from tasks.crashes import crashes
from tasks.deliveries import KEPT, send_again
from tasks.incident_events import channels_of, event_of, payload_of, send
from tasks.step import step
from tasks.told import RunLog

T = TypeVar("T")
_DELAYS = (1.0, 3.0)


def tell_station(topology: Topology, station: str) -> None:
    """At the end of a run: what is wrong with its station now, and what is no longer."""
    log = RunLog()
    try:
        control = control_of(topology, secret_block)
        look = partial(incident_book.look_at_station, control, topology, station, _run())
        _tell(topology, control, _patiently(look), log)
    except NotInitialised as error:
        log.warning("Incidents are not told. %s", error)
    except StationSyncError as error:
        _without_control(topology, station, error, log)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("Incidents are not told: %s", type(error).__name__)


@step("tell-incidents", "place")
def tell_incidents(
    topology: Topology,
    others: Sequence[Incident] = (),
    looked_for: Collection[IncidentKind] = (),
    watchdog: bool = True,
    place: str = "fleet",
) -> int:
    """All that is wrong in the fleet; how many incidents began or are over. `others` are what the caller knows of,
    of the kinds that it `looked_for`; it is the `watchdog`, whose silence is an incident too. Raises
    StationSyncError where control cannot be asked, which is told."""
    del place  # for the name of the task run
    log, control = RunLog(), control_of(topology, secret_block)
    try:
        lasting = _patiently(partial(incident_book.incidents, control))
        found = crashes(topology, control, {one.station for one in lasting if one.kind is IncidentKind.CRASHED})
        kinds = {*looked_for, IncidentKind.CRASHED}
        entries = incident_book.look_at_fleet(control, topology, [*others, *found], kinds, _run(), watchdog=watchdog)
    except StationSyncError as error:
        _without_control(topology, "", error, log)
        raise
    _tell(topology, control, entries, log)
    for channel, one in send_again(topology, incident_book.told_within(control, KEPT)):
        log.warning("Sent again, as it has not arrived at %s: %s", channel, payload_of("", one)["subject"])
    if (back := control_is_back(topology, control)) is not None:
        _log(topology, back, log)
    return len(entries)


def _patiently(look: Callable[[], T]) -> T:
    """A moment without control is no incident."""
    for delay in _DELAYS:
        try:
            return look()
        except TryAgain:
            time.sleep(delay)
    return look()


def _run() -> str:
    return str(flow_run.id or "")


def _tell(topology: Topology, control: Database, entries: Sequence[RecordedIncident], log: RunLog) -> None:
    if not entries:
        return
    try:
        send([event_of(topology, one) for one in entries])
    except httpx.HTTPError as error:
        incident_book.not_told(control, entries)
        log.warning("Incidents wait to be told, the Prefect server does not take them: %s", type(error).__name__)
        return
    for one in entries:
        _log(topology, one, log)
    incident_book.told(control, entries)


def _log(topology: Topology, entry: RecordedIncident, log: RunLog) -> None:
    ways = {topology.alerts.channels[name].way for name in channels_of(topology, entry)}
    if ChannelKind.LOG in ways:
        log.warning_lines(payload_of("", entry)["text"].split("\n"))


def _without_control(topology: Topology, station: str, error: StationSyncError, log: RunLog) -> None:
    """Nothing can be remembered at control, so it is remembered at the Prefect server."""
    try:
        entry = control_is_gone(topology, station, error, _run())
    except httpx.HTTPError as silent:
        log.warning("Nobody is told that control does not answer: %s", type(silent).__name__)
        return
    if entry:
        _log(topology, entry, log)
