"""Imported by the process that runners are forked from: validates one row, so that the libraries for it are there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa

from cli.drill.tables import SUITE, TABLE
from stationsync.changes import Chunk
from stationsync.suites import load_suite
from stationsync.validation import Validator
from stationsync.wire import Family


def _warm() -> None:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{TABLE}.yaml").write_text(SUITE, encoding="utf-8")
        suite = load_suite(TABLE, Path(folder))
    rows = pa.table({"id": ["1"], "text": ["a"]})
    families = {"id": Family.INTEGER, "text": Family.TEXT}
    validator = Validator("drill", suite, families, False, lambda bad, read: False, key=("id",))
    validator.validate(Chunk(rows, None, more=False))


_warm()
