"""`stationsync up` and `down` as a person uses them, and with every part of the fleet killed. Nothing may be left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from support.command import PROGRAM
from support.processes import name, ports
from support.waiting import PATIENCE, wait_until

from cli.demo.sample import SITES, TABLE
from cli.local import parts, programs, sample
from cli.local.databases import PLACES, databases_of
from cli.local.home import Home, LocalFleet, write_json
from cli.local.running import PARTS
from stationsync.errors import StationOffline

T = TypeVar("T")
SITE = SITES[0].name


class Local:
    """A local fleet in a folder of the test's. `temporary` is where its programs put what they throw away."""

    def __init__(self, base: Path) -> None:
        self.home = Home((base / "fleet").resolve())
        self.temporary = base / "t"
        self.temporary.mkdir()

    def begin(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(PROGRAM), *args, "--folder", str(self.home.folder)],
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *args: str, code: int = 0) -> str:
        process = self.begin(*args)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == code, said
        return " ".join(said.split())

    def part(self, name: str) -> psutil.Process:
        found = parts.running(self.home, name)
        assert found, name
        return found

    def sql(self, place: str, statement: str) -> str:
        done = subprocess.run([self.home.sql, place, statement], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def look(self, place: str, statement: str) -> str:
        """As `sql`, without a process for each look."""
        fleet = self.home.read()
        assert fleet
        rows = databases_of(self.home, fleet.database).query(place, statement.replace("%", "%%"))
        return "\n".join("\t".join(map(str, row)) for row in rows)

    def ports(self) -> set[int]:
        """On which its processes listen."""
        return set().union(*map(ports, parts.left(self.home)))

    def names(self) -> list[str]:
        """Of its programs."""
        return [name(process) for process in parts.left(self.home)]

    def require_nothing_left(self) -> None:
        assert parts.left(self.home) == []
        assert not self.home.folder.exists()
        # The template of MariaDB's data folder of this folder for temporary files stays.
        assert [one.name for one in self.temporary.iterdir() if "-mariadb-" not in one.name] == []

    def close(self) -> None:
        parts.end(self.home)


@pytest.fixture
def local() -> Iterator[Local]:
    # Short, because there will be sockets in it.
    with tempfile.TemporaryDirectory(prefix="ss-") as base:
        local = Local(Path(base))
        yield local
        local.close()


@pytest.mark.long
def test_a_fleet_comes_up_runs_is_killed_goes_on_and_goes_away(local: Local) -> None:
    said = local.run("up", "--database", "mariadb")
    fleet = local.home.read()
    assert fleet
    assert f"{fleet.ui}/runs" in said
    assert all(f"{part} {local.part(part).pid}" in said for part in PARTS)
    asked = urllib.request.Request(f"{fleet.ui}/deployments", headers={"Accept": "text/html"})
    with urllib.request.urlopen(asked) as page:
        assert b"<title>Prefect Server</title>" in page.read()

    # A person's edit goes down by a scheduled run, and applications write at both sides.
    where = f"WHERE id = 7 AND code LIKE '{SITES[0].code}-%'"
    local.sql("control", f"SELECT COUNT(*) FROM {TABLE}")
    wait_until(lambda: local.look("control", f"SELECT text FROM {TABLE} {where}"), pause=0.5)
    local.sql("control", f"UPDATE {TABLE} SET text = 'by hand', modify_date = CURRENT_TIMESTAMP {where}")
    wait_until(lambda: local.look("station-1", f"SELECT text FROM {TABLE} {where}") == "by hand", pause=0.5)
    written = f"SELECT COUNT(*) FROM {TABLE} WHERE modify_date > '2025-01-01' AND id > 100"
    wait_until(lambda: all(int(local.look(place, written)) for place in PLACES), pause=0.5)

    again = local.run("up")
    assert "It is running already" in again

    # Whatever is killed is started again; what runs goes on.
    killed = ("prefect-server", "station-1", "worker")
    kept = {part: local.part(part).pid for part in PARTS if part not in killed}
    local.run("down", "station-2")
    for part in killed:
        local.part(part).kill()
    said = local.run("up")
    assert "started again: prefect-server, station-1, station-2, worker" in said
    assert {part: local.part(part).pid for part in kept if part != "station-2"}.items() <= kept.items()
    local.sql("station-1", f"UPDATE {TABLE} SET text = 'after', modify_date = CURRENT_TIMESTAMP {where}")
    wait_until(lambda: local.look("control", f"SELECT text FROM {TABLE} {where}") == "after", pause=0.5)

    listened = local.ports()
    assert len(listened) >= 6
    for part in ("worker", "prefect-server", "station-3"):
        local.part(part).kill()
    local.part("control").suspend()
    local.part("receiver").suspend()
    local.run("down")
    local.require_nothing_left()
    assert [port for port in listened if _answers(port)] == []


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_half_way_nothing_of_it_runs(local: Local, number: signal.Signals, code: int) -> None:
    up = local.begin("up", "--database", "sqlite")
    wait_until(lambda: len(parts.left(local.home)) >= 6, pause=0.2)
    up.send_signal(number)
    said, _ = up.communicate(timeout=PATIENCE)
    assert up.returncode == code, said
    assert parts.left(local.home) == []
    local.run("down")
    local.require_nothing_left()


def test_killed_half_way_it_is_found_and_ended(local: Local) -> None:
    up = local.begin("up", "--database", "mariadb")
    wait_until(lambda: "mariadbd" in local.names(), pause=0.2)
    assert "another `up` or `down` is under way" in local.run("down", code=1)
    up.kill()
    up.communicate()
    for file in local.home.process("x").parent.iterdir():
        file.unlink()  # as if it had not come to write them
    assert parts.left(local.home)
    local.run("down")
    local.require_nothing_left()


def test_the_folder_removed_by_hand_its_processes_are_ended_all_the_same(local: Local) -> None:
    started = _start_site(local, "sqlite")
    shutil.rmtree(local.home.folder)
    assert "Nothing is running" in local.run("down")
    assert not parts.lives(started)


def test_a_part_whose_program_only_begins_has_not_ended(local: Local) -> None:
    """The environment of a process, by which it is known, is empty until its program is loaded."""
    local.home.databases.mkdir(parents=True)
    beginning = subprocess.Popen(["sleep", "600"], env={})
    local.home.process(SITE).parent.mkdir(parents=True, exist_ok=True)
    write_json(local.home.process(SITE), {"pid": beginning.pid, "started": psutil.Process(beginning.pid).create_time()})
    assert parts.running(local.home, SITE) == psutil.Process(beginning.pid)
    beginning.kill()
    beginning.wait()
    assert parts.running(local.home, SITE) is None


@pytest.mark.parametrize("database", ["mariadb", "sqlite"])
def test_a_site_that_ends_is_off_line_and_has_its_rows_when_it_is_back(local: Local, database: str) -> None:
    first = _start_site(local, database)
    here = databases_of(local.home, database)
    for statement in sample.ddl(database, control=False):
        here.query(SITE, statement)
    here.insert(SITE, sample.sessions(SITES[0], range(1, 200)))
    _fleet(local, database, filled=True)
    wait_until(lambda: here.count(SITE) > 199)
    url = here.url(SITE)

    local.run("down", SITE)
    assert not parts.lives(first)
    with pytest.raises(StationOffline, match=SITE):
        here.count(SITE)

    second = _start_site(local, database)
    again = databases_of(local.home, database)
    assert again.url(SITE) == url
    assert again.count(SITE) > 199
    # Killed with all that would clear up behind it.
    second.kill()
    parts.end(local.home)
    _start_site(local, database)
    before = databases_of(local.home, database).count(SITE)
    wait_until(lambda: databases_of(local.home, database).count(SITE) > before)


def _start_site(local: Local, database: str) -> psutil.Process:
    """A station and its application, and nothing else of the fleet."""
    fleet = local.home.read() or _fleet(local, database, filled=False)
    environment = programs.environment(local.home, fleet)
    process = parts.start(local.home, SITE, programs.command(SITE, local.home, fleet), environment)
    parts.wait_ready(local.home, SITE, lambda: parts.answer(local.home, SITE))
    return process


def _fleet(local: Local, database: str, *, filled: bool) -> LocalFleet:
    local.home.databases.mkdir(parents=True, exist_ok=True)
    fleet = LocalFleet(database, 1, str(local.temporary), filled=filled)
    local.home.write(fleet)
    return fleet
