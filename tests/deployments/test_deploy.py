"""`stationsync deploy` against a real Prefect server. The server is shared with other tests, so each test has a fleet,
stations and a work pool of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from support.command import Done, _here
from support.paths import ROOT
from support.prefect_server import PrefectServer

from cli.sandbox.files import free_port
from deployments import busy, deploy, server, settings
from deployments.api import events_fault
from deployments.kinds import FLEET
from deployments.plan import Plan

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("deploy")

_numbers = itertools.count(1)
KINDS = ("sync", "pull", "push", "reconcile", "backfill")
# Parameters that only this kind has.
OWN = {
    "reconcile": {"allow_deletes"},
    "backfill": {"since", "until", "all", "from_key", "to_key", "rate", "restart"},
}


class Site:
    """A fleet on the server: its topology file, the command over it, and what the server has of it."""

    def __init__(self, client: SyncPrefectClient, folder: Path, stations: int = 2) -> None:
        self.client, self.file = client, folder / "stations.yaml"
        self.name = f"site{next(_numbers)}"
        self.pool = f"pool-{self.name}"
        self.stations = [f"{self.name}-{n}" for n in range(1, stations + 1)]
        self.topology: dict[str, Any] = {
            "control": {"url": f"mysql+pymysql://u@{self.name}/all"},
            "defaults": {"work_pool": self.pool, "schedule": {"sync": "5m", "reconcile": "30 3 * * *"}},
            "tables": {"orders": {"key": ["id"], "modified": "changed"}},
            "stations": {name: {"url": f"mysql+pymysql://u@{name}/shop"} for name in self.stations},
        }

    def __call__(self, *args: str) -> Done:
        self.file.write_text(yaml.safe_dump(self.topology), encoding="utf-8")
        return _here(["deploy", *args], {"STATIONSYNC_TOPOLOGY": str(self.file)}, "")

    def well(self, *args: str) -> str:
        done = self(*args)
        assert done.code == 0, done
        return done.out

    def deployed(self) -> Site:
        self.well("--create-pools")
        return self

    def found(self) -> dict[str, DeploymentResponse]:
        """By name, such as sync/site1-1: all that has a tag of one of our stations, or its name."""
        ours = {"name": {"like_": f"{self.name}-"}}
        found = self.client.read_deployments(deployment_filter=DeploymentFilter.model_validate(ours))
        return {f"{(one.entrypoint or '').split('.')[-1]}/{one.name}": one for one in found}

    def one(self, name: str) -> DeploymentResponse:
        return self.found()[name]

    def runs(self, deployment: DeploymentResponse, *states: str) -> int:
        wanted = {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": list(states)}}}
        return len(self.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted)))


def everything(url: str) -> dict[str, Any]:
    """The server's deployments, work pools, queues and flows; without what it sets by itself."""
    passing = {"status", "last_polled", "updated"}
    found = {}
    for kind in ("deployments", "work_pools", "work_queues", "flows"):
        rows = httpx.post(f"{url}/{kind}/filter", json={}, timeout=60).json()
        found[kind] = sorted(
            json.dumps({k: v for k, v in row.items() if k not in passing}, sort_keys=True) for row in rows
        )
    return found


@pytest.fixture(autouse=True)
def _stations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests count are the stations' deployments; two fleets without a name could not share the server."""
    monkeypatch.setattr("deployments.wanted.FLEET", ())


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        yield client
    # Each deploy looks at all of ours that are on the server.
    prefect_server.forget()


@pytest.fixture
def site(client: SyncPrefectClient, tmp_path: Path) -> Site:
    return Site(client, tmp_path)


@pytest.fixture
def small(client: SyncPrefectClient, tmp_path: Path) -> Site:
    """With one station: five deployments."""
    return Site(client, tmp_path, stations=1)


