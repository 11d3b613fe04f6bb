"""Alerts through a real Prefect server to a receiver: told once, over once, and no secret anywhere."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.objects import State
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.states import Completed, Crashed, Running
from pydantic import SecretStr
from support.flow_runs import Flows, Run, write
from support.processes import kill
from support.receiver import MailReceiver, Receiver
from support.sample import row
from support.waiting import PATIENCE, eventually

from deployments.alerts import Block
from deployments.alerts_server import carry_out_alerts, look_at_alerts, prefect_block
from flows.alerts import alerts
from flows.pull import pull
from flows.watchdog import watchdog
from stationsync.errors import UsageError
from stationsync.topology.alerting import ChannelKind
from stationsync.topology.topology_file import from_mapping

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")

SECRET = "s3cr3t-path-77"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


class Fleet:
    """A fleet of its own on the shared server, whose alerts go to the receiver: as JSON, and through Apprise."""

    def __init__(self, flows: Flows, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flows, self.receiver, self.client = flows, receiver, flows.client
        self.name = f"fleet-{hashlib.sha256(os.urandom(8)).hexdigest()[:8]}"
        self.station, self.pool = f"{self.name}-1", f"pool-{self.name}"
        monkeypatch.setenv("ALERT_URL", receiver.url(SECRET))
        monkeypatch.setenv("CHAT_URL", receiver.url("chat").replace("http:", "json:"))
        self.topology = flows.topology
        urls = flows.topology["stations"]
        self.topology["stations"] = {self.station: urls["station-1"]}
        self.other = {f"{self.name}-2": urls["station-2"]}
        far = f"0 {(datetime.now(UTC).hour + 12) % 24} * * *"
        self.topology["defaults"] = {
            "fleet": self.name, "work_pool": self.pool, "schedule": {"sync": far, "watchdog": far, "maintenance": None},
        }  # fmt: skip
        self.channels: dict[str, Any] = {
            "ops": {"webhook": "${ALERT_URL}"},
            "chat": {"apprise": "${CHAT_URL}", "kinds": ["failed"]},
            "here": {"log": {}},
        }
        self.topology["alerts"] = {"channels": self.channels, "tell": {"disk": None, "stale": None, "crashed": None}}

    def deploy(self, *more: str) -> list[str]:
        """What it said of alerts."""
        out = self.flows.command.well("deploy", "--create-pools", *more).out
        return [line for line in out.splitlines() if line[:1] in "+~-" and line.split()[1] in ("block", "automation")]

    def deploy_alerts(self) -> list[str]:
        """Without its deployments, which takes longer."""
        write(self.flows.command)
        plan = look_at_alerts(from_mapping(self.topology))
        carry_out_alerts(plan)
        return list(plan.lines())

    def run(self) -> Run:
        return self.flows(pull, self.station)

    def automations(self) -> dict[str, Automation]:
        """By the last words of their names."""
        found = self.client.read_automations(limit=200)
        return {one.name.partition(": ")[2]: one for one in found if f" {self.name}:" in one.name}


@pytest.fixture
def fleet(flows: Flows, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(flows, receiver, monkeypatch)


@pytest.fixture
def mail(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailReceiver]:
    mail = MailReceiver()
    monkeypatch.setenv("MAIL_URL", mail.url(SECRET))
    fleet.channels["mail"] = {"email": "${MAIL_URL}", "kinds": ["failed"]}
    yield mail
    mail.close()


def test_a_failing_station_is_told_once_and_its_end_once(fleet: Fleet, receiver: Receiver, mail: MailReceiver) -> None:
    databases = fleet.flows.databases
    fleet.deploy_alerts()
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    run = fleet.run()
    (alert,) = receiver.wait(SECRET, 1)
    assert (alert["event"], alert["fleet"], alert["kind"]) == ("opened", fleet.name, "failed")
    assert (alert["station"], alert["table"]) == (fleet.station, "kafka_test")
    assert "there is no table kafka_test" in alert["what"]
    assert f"stationsync sync {fleet.station} --table kafka_test" in alert["next_step"]
    assert alert["run"].endswith(str(run.flow_run.id))
    (chat,) = receiver.wait("chat", 1)
    assert chat["title"] == f"{fleet.station}/kafka_test: failed"
    for part in (alert["what"], alert["next_step"], alert["run"]):
        assert part in chat["message"]
    text = message_from_string(mail.arrived.get(timeout=PATIENCE))
    assert text["Subject"] == chat["title"]
    assert text.get_content_type() == "text/plain"
    assert "Next step: Mend it" in str(text.get_payload())
    assert "What happened: " in run.log("Next step: Mend it")

    fleet.run()
    databases.execute(1, "ALTER TABLE away RENAME TO kafka_test")
    fleet.run()
    over = receiver.wait(SECRET, 2)[1]
    assert (over["event"], over["subject"]) == ("over", f"{fleet.station}/kafka_test: failed is over")
    fleet.run()
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    fleet.run()
    # Had anything been told in between, it would have arrived before this.
    assert [one["event"] for one in receiver.wait(SECRET, 3)] == ["opened", "over", "opened"]
    assert SECRET.encode() not in fleet.flows.server.everything()


def test_a_second_deploy_changes_nothing_and_what_people_made_is_left_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    del fleet.topology["alerts"]["tell"]["crashed"]
    everybody = [one.id for one in fleet.client.read_automations(limit=200)]
    lines = fleet.deploy("--dry-run")
    assert [line.split(maxsplit=2)[1] for line in lines] == ["block", "block", *["automation"] * 4]
    assert fleet.automations() == {}
    assert fleet.deploy() == lines
    made = fleet.automations()
    assert sorted(made) == ["look when a run was killed", "tell chat", "tell ops", "the watchdog is silent"]
    assert fleet.deploy() == []

    # What somebody switched off stays so; another address is told without being shown.
    fleet.client.pause_automation(made["tell ops"].id)
    monkeypatch.setenv("ALERT_URL", fleet.receiver.url("another-s3cr3t"))
    changed = fleet.deploy_alerts()
    assert [line[0] for line in changed] == ["~", "~"]
    assert "s3cr3t" not in "".join(changed)
    assert fleet.deploy_alerts() == []
    assert {name: one.id for name, one in fleet.automations().items()} == {name: one.id for name, one in made.items()}
    assert not fleet.automations()["tell ops"].enabled

    # What somebody changed is put back; what is not wanted any more goes.
    core = AutomationCore.model_validate(made["tell chat"].model_dump(exclude={"owner_resource"}) | {"actions": []})
    fleet.client.update_automation(made["tell chat"].id, core)
    assert [line.partition(": ")[2] for line in fleet.deploy_alerts()] == ["tell chat"]
    del fleet.channels["chat"]
    assert [line[0] for line in fleet.deploy_alerts()] == ["-", "-"]
    assert fleet.deploy_alerts() == []
    fleet.topology["alerts"] = {}
    fleet.deploy()
    assert {one.id for one in fleet.client.read_automations(limit=200)} == set(everybody)


def test_an_automation_of_an_earlier_version_goes(fleet: Fleet) -> None:
    """Up to 0.1 one marked runs as crashed whose last heartbeat arrived after their end: the watchdog does it now."""
    fleet.deploy_alerts()
    (watching,) = (one for name, one in fleet.automations().items() if name == "the watchdog is silent")
    old = watching.model_dump(exclude={"owner_resource", "id"})
    old |= {"name": f"stationsync {fleet.name}: a run without heartbeats has crashed"}
    fleet.client.create_automation(AutomationCore.model_validate(old))
    assert [line.partition(": ")[2] for line in fleet.deploy_alerts()] == [
        "a run without heartbeats has crashed: deleted"
    ]
    assert "a run without heartbeats has crashed" not in fleet.automations()
    assert fleet.deploy_alerts() == []


TEAMS = (
    "https://prod-1.westeurope.logic.azure.com:443/workflows/643e69f83c8944/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=s3cr3t"
)


@pytest.mark.parametrize(
    ("way", "address", "good"),
    [
        (ChannelKind.SLACK, "https://hooks.slack.com/services/T1234567/B1234567/s3cr3ts3cr3ts3cr3ts3cr3t", True),
        (ChannelKind.TEAMS, TEAMS, True),
        (ChannelKind.EMAIL, "mailtos://user:s3cr3t@smtp.example.com:587?from=a@example.com&to=b@example.com", True),
        (ChannelKind.APPRISE, "pagerduty://s3cr3tkey@s3cr3tkey", True),
        (ChannelKind.SLACK, "https://slack.example.com/s3cr3t", False),
        (ChannelKind.TEAMS, "https://teams.example.com/s3cr3t", False),
        (ChannelKind.EMAIL, "s3cr3t@example.com", False),
        (ChannelKind.WEBHOOK, "s3cr3t", False),
    ],
)
def test_addresses_of_every_kind_are_known_or_refused_unseen(way: ChannelKind, address: str, good: bool) -> None:
    block = Block("stationsync-x", way, SecretStr(address), "f")
    if good:
        assert "s3cr3t" not in repr(prefect_block(block)) + repr(block)
        return
    with pytest.raises(UsageError) as refused:
        prefect_block(block)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(("address", "fault"), [("no-address-s3cr3t", "begins with neither"), (None, "is not set")])
def test_an_address_that_is_none_is_refused_before_anything_is_changed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, address: str | None, fault: str
) -> None:
    if address is None:
        monkeypatch.delenv("ALERT_URL")
    else:
        monkeypatch.setenv("ALERT_URL", address)
    done = fleet.flows.command("deploy", "--create-pools")
    assert (done.code, fault in done.err, "s3cr3t" in done.out + done.err) == (2, True, False)
    assert "Nothing was changed." in done.err or "No connection was opened." in done.err
    assert fleet.automations() == {}


def test_a_killed_run_is_told_and_is_over_with_the_next_good_one(fleet: Fleet, receiver: Receiver) -> None:
    del fleet.topology["alerts"]["tell"]["crashed"]
    fleet.deploy()
    server, databases = fleet.flows.server, fleet.flows.databases
    holding = databases.connect(1)
    holding.cursor().execute("LOCK TABLES kafka_test WRITE")
    with server.fork_worker(fleet.pool, STATIONSYNC_TOPOLOGY=write(fleet.flows.command)) as worker:
        found = fleet.client.read_deployment_by_name(f"pull/{fleet.station}")
        run = fleet.client.create_flow_run_from_deployment(found.id)
        eventually(lambda: _state(fleet, run.id) == "Running" or None, "the run begins", server)
        for process in psutil.Process(worker.process.pid).children(recursive=True):
            kill(process)
        eventually(lambda: _state(fleet, run.id) == "Crashed" or None, "the run has crashed", server)
        (alert,) = receiver.wait(SECRET, 1)
        assert (alert["event"], alert["kind"], alert["station"]) == ("opened", "crashed", fleet.station)
        assert alert["run"].endswith(str(run.id))
        holding.close()
        again = fleet.client.create_flow_run_from_deployment(found.id)
        eventually(lambda: _state(fleet, again.id) == "Completed" or None, "the next run is good", server)
    alerts(return_state=True)
    over = receiver.wait(SECRET, 2)[1]
    assert (over["event"], over["kind"]) == ("over", "crashed")


def test_a_backfill_that_was_killed_is_wanted_until_its_range_was_read_or_it_is_given_up(
    fleet: Fleet, receiver: Receiver
) -> None:
    del fleet.topology["alerts"]["tell"]["crashed"]
    fleet.deploy()
    server, databases, command = fleet.flows.server, fleet.flows.databases, fleet.flows.command
    databases.put(1, [row(n) for n in range(10, 260)])
    with server.fork_worker(fleet.pool, STATIONSYNC_TOPOLOGY=write(command)) as worker:
        found = fleet.client.read_deployment_by_name(f"backfill/{fleet.station}")
        asked = {"all": True, "rate": 100}
        run = fleet.client.create_flow_run_from_deployment(found.id, parameters=asked)
        eventually(lambda: _backfilled(fleet) or None, "some of it is done", server)
        for process in psutil.Process(worker.process.pid).children(recursive=True):
            kill(process)
        eventually(lambda: _state(fleet, run.id) == "Crashed" or None, "the run has crashed", server)
    alerts(return_state=True)
    (alert,) = receiver.wait(SECRET, 1)
    assert (alert["event"], alert["kind"], alert["station"]) == ("opened", "crashed", fleet.station)
    assert "rows were done" in alert["what"]
    (typed,) = re.findall(r"with: (stationsync backfill \S+ --table .*?), or", alert["next_step"])
    assert "--all --rate 100" in typed

    # Another run of the deployment, of another range, is no end of it, nor one of the same that found the station
    # off-line; the same one that crashed adds nothing to it.
    other = fleet.client.create_flow_run_from_deployment(found.id, parameters={"from_key": 1, "to_key": 2})
    _end(fleet, other.id, Completed())
    for end in (Crashed(), Completed(name="Offline")):
        again = fleet.client.create_flow_run_from_deployment(found.id, parameters=asked)
        _end(fleet, again.id, end)
    alerts(return_state=True)
    assert [one["kind"] for one in command.well("incidents", "--json").json["incidents"]] == ["crashed"]

    # What it says to type ends it.
    command.well(*shlex.split(typed)[1:])
    assert databases.rows("control") == databases.rows(1)
    alerts(return_state=True)
    over = receiver.wait(SECRET, 2)[1]
    assert (over["event"], over["kind"]) == ("over", "crashed")

    # One that never began is not done by an older one; it can be forgotten, and one that did begin given up.
    late = fleet.client.create_flow_run_from_deployment(found.id, parameters=asked)
    _end(fleet, late.id, Crashed())
    alerts(return_state=True)
    (incident,) = command.well("incidents", "--json").json["incidents"]
    assert "not begun" in incident["what"]
    assert f"prefect flow-run delete {late.id}" in incident["next_step"]
    fleet.client.delete_flow_run(late.id)
    alerts(return_state=True)
    assert command.well("incidents", "--json").json["incidents"] == []


def _backfilled(fleet: Fleet) -> int:
    """Rows that are known to be done."""
    return sum(n for (n,) in fleet.flows.databases.query("control", "SELECT rows_read FROM stationsync_backfill"))


def _end(fleet: Fleet, run: UUID, state: State[Any]) -> None:
    for one in (Running(), state):
        fleet.client.set_flow_run_state(run, one, force=True)


def _state(fleet: Fleet, run: UUID) -> str | None:
    state = fleet.client.read_flow_run(run).state
    return state.name if state else None


def test_control_that_does_not_answer_is_told_once_by_all_and_over_by_the_next_look(
    fleet: Fleet, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.incidents._DELAYS", (0.01,))
    fleet.topology["stations"] |= fleet.other
    fleet.deploy_alerts()
    address = fleet.topology["control"]["url"]
    fleet.topology["control"]["url"] = "mysql+pymysql://root@127.0.0.1:1/x"
    for station in fleet.topology["stations"]:
        fleet.flows(pull, station)
    (alert,) = receiver.wait(SECRET, 1)
    assert (alert["event"], alert["kind"], alert["station"]) == ("opened", "control", "")
    assert f"seen from a run of {fleet.station}" in alert["what"]

    fleet.topology["control"]["url"] = address
    write(fleet.flows.command)
    alerts(return_state=True)  # where that run was, control may still be out of reach
    fleet.run()
    alerts(return_state=True)
    kinds = [(one["event"], one["kind"]) for one in receiver.wait(SECRET, 2)]
    assert kinds[:2] == [("opened", "control"), ("over", "control")]


def test_what_a_receiver_did_not_take_is_sent_again_to_it_alone(fleet: Fleet, receiver: Receiver) -> None:
    databases, command = fleet.flows.databases, fleet.flows.command
    fleet.deploy_alerts()
    receiver.refusing = True
    refused = command("alert-test", "ops")
    assert (refused.code, "it did not arrive: HTTP 503" in refused.err) == (1, True)
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    fleet.run()
    receiver.wait_refused(3)
    receiver.refusing = False
    assert command.well("alert-test", "ops").out == "ops: arrived (HTTP 200).\n"
    assert [one["event"] for one in receiver.at(SECRET)] == ["test"]
    later = "UPDATE stationsync_incident SET told = told - INTERVAL 61 SECOND"
    databases.execute("control", later)
    assert receiver.at("chat") == []
    alerts(return_state=True)
    (alert,) = receiver.wait(SECRET, 2)[1:]
    assert (alert["event"], alert["kind"]) == ("opened", "failed")
    assert len(receiver.wait("chat", 1)) == 1
    # It has arrived now, so it is not sent a third time.
    _arrived(fleet)
    databases.execute("control", later)
    alerts(return_state=True)
    assert command.well("alert-test", "ops").out.startswith("ops: arrived")
    assert [one["event"] for one in receiver.at(SECRET)] == ["test", "opened", "test"]


def _arrived(fleet: Fleet) -> None:
    """The server has noted that both were handed on."""
    wanted = {"event": {"name": ["prefect.automation.action.executed"]}}

    def look() -> bool | None:
        found = fleet.client.request("POST", "/events/filter", json={"filter": wanted, "limit": 50}).json()["events"]
        tellers = [one["resource"]["prefect.resource.name"] for one in found]
        done = [name for name in tellers if f" {fleet.name}: tell" in name]
        return {f"stationsync {fleet.name}: tell {name}" for name in ("ops", "chat")} <= set(done) or None

    eventually(look, "both were handed on", fleet.flows.server)


def test_incidents_are_listed_with_what_to_do(fleet: Fleet) -> None:
    command, databases = fleet.flows.command, fleet.flows.databases
    assert command.well("incidents").out == "Nothing is wrong, as far as anybody looked.\n"
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    fleet.run()
    out = command.well("incidents", fleet.station).out
    assert f"{fleet.station}/kafka_test, failed: " in out
    assert f"stationsync sync {fleet.station} --table kafka_test" in out
    (listed,) = command.well("incidents", "--json").json["incidents"]
    assert (listed["kind"], listed["station"], listed["closed"]) == ("failed", fleet.station, None)
    databases.execute(1, "ALTER TABLE away RENAME TO kafka_test")
    fleet.run()
    assert command.well("incidents", "--json").json["incidents"] == []
    (listed,) = command.well("incidents", "--all", "--json").json["incidents"]
    assert listed["closed"]
    unknown = command("alert-test", "opps")
    assert (unknown.code, "did you mean ops?" in unknown.err) == (2, True)


def test_a_watchdog_that_never_ran_is_told_too(fleet: Fleet, receiver: Receiver) -> None:
    fleet.topology["alerts"]["tell"]["watchdog"] = {"after": "10s"}
    fleet.deploy()
    (alert,) = receiver.wait(SECRET, 1)
    assert (alert["event"], alert["kind"], alert["fleet"]) == ("opened", "watchdog", fleet.name)
    assert fleet.deploy() == []


def test_a_silent_watchdog_is_told_by_prefect_itself_and_tells_when_it_is_back(
    fleet: Fleet, receiver: Receiver
) -> None:
    fleet.topology["alerts"]["tell"]["watchdog"] = {"after": "10s"}
    fleet.deploy_alerts()

    def run() -> None:
        watchdog(return_state=True)

    run()
    (alert,) = receiver.wait(SECRET, 1)
    assert (alert["event"], alert["kind"], alert["fleet"]) == ("opened", "watchdog", fleet.name)
    assert "no run of the watchdog has succeeded for 10s" in alert["what"]
    run()
    # It may well have become silent again by now.
    (over,) = receiver.wait(SECRET, 1, lambda alert: alert["event"] == "over")
    assert over["kind"] == "watchdog"
