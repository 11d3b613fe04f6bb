"""A fleet on one machine, with schedules of a minute, under random kills: python -m bench.soak --help

Applications write at all stations and at control all the time; workers, their runs and the Prefect server are killed.
At the end every acknowledged write is at both sides, was replaced by somebody who had seen it, or is kept; both sides
are equal; no slot is taken; no run worked twice."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench import soak_report
from bench.postgres import Postgres, binaries
from bench.soak_fleet import SoakFleet
from bench.soak_world import SoakWorld, writing
from cli.drill.actors import Actors
from cli.drill.history import Setting
from cli.drill.invariants import problems
from cli.drill.reading import read

# Seconds after the last kill within which everything that was started before has come to its end.
_SETTLE = 240


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="stationsync-soak-") as name, ExitStack() as stack:
        found = _soak(options, Path(name), stack)
        for log in Path(name).glob("*.log"):
            if options.logs:
                (Path(options.logs) / log.name).write_bytes(log.read_bytes())
    print(json.dumps(found, indent=1, default=str))
    return 1 if found["problems"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--stations", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=8, help="runs at the same time, per worker")
    parser.add_argument("--every", type=float, default=45, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logs", help="a folder to leave the logs in")
    return parser.parse_args()


def _soak(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    setting = Setting(stations=options.stations, deletes="archive", page_rows=500, suite=True, sweeps=True)
    world = SoakWorld()
    stack.callback(world.close)
    world.build(setting)
    topology = folder / "stations.yaml"
    topology.write_text(yaml.safe_dump(_topology(world, setting)))
    _suite(folder)
    database = stack.enter_context(Postgres(folder)).url if binaries() else None
    fleet = stack.enter_context(SoakFleet(folder, options.workers, options.limit, topology, database))
    fleet.environment["STATIONSYNC_EXPECTATIONS"] = str(folder)
    fleet.run("init")
    fleet.run("deploy", "--create-pools")
    fleet.start_workers()
    actors = Actors(world, setting)
    begun = time.time()
    with writing(actors, setting, options.seed):
        _kill(fleet, options)
        ended = datetime.now(UTC)
    print(f"{len(actors.ledger.facts):,} writes acknowledged; waiting for the last runs", file=sys.stderr)
    time.sleep(min(_SETTLE, 60 * options.minutes))
    _pause(fleet)
    runs = soak_report.read(fleet.url, setting.names, ended)
    # The last word of a sweep: deletes and unstamped edits.
    for station in setting.names:
        fleet.run("sync", station)
        fleet.run("reconcile", station)
        fleet.run("sync", station)
    seen = read(world, setting)
    found = [*runs.problems, *problems(actors.ledger, seen, setting)]
    return {
        "stations": options.stations, "minutes": round((time.time() - begun) / 60, 1), "seed": options.seed,
        "database": "PostgreSQL" if database else "SQLite", "runs": dict(sorted(runs.states.items())),
        "longest gap between two successes, seconds": dict(sorted(runs.longest_gap.items(), key=lambda x: -x[1])[:5]),
        "writes acknowledged": len(actors.ledger.facts), "writes refused": actors.refused,
        "conflicts": len(seen.conflicts), "in quarantine": len(seen.held), "deleted": len(seen.trash),
        "killed": len(fleet.killed), "kills": _kinds(fleet), "problems": found[:50],
    }  # fmt: skip


def _topology(world: SoakWorld, setting: Setting) -> dict[str, Any]:
    content = world.stations_yaml(setting)
    content["defaults"] = {
        "work_pool": "soak",
        "fleet": "soak",
        "schedule": {"sync": "1m", "reconcile": "10m", "watchdog": "1m"},
        "stale_after": "5m",
    }
    return content


def _suite(folder: Path) -> None:
    from cli.drill.tables import SUITE, TABLE

    (folder / f"{TABLE}.yaml").write_text(SUITE)


def _kill(fleet: SoakFleet, options: argparse.Namespace) -> None:
    chance, until = random.Random(options.seed), time.monotonic() + 60 * options.minutes
    time.sleep(min(60.0, 20 * options.minutes))
    while time.monotonic() < until:
        fleet.kill_something(chance)
        time.sleep(chance.uniform(0.5, 1.5) * options.every)


def _pause(fleet: SoakFleet) -> None:
    """No more runs; those under way end."""
    import asyncio

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.settings import PREFECT_API_URL, temporary_settings

    async def pause() -> None:
        async with get_client() as client:
            found: list[DeploymentResponse] = []
            while page := await client.read_deployments(offset=len(found)):
                found += page
            for one in found:
                await client.pause_deployment(one.id)

    with temporary_settings({PREFECT_API_URL: fleet.url}):
        asyncio.run(pause())
    time.sleep(30)


def _kinds(fleet: SoakFleet) -> dict[str, int]:
    kinds = [what.partition(" (")[0] for _, what in fleet.killed]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


if __name__ == "__main__":
    sys.exit(main())
