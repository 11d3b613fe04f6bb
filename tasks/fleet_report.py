"""The fleet report: how every table stands, as artifacts and for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from stationsync.health import metrics
from stationsync.health.metrics import chart
from stationsync.health.status import State as Stands
from stationsync.health.status import TableStatus, status, worst_first
from stationsync.model.amounts import format_age
from stationsync.pairing.pair import control_of
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.report import fleet_key
from tasks.told import RunLog, leave_table

# A table of thousands of rows is no help in a browser; the worst stand first.
_ROWS = 200


@task(name="look", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE, persist_result=False)
def look_at_tables(topology: Topology) -> list[TableStatus]:
    return worst_first(status(control_of(topology, secret_block), topology))


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def leave_report(topology: Topology, tables: Sequence[TableStatus]) -> None:
    """The table, the chart, and the file for Prometheus where one is named."""
    now = datetime.now(UTC).replace(tzinfo=None)
    key = fleet_key(topology, "fleet-report")
    more = [f"The worst {_ROWS:,} of {len(tables):,} tables."] if len(tables) > _ROWS else []
    leave_table([_row(one) for one in tables[:_ROWS]], key, summary(tables), text=more)
    create_markdown_artifact(chart(tables, now), key=f"{key}-freshness", description=summary(tables))
    if topology.defaults.metrics_file:
        metrics.write(topology.defaults.metrics_file, metrics.prometheus(tables, now))
        RunLog().info("%s is written.", topology.defaults.metrics_file)


def summary(tables: Sequence[TableStatus]) -> str:
    """How many tables there are of each state, the worst first."""
    states = [one.state for one in tables]
    each = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
    return f"{len(tables):,} tables: {each}" if tables else "no tables"


def _row(one: TableStatus) -> dict[str, Any]:
    return {
        "station": one.station,
        "table": one.table,
        "state": str(one.state),
        "equal up to": _moment(one.equal_up_to),
        "lag": format_age(one.lag),
        "waiting edits": "" if one.waiting is None else one.waiting,
        "quarantine": one.quarantined,
        "conflicts": one.conflicts,
        "last run": _moment(one.last_run),
        "last error": str(one.pause) if one.pause else one.last_error,
    }


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def report_state(tables: Sequence[TableStatus]) -> State[Any]:
    """Never red for what it found: that is told by alerts."""
    wrong = any(one.state not in (Stands.OK, Stands.BEHIND, Stands.PAUSED) for one in tables)
    return Completed(name="NeedsALook" if wrong else None, message=summary(tables))
