"""A fleet of many stations under a continuous run: what a pass costs while nothing changes, and how soon an edit is
at the other side. Databases of one MariaDB server stand for the stations: `python -m bench.stations 1000`."""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pymysql
import yaml

from bench.fleet import CONTROL, STATION
from cli.sandbox.servers import MariaDBServer
from stationsync.continuous.child import Setup
from stationsync.continuous.processes import Processes
from stationsync.continuous.rounds import Round
from stationsync.pairing.pair import control_of, pairs
from stationsync.setup.initialise import initialise
from stationsync.topology import topology_file

# A black hole: packets to this address come to nobody (RFC 5737).
_NOWHERE = "192.0.2.1"
_ROWS = 50


class Stations:
    """Control and the stations, all on one server; some of them may be `down`."""

    def __init__(self, number: int, down: int, folder: Path) -> None:
        self.number, self.file = number, folder / "stations.yaml"
        options = ["--innodb-buffer-pool-size=1G", f"--max-connections={3 * number + 200}", "--table-open-cache=4000"]
        self.server = MariaDBServer(options=options)
        self.names = [f"st-{n:04}" for n in range(1, number + 1)]
        self.down = self.names[:down]

    def make(self) -> None:
        server = self.server
        server.create_database("control")
        server.execute(CONTROL.format("kafka_test"), "control")
        for name in self.names:
            server.create_database(name)
            server.execute(STATION, name)
            values = f"SELECT seq, '{name}', NOW() - INTERVAL 1 DAY, NOW() - INTERVAL 1 DAY FROM seq_1_to_{_ROWS}"
            server.execute(f"INSERT INTO kafka_test (text, code, create_date, modify_date) {values}", name)
        self.write([])
        topology = topology_file.load(self.file)
        everything = [pair for name in self.names for pair in pairs(topology, name)]
        for error in initialise(control_of(topology), everything).errors.values():
            raise error

    def write(self, down: Sequence[str]) -> None:
        url = self.server.url
        nowhere = f"mysql+pymysql://root@{_NOWHERE}/{{}}"
        table = {"key": ["id", "code"], "modified": "modify_date", "exclude": ["master_id"], "lookback": "5s"}
        stations = {name: {"url": nowhere.format(name) if name in down else url(name)} for name in self.names}
        content = {"control": {"url": url("control")}, "tables": {"kafka_test": table}, "stations": stations}
        self.file.write_text(yaml.safe_dump(content), encoding="utf-8")

    def yardstick(self) -> float:
        """Seconds of one pass of a plain client: one question to each station, connections kept open."""
        with ExitStack() as stack:
            opened = [stack.enter_context(self.server.connect(name)) for name in self.names]
            begun = time.perf_counter()
            for connection in opened:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT COUNT(*), MAX(modify_date) FROM kafka_test")
                    cursor.fetchall()
            return time.perf_counter() - begun


class Watched:
    """What the processes told, and the CPU of all that is at work."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.rounds: list[Round] = []

    def for_(self, seconds: float) -> None:
        for _, told in self._processes.told(seconds):
            if isinstance(told, Round) and told.visited:
                self.rounds.append(told)

    def until_idle(self, stations: int, longest: float = 1800) -> float:
        """Seconds until every station was visited and next to nothing runs: some whole runs are always due."""
        begun = time.monotonic()
        while time.monotonic() - begun < longest:
            self.rounds.clear()
            self.for_(8)
            visits, ran = (sum(getattr(one, name) for one in self.rounds) for name in ("visited", "ran"))
            # Of each process the last round: who is still at work in it.
            running = max((one.running for one in self.rounds[-4:]), default=1)
            if visits >= stations and ran <= visits / 20 and running <= stations / 50:
                break
        return time.monotonic() - begun


def _cpu() -> float:
    """Seconds of this process, its children and the database server."""
    ours = psutil.Process()
    total = 0.0
    for process in [ours, *ours.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _memory() -> float:
    """MB of the processes that visit stations."""
    own = (one for one in psutil.Process().children(recursive=True) if "stationsync.continuous.child" in one.cmdline())
    return sum(one.memory_info().rss for one in own) / 1e6


def idle(stations: Stations, processes: int, every: float, down: Sequence[str] = ()) -> Iterator[str]:
    """A pass while nothing changes."""
    stations.write(down)
    setup = Setup(stations.file.absolute(), None, tuple(stations.names), every)
    with Processes(setup, processes) as running:
        watched = Watched(running)
        begun = time.monotonic()
        watched.for_(5)
        warm = watched.until_idle(stations.number - len(down))
        what = f", {len(down)} of them down" if down else ""
        yield f"{stations.number} stations{what}, {processes} processes, every {every:g} s"
        yield f"  all synchronised for the first time since the start: {warm + 5:.0f} s"
        watched.rounds.clear()
        begun, cpu = time.monotonic(), _cpu()
        watched.for_(max(30.0, 4 * every))
        seconds, used = time.monotonic() - begun, _cpu() - cpu
        visits = sum(one.visited for one in watched.rounds)
        passes = visits / max(1, stations.number - len(down))
        median = statistics.median(one.seconds for one in watched.rounds)
        ran = sum(one.ran for one in watched.rounds)
        yield f"  a pass: {median:.2f} s wall (median of a process); {passes:.1f} passes in {seconds:.0f} s, {ran} runs"
        each = used / max(1, visits) * 1000
        yield f"  CPU of everything: {each:.2f} ms a station and pass, {used / seconds:.2f} cores; {_memory():.0f} MB"
        yield f"  yardstick, one question to each on open connections: {stations.yardstick():.2f} s a pass"
        if not down:
            yield from _freshness(stations, watched, every)


def _freshness(stations: Stations, watched: Watched, every: float, edits: int = 25) -> Iterator[str]:
    """Edits one after the other at random stations, and at control, at moments that have nothing to do with rounds."""
    for where, words in (("up", "from a station to control"), ("down", "from control to its station")):
        took = []
        for number in range(edits):
            watched.for_(random.uniform(0, every))
            name = random.choice(stations.names)
            source, target = (name, "control") if where == "up" else ("control", name)
            text = f"{where} {number} {time.time()}"
            with stations.server.connect(source) as writer, writer.cursor() as cursor:
                cursor.execute(
                    "UPDATE kafka_test SET text = %s, modify_date = NOW() WHERE id = 1 AND code = %s", (text, name)
                )
                writer.commit()
            begun = time.monotonic()
            with stations.server.connect(target, autocommit=True) as reader:
                while not _has(reader, text, name) and time.monotonic() - begun < 120:
                    watched.for_(0.05)
            took.append(time.monotonic() - begun)
        took.sort()
        yield f"  an edit {words}: median {statistics.median(took):.1f} s, the worst of {edits} {took[-1]:.1f} s"


def _has(reader: pymysql.Connection, text: str, name: str) -> bool:
    with reader.cursor() as cursor:
        cursor.execute("SELECT 1 FROM kafka_test WHERE id = 1 AND code = %s AND text = %s", (name, text))
        return cursor.fetchone() is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stations", type=int, nargs="?", default=100)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=psutil.cpu_count(logical=False) or 2)
    parser.add_argument("--down", type=float, default=1.0, help="per cent of the stations, in a second part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        stations = Stations(options.stations, int(options.stations * options.down / 100), Path(folder))
        with stations.server:
            stations.make()
            for line in idle(stations, options.processes, options.every):
                print(line, flush=True)
            if stations.down:
                for line in idle(stations, options.processes, options.every, stations.down):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
