"""Two private MariaDB servers, the sample table, the yardstick's commands and the product's runs on it."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import psutil
import yaml

from bench.slow import slow_port
from cli.sandbox.servers import MariaDBServer
from stationsync.pairing.pair import control_of, pairs
from stationsync.setup.initialise import initialise
from stationsync.topology.topology_file import load

DATABASE = "bench"
LOOKBACK = 3  # seconds
COLUMNS = "id, text, code, create_date, modify_date"
SHARED = (
    "text varchar(100), code varchar(100) NOT NULL, create_date datetime NOT NULL, modify_date datetime NOT NULL,"
    " UNIQUE (id, code), KEY (modify_date, id, code)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
)
STATION = f"CREATE TABLE kafka_test (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, {SHARED}"
CONTROL = f"CREATE TABLE {{}} (master_id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, id bigint NOT NULL, {SHARED}"


class Spent(NamedTuple):
    """Seconds: of the clock, and of CPU, of both servers and all clients together. On a machine that others use too,
    the second says more."""

    seconds: float
    cpu: float


@dataclass(frozen=True)
class Measured:
    """Seconds (of the clock, of the process' CPU), MB, rows of one run of the product; `all_cpu` with the servers'."""

    seconds: float
    cpu: float
    peak_mb: float
    rows: int
    all_cpu: float = 0


class Fleet:
    """One station with the rows, one control. Yardstick and product take turns on them.

    `delay`: seconds of a round trip to the station, for the product and the yardstick alike."""

    # The sample table: its columns as they travel, its definition at both sides, and the values of row `seq`.
    columns, station_table, control_table = COLUMNS, STATION, CONTROL
    values = (
        "seq, CONCAT('행 ', seq, ' ', MD5(seq)), 'station-1', '2024-01-01' + INTERVAL seq SECOND,"
        " '2024-01-01' + INTERVAL seq SECOND"
    )
    expectations: str | None = "kafka_test"

    def __init__(self, folder: Path, *, delay: float = 0) -> None:
        self._folder = folder
        self._delay = delay
        self._stack = ExitStack()
        self._edits = 0
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Fleet:
        # As servers in use: durable commits, and room in memory for the tables.
        options = ["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M", "--local-infile=1"]
        self.control, self.station = (
            self._stack.enter_context(MariaDBServer(options=options, durable=True)) for _ in range(2)
        )
        for server in (self.control, self.station):
            server.create_database(DATABASE)
        self.station.execute(self.station_table, DATABASE)
        port = self._stack.enter_context(slow_port(self.station.port, self._delay)) if self._delay else None
        url = self.station.url(DATABASE)
        self._station_port = port or self.station.port
        self._content = {
            "control": {"url": self.control.url(DATABASE)},
            "tables": {
                "kafka_test": {
                    "key": ["id", "code"],
                    "modified": "modify_date",
                    "exclude": ["master_id"],
                    **({"expectations": self.expectations} if self.expectations else {}),
                    # Short, and waited for: on a schedule of minutes no run reads the edits of the one before either.
                    "lookback": LOOKBACK,
                }
            },
            "stations": {"station-1": {"url": url.replace(f":{self.station.port}/", f":{self._station_port}/")}},
        }
        self._topology = self._folder / "stations.yaml"
        self.keep_journal(True)
        return self

    def keep_journal(self, on: bool) -> None:
        """Or none, from the next first load on."""
        self._topology.write_text(yaml.safe_dump(self._content | ({} if on else {"journal": "off"})))

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._end_process()
        self._stack.close()

    def fill_station(self, rows: int) -> None:
        self.station.execute(
            f"INSERT INTO kafka_test ({self.columns}) SELECT {self.values} FROM seq_1_to_{rows}", DATABASE
        )
        self.station.execute("ANALYZE TABLE kafka_test", DATABASE)
        # Edits of the yardstick go into a table of the same rows, so that they meet the rows as ours do.
        self.station.execute("CREATE TABLE yardstick LIKE kafka_test", DATABASE)
        self.station.execute("INSERT INTO yardstick SELECT * FROM kafka_test", DATABASE)

    def first_load(self) -> tuple[Measured, Spent]:
        """All rows into an empty control: ours (a new process), and the yardstick's seconds."""
        self.control.execute(f"DROP DATABASE {DATABASE}")
        self.control.create_database(DATABASE)
        self.control.execute(self.control_table.format("yardstick"), DATABASE)
        self.control.execute(self.control_table.format("kafka_test"), DATABASE)
        yardstick = self._timed(
            lambda: self._copy(self.station, self.control, f"SELECT {self.columns} FROM kafka_test", "yardstick")
        )
        everything = load(self._topology)
        initialise(control_of(everything), pairs(everything, "station-1"))
        self._new_process()
        return self._product("pull"), yardstick

    def idle(self) -> tuple[Measured, Spent]:
        """Both directions, with nothing to do; yardstick: one question to the station, on a connection of its own."""
        self.edits_up(1)
        up, down = self._product("pull"), self._product("push")
        both = Measured(
            up.seconds + down.seconds,
            up.cpu + down.cpu,
            max(up.peak_mb, down.peak_mb),
            0,
            up.all_cpu + down.all_cpu,
        )
        return both, self._timed(lambda: self._client(self.station, "DO (SELECT MAX(modify_date) FROM kafka_test)"))

    def settle(self) -> None:
        """The first push compares everything; what is measured are the runs of every day."""
        self._product("push")

    def first_of_a_process(self, rows: int) -> tuple[Measured, Spent]:
        self._new_process()
        return self.edits_up(rows, warm=False)

    def edits_up(self, rows: int, *, warm: bool = True) -> tuple[Measured, Spent]:
        changed = self._edit(self.station, rows, warm=warm)
        ours = self._product("pull")
        return ours, self._timed(lambda: self._merge(self.station, self.control, changed))

    def edits_down(self, rows: int) -> tuple[Measured, Spent]:
        changed = self._edit(self.control, rows, warm=True)
        ours = self._product("push")
        return ours, self._timed(lambda: self._merge(self.control, self.station, changed))

    def reconcile(self) -> tuple[Measured, Spent]:
        """Both sides equal: a whole sweep, and one checksum pass of the station's table."""
        self._product("reconcile")
        ours = self._product("reconcile")
        return ours, self._timed(lambda: self._checksum(self.station))

    def differences(self) -> tuple[Measured, Spent | None]:
        """Twenty rows differ, swapped values of equal length among them: found by a dry run, and by pt-table-sync,
        where Debian's percona-toolkit is there, in a copy of the table as control has it."""
        self.control.execute("DROP TABLE IF EXISTS twin", DATABASE)
        self.control.execute("CREATE TABLE twin LIKE yardstick", DATABASE)
        self.control.execute("ALTER TABLE twin DROP COLUMN master_id, ADD PRIMARY KEY (id)", DATABASE)
        names = COLUMNS
        self.control.execute(f"INSERT INTO twin ({names}) SELECT {names} FROM kafka_test", DATABASE)
        self.control.execute("ANALYZE TABLE twin", DATABASE)
        for first in range(50_000, 1_000_000, 200_000):
            # Two that swapped their values, and two that were edited without a stamp.
            swap = f"text = CONCAT('swapped ', {first + 100_000} + {first} - id)"
            self.station.execute(f"UPDATE kafka_test SET {swap} WHERE id IN ({first}, {first + 100_000})", DATABASE)
            self.station.execute(
                f"UPDATE kafka_test SET text = 'silent' WHERE id IN ({first + 1}, {first + 2})", DATABASE
            )
        ours = self._product("compare")
        theirs = shutil.which("pt-table-sync")
        return ours, self._timed(lambda: self._pt_table_sync(theirs)) if theirs else None

    def _checksum(self, server: MariaDBServer) -> None:
        """As cheap as a checksum can be that is not blind to swapped values."""
        row = "CONCAT_WS('#', id, text, code, create_date, modify_date)"
        digest = f"CAST(CONV(LEFT(SHA1({row}), 16), 16, 10) AS UNSIGNED)"
        server.query(f"SELECT COUNT(*), BIT_XOR({digest}) FROM kafka_test", DATABASE)

    def _pt_table_sync(self, program: str) -> None:
        control, station = (f"h={s.host},P={s.port},u=root,D={DATABASE}" for s in (self.control, self.station))
        options = ["--print", "--no-check-slave", "--no-check-triggers", "--charset=utf8"]
        command = [program, *options, f"{station},t=kafka_test", f"{control},t=twin"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode not in (0, 2):
            raise RuntimeError(found.stderr)
        print(f"pt-table-sync names {len(found.stdout.splitlines())} rows")

    def _edit(self, server: MariaDBServer, rows: int, *, warm: bool) -> str:
        """Edit rows that no earlier run edited; the condition that finds them.

        `warm`: a run with nothing to do comes first, because a virtual machine takes memory back from who sleeps."""
        time.sleep(LOOKBACK + 3)
        if warm:
            self._product("pull")
        first = self._edits * rows + 1
        self._edits += 1
        which = f"id BETWEEN {first} AND {first + rows - 1}"
        server.execute(f"UPDATE kafka_test SET text = CONCAT('edit ', id), modify_date = NOW() WHERE {which}", DATABASE)
        return which

    def _new_process(self) -> None:
        self._end_process()
        command = [sys.executable, "-m", "bench.child", str(self._topology)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _end_process(self) -> None:
        if self._child is not None:
            self._child.communicate()
            self._child = None

    def _product(self, what: str) -> Measured:
        assert self._child is not None
        to, back = self._child.stdin, self._child.stdout
        assert to is not None
        assert back is not None
        before = self._servers_cpu()
        to.write(what + "\n")
        to.flush()
        answer = back.readline()
        if not answer:
            raise RuntimeError(f"{what} failed; its message is above")
        measured = Measured(**json.loads(answer))
        return replace(measured, all_cpu=measured.cpu + self._servers_cpu() - before)

    def _timed(self, work: Callable[[], None]) -> Spent:
        begun, cpu = time.perf_counter(), self._servers_cpu() + _clients_cpu()
        work()
        return Spent(time.perf_counter() - begun, self._servers_cpu() + _clients_cpu() - cpu)

    def _servers_cpu(self) -> float:
        servers = (psutil.Process(server.pid).cpu_times() for server in (self.control, self.station))
        return float(sum(times.user + times.system for times in servers))

    def _copy(self, source: MariaDBServer, target: MariaDBServer, query: str, table: str) -> None:
        file = self._export(source, query)
        self._client(
            target, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {table} CHARACTER SET utf8mb4 ({self.columns})"
        )

    def _merge(self, source: MariaDBServer, target: MariaDBServer, which: str) -> None:
        file = self._export(source, f"SELECT {COLUMNS} FROM kafka_test WHERE {which}")
        sets = "t.text = e.text, t.create_date = e.create_date, t.modify_date = e.modify_date"
        self._client(
            target,
            f"CREATE TEMPORARY TABLE e (id bigint NOT NULL, {SHARED};"
            f" LOAD DATA LOCAL INFILE '{file}' INTO TABLE e CHARACTER SET utf8mb4 ({COLUMNS});"
            f" UPDATE yardstick t JOIN e USING (id, code) SET {sets}",
        )

    def _export(self, server: MariaDBServer, query: str) -> Path:
        file = self._folder / "yardstick.tsv"
        with file.open("wb") as out:
            subprocess.run([*self._base(server), "-N", "--quick", "-e", query], stdout=out, check=True)
        return file

    def _client(self, server: MariaDBServer, sql: str) -> None:
        subprocess.run([*self._base(server), "--local-infile=1", "-e", sql], check=True)

    def _base(self, server: MariaDBServer) -> list[str]:
        client = shutil.which("mariadb") or shutil.which("mysql")
        if client is None:
            raise RuntimeError("the yardstick needs the client program `mariadb`. Run: make mariadb")
        port = self._station_port if server is self.station else server.port
        address = ["-h", server.host, "-P", str(port), "-u", "root"]
        return [client, "--no-defaults", *address, "--default-character-set=utf8mb4", DATABASE]


def _clients_cpu() -> float:
    """Of the programs that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
