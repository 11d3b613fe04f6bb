"""Bringing control's edits down."""

from __future__ import annotations

from stationsync.model.changes import Position
from stationsync.pairing.watermark import Reading
from stationsync.session.session import Session
from stationsync.sync import push as engine
from stationsync.sync.push import Pushed
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
