"""What a merged page leaves in the books, in the transaction that merges it: its bad rows, and the mark."""

from __future__ import annotations

from dataclasses import replace

from stationsync.keeping import books
from stationsync.model.changes import Checked, Chunk, Counts, Direction
from stationsync.pairing.watermark import Mark, Reading
from stationsync.rollback import remembered
from stationsync.session.session import Session
from stationsync.sync import stamps_seen


def quarantine_bad(session: Session, checked: Checked, reading: Reading | None) -> Counts:
    why = [bad.reason for bad in checked.bad]
    # A page knows less than what is read by key: all rows that wait for each other.
    kept = books.quarantine_rows(session, Direction.UP, checked.bad_rows, why, renew=reading is None)
    return kept + Counts(read=len(why))


def move_mark(session: Session, chunk: Chunk, reading: Reading | None) -> None:
    if reading is not None:
        session.known = replace(session.known, newest=remembered.newest_with(session, chunk))
        stamps = stamps_seen.after(session, chunk, reading)
        facts = remembered.to_remember(session, more=chunk.more)
        mark: Mark = reading.remember(chunk.last, more=chunk.more)
        mark = replace(mark, newest=session.known.newest, stamps=stamps, remembered=facts)
        books.write_mark(session.control, session.pair, Direction.UP, mark)
    else:
        remembered.remember(session)
