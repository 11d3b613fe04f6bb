"""`stationsync deploy`, whole: deployments and alerts looked at together, changed, and looked at once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from deployments.alerts_plan import AlertPlan
from deployments.alerts_server import begin_to_wait, carry_out_alerts, look_at_alerts
from deployments.api import require_api
from deployments.apply import PLACE, UNCHANGED, carry_out, look
from deployments.objections import EVERYTHING, Allowed, some
from deployments.plan import Plan
from deployments.wanted import require_pools
from stationsync.errors import Refused, StationSyncError, UsageError
from stationsync.topology.model import Topology

T = TypeVar("T")


@dataclass(frozen=True)
class Changes:
    plan: Plan
    alerts: AlertPlan

    @property
    def size(self) -> int:
        return self.plan.size + self.alerts.size

    def lines(self) -> list[str]:
        return [*self.plan.lines(), *self.alerts.lines()]


def look_at_all(topology: Topology, allowed: Allowed) -> Changes:
    """What has to change on the server. Changes nothing; Refused with all that speaks against it."""
    require_pools(topology)  # the file's own faults go first, and need no server
    require_api(PLACE)
    against: list[StationSyncError] = []
    plan = _or_against(against, lambda: look(topology, allowed))
    alerts = _or_against(against, lambda: look_at_alerts(topology))
    if plan is not None and alerts is not None:
        return Changes(plan, alerts)
    if len(against) == 1:
        raise against[0]
    told = "\n  ".join(["of deployments and alerts:", *(f"{one.place}: {one.what}" for one in against)])
    raise Refused(PLACE, told, not_done=UNCHANGED, next_step="\n  ".join(one.next_step for one in against))


def _or_against(against: list[StationSyncError], look: Callable[[], T]) -> T | None:
    """Only of what a person settles: a server that does not answer is not asked a second time."""
    try:
        return look()
    except (Refused, UsageError) as error:
        against.append(error)
        return None


def carry_out_all(topology: Topology, changes: Changes) -> None:
    """Make them. Refused where the server then is not as the file says: somebody else has deployed at the same time,
    from another file. Of two such, whoever ends last sees it."""
    if not changes.size:
        return
    carry_out(changes.plan)
    carry_out_alerts(changes.alerts)
    left = look_at_all(topology, EVERYTHING)
    begin_to_wait(topology, changes.alerts)
    if doubled := left.alerts.doubled:  # both have made it
        carry_out_alerts(AlertPlan(doubled=doubled))
        left = replace(left, alerts=replace(left.alerts, doubled=()))
    if left.size:
        raise Refused(
            PLACE,
            f"somebody else deployed at the same time: {left.size:,} "
            f"{'thing is' if left.size == 1 else 'things are'} not as this file says: {some(left.lines())}",
            not_done="All changes of this file were made; some were changed again.",
            next_step="Settle which file is the right one, and with it run again: stationsync deploy",
        )