def test_a_fleet_is_deployed_whole_and_then_there_is_nothing_to_do(site: Site) -> None:
    first, second = site.stations
    site.topology["stations"][second].update(group="remote", work_queue="slow", schedule={"sync": "15m"})
    out = site.well("--create-pools")
    assert f"+ work pool {site.pool} (process)" in out
    assert out.splitlines()[-1] == "10 new, 0 changed, 0 retired, 0 as they were."

    found = site.found()
    assert set(found) == {f"{kind}/{name}" for kind in KINDS for name in site.stations}
    for name, one in found.items():
        kind, station = name.split("/")
        assert (one.entrypoint, one.parameters, one.paused) == (f"flows.{kind}.{kind}", {"station": station}, False)
        assert {"stationsync", f"station:{station}", f"fleet:{site.name}/all"} <= set(one.tags)
        assert ("group:remote" in one.tags) is (station == second)
        assert (one.work_pool_name, one.work_queue_name) == (site.pool, "slow" if station == second else "default")
        assert one.global_concurrency_limit
        assert one.concurrency_options
        collision = "ENQUEUE" if kind == "backfill" else "CANCEL_NEW"
        assert (one.global_concurrency_limit.limit, one.concurrency_options.collision_strategy) == (1, collision)
        _has_a_run_form(kind, one)
    _has_schedules(found, first, second)
    assert site.well() == "Nothing to do: 10 as they are.\n"
    told = json.loads(site.well("--json"))
    assert (told["unchanged"], told["warnings"]) == (10, [])


def _has_a_run_form(kind: str, one: DeploymentResponse) -> None:
    schema = one.parameter_openapi_schema or {}
    assert set(schema["properties"]) == {"station", "table", "dry_run", "approve"} | OWN.get(kind, set())
    assert all(field["description"] for field in schema["properties"].values())
    assert one.description


def _has_schedules(found: Mapping[str, DeploymentResponse], first: str, second: str) -> None:
    every = {}
    for station in (first, second):
        (sync,), (reconcile,) = (found[f"{kind}/{station}"].schedules for kind in ("sync", "reconcile"))
        assert isinstance(sync.schedule, IntervalSchedule)
        assert isinstance(reconcile.schedule, CronSchedule)
        assert sync.active
        assert reconcile.active
        every[station] = sync.schedule
        assert not found[f"pull/{station}"].schedules
        assert not found[f"push/{station}"].schedules
    assert every[first].interval == timedelta(minutes=5)
    assert every[second].interval == timedelta(minutes=15)
    assert every[first].anchor_date != every[second].anchor_date


def test_a_dry_run_shows_all_kinds_of_change_and_makes_none(site: Site) -> None:
    site.deployed()
    first, second = site.stations
    site.topology["stations"][f"{site.name}-9"] = {"url": "mysql+pymysql://u@nine/shop", "work_pool": "pool-of-nine"}
    site.topology["stations"][first]["schedule"] = {"sync": "10m"}
    del site.topology["stations"][second]
    url = str(site.client.api_url).rstrip("/")
    before = everything(url)
    lines = site.well("--dry-run", "--create-pools").splitlines()
    assert "+ work pool pool-of-nine (process)" in lines
    assert f"+ pull/{site.name}-9: no schedule; work pool pool-of-nine" in lines
    assert f"~ sync/{first}: every 10m (was every 5m), at another moment" in lines or (
        f"~ sync/{first}: every 10m (was every 5m)" in lines
    )
    assert f"- sync/{second}: retired, its runs are kept" in lines
    assert lines[-1] == "Nothing was changed."
    assert everything(url) == before


