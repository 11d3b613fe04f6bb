"""The little that commands want from a Prefect server. Prefect is imported when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deployments.api import answering, require_api
from stationsync.errors import SetUpError
from stationsync.topology import Topology

_OTHERWISE = "do without Prefect: stationsync sync STATION, and ${ENV} or ${file:/path}."
_NOT_DONE = "No run was started."


@dataclass(frozen=True)
class Started:
    """A flow run that was asked for; `url` is its page, where the server has a UI."""

    deployment: str
    run_id: str
    name: str
    url: str | None


def read_block(name: str) -> str:
    """The value of a Secret block; ValueError where there is none."""
    with answering(require_api(f"${{secret:{name}}}", otherwise=_OTHERWISE), not_done=_NOT_DONE):
        from prefect.blocks.system import Secret

        return str(Secret.load(name, _sync=True).get())  # type: ignore[call-arg, union-attr]  # see sync_compatible


def api_is_configured() -> bool:
    """Without loading Prefect, which takes seconds: by the environment, or a profile that names one."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        return "PREFECT_API_URL" in profiles.read_text(encoding="utf-8")
    except OSError:
        return False


def next_runs(topology: Topology, station: str | None) -> Mapping[str, datetime]:
    """Station -> when its next run is due (UTC)."""
    url = require_api("next runs")
    from deployments import look

    with answering(url, not_done="Nothing was done."):
        return look.next_runs(topology, station)


def start_deployment(deployment: str) -> Started:
    """Ask for a run of a deployment, now. A worker starts it; this does not wait for it."""
    with answering(require_api(f"deployment {deployment}", otherwise=_OTHERWISE), not_done=_NOT_DONE):
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound
        from prefect.utilities.urls import url_for

        with get_client(sync_client=True) as client:
            try:
                found = client.read_deployment_by_name(deployment)
            except ObjectNotFound:
                raise _no_deployment(deployment) from None
            run = client.create_flow_run_from_deployment(found.id)
            return Started(deployment, str(run.id), run.name, url_for("flow-run", obj_id=run.id))


def _no_deployment(name: str) -> SetUpError:
    return SetUpError(
        f"deployment {name}",
        "the Prefect server has no such deployment.",
        not_done=_NOT_DONE,
        next_step="Register it: stationsync deploy",
    )
