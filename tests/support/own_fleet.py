"""A fleet that is begun and added to by the commands of the first hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from support.command import Done, _here, snapshot
from support.databases import MariaDBDatabases


class OwnFleet:
    """A folder that `new` makes, with a station that is added to it."""

    def __init__(self, databases: MariaDBDatabases, folder: Path) -> None:
        self.databases, self.folder = databases, folder
        self.environment: dict[str, str] = {"STATIONSYNC_TOPOLOGY": str(folder / "stations.yaml")}

    @classmethod
    def made(cls, databases: MariaDBDatabases, folder: Path) -> Self:
        fleet = cls(databases, folder)
        fleet.well("new", folder, "--control", databases.control_url)
        fleet.well("add-station", "station-1", databases.station_url(1))
        return fleet

    def __call__(self, *args: object, answer: str = "") -> Done:
        return _here([str(arg) for arg in args], self.environment, answer)

    def well(self, *args: object) -> Done:
        done = self(*args)
        assert done.code == 0, done
        return done

    def state(self) -> tuple[Any, ...]:
        """Every file with its bytes and rights, and all that stands in the databases."""
        files = {
            str(path): (path.read_bytes(), path.stat().st_mode) for path in self.folder.rglob("*") if path.is_file()
        }
        return files, sorted(self.folder.rglob("*")), snapshot(self.databases, "control", 1)

    def refused(self, *args: object, code: int) -> str:
        before = self.state()
        done = self(*args)
        assert done.code == code, done
        assert self.state() == before
        assert "Traceback" not in done.err
        assert "nexpected" not in done.err
        return done.err