def test_a_change_keeps_what_people_have_set(small: Site) -> None:
    """A paused schedule, a tag and a job variable of somebody's own."""
    small.deployed()
    name = f"sync/{small.stations[0]}"
    one = small.one(name)
    schedule = one.schedules[0]
    small.client.update_deployment_schedule(one.id, schedule.id, active=False)
    own = {"working_dir": "/srv", "env": {**one.job_variables["env"], "TZ": "UTC"}}
    there = {"tags": [*one.tags, "vip"], "job_variables": own}
    patched = httpx.patch(f"{small.client.api_url}deployments/{one.id}", json=there, timeout=60)
    assert patched.status_code == 204
    assert small.well() == "Nothing to do: 5 as they are.\n"

    small.topology["stations"][small.stations[0]]["schedule"] = {"sync": "10m"}
    assert f"~ {name}: every 10m (was every 5m)" in small.well()
    one = small.one(name)
    (changed,) = one.schedules
    assert isinstance(changed.schedule, IntervalSchedule)
    assert (changed.schedule.interval, changed.active) == (timedelta(minutes=10), False)
    assert "vip" in one.tags
    assert one.job_variables == own
    assert own["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "TZ": "UTC"}


def test_a_station_taken_out_is_retired_with_its_history_and_comes_back(site: Site) -> None:
    site.deployed()
    gone = site.stations[1]
    before = site.one(f"sync/{gone}")
    run = site.client.create_flow_run_from_deployment(before.id)
    site.client.set_flow_run_state(run.id, Completed(), force=True)
    site.client.create_flow_run_from_deployment(before.id)  # no worker has taken it
    row = site.topology["stations"].pop(gone)
    assert "0 new, 0 changed, 5 retired, 5 as they were." in site.well()
    for kind in KINDS:
        one = site.one(f"{kind}/{gone}")
        assert (one.paused, one.schedules, "retired" in one.tags) == (True, [], True)
    after = site.one(f"sync/{gone}")
    assert after.id == before.id
    assert site.runs(after, "COMPLETED") == 1
    assert site.runs(after, "CANCELLED") == 1
    assert site.runs(after, "SCHEDULED") == 0
    assert site.well() == "Nothing to do: 5 as they are.\n"

    site.topology["stations"][gone] = row
    assert f"~ sync/{gone}: in use again (was retired), every 5m (was no schedule)" in site.well()
    back = site.one(f"sync/{gone}")
    assert (back.id, back.paused, "retired" in back.tags) == (before.id, False, False)
    assert [one.active for one in back.schedules] == [True]
    assert site.runs(back, "COMPLETED") == 1
    assert site.well() == "Nothing to do: 10 as they are.\n"


def test_two_fleets_and_foreign_deployments_on_one_server_do_not_touch_each_other(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    (tmp_path / "north").mkdir()
    (tmp_path / "south").mkdir()
    north, south = Site(client, tmp_path / "north").deployed(), Site(client, tmp_path / "south").deployed()
    flow = client.create_flow_from_name("sync")
    client.create_deployment(flow, f"{north.name}-theirs", entrypoint="theirs.py:sync", tags=["stationary"])
    before = {**south.found(), **north.found()}
    south.topology["stations"].popitem()
    south.well()
    after = north.found()
    assert {name: one.model_dump() for name, one in after.items()} == {
        name: one.model_dump() for name, one in before.items() if name in after
    }
    # South takes a name of north's: refused, and nothing of the rest is done.
    south.topology["stations"][north.stations[0]] = {"url": "mysql+pymysql://u@taken/shop"}
    south.topology["stations"][f"{south.name}-5"] = {"url": "mysql+pymysql://u@five/shop"}
    done = south()
    assert done.code == 1
    assert f"of the fleet {north.name}/all, while this topology is the fleet {south.name}/all" in done.err
    assert f"sync/{south.name}-5" not in south.found()


def test_what_a_server_tells_of_its_settings_is_what_we_look_at(site: Site) -> None:
    told = httpx.get(f"{site.client.api_url}admin/settings", timeout=60).json()
    for one in filter(lambda one: one.where, settings.SERVER):
        found = told
        for name in one.where.split("."):
            found = found[name]
        assert str(found).lower() == one.value, one


# What is wrong is said, with the next step, and nothing is half-applied


def test_an_unknown_work_pool_is_refused_with_the_command_that_creates_it(site: Site) -> None:
    url = str(site.client.api_url).rstrip("/")
    before = everything(url)
    done = site()
    assert done.code == 1
    assert f"prefect work-pool create {site.pool} --type process" in done.err
    assert "Nothing was changed." in done.err
    assert everything(url) == before


def test_a_renamed_station_is_refused_whole(small: Site) -> None:
    small.deployed()
    row = small.topology["stations"].pop(small.stations[0])
    small.topology["stations"][f"{small.name}-new"] = row
    done = small()
    assert (done.code, "renamed?" in done.err, "Nothing was changed." in done.err) == (1, True, True)
    assert len(small.found()) == 5
    assert "5 new, 0 changed, 5 retired, 0 as they were." in small.well("--allow-renamed")


def test_an_api_that_does_not_answer_or_is_none(site: Site, prefect_server: PrefectServer) -> None:
    cases = {
        f"http://127.0.0.1:{free_port()}/api": ("does not answer", "prefect server start"),
        prefect_server.ui: ("PREFECT_API_URL", "ends with /api"),
        f"http://user:hunter2@127.0.0.1:{free_port()}/api": ("does not answer", "PREFECT_API_URL"),
        prefect_server.url.replace("http:", "https:"): ("does not answer", "behind that port nobody speaks https"),
        "127.0.0.1:4200/api": ("does not answer", "Mend PREFECT_API_URL: http://HOST:4200/api"),
    }
    for url, words in cases.items():
        with temporary_settings({PREFECT_API_URL: url}):
            done = site()
        assert done.code == 1, done
        assert all(word in done.err for word in (*words, "Nothing was changed.")), done.err
        assert "hunter2" not in done.out + done.err
        assert "Traceback" not in done.err


def test_without_an_api_or_with_a_wrong_topology_no_server_is_asked(site: Site) -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        done = site()
    assert (done.code, "no Prefect API is configured" in done.err, "PREFECT_API_URL" in done.err) == (2, True, True)
    site.topology["stations"][site.stations[0]]["schedule"] = {"sync": "often"}
    del site.topology["tables"]["orders"]["key"]
    done = site()
    assert (done.code, "2 problems" in done.err) == (2, True)
    assert site.found() == {}


def test_a_server_as_in_production_refuses_a_wrong_login_and_gives_each_request_its_token(tmp_path: Path) -> None:
    with (
        PrefectServer(
            PREFECT_SERVER_API_AUTH_STRING="admin:right", PREFECT_SERVER_CSRF_PROTECTION_ENABLED="true"
        ) as guarded,
        temporary_settings({PREFECT_API_URL: guarded.url, PREFECT_API_AUTH_STRING: "admin:right"}),
        get_client(sync_client=True) as client,
    ):
        site = Site(client, tmp_path)
        # Several pools are missing: the first requests that change something are begun at once.
        for name in site.stations:
            site.topology["stations"][name]["work_pool"] = f"pool-{name}"
        site.deployed()
        assert {one.name for one in client.read_work_pools()} >= {f"pool-{name}" for name in site.stations}
        taken = site.topology["stations"].popitem()
        for wrong in ("admin:wr0ng", None):
            with temporary_settings({PREFECT_API_AUTH_STRING: wrong}):
                done = site()
            assert done.code == 1, done
            assert "refuses the login (401" in done.err
            assert "PREFECT_API_AUTH_STRING" in done.err
            assert "Nothing was changed." in done.err
            assert "wr0ng" not in done.err
        site.topology["stations"].update([taken])
        assert site.well() == "Nothing to do: 10 as they are.\n"


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, "", ("refuses the login (401", "PREFECT_API_KEY")),
        (200, '"2.20.26"', ("is of version 2.20.26", "Upgrade the server")),
        (200, '{"some": "other program"}', ("PREFECT_API_URL",)),
    ],
)
def test_a_wrong_key_and_a_server_of_another_kind_are_refused(
    site: Site, status: int, text: str, said: tuple[str, ...]
) -> None:
    with (
        _answering(status, "/api/admin/version", text) as url,
        temporary_settings({PREFECT_API_URL: url, PREFECT_API_KEY: "pnu_wr0ng"}),
    ):
        done = site()
    assert done.code == 1, done
    assert all(words in done.err for words in (*said, "Nothing was changed.")), done.err
    assert "wr0ng" not in done.out + done.err


