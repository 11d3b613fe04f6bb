"""`make test-servers`: the engine's stories on other servers than this machine's, at either side.

    python tests/servers.py FOLDER [--few | CONTROL:STATION …]

FOLDER has what `.ci/get-servers` unpacks; `own` is this machine's MariaDB. Without pairs, those of README's table whose
servers are there; what is left out is said. `--few`: a share of the stories, on one pair. Exit code 1 where one
fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OWN = "own"
PAIRS = (
    "mariadb-11.8:own", "own:mariadb-11.8", "mariadb-10.5:mariadb-11.8", "mysql-9:own", "own:mysql-9",
    "mysql-9:mysql-9",
)  # fmt: skip
# The main job, conflicts, types, faults, deletes and reconciles, filters and keys.
STORIES = tuple(
    f"tests/{name}.py"
    for name in (
        "sync/test_main_route", "sync/test_conflicts", "sync/test_routing", "sync/test_faults", "sync/test_row_filters",
        "sync/test_key_clashes", "database/test_types", "reconcile/test_reconcile", "reconcile/test_reconcile_types",
        "reconcile/test_deletes", "keeping/test_bad_rows", "pairing/test_keys",
    )
)  # fmt: skip
FEW = tuple(
    f"tests/{name}.py"
    for name in ("sync/test_main_route", "sync/test_routing", "database/test_types", "reconcile/test_deletes")
)
FEW_PAIR = "mysql-9:mariadb-11.8"


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    folder, *pairs = arguments
    stories = STORIES
    if pairs == ["--few"]:
        pairs, stories = [FEW_PAIR], FEW
    failed = []
    for pair in pairs or PAIRS:
        control, _, station = pair.partition(":")
        folders = {"TEST_CONTROL": _folder(folder, control), "TEST_STATION": _folder(folder, station)}
        missing = [name for name in (control, station) if name != OWN and not _ready(folder, name)]
        if missing:
            print(f"{pair}: left out, {' and '.join(missing)} is not in {Path(folder).name}", flush=True)
            continue
        print(f"{pair}: control on {control}, the station on {station}", flush=True)
        given = {name: value for name, value in folders.items() if value}
        command = [sys.executable, "-m", "pytest", "-q", "-k", "not sqlite", *stories]
        if subprocess.run(command, env=os.environ | given, check=False).returncode:
            failed.append(pair)
    print(f"failed: {', '.join(failed)}" if failed else "all stories hold")
    return 1 if failed else 0


def _folder(folder: str, name: str) -> str:
    return "" if name == OWN else str(Path(folder).resolve() / name / "bin")


def _ready(folder: str, name: str) -> bool:
    return (Path(folder) / name / "bin" / "ready").exists()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
