"""A delete on one side against an edit on the other: kept in the conflict table, in the caller's transaction."""

from __future__ import annotations

from stationsync.keeping import replaced
from stationsync.keeping.replaced import Replaced, Version
from stationsync.model.changes import Policy
from stationsync.model.wire import key_text
from stationsync.session.session import Session

COMES_BACK = "control deleted the row; the station had changed it, and its version comes back"


def by_station(session: Session, control: Version, base: Version) -> tuple[str, str]:
    """The station deleted a row that control had edited. A delete has no date: but for the policy `station`, control's
    edit stays, at control alone. Who lost, and why."""
    names = session.fit.names
    edited = {name: control[name] for name in names}
    policy = session.pair.options.conflicts
    deleted = policy is Policy.STATION
    if deleted:
        loser, reason = replaced.CONTROL, "the station deleted the row; the policy of this table is: station"
    else:
        loser, reason = replaced.STATION, "the station deleted the row; control had edited it and keeps it, alone"
    columns = [name for name in names if edited[name] != base[name]]
    result = None if deleted else edited
    row = Replaced(_key(session, base), loser, reason, None, edited, base, result, columns)
    replaced.keep(session, [row])
    return loser, reason


def by_control(session: Session, base: Version) -> None:
    """Control deleted a row that the station has changed since: the station's version comes back."""
    row = Replaced(_key(session, base), replaced.CONTROL, COMES_BACK, None, None, base, None, [])
    replaced.keep(session, [row])


def _key(session: Session, row: Version) -> str:
    return key_text([row[name] for name in session.fit.key])
