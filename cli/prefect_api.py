"""The little that commands want from a Prefect server. Prefect is imported when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from deployments.api import answering, require_api
from stationsync.errors import Refused, SetUpError
from stationsync.maintenance.rule import Ages, PrunedPart
from stationsync.topology.model import Topology

if TYPE_CHECKING:
    from deployments.follow import Ended

_OTHERWISE = "do without Prefect: stationsync sync STATION, and ${ENV} or ${file:/path}."
NO_RUN = "No run was started."


@dataclass(frozen=True)
class Started:
    """A flow run that was asked for; `url` is its page, where the server has a UI."""

    deployment: str
    run_id: str
    name: str
    url: str | None


def read_block(name: str) -> str:
    """The value of a Secret block; ValueError where there is none."""
    with answering(require_api(f"${{secret:{name}}}", otherwise=_OTHERWISE), not_done=NO_RUN):
        from prefect.blocks.system import Secret

        return str(Secret.load(name, _sync=True).get())  # type: ignore[call-arg, union-attr]  # see sync_compatible


def api_is_configured() -> bool:
    """As Prefect itself sees it. Prefect, which takes seconds to load, is only asked where one of the places that it
    reads mentions an API."""
    if not _may_be_configured():
        return False
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def _may_be_configured() -> bool:
    if any(name.upper() == "PREFECT_API_URL" and value for name, value in os.environ.items()):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    return any(
        _mentions(file, words)
        for file, words in (
            (profiles, ("PREFECT_API_URL",)),
            (Path(".env"), ("PREFECT_API_URL", "prefect_api_url")),
            (Path("prefect.toml"), ("api",)),
            (Path("pyproject.toml"), ("tool.prefect",)),
        )
    )


def _mentions(file: Path, words: Sequence[str]) -> bool:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False
    return any(word in text for word in words)


def next_runs(topology: Topology, station: str | None) -> Mapping[str, datetime]:
    """Station -> when its next run is due (UTC)."""
    url = require_api("next runs")
    from deployments import look

    with answering(url, not_done="Nothing was done."):
        return look.next_runs(topology, station)


def set_paused(topology: Topology, station: str, paused: bool) -> list[str]:
    """Pause or resume a station's deployments; their names."""
    with answering(require_api(f"stations.{station}"), not_done=""):
        from deployments import pausing

        return pausing.set_paused(topology, station, paused)


def run_ended(run_id: str, tell: Callable[[str], object] | None) -> Ended:
    """Wait for a run to end."""
    with answering(require_api(f"run {run_id}"), not_done="The run goes on without being watched."):
        from deployments import follow

        return follow.until_over(run_id, tell)


def run_logs(
    topology: Topology, station: str, run: str | None, kind: str | None, lines: int, follow_it: bool
) -> Iterator[str]:
    """The log of this run, or of the station's last one."""
    place = f"logs of {station}"
    with answering(require_api(place), not_done="Nothing was done."):
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        from deployments import follow

        with get_client(sync_client=True) as client:
            try:
                found = client.read_flow_run(UUID(run)) if run else follow.last_run(client, topology, station, kind)
            except ObjectNotFound:
                found = None
            if found is None:
                what = f"the Prefect server has no run {run}" if run else "no run of it has begun on the Prefect server"
                step = f"Start one: stationsync run {station}"
                raise Refused(place, what, not_done="Nothing was done.", next_step=step)
            yield f"{found.name} ({found.id}): {found.state.name if found.state else '?'}"
            yield from follow.lines_of(client, found.id, lines, follow=follow_it)


def start_deployment(deployment: str, parameters: Mapping[str, Any] | None = None) -> Started:
    """Ask for a run of a deployment, now. A worker starts it; this does not wait for it."""
    with answering(require_api(f"deployment {deployment}", otherwise=_OTHERWISE), not_done=NO_RUN):
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound
        from prefect.utilities.urls import url_for

        with get_client(sync_client=True) as client:
            try:
                found = client.read_deployment_by_name(deployment)
            except ObjectNotFound:
                raise _no_deployment(deployment) from None
            run = client.create_flow_run_from_deployment(found.id, parameters=dict(parameters or {}))
            return Started(deployment, str(run.id), run.name, url_for("flow-run", obj_id=run.id))


def prune_history(topology: Topology, old: Ages, *, dry_run: bool) -> list[PrunedPart] | None:
    """Old runs of this fleet, with what is theirs; None where no Prefect API is configured."""
    if not api_is_configured():
        return None
    with answering(
        require_api("Prefect's run history"), not_done="The run history was not pruned any further; all else was."
    ):
        from tasks.prune_history import prune_history

        return prune_history(topology, old, dry_run)


def _no_deployment(name: str) -> SetUpError:
    return SetUpError(
        f"deployment {name}",
        "the Prefect server has no such deployment.",
        not_done=NO_RUN,
        next_step="Register it: stationsync deploy",
    )
