"""pause, resume, run and logs against a real server and a real worker."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.command import Command
from support.databases import MariaDBDatabases
from support.flow_runs import Run, write
from support.paths import ROOT
from support.prefect_server import PrefectServer
from support.sample import row
from support.waiting import eventually

from deployments import busy
from flows.fleet_report import fleet_report

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")

KINDS = ("sync", "pull", "push", "reconcile")


@pytest.fixture
def command(
    prefect_server: PrefectServer, mariadb_databases: MariaDBDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """Two stations, deployed with a schedule far away."""
    mariadb_databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        mariadb_databases.create_kafka_test(number)
    mariadb_databases.put(1, [row(1, text="한국어 🚉"), row(2)])
    command = Command(mariadb_databases, tmp_path, stations=2)
    for number in (1, 2):
        command.topology["stations"][f"held-{number}"] = command.topology["stations"].pop(f"station-{number}")
    off = {"watchdog": None, "maintenance": None, "fleet_report": None}
    command.topology["defaults"] = {"fleet": "held", "work_pool": "held", "schedule": {"sync": "1d", **off}}
    monkeypatch.setenv("PREFECT_API_URL", prefect_server.url)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        command.well("init")
        # Each test has a control database of its own, and they share the server.
        command.well("deploy", "--create-pools", "--allow-moved")
        yield command


def paused(server: PrefectServer, station: str) -> dict[str, bool]:
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        return {kind: client.read_deployment_by_name(f"{kind}/{station}").paused for kind in KINDS}


def test_a_pause_holds_on_the_server_too_until_it_is_resumed(command: Command, prefect_server: PrefectServer) -> None:
    def next_run(station: str) -> str | None:
        return command.well("status", station, "--json").json["tables"][0]["next_run"] or None

    eventually(lambda: next_run("held-1"), "a next run", prefect_server)
    out = command.well("pause", "held-1", "--reason", "new disk").out
    assert (
        "On the Prefect server: backfill/held-1, pull/held-1, push/held-1, reconcile/held-1, sync/held-1 paused." in out
    )
    assert paused(prefect_server, "held-1") == dict.fromkeys(KINDS, True)
    assert paused(prefect_server, "held-2") == dict.fromkeys(KINDS, False)
    eventually(lambda: next_run("held-1") is None or None, "no next run", prefect_server)

    assert command.well("deploy").out.startswith("Nothing to do")
    command.topology["stations"]["held-1"]["schedule"] = {"sync": "2d"}
    assert "2 changed" not in command.well("deploy").out
    assert paused(prefect_server, "held-1") == dict.fromkeys(KINDS, True), "deploy undid the pause"

    command.well("resume", "held-1")
    assert paused(prefect_server, "held-1") == dict.fromkeys(KINDS, False)
    eventually(lambda: next_run("held-1"), "a next run", prefect_server)


def test_a_busy_server_is_asked_again(
    command: Command, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One on SQLite answers so while it waits for its own database."""
    send, times = SyncPrefectClient.pause_deployment, itertools.count()

    def sometimes(client: SyncPrefectClient, deployment: UUID) -> None:
        if next(times) % 3 < 2:
            request = httpx.Request("POST", prefect_server.url)
            response = httpx.Response(503, request=request, text="Service Unavailable")
            raise httpx.HTTPStatusError("busy", request=request, response=response)
        send(client, deployment)

    monkeypatch.setattr(SyncPrefectClient, "pause_deployment", sometimes)
    monkeypatch.setattr(busy.Patience, "delay", 0.0)
    assert "sync/held-1 paused." in command.well("pause", "held-1").out
    assert paused(prefect_server, "held-1") == dict.fromkeys(KINDS, True)


