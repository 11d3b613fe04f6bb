"""Judging rows by the table's expectations."""

from __future__ import annotations

from stationsync.model.changes import Checked, Chunk
from stationsync.sync.validation import Validator
from tasks.step import step
from tasks.told import RunLog


@step("validate", "validator.place")
def validate(validator: Validator, chunk: Chunk) -> Checked:
    """Put bad rows apart, with their reasons; too many of them stop the run."""
    checked = validator.validate(chunk)
    log = RunLog()
    log.info("%s rows are good, %s bad", f"{len(checked.chunk):,}", f"{len(checked.bad):,}")
    for note in checked.notes:
        log.warning(note)
    return checked
