"""That a run gives no further sign, as an event: else the automation on missing heartbeats takes it for dead.

The events of its states would say so too, but those of a scheduled run follow one that Prefect never sends, and reach
automations a quarter of an hour late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from prefect.context import FlowRunContext
from prefect.events.schemas.events import Event, RelatedResource, Resource

from stationsync.incident_event import ENDED
from tasks.incident_events import send


@contextmanager
def telling_end() -> Iterator[None]:
    """Around all that a flow does. That it could not be told changes nothing about the run."""
    try:
        yield
    finally:
        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None:
            run = context.flow_run
            resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name}
            tags = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run.tags]
            with suppress(httpx.HTTPError):
                send([Event(event=ENDED, resource=Resource(resource), related=[RelatedResource(one) for one in tags])])
