"""A delete on one side against an edit on the other: kept in the conflict table, in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from stationsync import kept
from stationsync.bookkeeping import conflict, key_hash
from stationsync.changes import Policy
from stationsync.session import Session
from stationsync.wire import key_text

Row = Mapping[str, Any]
COMES_BACK = "control deleted the row; the station had changed it, and its version comes back"


def by_station(session: Session, control: Row, base: Row) -> tuple[str, str]:
    """The station deleted a row that control had edited. A delete has no date: but for the policy `station`, control's
    edit stays, at control alone. Who lost, and why."""
    names = session.fit.names
    edited = {name: control[name] for name in names}
    policy = session.pair.options.conflicts
    deleted = policy is Policy.STATION
    if deleted:
        loser, reason = "control", "the station deleted the row; the policy of this table is: station"
    else:
        loser, reason = "station", "the station deleted the row; control had edited it and keeps it, alone"
    columns = [name for name in names if edited[name] != base[name]]
    _record(session, loser, reason, columns, (None, edited, base, None if deleted else edited))
    return loser, reason


def by_control(session: Session, base: Row) -> None:
    """Control deleted a row that the station has changed since: the station's version comes back."""
    _record(session, "control", COMES_BACK, [], (None, None, base, None))


def _record(
    session: Session, loser: str, reason: str, columns: list[str], rows: tuple[Row | None, Row | None, Row, Row | None]
) -> None:
    versions = [None if row is None else kept.keep(row) for row in rows]
    kept.store(session.control, [row for row in versions if row is not None], session.now)
    station, control, base, result = (None if row is None else row.text for row in versions)
    text = key_text([rows[2][name] for name in session.fit.key])
    values = {
        "at": session.now,
        "station": session.pair.name,
        "table_name": session.pair.table,
        "key_hash": key_hash(text),
        "key_text": text,
        "policy": str(session.pair.options.conflicts),
        "loser": loser,
        "reason": reason,
        "columns": json.dumps(columns, ensure_ascii=False),
        "clock_offset": int(session.clock_offset.total_seconds()),
        "station_row": station,
        "control_row": control,
        "base_row": base,
        "result_row": result,
    }
    session.control.execute(sa.insert(conflict).values(values))
