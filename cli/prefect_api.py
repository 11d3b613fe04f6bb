"""The little that commands want from a Prefect server. Prefect is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stationsync.errors import SetUpError, UsageError


@dataclass(frozen=True)
class Started:
    """A flow run that was asked for; `url` is its page, where the server has a UI."""

    deployment: str
    run_id: str
    name: str
    url: str | None


def read_block(name: str) -> str:
    """The value of a Secret block; ValueError where there is none."""
    with _answering(_require_api(f"${{secret:{name}}}")):
        from prefect.blocks.system import Secret

        return str(Secret.load(name, _sync=True).get())  # type: ignore[call-arg, union-attr]  # see sync_compatible


def start_deployment(deployment: str) -> Started:
    """Ask for a run of a deployment, now. A worker starts it; this does not wait for it."""
    with _answering(_require_api(f"deployment {deployment}")):
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
        not_done="No run was started.",
        next_step="Register it: prefect deploy --all",
    )


def _require_api(place: str) -> str:
    """The API's address. Without one Prefect would start a server of its own, which takes half a minute."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url:
        return url
    raise UsageError(
        place,
        "no Prefect API is configured.",
        not_done="Nothing was done.",
        next_step="Set PREFECT_API_URL, or do without Prefect: stationsync sync STATION, and ${ENV} or ${file:/path}.",
    )


@contextmanager
def _answering(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        fault = " ".join(str(error).split()) or type(error).__name__
    else:
        return
    raise SetUpError(
        f"Prefect API {url}",
        f"does not answer as it should: {fault}",
        not_done="No run was started.",
        next_step="Start the server, or mend PREFECT_API_URL.",
    )
