"""The folder of the local fleet, and what is noted there."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stationsync.errors import Refused

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LocalFleet:
    """What the folder holds. `scratch`: a folder with a short path, for sockets. `filled`: the databases have their
    tables and rows; applications wait for that."""

    database: str
    port: int
    scratch: str
    filled: bool = False

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Home:
    folder: Path

    @property
    def note(self) -> Path:
        return self.folder / "fleet.json"

    @property
    def topology(self) -> Path:
        return self.folder / "stations.yaml"

    @property
    def expectations(self) -> Path:
        return self.folder / "expectations"

    @property
    def databases(self) -> Path:
        return self.folder / "databases"

    @property
    def environment(self) -> Path:
        """For a person's shell: `. FILE`."""
        return self.folder / "env"

    @property
    def sql(self) -> Path:
        """A script: `FILE control "SELECT ..."`."""
        return self.folder / "sql"

    @property
    def alerts(self) -> Path:
        return self.folder / "alerts.log"

    def log(self, part: str) -> Path:
        return self.folder / "logs" / f"{part}.log"

    def process(self, part: str) -> Path:
        """Which process the part is."""
        return self.folder / "run" / f"{part}.json"

    def answer(self, part: str) -> Path:
        """What the part says of itself once it is ready. It stays, so that the part takes the same port again."""
        return self.folder / "run" / f"{part}.ready.json"

    def read(self) -> LocalFleet | None:
        found = read_json(self.note)
        return LocalFleet(**found) if found else None

    def write(self, fleet: LocalFleet) -> None:
        write_json(self.note, asdict(fleet))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time. The folder itself is the lock, so that nothing else is left behind."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        make_own(self.folder)
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock), self.folder.stat()):
                raise FileNotFoundError  # a `down` has just removed it
            yield
        except (BlockingIOError, FileNotFoundError) as error:
            if error.filename is not None:
                raise
            raise Refused(
                str(self.folder),
                "another `up` or `down` is under way there.",
                not_done="Nothing was done.",
                next_step="Try again when it has ended.",
            ) from None
        finally:
            os.close(lock)


def make_own(folder: Path) -> None:
    """Ours and nobody else's. Raises Refused where somebody else made it, or made a link of it: in a folder that all
    may write to, whoever guesses a name could wait there for our files."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise Refused(
                str(folder),
                "belongs to somebody else, or is no folder.",
                not_done="Nothing was started, and nothing there was touched.",
                next_step="Name a folder of your own: --folder FOLDER",
            ) from None


def home_at(folder: Path | None) -> Home:
    """In the checkout; where there is none, in the working directory."""
    base = _CHECKOUT if (_CHECKOUT / "Makefile").exists() else Path.cwd()
    return Home((folder or base / ".fleet").resolve())


def read_json(file: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(file)
