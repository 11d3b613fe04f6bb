"""Writing a chunk to control."""

from __future__ import annotations

from stationsync.model.changes import Checked, Counts
from stationsync.pairing.watermark import Reading
from stationsync.session.session import Session
from stationsync.sync import merge as engine
from tasks.report import in_words
from tasks.step import step
from tasks.told import RunLog


@step("merge", "session.pair.place")
def merge(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    """Merge a chunk in one transaction of control: rows, base, conflicts, quarantine and watermark, or nothing."""
    counts = engine.merge_chunk(session, checked, reading)
    RunLog().info("%s", in_words(counts))
    return counts
