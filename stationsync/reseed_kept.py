"""Versions that a reseed supersedes and nobody else has: kept as conflicts that their side lost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from stationsync import kept
from stationsync.bookkeeping import conflict, key_hash
from stationsync.kept import Kept
from stationsync.session import Session

POLICY = "reseed"
_REASON = "the station went back in time, and reseed gave it control's version"

Row = Mapping[str, str | bytes | None]


class Versions(NamedTuple):
    """One row: its versions, and what the station is to have. In wire form."""

    key_text: str
    station: Row
    control: Row
    base: Row
    result: Row


def keep(session: Session, rows: Sequence[Versions], loser: str = "station", reason: str = _REASON) -> None:
    """In the caller's transaction; each version once: a reseed that was cut off meets it again."""
    if not rows:
        return
    pair = session.pair
    of = (conflict.c.policy == POLICY, conflict.c.station == pair.name, conflict.c.table_name == pair.table)
    hashes = conflict.c.key_hash.in_([key_hash(row.key_text) for row in rows])
    query = sa.select(conflict.c.key_hash, conflict.c.station_row if loser == "station" else conflict.c.control_row)
    already = {(digest, text) for digest, text in session.control.execute(query.where(*of, hashes))}
    for row in rows:
        versions = [kept.keep(version) for version in row[1:]]
        if (key_hash(row.key_text), versions[0 if loser == "station" else 1].text) not in already:
            kept.store(session.control, versions, session.now)
            values = _record(session, row, versions) | {"loser": loser, "reason": reason}
            superseded = row.station if loser == "station" else row.control
            columns = [name for name in superseded if superseded[name] != row.result[name]]
            values["columns"] = json.dumps(columns, ensure_ascii=False)
            session.control.execute(sa.insert(conflict).values(values))


def _record(session: Session, row: Versions, versions: Sequence[Kept]) -> dict[str, Any]:
    station, control, base, result = (version.text for version in versions)
    return {
        "at": session.now,
        "station": session.pair.name,
        "table_name": session.pair.table,
        "key_hash": key_hash(row.key_text),
        "key_text": row.key_text,
        "policy": POLICY,
        "clock_offset": int(session.clock_offset.total_seconds()),
        "station_row": station,
        "control_row": control,
        "base_row": base,
        "result_row": result,
    }
