"""A fleet of samples on a real server with its pages, and a browser that looks at them: for the test of the pages and
for the pictures of the documents (docs/screenshots/take.py)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, DeploymentFilter, FlowRunFilter
from prefect.client.schemas.sorting import ArtifactSort
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from support.command import Command
from support.databases import SQLiteDatabases
from support.flow_runs import write
from support.prefect_server import PrefectServer
from support.sample import row
from support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Page

POOL, HOOK = "central", "http://127.0.0.1:9/alerts"
_STATIONS = ("busan", "daegu", "incheon", "jeju", "seoul")
_NOT_THERE = "jeju"
_SIZE = {"width": 1400, "height": 900}


def chromium() -> str:
    """The system's own; the one that Playwright would download is not asked for."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )


@dataclass(frozen=True)
class Shown:
    """One page: where it is, and what has to be read there before it counts as shown; of a picture its
    alternative text."""

    path: str
    texts: tuple[str, ...]
    picture: str = ""


class Site:
    """Five stations, one of them off-line, one paused; their runs are done."""

    def __init__(self, server: PrefectServer, client: SyncPrefectClient, command: Command) -> None:
        self.server, self.client, self.command = server, client, command

    def prepare(self) -> None:
        self.command.well("init")
        self.command.well("deploy", "--create-pools")
        with self.server.fork_worker(POOL, STATIONSYNC_TOPOLOGY=write(self.command)):
            for _ in range(2):
                for station in ("seoul", "busan"):
                    self.command.well("run", station, "--wait")
            self.command.well("run", "seoul", "--kind", "reconcile", "--wait")
            assert self.command("run", _NOT_THERE, "--wait").code == 3
            self.command.well("pause", "daegu", "--reason", "new disk")
            self.report()

    def report(self) -> None:
        from prefect.deployments import run_deployment

        done = run_deployment("fleet-report/fleet-of-samples", timeout=PATIENCE, _sync=True)  # type: ignore[call-arg]
        assert done.state  # type: ignore[union-attr]
        assert done.state.is_completed(), done.state  # type: ignore[union-attr]

    def pages(self) -> Mapping[str, Shown]:
        run = self._last_run("sync", "seoul")
        return {
            "deployments": Shown("/deployments", ("Deployments", "busan", "Ready")),
            "run": Shown(f"/runs/flow-run/{run}", ("sync seoul", "Completed")),
            "station-history": Shown("/artifacts/key/seoul-sync", ("seoul-sync", "sync seoul")),
            "fleet-report": Shown(
                f"/artifacts/artifact/{self._artifact('fleet-report-fleet-of-samples')}",
                ("5 tables:", "off-line", "paused", "new disk"),
            ),
            "freshness": Shown(
                f"/artifacts/artifact/{self._artifact('fleet-report-fleet-of-samples-freshness')}",
                ("How old the data is",),
                picture="how old the data of each table is",
            ),
            "automation": Shown(
                f"/automations/automation/{self._automation()}",
                ("stationsync fleet-of-samples: tell ops", "Call webhook using"),
            ),
        }

    def _last_run(self, kind: str, station: str) -> str:
        deployment = self.client.read_deployment_by_name(f"{kind}/{station}")
        ours = DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}})
        done = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Completed"]}}})
        return str(self.client.read_flow_runs(deployment_filter=ours, flow_run_filter=done)[0].id)

    def _artifact(self, key: str) -> str:
        wanted = ArtifactFilter.model_validate({"key": {"any_": [key]}})
        found = eventually(
            lambda: self.client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC) or None,
            f"artifact {key}", self.server,
        )  # fmt: skip
        return str(found[0].id)

    def _automation(self) -> str:
        found = self.client.request("POST", "/automations/filter", json={}).json()
        ours = [one for one in found if "ops" in one["name"]] or found
        return str(ours[0]["id"])


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    databases = SQLiteDatabases(folder)
    databases.create_kafka_test("control", control=True)
    command = Command(databases, folder, stations=len(_STATIONS))
    for number, name in enumerate(_STATIONS, start=1):
        databases.create_kafka_test(number)
        databases.put(number, [row(100 * number + n, text=f"{name} {n}") for n in range(1, 4)])
        command.topology["stations"][name] = command.topology["stations"].pop(f"station-{number}")
    command.topology["stations"][_NOT_THERE]["url"] = "sqlite:////nowhere/jeju.db"
    off = {"watchdog": None, "maintenance": None, "fleet_report": None}
    command.topology["defaults"] = {
        "fleet": "fleet-of-samples",
        "work_pool": POOL,
        "schedule": {"sync": "30 3 1 1 *", "reconcile": "30 3 1 1 *", **off},
    }
    command.topology["alerts"] = {"channels": {"ops": {"webhook": "${ALERT_WEBHOOK}"}}}
    command.environment["ALERT_WEBHOOK"] = HOOK
    with ExitStack() as stack:
        server = stack.enter_context(PrefectServer(pages=True, ALERT_WEBHOOK=HOOK))
        stack.enter_context(temporary_settings({PREFECT_API_URL: server.url, PREFECT_UI_URL: server.ui}))
        command.environment["PREFECT_API_URL"] = server.url
        client = stack.enter_context(get_client(sync_client=True))
        found = Site(server, client, command)
        found.prepare()
        yield found
    databases.close()


@contextmanager
def browser() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield opened.new_page(viewport=_SIZE, color_scheme="light")  # type: ignore[arg-type]
        opened.close()


def show(page: Page, ui: str, shown: Shown) -> None:
    """Go there, and wait until all is to be read."""
    page.goto(f"{ui}{shown.path}")
    for text in shown.texts:
        page.get_by_text(text).first.wait_for(timeout=1000 * PATIENCE)
    if shown.picture:
        page.wait_for_function(
            "alt => document.querySelector(`img[alt='${alt}']`)?.naturalWidth > 300", arg=shown.picture
        )
