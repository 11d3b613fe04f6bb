"""The flows that every station, or the fleet, has a deployment of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Flow: the parameter schema of its run form, as JSON.
Schemas = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """Named as its flow is. One of the fleet has no direction. `limited`: one run at a time, as far as Prefect goes;
    `queued`: a further one waits for its turn, because it is about something else, and is not cancelled."""

    name: str
    direction: str | None
    description: str
    limited: bool = True
    queued: bool = False

    @property
    def identifier(self) -> str:
        """Its name in Python, and under `schedule` in stations.yaml."""
        return self.name.replace("-", "_")

    @property
    def entrypoint(self) -> str:
        """A module path: workers have stationsync installed, and a file path would load a second copy of the module."""
        return f"flows.{self.identifier}.{self.identifier}"


KINDS = (
    Kind("sync", "both", "Brings the station's changes up, then control's edits down."),
    Kind("pull", "up", "Brings the station's changes up to control."),
    Kind("push", "down", "Brings control's edits down to the station."),
    Kind(
        "reconcile",
        "both",
        "Compares whole tables, repairs what differs, and proves that both sides are equal. Finds what no watermark "
        "can: deletes, late rows, edits that did not touch the modified column.",
    ),
    # Of each station and not of the fleet: behind a firewall, only the station's own worker reaches its database.
    Kind(
        "backfill",
        "up",
        "Reads a range of the station's rows again, by time or by key, and merges it, in between live runs. Goes on "
        "where it stopped when it is started for the same range again.",
        queued=True,
    ),
)

# One for each continuous schedule. Two at a time while the one hands over to the next.
CONTINUOUS = Kind(
    "continuous",
    "both",
    "Synchronises each of its stations again and again, at its interval, and hands over to the next run.",
    limited=False,
)

# One deployment of each for all stations.
FLEET: tuple[Kind, ...] = (
    Kind(
        "watchdog",
        None,
        "Finds runs that are stuck, dead workers, leaked concurrency slots and stations with old data; puts right what "
        "can safely be put right, and tells the rest.",
        # A dead watchdog must not keep the next one out. Two at once do everything once.
        limited=False,
    ),
    Kind(
        "alerts",
        None,
        "Looks at the fleet for what is wrong, or no longer, and tells each of it once. Started when a run has "
        "crashed; otherwise the watchdog looks.",
    ),
    Kind(
        "maintenance",
        None,
        "Prunes what is over and old: run history, journal, trash, settled conflicts, released quarantine, log files. "
        "What is unresolved stays. With dry_run, only shows what would go.",
    ),
    Kind(
        "fleet-report",
        None,
        "Shows how every table of every station stands, the worst first: a table, a chart of how old the data is, and "
        "the same for Prometheus where defaults.metrics_file names a file.",
    ),
)
EVERY = (*KINDS, CONTINUOUS, *FLEET)


def schemas() -> Schemas:
    """Of the flows as they are installed here. Loads Prefect."""
    from prefect.utilities.callables import parameter_schema

    from flows.alerts import alerts
    from flows.backfill import backfill
    from flows.continuous import continuous
    from flows.fleet_report import fleet_report
    from flows.maintenance import maintenance
    from flows.pull import pull
    from flows.push import push
    from flows.reconcile import reconcile
    from flows.sync import sync
    from flows.watchdog import watchdog

    # As `prefect deploy` writes them.
    flows = (sync, pull, push, reconcile, backfill, continuous, watchdog, alerts, maintenance, fleet_report)
    return {flow.name: parameter_schema(flow).model_dump(exclude_unset=True) for flow in flows}
