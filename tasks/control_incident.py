"""Control itself is the trouble: its books cannot hold this incident, so a variable of Prefect's does.

There is one variable of a name: many who find control gone create it once. An event that is sent again is the same
event to the server, so whoever finds it untold tells it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from stationsync.database.connection import Database
from stationsync.errors import StationSyncError
from stationsync.health.incident_book import RecordedIncident, heard_of
from stationsync.topology.alerting import IncidentKind
from stationsync.topology.fleet import fleet_of
from stationsync.topology.model import Topology
from tasks.incident_events import event_of, post

_STEP = "See that control's database and the way to it are up, then: stationsync check"


def control_is_gone(topology: Topology, station: str, error: StationSyncError, run: str) -> RecordedIncident | None:
    """Tell it, unless that was done; the entry if so. `station` is whose run found it, empty for the watchdog."""
    rule, now = topology.alerts.tell.control, datetime.now(UTC).replace(tzinfo=None)
    if rule is None:
        return None
    where = f"from a run of {station}" if station else "from the watchdog"
    seen: dict[str, Any] = {
        "since": now.isoformat(),
        "by": station,
        "what": f"{error} (seen {where})",
        "run": run,
        "told": False,
    }
    with get_client(sync_client=True) as client:
        try:
            client.create_variable(VariableCreate(name=_name(topology), value=json.dumps(seen)))
        except ObjectAlreadyExists:
            seen = _read(client, topology) or {}
        if not seen or seen["told"] or now - datetime.fromisoformat(seen["since"]) < rule.after:
            return None
        entry = _entry(seen)
        post(client, [event_of(topology, entry, "control")])
        client.update_variable(VariableUpdate(name=_name(topology), value=json.dumps({**seen, "told": True})))
        return entry


def control_is_back(topology: Topology, control: Database) -> RecordedIncident | None:
    """Whoever calls this reaches control. Where a station's run did not, it is over when one of its runs did."""
    with get_client(sync_client=True) as client:
        seen = _read(client, topology)
        if seen is None:
            return None
        station, since = seen["by"], datetime.fromisoformat(seen["since"])
        if station in topology.stations and not heard_of(control, station, since):
            return None
        entry = _entry(seen, datetime.now(UTC).replace(tzinfo=None))
        if seen["told"]:
            post(client, [event_of(topology, entry, "control")])
        try:
            client.delete_variable_by_name(_name(topology))
        except ObjectNotFound:
            return None
        return entry if seen["told"] else None


def _name(topology: Topology) -> str:
    return f"stationsync_control_{hashlib.sha256(fleet_of(topology).encode()).hexdigest()[:12]}"


def _read(client: SyncPrefectClient, topology: Topology) -> dict[str, Any] | None:
    found = client.read_variable_by_name(_name(topology))
    return dict(json.loads(str(found.value))) if found else None


def _entry(seen: dict[str, Any], closed: datetime | None = None) -> RecordedIncident:
    since = datetime.fromisoformat(seen["since"])
    return RecordedIncident(
        0, IncidentKind.CONTROL, "", "", since, seen["what"][:2_000], _STEP, seen["run"], since, None, closed
    )
