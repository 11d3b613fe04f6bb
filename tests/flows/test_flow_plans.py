"""Plans in Prefect: a dry run as a flow run, and a run that waits until a person approves of its plan."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run
from prefect.states import Suspended
from support.command import snapshot
from support.flow_runs import Run, write
from support.inject import ago
from support.sample import row

from flows.reconcile import reconcile
from flows.sync import sync
from stationsync.model.plan import as_text, covers, from_text

if TYPE_CHECKING:
    from support.flow_runs import Flows

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")


def test_a_dry_run_leaves_the_plan_and_changes_nothing(flows: Flows) -> None:
    before = snapshot(flows.databases, "control", 1)
    run = flows(sync, dry_run=True)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Plan")
    assert run.message.startswith("station-1/kafka_test at control: rows to insert 3")
    assert run.message.endswith("Nothing was changed.")
    (share,) = run.artifact("station-1-sync-plan")
    assert (share["table"], share["at"], share["inserts"]) == ("kafka_test", "control", 3)
    assert "(1, A); (2, A); (3, A)" in share["samples"]
    assert snapshot(flows.databases, "control", 1) == before


def test_a_run_that_nobody_could_resume_is_refused(flows: Flows) -> None:
    run = flows(sync, approve=True)
    assert run.state.type is StateType.FAILED
    assert "Nothing was changed" in run.message
    assert flows.databases.count("control") == 0


def test_a_run_waits_for_approval_and_asks_again_where_the_plan_has_grown(flows: Flows) -> None:
    flows.fleet.sync()
    flows.fleet.edit("control", 2, text="mass change", at=ago(30))
    run_id = _deployed(flows, sync)

    assert _go_on(flows, run_id).state.name == "Suspended"
    assert flows.databases.rows(1)[1][1] == "row 2"
    # Meanwhile a real mass change comes: nobody has approved of that one.
    flows.databases.put(1, [row(n, at=ago(30)) for n in range(100, 160)])
    resume_flow_run(run_id)
    assert _go_on(flows, run_id).state.name == "Suspended"
    assert flows.databases.count("control") == 3

    resume_flow_run(run_id)
    done = _go_on(flows, run_id)
    assert (done.state.type, done.state.name) == (StateType.COMPLETED, "Completed")
    assert flows.databases.rows(1)[1][1] == "mass change"
    assert flows.databases.count("control") == 63
    flows.fleet.require_nothing_to_do()


def test_nothing_to_do_needs_no_approval(flows: Flows) -> None:
    flows.fleet.sync()
    assert _go_on(flows, _deployed(flows, reconcile)).state.name == "NothingToDo"


def _deployed(flows: Flows, flow: Any) -> UUID:
    """A run of a deployment of this flow, with `approve`."""
    name = f"approve-{flows.databases.name('control')}"
    deployment = flows.client.create_deployment(flows.client.create_flow(flow), name)
    parameters = {"station": "station-1", "approve": True}
    return flows.client.create_flow_run_from_deployment(deployment, parameters=parameters).id


def _go_on(flows: Flows, run_id: UUID) -> Run:
    """What a worker's process does with the run, in this one."""
    write(flows.command)
    run = flows.client.read_flow_run(run_id)
    flow = {one.name: one for one in (sync, reconcile)}[flows.client.read_flow(run.flow_id).name]
    with suppress(Pause):
        run_flow(flow, flow_run=run, parameters=run.parameters, return_type="state")
    state = Suspended()
    state.state_details.flow_run_id = run_id
    return Run(flows.server, flows.client, state)


@pytest.mark.parametrize(
    ("approved", "now", "covered"),
    [
        ({"inserts": 5}, {"inserts": 25}, True),
        ({"inserts": 5}, {"inserts": 26}, False),
        ({"updates": 1_000}, {"updates": 1_100}, True),
        ({"updates": 1_000}, {"updates": 1_101}, False),
        ({"updates": 1_000}, {"deletes": 1}, False),
        ({"deletes": 3}, {"deletes": 3, "inserts": 20}, True),
        ({"deletes": 3}, {"deletes": 4}, False),
        ({"conflicts": 9}, {}, True),
    ],
)
def test_what_an_approval_covers(approved: dict[str, int], now: dict[str, int], covered: bool) -> None:
    assert covers(approved, now) is covered
    assert from_text(as_text(approved)) == approved


@pytest.mark.parametrize("text", ["0", "", "[]", '{"other": 1}'])
def test_other_pauses_approve_of_nothing(text: str) -> None:
    assert from_text(text) is None
