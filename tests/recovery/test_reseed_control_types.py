"""Values of every type and keys of every kind come back byte for byte, from the base and from the journal alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.databases import MariaDBDatabases
from support.key_cases import KEYS, ROWS
from support.mirror import Mirror, fill, mirror_of
from support.sweeps import found, sweep
from support.type_cases import GROUPS, table_of

from stationsync.model.changes import Status
from stationsync.recovery import reseed_control

# Of each way in which a key is printed, compared and ordered.
SOME = ["decimal", "double", "text, case-insensitive", "varbinary", "bit", "enum", "timestamp(3)", "three columns"]


def lose_and_give_back(mirror: Mirror, rows: int) -> None:
    """First with the base, then without it; equal by a sweep, and by the bytes of both sides."""
    (pair,) = mirror.fleet.pairs()
    for books in (True, False):
        mirror.run("control", ["DELETE FROM t", *([] if books else ["DELETE FROM stationsync_base_t"])])
        report = reseed_control.reseed(pair)
        assert (report.counts.applied, report.counts.quarantined) == (rows, 0), report
        mirror.require_equal()
        swept = sweep(mirror.fleet)
        assert (swept.status, found(swept)) == (Status.NOTHING, {})


@pytest.mark.some(0, 3)
@pytest.mark.parametrize("group", GROUPS)
def test_values_of_every_type(group: str, mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    columns, rows = table_of(group)
    mirror = Mirror(mariadb_databases, columns, journal=tmp_path / "journal")
    mirror.fleet.init()
    mirror.insert(1, [[str(number), *row] for number, row in enumerate(rows)], ["id", *GROUPS[group]])
    mirror.sync()
    lose_and_give_back(mirror, len(rows))


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("kind", SOME)
def test_keys_of_every_kind(kind: str, mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    columns, rows = KEYS[kind]
    mirror = mirror_of(mariadb_databases, columns, journal=tmp_path / "journal")
    fill(mirror, columns, rows)
    mirror.sync()
    lose_and_give_back(mirror, ROWS)
