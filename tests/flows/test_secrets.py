"""Every secret of a fleet, searched for in all that is kept, said or seen of it: Prefect's database and logs, what
commands print, control's tables, the journal, the command lines of processes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pyarrow.parquet as pq
import pytest
from prefect.blocks.system import Secret
from prefect.states import Cancelling
from pydantic import SecretStr
from support.command import snapshot
from support.flow_runs import Flows, write
from support.processes import command_line, kill, parent
from support.receiver import Receiver
from support.waiting import eventually

from deployments.prefect_yaml import render
from flows.alerts import alerts
from flows.backfill import backfill
from flows.fleet_report import fleet_report
from flows.maintenance import maintenance
from flows.reconcile import reconcile
from flows.sync import sync
from flows.watchdog import watchdog
from stationsync.topology.topology_file import from_mapping

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("worker")

# Apart, so that a leak says where it comes from; with letters that URLs, JSON and SQL write otherwise.
SECRETS = {
    "control": "c@ntr:l/%23#비밀 9f3e",
    "station-1": "st@tion:1/'7d1c\"",
    "station-2": "st@tion:2/+&?4b8a",
    "wrong": "wr@ng:3/=5e6f",
    "alerts": "t0ken-1a2b3c4d5e6f",
}
COMMANDS = (
    ("check",), ("status",), ("status", "--json"), ("metrics",), ("incidents", "--all", "--json"),
    ("journal", "list", "--json"), ("journal", "show", "--json"), ("journal", "describe"),
    ("explain", "station-1", "kafka_test", "1", "A", "--json"), ("conflicts", "list"), ("quarantine", "list", "--json"),
    ("grants", "station-1"), ("grants", "control"), ("sync", "station-1", "--json"), ("sync", "station-2"),
    ("reconcile", "station-1", "--dry-run"), ("backfill", "station-1", "--all", "--dry-run"), ("prune", "--dry-run"),
    ("revert", "--since", "1h", "--dry-run"), ("logs", "station-1"), ("alert-test", "ops"), ("deploy", "--dry-run"),
)  # fmt: skip


def written(secret: str) -> Iterator[bytes]:
    """In every way that it may stand somewhere."""
    for text in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}:
        yield text.encode()
        yield base64.b64encode(text.encode())
    yield repr(secret)[1:-1].encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode()


def found(where: str, kept: bytes) -> list[str]:
    return [f"{where}: {name}" for name, secret in SECRETS.items() if any(one in kept for one in written(secret))]


class Site:
    """A fleet with all its secrets, and what was seen of it."""

    def __init__(self, flows: Flows, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.flows, self.leaks, self.server = flows, list[str](), flows.server
        topology = flows.topology
        for place, where in (("control", "control"), ("station-1", 1), ("station-2", 2)):
            server, name = flows.databases.server(where), flows.databases.name(where)
            server.create_user(f"user_{name}", SECRETS[place], [f"ALL ON `{name}`.*"])
            given = topology["control"] if place == "control" else topology["stations"][place]
            given["url"] = server.url(name, f"user_{name}")
        Secret(value=SecretStr(SECRETS["control"])).save("secrets-control", overwrite=True)
        topology["control"]["password"] = "${secret:secrets-control}"
        (folder / "station-1.secret").write_text(SECRETS["station-1"])
        topology["stations"]["station-1"]["password"] = f"${{file:{folder / 'station-1.secret'}}}"
        monkeypatch.setenv("STATION_2_PASSWORD", SECRETS["station-2"])
        topology["stations"]["station-2"]["password"] = "${STATION_2_PASSWORD}"
        monkeypatch.setenv("ALERT_URL", receiver.url(SECRETS["alerts"]))
        topology["alerts"] = {"channels": {"ops": {"webhook": "${ALERT_URL}"}, "here": {"log": {}}}}
        never = dict.fromkeys(("sync", "reconcile", "watchdog", "maintenance", "fleet_report"))
        topology["defaults"] = {"fleet": "secrets", "work_pool": "secrets", "schedule": never}
        topology["journal"] = {"url": str(folder / "journal")}
        self.monkeypatch, self.folder = monkeypatch, folder

    def command(self, *args: str) -> None:
        done = self.flows.command(*args)
        assert done.code != 2, done
        assert args[0] != "deploy" or done.code == 0, done
        self.leaks += found(f"stationsync {' '.join(args)}", f"{done.out}{done.err}".encode())

    def everything(self) -> None:
        """In every run, good, refused, off-line or of the fleet."""
        flows, stations = self.flows, self.flows.topology["stations"]
        assert flows(sync).state.name == "Completed"
        assert flows(sync, "station-2").state.name in ("Completed", "NothingToDo")
        for run in (reconcile, backfill):
            more = {"all": True} if run is backfill else {}
            flows(run, dry_run=True, **more)
            flows(run, **more)
        self.monkeypatch.setenv("WRONG", SECRETS["wrong"])
        right, stations["station-2"]["password"] = stations["station-2"]["password"], "${WRONG}"
        assert "Access denied" in flows(sync, "station-2").message
        self.command("sync", "station-2")
        self.command("check")
        stations["station-2"]["password"] = right
        away, stations["station-2"]["url"] = stations["station-2"]["url"], "mysql+pymysql://u@127.0.0.1:1/x"
        assert flows(sync, "station-2").state.name == "Offline"
        stations["station-2"]["url"] = away
        write(flows.command)
        for of_fleet in (watchdog, fleet_report, alerts, maintenance):
            of_fleet(return_state=True)  # type: ignore[operator]

    def in_a_worker(self) -> None:
        """A run that holds its secrets while it is looked at; then killed, and another cancelled."""
        flows, client = self.flows, self.flows.client
        self.command("deploy", "--create-pools")
        holding = flows.databases.connect(1)
        holding.cursor().execute("LOCK TABLES kafka_test WRITE")
        topology = write(flows.command)
        deployment = client.read_deployment_by_name("sync/station-1").id
        with self.server.fork_worker("secrets", STATIONSYNC_TOPOLOGY=topology) as worker:
            for end, wanted in (("kill", "Crashed"), ("cancel", "Cancelled")):
                run = client.create_flow_run_from_deployment(deployment)
                eventually(lambda run=run: self._state(run.id) == "Running" or None, "the run", self.server)  # type: ignore[misc]
                family = psutil.Process(worker.process.pid).children(recursive=True)
                for process in family:
                    self.leaks += found("a command line", command_line(process).encode())
                if end == "kill":
                    forks = [one for one in family if parent(one) in family]
                    kill(forks[-1])
                else:
                    client.set_flow_run_state(run.id, Cancelling())
                eventually(lambda run=run: self._ended(run.id), "its end", self.server)  # type: ignore[misc]
                assert self._state(run.id) == wanted
        holding.close()

    def close(self) -> None:
        """The server is for other tests too, whose stations have the same names."""
        for one in self.flows.client.read_deployments():
            if "fleet:secrets" in one.tags:
                self.flows.client.delete_deployment(one.id)

    def _state(self, run: object) -> str | None:
        return self.flows.client.read_flow_run(run).state_name  # type: ignore[arg-type]

    def _ended(self, run: object) -> bool | None:
        state = self.flows.client.read_flow_run(run).state  # type: ignore[arg-type]
        return True if state and state.is_final() else None


def test_no_secret_is_anywhere(
    flows: Flows,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    with Receiver() as receiver:
        site = Site(flows, receiver, monkeypatch, tmp_path)
        request.addfinalizer(site.close)
        site.command("deploy", "--create-pools")
        site.everything()
        for args in COMMANDS:
            site.command(*args)
        receiver.refusing = True  # an alert that does not arrive
        site.command("alert-test", "ops")
        site.in_a_worker()
    kept = flows.server.everything()
    assert b"Access denied" in kept, "it is the right place to look"
    assert len(found("a file", (tmp_path / "station-1.secret").read_bytes())) == 1
    leaks = [*site.leaks, *found("Prefect's server and worker", kept)]
    for path in Path(os.environ["PREFECT_HOME"]).rglob("*"):
        leaks += found(str(path.name), path.read_bytes()) if path.is_file() else []
    leaks += found("control's tables", repr(snapshot(flows.databases, "control")).encode())
    for file in (tmp_path / "journal").rglob("*.parquet"):
        leaks += found("journal", repr(pq.read_table(file).to_pylist()).encode())
    leaks += found("prefect.yaml", render(from_mapping(flows.topology)).encode())
    leaks += found("what was printed", "".join(capfd.readouterr()).encode())
    assert leaks == []
