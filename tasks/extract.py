"""Reading the station's rows."""

from __future__ import annotations

from stationsync.model.changes import Chunk, Position
from stationsync.pairing.watermark import Reading
from stationsync.session import extract as engine
from stationsync.session.session import Session
from stationsync.sync import runs
from tasks.step import step
from tasks.told import RunLog

Keys = tuple[tuple[str | bytes, ...], ...]


@step("extract", "session.pair.place")
def extract(session: Session, reading: Reading, after: Position | None) -> Chunk:
    """Read the next page of rows that changed since the watermark."""
    chunk = runs.extract_page(session, reading, after)
    since = after.modified if after else reading.start or "the beginning"
    RunLog().info("read %s rows from %s on%s", f"{len(chunk):,}", since, ", more to come" if chunk.more else "")
    return chunk


@step("extract-keys", "session.pair.place")
def extract_keys(session: Session, keys: Keys) -> Chunk:
    """Read single rows again, whatever their date."""
    chunk = engine.read_keys(session, keys)
    RunLog().info("read %s of %s rows again", f"{len(chunk):,}", f"{len(keys):,}")
    return chunk
