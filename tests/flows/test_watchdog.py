"""The flow `watchdog` against a real server, real runs on it, and control's books."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import emit_event
from prefect.events.related import tags_as_related_resources
from prefect.states import Completed, Pending, Running, Scheduled
from support.flow_runs import Flows, Run, write
from support.waiting import eventually

from flows.pull import pull
from flows.push import push
from flows.watchdog import watchdog
from stationsync.health.watch import WatchdogLimits
from stationsync.pairing.pair import control_of, pairs
from stationsync.session.lease import alone, lease
from stationsync.topology.topology_file import from_mapping
from tasks.watchdog.look import STARTED

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("worker")

# Nothing is long ago in a test.
AT_ONCE = WatchdogLimits(
    missed=0.001, silent=timedelta(0), held=1e9, pending=timedelta(0), late=timedelta(0), waiting=timedelta(hours=1),
)  # fmt: skip


class Watched:
    """The stations of a test, deployed as a fleet of their own; scheduled so far away that nothing begins by itself."""

    def __init__(self, flows: Flows, name: str) -> None:
        self.flows, self.client = flows, flows.client
        for number in (1, 2):
            flows.topology["stations"][f"{name}-{number}"] = flows.topology["stations"].pop(f"station-{number}")
        far = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"
        flows.topology["defaults"] = {
            "fleet": name, "work_pool": f"pool-{name}",
            "schedule": {"sync": far, "watchdog": None, "maintenance": None, "fleet_report": None},
        }  # fmt: skip
        flows.command.well("deploy", "--create-pools")
        self.name, self.station, self.other = name, f"{name}-1", f"{name}-2"

    def deployment(self, name: str) -> DeploymentResponse:
        return self.client.read_deployment_by_name(name)

    def start(self, deployment: str, *states: Any, **more: Any) -> FlowRun:
        run = self.client.create_flow_run_from_deployment(self.deployment(deployment).id, **more)
        for state in states:
            self.client.set_flow_run_state(run.id, state)
        return run

    def state(self, run: FlowRun) -> str:
        found = self.client.read_flow_run(run.id).state
        assert found
        return found.type.value

    def runs(self, deployment: str) -> list[FlowRun]:
        ours = DeploymentFilter.model_validate({"id": {"any_": [self.deployment(deployment).id]}})
        coming = {"next_scheduled_start_time": {"before_": datetime.now(UTC) + timedelta(hours=1)}}
        return self.client.read_flow_runs(deployment_filter=ours, flow_run_filter=FlowRunFilter.model_validate(coming))

    def others_run(self) -> FlowRun:
        """Of another fleet on the same server: stuck as well, and none of our business."""
        flow = self.client.create_flow_from_name("theirs")
        deployment = self.client.create_deployment(flow, self.name, tags=["stationsync", "fleet:another"])
        run = self.client.create_flow_run_from_deployment(deployment)
        for state in (Pending(), Running()):
            self.client.set_flow_run_state(run.id, state)
        return run

    def scheduled(self, deployment: str) -> FlowRun | None:
        """A run that the scheduler made."""
        wanted = {
            "deployment_id": {"any_": [self.deployment(deployment).id]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
        }
        found = self.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))
        return next((run for run in found if run.auto_scheduled), None)

    def slots(self, deployment: str) -> int:
        limit = self.deployment(deployment).global_concurrency_limit
        assert limit
        return limit.active_slots

    def watch(self) -> Run:
        write(self.flows.command)
        return Run(self.flows.server, self.client, watchdog(return_state=True))

    def sync(self, station: str) -> None:
        for flow in (pull, push):
            self.flows(flow, station)


@pytest.fixture
def watched(flows: Flows, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Watched:
    monkeypatch.setattr("flows.watchdog.LIMITS", AT_ONCE)
    return Watched(flows, f"w{abs(hash(request.node.name)) % 10**8}")


def test_what_is_stuck_is_put_right_and_told(watched: Watched) -> None:
    for station in (watched.station, watched.other):
        watched.sync(station)
    dead = watched.start(f"sync/{watched.station}", Pending(), Running())
    waiting = watched.start(f"reconcile/{watched.station}", Pending())
    long_ago = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=9))
    older = watched.start(f"pull/{watched.other}", state=long_ago, tags=[STARTED])
    newer = watched.start(f"pull/{watched.other}", tags=[STARTED])
    by_hand = watched.start(f"push/{watched.other}", state=long_ago)
    theirs = watched.others_run()
    leaked = watched.deployment(f"sync/{watched.other}").global_concurrency_limit
    assert leaked
    watched.client.increment_concurrency_slots([leaked.name], 1, "concurrency")
    assert [watched.slots(f"sync/{n}") for n in (watched.station, watched.other)] == [1, 1]

    run = watched.watch()

    assert run.state.type.value == "COMPLETED", run.message
    assert [watched.state(one) for one in (dead, waiting, older)] == ["CRASHED", "CRASHED", "CANCELLED"]
    assert [watched.state(one) for one in (newer, by_hand)] == ["SCHEDULED", "SCHEDULED"]
    assert [watched.slots(f"sync/{n}") for n in (watched.station, watched.other)] == [0, 0]
    found = {(row["where"], row["what"]) for row in run.artifact(f"watchdog-{watched.name}")}
    assert found == {
        (f"sync/{watched.station}, run {dead.name}", "run without a heartbeat"),
        (f"reconcile/{watched.station}, run {waiting.name}", "run stuck before its start"),
        (f"pull/{watched.other}", "late runs pile up"),
        (f"sync/{watched.other}", "concurrency slot without a run"),
    }
    assert f"run {dead.name}: run without a heartbeat. marked as crashed." in run.message
    assert "No heartbeat for" in (watched.client.read_flow_run(dead.id).state or Running()).message
    run.log(f"run {dead.name}: run without a heartbeat")

    assert watched.watch().message == "Nothing to put right."
    assert watched.state(theirs) == "RUNNING"


def test_who_is_at_work_is_left_alone_and_a_dead_run_gets_another_in_its_place(watched: Watched) -> None:
    for station in (watched.station, watched.other):
        watched.sync(station)
    name = f"sync/{watched.station}"
    run = watched.start(name, Pending(), Running(), tags=["a-person-s"])
    (pair,) = pairs(from_mapping(watched.flows.topology), watched.station)
    with lease(pair) as session:
        assert session
        assert watched.watch().message == "Nothing to put right."
    assert watched.state(run) == "RUNNING"

    watched.watch()
    assert watched.state(run) == "CRASHED"
    assert [one.id for one in watched.runs(name)] == [], "a person started it, and will see that it crashed"

    own = eventually(lambda: watched.scheduled(name), "a run by the schedule", watched.flows.server)
    for state in (Pending(), Running()):
        watched.client.set_flow_run_state(own.id, state)
    for _ in range(3):
        watched.watch()
    assert watched.state(own) == "CRASHED"
    (in_its_place,) = watched.runs(name)
    assert STARTED in in_its_place.tags


def test_a_stale_station_gets_one_run_and_an_off_line_or_paused_one_none(watched: Watched) -> None:
    first, second = (f"sync/{station}" for station in (watched.station, watched.other))
    watched.client.pause_deployment(watched.deployment(second).id)
    run = watched.watch()
    (started,) = watched.runs(first)
    assert started.parameters == {"station": watched.station}
    assert f"{watched.station}: stale: kafka_test never succeeded. run started: {started.name}" in run.message
    assert watched.other not in run.message
    # Another watchdog finds that run.
    assert "run started" not in watched.watch().message
    assert [one.id for one in watched.runs(first)] == [started.id]
    assert watched.runs(second) == []

    watched.client.resume_deployment(watched.deployment(second).id)
    watched.flows.topology["stations"][watched.other]["url"] = "mysql+pymysql://u@127.0.0.1:1/none"
    for flow in (pull, push):
        watched.flows(flow, watched.other)
    run = watched.watch()
    assert f"{watched.other}: stale" in run.message
    assert watched.runs(second) == []

    dead = watched.start(f"reconcile/{watched.station}", Pending(), Running())
    watched.flows.topology["control"]["url"] = "mysql+pymysql://u@127.0.0.1:1/control"
    run = watched.watch()
    assert (run.state.type.value, "control" in run.message) == ("FAILED", True)
    assert watched.state(dead) == "CRASHED", "what needs no control is done"


def test_one_watchdog_is_at_work_at_a_time_and_a_killed_one_keeps_nobody_out(watched: Watched) -> None:
    for station in (watched.station, watched.other):
        watched.sync(station)
    dead = watched.start(f"sync/{watched.station}", Pending(), Running())
    control = control_of(from_mapping(watched.flows.topology))
    with alone(control, "watchdog") as first:
        assert first
        run = watched.watch()
        assert (run.state.type.value, run.state.name) == ("COMPLETED", "UnderWay")
        assert watched.state(dead) == "RUNNING"
        databases = watched.flows.databases
        others = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        for (number,) in databases.query("control", others):
            databases.execute("control", f"KILL {number}")
        watched.watch()
        assert watched.state(dead) == "CRASHED"


def test_a_heartbeat_that_arrives_after_the_end_of_a_run_changes_nothing(watched: Watched) -> None:
    """Events travel another way than states, so the last one mostly comes late."""
    for station in (watched.station, watched.other):
        watched.sync(station)
    dead, done = (watched.start(f"sync/{one}", Pending(), Running()) for one in (watched.station, watched.other))
    theirs = watched.others_run()
    watched.client.set_flow_run_state(done.id, Completed(name="NothingToDo"))
    for run in (dead, done, theirs):
        heartbeat(watched.client.read_flow_run(run.id))
    watched.watch()
    assert watched.state(dead) == "CRASHED"
    assert watched.slots(f"sync/{watched.station}") == 0
    assert [watched.state(run) for run in (done, theirs)] == ["COMPLETED", "RUNNING"]


def heartbeat(run: FlowRun) -> None:
    """As a flow run sends it."""
    emit_event(
        "prefect.flow-run.heartbeat",
        {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        related=list(tags_as_related_resources(set(run.tags))),
    )
