"""What a run knows of its pair when it begins, and from where to where it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from stationsync.database.dialect import Clock
from stationsync.keeping import books
from stationsync.model.changes import Direction, Position
from stationsync.pairing.decide import moment
from stationsync.pairing.stamp_zone import StampsSeen
from stationsync.pairing.watermark import Mark, Reading, plan, steady
from stationsync.rollback import remembered
from stationsync.session.session import Session
from stationsync.sync import leaving


def recall(session: Session) -> Mapping[Direction, Mark]:
    """What is known of the pair from the runs before, into `Session.known`; the marks themselves."""
    with session.transaction():
        marks = books.read_marks(session.control, session.pair)
        left = leaving.any_left(session)
    up = marks[Direction.UP]
    leaving.require_accepted(session, up)
    # Of a table that is new to us there is nothing to know again.
    newest = () if up.watermark is None and up.newest is None else up.newest
    stamps = up.stamps if up.about == session.about else None
    before = _plan(session, up, session.station_clock).before
    settle = session.pair.options.settle
    session.known = replace(
        session.known,
        reads_all=up.watermark is None or up.about not in (None, session.about),
        accepted=up.watermark is None and up.newest is not None,
        left=left,
        clock_offset=steady(up.clock_offset, session.station_clock.now - session.control_clock.now),
        window=remembered.window_of(up, before, settle, session.station_clock, session.control_clock),
        remembered=up.remembered,
        doubtful=up.remembered is not None and up.remembered.doubtful,
        newest=newest,
        newest_before=newest,
        stamped=StampsSeen(),
        stamps=stamps,
        stamps_before=stamps,
    )
    return marks


def planned_pull(session: Session) -> Reading:
    """From where to where a pull reads."""
    reading = _anew_or_on(session, recall(session)[Direction.UP], session.station_clock)
    return _from_newest(reading, session.known.newest)


def planned_push(session: Session) -> Reading:
    return _anew_or_on(session, recall(session)[Direction.DOWN], session.control_clock)


def _anew_or_on(session: Session, mark: Mark, source: Clock) -> Reading:
    about = session.about
    if mark.about not in (None, about):
        # Another table, database or column than it was made for: everything is read again, and mostly equals B.
        mark = Mark(clock_measured=mark.clock_measured, clock_offset=mark.clock_offset)
    reading = _plan(session, mark, source)
    return replace(reading, mark=replace(reading.mark, about=about, skew=session.skew))


def _plan(session: Session, mark: Mark, source: Clock) -> Reading:
    options = session.pair.options
    return plan(
        mark,
        source,
        session.control_clock,
        lookback=options.lookback,
        settle=options.settle,
        max_hold=options.max_hold,
    )


def _from_newest(reading: Reading, newest: tuple[Position, ...] | None) -> Reading:
    """Begin right behind the newest row that was seen, where that is before the watermark: nothing was stamped between
    them until now, so what is there came late, or is stamped in another zone."""
    if reading.start is None or reading.after is not None or newest is None:
        return reading
    seen = moment(newest[0].modified) if newest else None
    if seen is None or seen >= reading.start:
        return reading if newest else replace(reading, start=None)
    return replace(reading, start=seen + timedelta(microseconds=1))
