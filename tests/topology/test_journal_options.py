"""`journal:` in stations.yaml."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases

from stationsync.errors import UsageError
from stationsync.journal.place import place_of
from stationsync.topology.options import Journal
from stationsync.topology.topology_file import from_mapping

FLEET: dict[str, Any] = {
    "control": {"url": "sqlite:///control.db"},
    "tables": {"a": {"key": ["id"], "modified": "changed"}},
    "stations": {"s": {"url": "sqlite:///s.db"}},
}


def journal(folder: Path, *given: Any) -> Journal:
    """As it is read where the file says `given`, or nothing."""
    return from_mapping({**FLEET, **({"journal": given[0]} if given else {})}, folder).journal


def test_by_default_it_is_a_folder_next_to_the_file_and_keeps_a_week(tmp_path: Path) -> None:
    found = journal(tmp_path)
    assert found.url == str(tmp_path / "journal")
    assert (found.retention, found.max_size, found.required) == (timedelta(hours=168), None, True)
    assert from_mapping(FLEET).journal.url is None, "what is no file has no place for it"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("off", None),
        (None, None),
        ({"url": "off"}, None),
        ("elsewhere", "{folder}/elsewhere"),
        ({"url": "/var/lib/journal"}, "/var/lib/journal"),
        ({"url": "s3://bucket/journal/"}, "s3://bucket/journal"),
        ({"url": "s3://bucket/j?region=eu-west-1&endpoint_override=minio:9000"}, "s3://bucket/j?region=eu-west-1"),
        ({"retention": "1h"}, "{folder}/journal"),
    ],
)
def test_where_it_is(given: Any, url: str | None, tmp_path: Path) -> None:
    found = journal(tmp_path, given).url
    wanted = url and url.format(folder=tmp_path)
    assert found == wanted or (found and wanted and "?" in wanted and found.startswith(wanted))


def test_its_limits(tmp_path: Path) -> None:
    found = journal(tmp_path, {"retention": "2d", "max_size": "1.5GB", "required": "false"})
    assert (found.retention, found.max_size, found.required) == (timedelta(days=2), 1_500_000_000, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "s3://key:hunter2@bucket/j"}, "journal.url: holds a user, a password or a key"),
        ({"url": "s3://bucket/j?secret_key=hunter2"}, "holds a user, a password or a key"),
        ({"url": "s3://bucket/j?access_key=hunter2"}, "holds a user, a password or a key"),
        ({"url": "abfs://c@hunter2.dfs/j?sas_token=x"}, "holds a user, a password or a key"),
        ({"url": " "}, "names no place"),
        ({"max_size": "hunter2"}, "write a size"),
        ({"max_size": "0"}, "greater than 0"),
        ({"retention": "hunter2"}, "write a duration"),
        ({"retain": "1h"}, "unknown field"),
        ([1], "write a folder"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_of_it_repeated(given: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        journal(tmp_path, given)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_its_files_are_for_their_owner_and_group_whoever_runs_first(tmp_path: Path, umask: int) -> None:
    """Root's first command gives them to whoever has the folder above; nobody else may read them."""
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, 12345, 23456)
    place, before = place_of(str(state / "journal")), os.umask(umask)
    try:
        file = place.create("2026/03/a.parquet")
        place.seal("2026/03/a.parquet", file)
        place.move("2026/03/a.parquet", "2026/04/b.parquet")
    finally:
        os.umask(before)
    made = [state / "journal", state / "journal/2026", state / "journal/2026/04", state / "journal/2026/04/b.parquet"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o2770, 0o2770, 0o2770, 0o660]
    owner = (state.stat().st_uid, state.stat().st_gid)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {owner}


def test_check_tries_it_and_tells_who_else_may_read_it(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path)
    command.topology["journal"] = str(tmp_path / "journal")
    command.well("init")
    assert "journal" not in command.well("check").out
    assert not (tmp_path / "journal").exists(), "nothing is left of the try"

    (tmp_path / "journal").mkdir(mode=0o755)
    assert "every user of this machine may read it" in command.well("check").out
    (tmp_path / "file").touch()
    command.topology["journal"] = str(tmp_path / "file" / "journal")
    done = command("check")
    assert (done.code, "cannot create" in done.out) == (1, True)