def test_run_waits_and_ends_as_the_direct_command_and_logs_tell(
    command: Command, prefect_server: PrefectServer
) -> None:
    databases = command.databases
    command.topology["stations"]["held-2"]["url"] = "mysql+pymysql://u@127.0.0.1:1/none"
    assert command("logs", "held-1").code == 1
    with prefect_server.fork_worker("held", STATIONSYNC_TOPOLOGY=write(command)):
        done = command.well("run", "held-1", "--kind", "pull", "--table", "kafka_test", "--wait")
        assert "/runs/flow-run/" in done.out
        assert "pull/held-1: Completed" in done.out
        assert databases.rows("control") == databases.rows(1)
        assert command.well("run", "held-1", "--wait", "--json").json["state"] == "NothingToDo"

        # Keys as numbers and lists, as `prefect deployment run -p` sends them.
        keys = ("-p", "from_key=1", "-p", "to_key=[2]", "--table", "kafka_test")
        done = command.well("run", "held-1", "--kind", "backfill", *keys, "--wait")
        assert "backfill/held-1: NothingToDo - kafka_test" in done.out
        done = command("run", "held-1", "--kind", "backfill", "-p", "all=perhaps", "--wait")
        assert (done.code, "No run was started." in done.err) == (1, True)

        command.well("pause", "held-1")
        done = command("run", "held-1", "--wait")
        assert done.code == 1
        assert "Paused - kafka_test up: paused" in done.out
        assert "stationsync resume held-1" in done.out

        done = command("run", "held-2", "--wait", "--json")
        assert (done.code, done.json["state"]) == (3, "Offline")
    log = eventually(
        lambda: out if "stationsync resume held-1" in (out := command.well("logs", "held-1").out) else None,
        "the log of the last run",
        prefect_server,
    )
    assert "WARNING" in log
    assert len(command.well("logs", "held-1", "-n", "1").out.splitlines()) == 2
    assert "Beginning" not in command.well("logs", "held-1", "--kind", "pull", "-n", "1").out
    assert command.well("logs", "held-1", "--follow").out
    done = command("logs", "held-1", "--run", "00000000-0000-0000-0000-000000000000")
    assert (done.code, "has no run 00000000" in done.err) == (1, True)


def test_a_backfill_without_a_range_is_not_started(command: Command) -> None:
    done = command("run", "held-1", "--kind", "backfill")
    assert (done.code, "no range is named" in done.err, "-p since=" in done.err) == (2, True, True)
    done = command("run", "held-1", "-p", "since")
    assert (done.code, "Write NAME=VALUE." in done.err) == (2, True)


@pytest.mark.parametrize("file", [".env", "prefect.toml"])
def test_an_api_that_a_file_names_is_known_to_every_command(
    command: Command, prefect_server: PrefectServer, tmp_path: Path, file: str
) -> None:
    named = {".env": f"PREFECT_API_URL={prefect_server.url}", "prefect.toml": f'[api]\nurl = "{prefect_server.url}"'}
    folder = tmp_path / "with a file"
    folder.mkdir()
    (folder / file).write_text(named[file])
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"STATIONSYNC_TOPOLOGY": write(command), "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path)}

    def typed(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words], cwd=folder, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "sync/held-1 paused." in typed("pause", "held-1")
    assert paused(prefect_server, "held-1") == dict.fromkeys(KINDS, True)
    typed("resume", "held-1")
    assert paused(prefect_server, "held-1") == dict.fromkeys(KINDS, False)


def test_the_fleet_report_shows_all_stations_and_writes_for_prometheus(
    command: Command, prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stationsync.prom"
    command.topology["defaults"]["metrics_file"] = str(file)
    command.well("sync", "held-1")
    command.well("pause", "held-2", "--reason", "new disk")
    monkeypatch.setenv("STATIONSYNC_TOPOLOGY", write(command))
    with get_client(sync_client=True) as client:
        run = Run(prefect_server, client, fleet_report(return_state=True))
        first, second = run.artifact("fleet-report-held")
        assert run.message == "2 tables: 1 paused, 1 ok"
        assert (first["station"], first["state"]) == ("held-2", "paused")
        assert "new disk" in first["last error"]
        assert (second["station"], second["state"], second["waiting edits"]) == ("held-1", "ok", 0)
        assert 'stationsync_state{state="ok",station="held-1",table="kafka_test"} 1.0' in file.read_text()

        command.topology["defaults"]["metrics_file"] = str(tmp_path / "nowhere" / "x.prom")
        write(command)
        run = Run(prefect_server, client, fleet_report(return_state=True))
        assert run.state.type.value == "FAILED"
        assert "defaults.metrics_file" in run.message
