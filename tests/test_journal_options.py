"""`journal:` in stations.yaml."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stationsync.errors import UsageError
from stationsync.journal_options import Journal
from stationsync.topology_file import from_mapping

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
        ({"max_size": "0"}, "write a size"),
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
