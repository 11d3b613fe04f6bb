"""The `stationsync` command over a topology file: in this process, which is quick, or as the installed program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import typer.testing
import yaml
from typer.testing import CliRunner

from cli.main import app
from support.databases import Databases, Where
from support.fleet import KAFKA_TEST
from support.waiting import PATIENCE

# The runner builds all commands anew for each call, which takes longer than most commands do.
typer.testing._get_command = lru_cache(typer.main.get_command)

PROGRAM = Path(sys.executable).with_name("stationsync")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Command:
    """A topology file over the databases of a test: stations 1..n with the tables of `tables`.

    `installed` runs the console script as a person does, each time a process of its own."""

    def __init__(
        self,
        databases: Databases,
        folder: Path,
        stations: int = 1,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        installed: bool = False,
        **options: Any,
    ) -> None:
        self.databases = databases
        self._run = _in_a_process if installed else _here
        self.file = folder / "stations.yaml"
        self.environment: dict[str, str] = {}
        tables = {"kafka_test": KAFKA_TEST} if tables is None else tables
        self.topology: dict[str, Any] = {
            "control": {"url": databases.url("control")},
            "tables": {name: {**table, **options} for name, table in tables.items()},
            "stations": {f"station-{n}": {"url": databases.url(n)} for n in range(1, stations + 1)},
        }

    def __call__(self, *args: object, answer: str | None = None) -> Done:
        """Run it; `answer` is typed at its question."""
        self.file.write_text(yaml.safe_dump(self.topology, sort_keys=False), encoding="utf-8")
        environment = {"STATIONSYNC_TOPOLOGY": str(self.file), **self.environment}
        return self._run([str(arg) for arg in args], environment, answer or "")

    def alone(self, *args: object) -> Done:
        """In a process of its own, whatever this one has loaded: Prefect reads its settings once."""
        here, self._run = self._run, _in_a_process
        try:
            return self(*args)
        finally:
            self._run = here

    def well(self, *args: object) -> Done:
        done = self(*args)
        assert done.code == 0, done
        return done

    def ids(self, *args: object) -> list[int]:
        """The ids that a list command prints."""
        (rows,) = (value for value in self.well(*args, "--json").json.values() if isinstance(value, list))
        return [row["id"] for row in rows]


def _in_a_process(args: list[str], environment: dict[str, str], answer: str) -> Done:
    done = subprocess.run(
        [str(PROGRAM), *args],
        env=os.environ | environment,
        input=answer,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _here(args: list[str], environment: dict[str, str], answer: str) -> Done:
    done = CliRunner().invoke(app, args, input=answer, env=environment)
    return Done(done.exit_code, done.stdout, done.stderr)


def snapshot(databases: Databases, *places: Where) -> dict[str, list[Any]]:
    """Every table of these databases with its rows, to see that nothing was written."""
    found = {}
    for where in places:
        for table in _tables(databases, where):
            found[f"{where}.{table}"] = sorted(databases.query(where, f"SELECT * FROM `{table}`"), key=repr)
    return found


def _tables(databases: Databases, where: Where) -> list[str]:
    sql = "SHOW TABLES" if databases.kind == "mariadb" else "SELECT name FROM sqlite_master WHERE type = 'table'"
    return [str(row[0]) for row in databases.query(where, sql)]
