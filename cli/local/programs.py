"""The programs of the local fleet: their commands, their environment, and how to see that they are ready."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from cli.local import receiver
from cli.local.home import Home, LocalFleet
from cli.local.sample import ALERTS, POOL
from cli.sandbox.files import HOST
from deployments import settings
from stationsync.errors import SetUpError
from stationsync.topology.positions import ENVIRONMENT as TOPOLOGY

SERVER, WORKER = "prefect-server", "worker"


def for_people(home: Home, fleet: LocalFleet) -> dict[str, str]:
    """What the commands of a person need to speak to this fleet."""
    return {
        TOPOLOGY: str(home.topology),
        "STATIONSYNC_EXPECTATIONS": str(home.expectations),
        "PREFECT_HOME": str(home.folder / "prefect"),
        "PREFECT_API_URL": f"{fleet.ui}/api",
        # On another port than 4200, links must be told.
        "PREFECT_UI_URL": fleet.ui,
        "DO_NOT_TRACK": "1",
    }


def environment(home: Home, fleet: LocalFleet) -> dict[str, str]:
    """Of every program of the fleet; nothing of Prefect's or ours that is set on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STATIONSYNC_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # every program would compile Prefect anew
    return {
        **kept,
        **for_people(home, fleet),
        **settings.environment(),
        "PREFECT_SERVER_UI_API_URL": f"{fleet.ui}/api",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
        # Runs are asked for by people who wait.
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": fleet.scratch,
    }


def command(part: str, home: Home, fleet: LocalFleet) -> list[str]:
    if part == SERVER:
        return [sys.executable, "-m", "deployments.sqlite_server", "--host", HOST, "--port", str(fleet.port)]
    if part == WORKER:
        return [sys.executable, "-m", "cli.main", "worker", "--pool", POOL, "--name", "local", "--limit", "4"]
    if part == receiver.NAME:
        return [sys.executable, "-m", "cli.local.receiver", str(home.folder)]
    return [sys.executable, "-m", "cli.local.site", str(home.folder), part, fleet.database]


def server_answers(fleet: LocalFleet) -> bool:
    return _ask(fleet, "health") is True


def worker_answers(fleet: LocalFleet) -> bool:
    found = _ask(fleet, f"work_pools/{POOL}/workers/filter", {})
    return isinstance(found, list) and any(one.get("status") == "ONLINE" for one in found)


def _ask(fleet: LocalFleet, path: str, said: object = None) -> Any:
    """None where there is no answer, or a bad one."""
    request = urllib.request.Request(
        f"{fleet.ui}/api/{path}",
        data=None if said is None else json.dumps(said).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def deploy(home: Home, fleet: LocalFleet, alerts: str) -> None:
    """As a person does it, who wants to see the command fail or succeed on its own."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "deploy", "--create-pools"],
        env={**environment(home, fleet), ALERTS: alerts},
        cwd=home.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetUpError("stationsync deploy", f"failed:\n{done.stdout}{done.stderr}")
