"""The steps of a pull, a push and a reconcile as tasks, each with the line that it leaves in the run's log."""

from __future__ import annotations

from stationsync.model.changes import Checked, Chunk, Counts, Position
from stationsync.pairing.watermark import Reading
from stationsync.reconcile.compare import KINDS, Comparison, Difference
from stationsync.reconcile.scan import Scan, Scanner, differences
from stationsync.session import extract as extracting
from stationsync.session.session import Session
from stationsync.sync import merge as merging
from stationsync.sync import push as pushing
from stationsync.sync import runs
from stationsync.sync.push import Pushed
from stationsync.sync.validation import Validator
from tasks.step import step
from tasks.told import RunLog

Keys = tuple[tuple[str | bytes, ...], ...]


@step("connect", "session.pair.place")
def connect(session: Session) -> None:
    """Reach the station, compare both tables, read both clocks: what finds a station off-line."""
    session.open()
    skew = (session.station_clock.utc - session.control_clock.utc).total_seconds()
    columns = len(session.fit.names)
    RunLog().info("%s answers: %s columns, its clock is %+d s off control's", session.pair.name, columns, skew)


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
    chunk = extracting.read_keys(session, keys)
    RunLog().info("read %s of %s rows again", f"{len(chunk):,}", f"{len(keys):,}")
    return chunk


@step("validate", "validator.place")
def validate(validator: Validator, chunk: Chunk) -> Checked:
    """Put bad rows apart, with their reasons; too many of them stop the run."""
    checked = validator.validate(chunk)
    log = RunLog()
    log.info("%s rows are good, %s bad", f"{len(checked.chunk):,}", f"{len(checked.bad):,}")
    for note in checked.notes:
        log.warning(note)
    return checked


@step("merge", "session.pair.place")
def merge(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    """Merge a chunk in one transaction of control: rows, base, conflicts, quarantine and watermark, or nothing."""
    counts = merging.merge_chunk(session, checked, reading)
    RunLog().info("%s", ", ".join(counts.in_words()))
    return counts


@step("push", "session.pair.place")
def push(session: Session, reading: Reading | None, after: Position | None) -> Pushed:
    """Write the next page of control's edits where the station's row is still what we know; then note it."""
    pushed = pushing.push_page(session, reading, after)
    what = "waiting rows" if reading is None else "edits"
    RunLog().info("%s: %s%s", what, ", ".join(pushed.counts.in_words()), ", more to come" if pushed.more else "")
    return pushed


@step("compare", "scanner.place")
def compare(scanner: Scanner, scan: Scan) -> Scan:
    """Compare the next ranges of both sides by checksums, for some seconds."""
    further = scanner.stretch(scan)
    ranges = further.ranges - scan.ranges
    differ = len({*further.unequal, *further.at_control})
    RunLog().info(
        "%s ranges compared, %s so far; %s rows equal, %s ranges differ%s",
        f"{ranges:,}", f"{further.ranges:,}", f"{further.equal.rows:,}", f"{differ:,}",
        "" if further.done else ", more to come",
    )  # fmt: skip
    return further


@step("look-into", "comparison.place")
def look_into(comparison: Comparison, scan: Scan) -> Difference:
    """Find the rows that differ, in the ranges that do."""
    found = differences(comparison, scan)
    said = ", ".join(f"{words} {n:,}" for kind, words in KINDS.items() if (n := found.count(kind)))
    RunLog().info("%s", said or "nothing differs")
    return found
