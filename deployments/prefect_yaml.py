"""prefect.yaml from the topology, for `prefect deploy --all`. The committed one is the sample's."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import yaml

from deployments.kinds import schemas
from deployments.wanted import BEAT, HEARTBEAT, NO_SCHEDULE, Deployment, ScheduleTiming, wanted
from stationsync.topology.model import Topology

_HEAD = """\
# Written from the topology, never by hand: stationsync deploy --prefect-yaml prefect.yaml
#
#   prefect work-pool create central --type process
#   prefect deploy --all                           registers and updates; `stationsync deploy` retires as well, and
#                                                  shows before what it would change
#   prefect worker start --pool central            with STATIONSYNC_TOPOLOGY=/path/to/stations.yaml, and the passwords
#   prefect deployment run 'sync/station-1'
#
# Entrypoints are module paths: workers have stationsync installed, so there is no code to pull.
#
# The concurrency limit is for a tidy UI only: the lock that counts is in the control database. A run that finds
# another under way is cancelled and not queued, because the next one carries the same changes; only a backfill is
# queued, because it is of another range. Keep the server's leases in files
# (PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem), or a restart of the
# server ends running runs.

"""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(topology: Topology) -> str:
    """The file's text."""
    content = {
        "name": "stationsync",
        "pull": [],
        "deployments": [_entry(one) for one in wanted(topology, schemas())],
    }
    return _HEAD + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _entry(one: Deployment) -> dict[str, Any]:
    queue = {"work_queue_name": one.work_queue} if one.work_queue else {}
    limit = {"concurrency_limit": {"limit": one.limit, "collision_strategy": one.collision}} if one.limit else {}
    return {
        "name": one.station,
        "entrypoint": one.entrypoint,
        "description": one.description,
        "parameters": dict(one.parameters),
        "tags": sorted(one.tags),
        "work_pool": {"name": one.work_pool, **queue, "job_variables": {"env": {BEAT: str(HEARTBEAT)}}},
        **limit,
        "schedules": [_schedule(timing) for timing in one.schedules] or [_switched_off(one.kind)],
    }


def _switched_off(slug: str) -> dict[str, Any]:
    """`prefect deploy` leaves a schedule as it is where the file has none: it has to be switched off by its name."""
    return {"slug": slug, "cron": NO_SCHEDULE, "timezone": "UTC", "active": False}


def _schedule(timing: ScheduleTiming) -> dict[str, Any]:
    if timing.every and timing.anchor:
        seconds = timing.every.total_seconds()
        return {
            "slug": timing.slug,
            "interval": int(seconds) if seconds.is_integer() else seconds,
            "anchor_date": timing.anchor.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "timezone": timing.timezone,
            "active": True,
        }
    return {"slug": timing.slug, "cron": timing.cron, "timezone": timing.timezone, "active": True}
