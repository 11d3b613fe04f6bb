"""Stamps against the clock, of an open pair: what its runs saw of rows of another zone (`stamp_zone` judges)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from stationsync.model.changes import Chunk
from stationsync.model.wire import Family
from stationsync.pairing import stamp, stamp_zone
from stationsync.pairing.decide import moment
from stationsync.pairing.stamp_zone import Evidence
from stationsync.pairing.watermark import Reading
from stationsync.session.session import Session

# So many of the first and of the last rows of a chunk, in the order of their stamps.
_LOOKED_AT = 500


def after(session: Session, chunk: Chunk, reading: Reading) -> Evidence | None:
    """What is known when this chunk, too, was read."""
    # Behind the place where a run was cut off, old rows are no late ones.
    since = reading.before if reading.after is None else None
    known = session.known
    newest = moment(known.newest_before[0].modified) if known.newest_before else None
    clock = session.station_clock
    stamped = known.stamped.with_stamps(_ends(session, chunk), clock.now, since, newest)
    stamps = stamp_zone.judge(known.stamps_before, stamped, clock, since)
    session.known = replace(session.known, stamped=stamped, stamps=stamps)
    return stamps


def warnings(session: Session) -> list[str]:
    """As far as is known now."""
    what = f"the newest stamps in {', '.join(session.fit.stamps)}"
    zone = session.pair.options.modified_zone
    found = stamp_zone.warning(session.known.stamps, session.station_clock, what, zone, instants=_instants(session))
    return [found] if found else []


def of_edits(session: Session, stamps: pa.ChunkedArray, known: pa.ChunkedArray) -> None:
    """Of a page of control's edits: those that their application stamped anew."""
    pairs = zip(stamps.to_pylist(), known.to_pylist(), strict=True)
    found = [at for own, base in pairs if own != base and (at := moment(own)) is not None]
    session.known = replace(
        session.known, edited=session.known.edited.with_stamps(found, session.control_clock.now, None, None)
    )


def warnings_of_edits(session: Session) -> list[str]:
    clock, pair = session.control_clock, session.pair
    evidence = stamp_zone.judge(None, session.known.edited, clock, None)
    what = f"control's edits: the newest stamps in {', '.join(session.fit.stamps)}"
    found = stamp_zone.warning(evidence, clock, what, pair.control_zone, instants=_instants(session))
    return [found] if found else []


def _instants(session: Session) -> bool:
    return session.fit.by_name[session.fit.modified].station.family is Family.TIMESTAMP


def _ends(session: Session, chunk: Chunk) -> list[datetime]:
    stamps = stamp.of_rows(session.fit, chunk.rows)
    texts = stamps.slice(0, _LOOKED_AT).to_pylist()
    texts += stamps.slice(max(_LOOKED_AT, len(stamps) - _LOOKED_AT)).to_pylist()
    return [at for at in map(moment, texts) if at is not None]
