"""Brings in, once, what validating the first row imports: for processes that others are forked from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from stationsync.model.changes import Chunk
from stationsync.model.wire import Family
from stationsync.sync.suites import load_suite
from stationsync.sync.validation import Validator

_SUITE = """
name: warm
expectations:
  - type: expect_column_values_to_not_be_null
    kwargs: {column: id}
  - type: expect_column_values_to_match_regex
    kwargs: {column: text, regex: a}
"""


def validate_one_row() -> None:
    """Some seconds, the first time."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "warm.yaml").write_text(_SUITE, encoding="utf-8")
        suite = load_suite("warm", Path(folder))
    rows = pa.table({"id": ["1"], "text": ["a"]})
    families = {"id": Family.INTEGER, "text": Family.TEXT}
    validator = Validator("warm", suite, families, False, lambda bad, read: False, key=("id",))
    validator.validate(Chunk(rows, None, more=False))
