"""deployments/systemd and deployments/compose.yaml, as far as they can be checked without systemd and Docker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from support.paths import ROOT

from deployments import settings

FOLDER = ROOT / "deployments"
UNITS = sorted((FOLDER / "systemd").glob("*.service"))
# With Redis, leases are there.
INSTEAD = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage"}
CHANGE = "CHANGE-ME"


def environment_file(name: str) -> dict[str, str]:
    lines = (FOLDER / "systemd" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With programs and files that are there: those of /opt/stationsync and /etc/stationsync are not."""
    here = []
    for unit in [*UNITS, FOLDER / "systemd" / "stationsync.target"]:
        text = unit.read_text().replace("/opt/stationsync/.venv/bin/", "/bin/true ").replace("=/etc/", "=-/etc/")
        name = unit.name.replace("@.", "@central.")
        (tmp_path / name).write_text(text)
        here.append(str(tmp_path / name))
    done = subprocess.run(
        ["systemd-analyze", "verify", *here],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_unit_restarts_is_hardened_and_waits_for_what_it_needs() -> None:
    assert [unit.name for unit in UNITS] == [
        "stationsync-server.service", "stationsync-services.service", "stationsync-worker@.service",
    ]  # fmt: skip
    for unit in UNITS:
        lines = unit.read_text().splitlines()
        user = "stationsync" if "worker" in unit.name else "stationsync-server"
        for line in ("Restart=always", "NoNewPrivileges=true", "ProtectSystem=strict", "LimitCORE=0",
                     f"StateDirectory={user}", f"User={user}", f"Group={user}"):  # fmt: skip
            assert line in lines, (unit.name, line)
        assert any(line.startswith("MemoryMax=") for line in lines), unit.name
    server, services, worker = (unit.read_text() for unit in UNITS)
    assert "After=network-online.target postgresql.service redis-server.service" in server
    assert "After=stationsync-server.service" in services
    assert "stationsync-server.service" in worker


def test_server_and_compose_are_set_as_the_settings_say(compose: dict[str, Any]) -> None:
    for found in (environment_file("server.env"), compose["x-server-environment"]):
        for one in settings.SERVER:
            assert found[one.variable] == INSTEAD.get(one.variable, one.value), one.variable
        assert found["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"


def test_the_server_has_a_place_of_its_own_for_its_pages(compose: dict[str, Any], tmp_path: Path) -> None:
    """Its package, where it would write them otherwise, is not its own in any of these installations."""
    for found in (environment_file("server.env"), compose["x-server-environment"]):
        assert found["PREFECT_UI_STATIC_DIRECTORY"].startswith("/var/lib/stationsync")
    script = (
        "import prefect.server.api.server as server, prefect\n"
        "print(prefect.settings.get_current_settings().server.ui.static_directory)"
    )
    place = str(tmp_path / "ui")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PREFECT_UI_STATIC_DIRECTORY": place},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == place, "Prefect knows this name"


def test_the_printed_recipe_makes_a_key_that_prefect_takes() -> None:
    files = [FOLDER / "systemd" / "server.secret", FOLDER / "compose.yaml"]
    recipes = {one for file in files for one in re.findall(r'python (-c ".*")', file.read_text())}
    (recipe,) = recipes
    made = subprocess.run([sys.executable, *shlex.split(recipe)], capture_output=True, text=True, check=True)
    assert Fernet(made.stdout.strip().encode()).encrypt(b"a secret block")


def test_api_and_services_share_what_they_must(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["server"]["environment"] == services["services"]["environment"]
    assert "--no-services" in services["server"]["command"]
    assert all(services[name].get("healthcheck") for name in ("postgres", "redis", "server", "worker-central"))
    for name in ("server", "services", "worker-central", "cli"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]


def test_redis_takes_a_password_and_only_the_server_reaches_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert "requirepass" in services["redis"]["command"][-1]
    assert services["redis"]["networks"] == services["postgres"]["networks"] == ["server"]
    assert compose["networks"]["server"]["internal"] is True
    assert "networks" not in services["worker-central"]
    for name in ("PREFECT_REDIS_MESSAGING_URL", "PREFECT_SERVER_DOCKET_URL"):
        assert f"redis://:{CHANGE}@" in environment_file("server.secret")[name]
        assert name not in environment_file("server.env")


def test_production_installs_what_it_runs_with_hashes_and_no_more() -> None:
    """Of every package the lock has hashes; those of development are in another."""
    root = FOLDER.parent
    locks = {name: (root / name).read_text() for name in ("requirements.lock", "requirements-dev.lock")}
    pinned = {name: dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE)) for name, text in locks.items()}
    assert pinned["requirements.lock"].items() < pinned["requirements-dev.lock"].items()
    assert not {"pytest", "mypy", "ruff", "playwright"} & pinned["requirements.lock"].keys()
    for name, text in locks.items():
        entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(entries) == len(pinned[name])
        assert all("--hash=sha256:" in entry for entry in entries), name
        assert "://" not in text
    assert "requirements-dev" not in (FOLDER / "Dockerfile").read_text()


def test_no_secret_stands_in_a_file_and_every_one_is_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in ("AUTH", "PASSWORD", "KEY", "CONNECTION")):
                assert variable.endswith("_FILE"), variable
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
    for file in ("server.secret", "worker.secret"):
        assert all(CHANGE in value for value in environment_file(file).values())
    assert not any(CHANGE in value for value in environment_file("server.env").values())
    mounts = [volume.split(":")[0] for one in compose["services"].values() for volume in one.get("volumes", [])]
    assert {mount for mount in mounts if not mount.startswith(".")} == set(compose["volumes"])


def test_secrets_go_from_files_into_the_environment_of_the_program_alone(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("operator:s3 cret$x\n")
    done = subprocess.run(
        [str(FOLDER / "from-secrets"), "env"],
        env={"PATH": os.defpath, "PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "auth")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "PREFECT_API_AUTH_STRING=operator:s3 cret$x\n" in done.stdout
    assert "_FILE" not in done.stdout
    gone = subprocess.run(
        [str(FOLDER / "from-secrets"), "env"],
        env={"PATH": os.defpath, "PREFECT_API_AUTH_STRING_FILE": "/nowhere"},
        capture_output=True,
        check=False,
    )
    assert gone.returncode != 0
