"""The plan of a dry run, for people: the table artifact, the state, and the run that waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import get_run_context
from prefect.flow_runs import suspend_flow_run
from prefect.states import Completed

from stationsync.errors import UsageError
from stationsync.model.changes import Report
from stationsync.model.details import plan_of
from stationsync.model.plan import NOTHING_CHANGED, Share, as_text, covers, from_text, totals
from tasks.report import artifact_key
from tasks.told import leave_table, message

_DAY = 24 * 60 * 60


def shares_of(reports: Sequence[Report]) -> list[Share]:
    return [share for report in reports for share in plan_of(report.details)]


def leave_plan(kind: str, station: str, reports: Sequence[Report]) -> None:
    """The plan as a table: `station-1-pull-plan` in the UI."""
    shares = shares_of(reports)
    warnings = [f"{report.table}: {note}" for report in reports for note in report.warnings]
    rows, key = [_row(share) for share in shares], artifact_key(station, f"{kind}-plan")
    leave_table(rows, key, f"Plan of {kind} {station}.", text=[NOTHING_CHANGED], notes=warnings)


def _row(share: Share) -> dict[str, Any]:
    row = {name: value for name, value in share.as_dict().items() if name not in ("station", "samples")}
    return row | {"samples": "; ".join(str(one) for samples in share.samples.values() for one in samples)}


def plan_state(reports: Sequence[Report]) -> State[list[Report]]:
    """How a dry run ends that found no fault."""
    shares = shares_of(reports)
    lines = [line for share in shares for line in share.lines()] or ["nothing to do"]
    return Completed(name="Plan", message=message([*lines, NOTHING_CHANGED]), data=list(reports))


def wait_for_approval(reports: Sequence[Report]) -> None:
    """Go on where there is nothing to approve, or where somebody resumed this run after a plan that covers this one;
    otherwise suspend the run, which then begins anew when it is resumed. It holds no slot and no process meanwhile.

    Raises UsageError where this is no run of a deployment: nothing could resume it."""
    now = totals(shares_of(reports))
    if not now:
        return
    run: Any = get_run_context()
    # What is approved stands in the keys of the pauses that this run has behind it.
    approved = map(from_text, run.flow_run.empirical_policy.pause_keys or ())
    if any(covers(one, now) for one in approved if one is not None):
        return
    if run.flow_run.deployment_id is None:
        raise UsageError(
            "approve",
            "this is no run of a deployment, so nobody could resume it.",
            not_done="Nothing was changed.",
            next_step="Register it with: stationsync deploy, and start it there.",
        )
    suspend_flow_run(timeout=_DAY, key=as_text(now))
