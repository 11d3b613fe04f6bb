"""What came of a run, for people: words, the table artifact, and the state that the run ends in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from stationsync.model.changes import Report, Status
from stationsync.model.details import ReconcileDetails
from stationsync.reconcile.proof import found_in_words, proved_in_words
from stationsync.topology.model import Topology
from tasks import told


def leave_artifact(kind: str, station: str, reports: Sequence[Report]) -> None:
    """The table that the run shows in the UI; `station-1-pull` there has the history of all runs."""
    rows = [_row(report) for report in reports]
    told.leave_table(rows, artifact_key(station, kind), f"{kind} {station}", notes=_lines(reports))


def artifact_key(station: str, kind: str) -> str:
    # A station's name may have hyphens where a key may not.
    return "-".join(part for part in (*station.split("-"), kind) if part)


def fleet_key(topology: Topology, kind: str) -> str:
    """Of the fleet's artifact."""
    fleet = re.sub(r"[^a-z0-9]+", "-", (topology.defaults.fleet or "").lower()).strip("-")
    return f"{kind}-{fleet}" if fleet else kind


def _row(report: Report) -> dict[str, Any]:
    counts = report.counts
    return {
        "table": report.table,
        "direction": str(report.direction),
        "result": str(report.status),
        "read": counts.read,
        "applied": counts.applied,
        "unchanged": counts.unchanged,
        "conflicts": counts.conflicts,
        "quarantined": counts.quarantined,
        "up to": report.up_to.isoformat(sep=" ") if report.up_to else "",
        "seconds": round(report.seconds, 2),
        "notes": "; ".join(note for note in (report.message, *report.warnings) if note),
    }


def final_state(reports: list[Report]) -> State[list[Report]]:
    """Red only where a person has to look: an off-line station is normal operation."""
    found = {report.status for report in reports}
    message = summary(reports)
    if Status.FAILED in found:
        # No data: of a failed state, Prefect takes it for the exception.
        return Failed(message=message)
    if Status.OFFLINE in found:
        return Completed(name="Offline", message=message, data=reports)
    if Status.PAUSED in found:
        return Completed(name="Paused", message=message, data=reports)
    if found == {Status.UNDER_WAY}:
        return Completed(name="UnderWay", message=message, data=reports)
    if Status.DONE not in found:
        return Completed(name="NothingToDo", message=message, data=reports)
    return Completed(message=message, data=reports)


def summary(reports: Sequence[Report]) -> str:
    """One line a table and direction; problems first."""
    return told.message(_lines(reports))


def _lines(reports: Sequence[Report]) -> list[str]:
    order = [Status.FAILED, Status.OFFLINE, Status.PAUSED, Status.UNDER_WAY, Status.DONE, Status.NOTHING]
    return [_line(report) for report in sorted(reports, key=lambda report: order.index(report.status))]


def _proof(report: Report) -> str:
    """What a reconcile found, and what it proved."""
    details = report.details
    if not isinstance(details, ReconcileDetails):
        return ""
    return "; ".join(filter(None, ("", found_in_words(details), proved_in_words(report.up_to, details))))


def _line(report: Report) -> str:
    begin = f"{report.table} {report.direction}: {report.status}"
    if report.status in (Status.DONE, Status.NOTHING):
        return f"{begin} ({', '.join(report.counts.in_words())}){_proof(report)}"
    return f"{begin}. {report.message}"