def test_who_takes_no_websocket_is_told_so(prefect_server: PrefectServer) -> None:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        assert asyncio.run(events_fault()) == ""
    with _answering(200, "/api/admin/version", '"3.8.8"') as url, temporary_settings({PREFECT_API_URL: url}):
        fault = asyncio.run(events_fault())
    assert "takes no WebSocket" in fault
    assert "404" in fault
    assert "/api/events/in" in fault


@contextmanager
def _answering(status: int, path: str, text: str) -> Iterator[str]:
    """A server that gives one answer at one path, and has nothing else."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_what_speaks_against_deployments_and_against_alerts_is_told_at_once(small: Site) -> None:
    small.topology["alerts"] = {"channels": {"ops": {"webhook": "${NOT_SET_ANYWHERE}"}}}
    done = small()
    assert done.code == 1
    for words in (f"the server has no work pool {small.pool}", "NOT_SET_ANYWHERE", "Nothing was changed."):
        assert words in done.err
    assert small.found() == {}


def test_a_paused_pool_is_told_and_a_worker_of_a_queue_that_is_not_there_does_not_begin(small: Site) -> None:
    small.client.create_work_pool(WorkPoolCreate(name=small.pool, type="process", is_paused=True))
    done = small("--dry-run")
    assert f"Warning: the work pool {small.pool} is paused" in done.err
    assert f"prefect work-pool resume {small.pool}" in done.err
    done = _here(["worker", "--pool", small.pool, "--queue", "slwo"], {"STATIONSYNC_TOPOLOGY": str(small.file)}, "")
    assert done.code == 1
    assert f"work pool {small.pool}: has no queue slwo" in done.err
    assert f"prefect work-queue create slwo --pool {small.pool}" in done.err


# Two people at once


def _meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """This happens between somebody's look at the server and the changes."""
    carry_out, waiting = deploy.carry_out, [act]

    def later(plan: Plan) -> None:
        if waiting:
            waiting.pop()()
        carry_out(plan)

    monkeypatch.setattr(deploy, "carry_out", later)


