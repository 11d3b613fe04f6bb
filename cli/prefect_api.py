"""The little that commands want from a Prefect server. Prefect is imported when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.api import answering, require_api
from stationsync.errors import SetUpError

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
