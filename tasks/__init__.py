"""The engine's steps as Prefect tasks, so that a run in the UI shows each with its own retries."""

from __future__ import annotations

from prefect.runtime import flow_run

from stationsync.reconcile.scan import ComparisonSteps
from stationsync.sync.runs import Steps
from tasks.step import as_step
from tasks.steps import compare, connect, extract, extract_keys, look_into, merge, push, validate


def prefect_steps() -> Steps:
    """The steps for `runs.pull` and `runs.push_edits`, to be called inside a flow run."""
    return Steps(
        extract=as_step(extract),
        extract_keys=as_step(extract_keys),
        validate=as_step(validate),
        merge=as_step(merge),
        push=as_step(push),
        open=as_step(connect),
        flow_run=flow_run.get_id(),
    )


def prefect_comparison() -> ComparisonSteps:
    """What a reconcile has beside them."""
    return ComparisonSteps(compare=as_step(compare), look_into=as_step(look_into))