def test_who_deploys_while_another_file_is_deployed_is_told(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    small.deployed()
    station = small.topology["stations"][small.stations[0]]

    def other() -> None:
        station["schedule"] = {"sync": "7m", "push": "9m"}
        small.well()
        station["schedule"] = {"sync": "8m"}

    _meanwhile(monkeypatch, other)
    station["schedule"] = {"sync": "8m"}
    done = small()
    assert done.code == 1
    assert "somebody else deployed at the same time: 1 thing is not as this file says: ~ push/" in done.err
    assert "0 new, 1 changed, 0 retired" in small.well()
    assert small.well() == "Nothing to do: 5 as they are.\n"


def test_two_who_deploy_the_same_file_at_once_leave_nothing_doubled(
    small: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one makes the pool and the automation as well. Prefect takes two automations of one name."""
    monkeypatch.setenv("ALERT_URL", "http://127.0.0.1:1/alerts")
    channels = {"ops": {"webhook": "${ALERT_URL}", "kinds": ["failed"]}}
    small.topology["alerts"] = {"channels": channels, "tell": {"crashed": None}}
    _meanwhile(monkeypatch, lambda: small.well("--create-pools"))
    assert "5 new" in small.well("--create-pools")
    assert len(automations(small)) == 1
    # As it is where a request's answer was lost, or somebody was stopped before looking again.
    small.client.create_automation(AutomationCore.model_validate(automations(small)[0].model_dump()))
    assert f"- automation {automations(small)[0].name}: deleted, it is there twice" in small.well()
    assert len(automations(small)) == 1
    assert small.well() == "Nothing to do: 5 as they are.\n"


def automations(of: Site) -> list[Automation]:
    return [one for one in of.client.read_automations(limit=200) if f" {of.name}/all:" in one.name]


def test_what_somebody_deletes_meanwhile_is_told_as_that(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    small.deployed()
    small.topology["stations"][small.stations[0]]["schedule"] = {"sync": "7m"}
    _meanwhile(monkeypatch, lambda: small.client.delete_work_pool(small.pool))
    done = small()
    assert done.code == 1
    assert "(404" in done.err
    assert "somebody may have deleted it meanwhile" in done.err
    assert "run again: stationsync deploy" in done.err
    assert "5 changed" in small.well("--create-pools")
    assert small.well() == "Nothing to do: 5 as they are.\n"


# A server that fails on the way


def _failing(monkeypatch: pytest.MonkeyPatch, failures: Mapping[int, Exception]) -> None:
    """The nth write fails so, before anything was done."""
    calls, write = itertools.count(1), server.write

    async def sometimes(*args: Any, **kwargs: Any) -> Any:
        if error := failures.get(next(calls)):
            raise error
        return await write(*args, **kwargs)

    monkeypatch.setattr(server, "write", sometimes)
    monkeypatch.setattr(busy.Patience, "delay", 0.0)


def _answer(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://server/api/deployments/")
    return httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(status, request=request, text="no room")
    )


def test_a_busy_server_is_asked_again_until_all_is_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, dict.fromkeys(range(2, 11), _answer(503)) | {14: httpx.ConnectError("gone")})
    assert "10 new" in site.well("--create-pools")
    assert len(site.found()) == 10
    assert site.well() == "Nothing to do: 10 as they are.\n"


@pytest.mark.parametrize("status", [503, 409])
def test_a_failure_on_the_way_says_what_was_done_and_the_next_run_does_the_rest(
    site: Site, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with monkeypatch.context() as broken:
        _failing(broken, dict.fromkeys(range(4, 100), _answer(status)))
        done = site("--create-pools")
    assert done.code == 1
    told = re.search(r"(\d) of 11 changes were made, each of them whole", done.err)
    assert told
    made = int(told[1]) - 1  # without the pool; at most three, for the server may be busy by itself
    assert made <= 3
    assert "no room" in done.err
    assert "run again: stationsync deploy" in done.err
    assert len(site.found()) == made
    assert f"{10 - made} new, 0 changed, 0 retired, " in site.well()
    assert site.well() == "Nothing to do: 10 as they are.\n"


# prefect.yaml


def test_prefect_deploy_registers_the_same(site: Site, prefect_server: PrefectServer, tmp_path: Path) -> None:
    """So that both ways can be mixed: after it there is nothing to do."""
    site.topology["stations"][site.stations[1]].update(group="remote", work_queue="slow", schedule={"push": "90s"})
    site.well("--prefect-yaml", str(tmp_path / "prefect.yaml"))
    assert site.found() == {}
    prefect_server.run("work-pool", "create", site.pool, "--type", "process")
    prefect_server.run("deploy", "--all", cwd=tmp_path)
    assert len(site.found()) == 10
    assert site.well() == "Nothing to do: 10 as they are.\n"


def test_the_committed_prefect_yaml_is_the_sample_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.wanted.FLEET", FLEET)
    file = tmp_path / "prefect.yaml"
    done = _here(["--topology", str(ROOT / "deployments/stations.yaml"), "deploy", "--prefect-yaml", str(file)], {}, "")
    assert done.code == 0, done
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), "Run: make prefect-yaml"
