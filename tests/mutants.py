"""`make mutants`: each fault of mutants.toml is put into a copy of the product, and its tests must fail.

Exit code 1 where one survives, where the tests fail without any fault, or where a fault has no place any more.
Arguments choose faults by a part of their name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PASSED, _FAILED, _NOTHING_CHOSEN = 0, 1, 5


@dataclass(frozen=True)
class Mutant:
    """A fault: `old` in `file` becomes `new`. `tests`: files or folders; `only`: which of theirs, as pytest's -k."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str


def mutants() -> list[Mutant]:
    found = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**one, "tests": tuple(one["tests"])}) for one in found]


def misplaced(mutant: Mutant) -> bool:
    """Whether its line is not in its file, or there more than once."""
    file = ROOT / mutant.file
    return not file.exists() or file.read_text(encoding="utf-8").count(mutant.old) != 1


def main(wanted: list[str]) -> int:
    chosen = [one for one in mutants() if not wanted or any(part in one.name for part in wanted)]
    wrong = [one.name for one in chosen if misplaced(one)]
    if wrong or not chosen:
        print(f"No place in its file: {'; '.join(wrong)}" if wrong else "No such mutant.")
        return 1
    with tempfile.TemporaryDirectory(prefix="stationsync-mutants-") as folder:
        copy = Path(folder) / "product"
        _copy(copy)
        survived = [one.name for one in chosen if not _is_killed(copy, one)]
    print(f"{len(chosen) - len(survived)} of {len(chosen)} killed")
    return 1 if survived else 0


def _copy(to: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def _is_killed(copy: Path, mutant: Mutant) -> bool:
    """Whether its tests pass without it, and fail with it."""
    file = copy / mutant.file
    sound = file.read_text(encoding="utf-8")
    without = _run(copy, mutant)
    file.write_text(sound.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        with_it = _run(copy, mutant)
    finally:
        file.write_text(sound, encoding="utf-8")
    what = {(_PASSED, _FAILED): "killed", (_PASSED, _PASSED): "SURVIVED"}.get((without, with_it))
    if _NOTHING_CHOSEN in (without, with_it):
        what = "NO TEST CHOSEN"
    print(f"{what or f'UNCLEAR: exit codes {without}, {with_it}'}: {mutant.name}", flush=True)
    return what == "killed"


def _run(copy: Path, mutant: Mutant) -> int:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-o", "addopts=", "-n", "0", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        [*command, "-k", mutant.only, *mutant.tests],
        cwd=copy, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
