"""Opening a pair: the step that finds a station off-line."""

from __future__ import annotations

from stationsync.session.session import Session
from tasks.step import step
from tasks.told import RunLog


@step("connect", "session.pair.place")
def connect(session: Session) -> None:
    """Reach the station, compare both tables, read both clocks."""
    session.open()
    skew = (session.station_clock.utc - session.control_clock.utc).total_seconds()
    columns = len(session.fit.names)
    RunLog().info("%s answers: %s columns, its clock is %+d s off control's", session.pair.name, columns, skew)
