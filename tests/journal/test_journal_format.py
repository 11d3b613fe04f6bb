"""The journal's records, without any database."""

from __future__ import annotations

import pyarrow as pa
import pytest

from stationsync.journal.format import key_column, partition, staging_folder
from stationsync.model.wire import key_texts

KEYS = {
    "plain": ["1", "22", "행 🚉"],
    "quoted": ["1", 'say "hi"', "back\\slash"],
    "control characters": ["a\tb", "line\nbreak", "\x00"],
    "with null": ["1", None, "3"],
    "bytes": [b"\x00\xff", b"abc", b""],
    "empty": ["", " ", "''"],
    "none": [],
}


@pytest.mark.parametrize("first", KEYS)
@pytest.mark.parametrize("second", ["plain", "quoted"])
def test_keys_are_written_as_everywhere_else(first: str, second: str) -> None:
    size = len(KEYS[first])
    kind = pa.binary() if first == "bytes" else pa.string()
    rows = pa.table({"a": pa.array(KEYS[first], kind), "b": pa.array(KEYS[second][:size], pa.string())})
    for key in (("a",), ("a", "b"), ("b", "a")):
        assert key_column(rows, key).to_pylist() == key_texts(rows, key)
        assert key_column(rows.slice(1), key).to_pylist() == key_texts(rows.slice(1), key)


def test_a_key_in_several_pieces() -> None:
    rows = pa.concat_tables([pa.table({"a": ["1"]}), pa.table({"a": ['"2"']})])
    assert key_column(rows, ("a",)).to_pylist() == ['["1"]', '["\\"2\\""]']


def test_no_name_leaves_its_folder() -> None:
    for name in ("../up", "a/b", "a b", "..", "_staging"):
        for path, parts in ((partition(name, "s", "2026-11-23"), 3), (staging_folder("o", name, "s"), 4)):
            assert len(path.split("/")) == parts
            assert ".." not in path.split("/")
    assert partition("a/b", "s", "2026-11-23") == "table=a%2Fb/station=s/day=2026-11-23"
