"""Bringing control's edits down."""

from __future__ import annotations

from stationsync import push as engine
from stationsync.changes import Position
from stationsync.push import Pushed
from stationsync.session import Session
from stationsync.watermark import Reading
from tasks.report import in_words
from tasks.step import step
from tasks.told import RunLog


@step("push", "session.pair.place")
def push(session: Session, reading: Reading | None, after: Position | None) -> Pushed:
    """Write the next page of control's edits where the station's row is still what we know; then note it."""
    pushed = engine.push_page(session, reading, after)
    what = "waiting rows" if reading is None else "edits"
    RunLog().info("%s: %s%s", what, in_words(pushed.counts), ", more to come" if pushed.more else "")
    return pushed
