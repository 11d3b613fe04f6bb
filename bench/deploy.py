"""`python -m bench.deploy [--stations N]`: how long a fleet takes to deploy, on a Prefect server with PostgreSQL
(SQLite where that is not installed); deployed again, when nothing changes; and after one station was added."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import yaml

from bench import postgres
from bench.soak_fleet import SoakFleet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.deploy", description=__doc__)
    parser.add_argument("--stations", type=int, default=200)
    stations = parser.parse_args().stations
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stationsync-bench-")))
        database = stack.enter_context(postgres.Postgres(folder)).url if postgres.binaries() else None
        topology = folder / "stations.yaml"
        fleet = stack.enter_context(SoakFleet(folder, 0, 1, topology, database))
        fleet.environment["BENCH_HOOK"] = "https://example.com/hook"
        print(f"{stations} stations, {'PostgreSQL' if database else 'SQLite'}")
        for what, number in (("first", stations), ("again", stations), ("one more", stations + 1)):
            _write(topology, number)
            begun = time.monotonic()
            told = fleet.run("deploy", "--create-pools")
            print(f"{what}: {time.monotonic() - begun:.1f} s: {told.strip().splitlines()[-1]}")
    return 0


def _write(topology: Path, stations: int) -> None:
    names = [f"plant-{n}" for n in range(1, stations + 1)]
    given = {
        "control": {"url": "mysql+pymysql://u@control.invalid/test"},
        "defaults": {"work_pool": "central", "schedule": {"sync": "5m", "reconcile": "30 3 * * *"}},
        "tables": {"kafka_test": {"key": ["id", "code"], "modified": "modify_date"}},
        "alerts": {"channels": {"ops": {"webhook": "${BENCH_HOOK}"}}},
        "stations": {name: {"url": f"mysql+pymysql://u@{name}.invalid/test"} for name in names},
    }
    topology.write_text(yaml.safe_dump(given))


if __name__ == "__main__":
    raise SystemExit(main())
