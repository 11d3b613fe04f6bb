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
    already = _already(session, rows, loser)
    for row in rows:
        versions = [kept.keep(version) for version in row[1:]]
        superseded = row.station if loser == "station" else row.control
        columns = json.dumps([name for name in superseded if superseded[name] != row.result[name]], ensure_ascii=False)
        digest, station, control = key_hash(row.key_text), _plain(versions[0].text), _plain(versions[1].text)
        ours = (digest, station if loser == "station" else control)
        if already.isdisjoint({ours, (digest, station, control, columns)}):
            kept.store(session.control, versions, session.now)
            values = {"loser": loser, "reason": reason, "columns": columns}
            session.control.execute(sa.insert(conflict).values(_record(session, row, versions) | values))


def _already(session: Session, rows: Sequence[Versions], loser: str) -> set[tuple[str, ...]]:
    """What a reseed has kept of these rows, by hash and version; and by all that tells one conflict from another,
    what was kept anyway."""
    c = conflict.c
    of = (c.station == session.pair.name, c.table_name == session.pair.table, c.loser.in_([loser, "both"]))
    hashes = c.key_hash.in_([key_hash(row.key_text) for row in rows])
    query = sa.select(c.key_hash, c.station_row, c.control_row, c.columns, c.policy).where(*of, hashes)
    found: set[tuple[str, ...]] = set()
    for digest, *both, columns, policy in session.control.execute(query):
        station, control = map(_plain, both)
        found.add((digest, station, control, columns))
        if policy == POLICY:
            found.add((digest, station if loser == "station" else control))
    return found


def _plain(text: str | None) -> str:
    """The merge keeps values as the driver has them, a reseed as the database prints them."""
    row = json.loads(text or "{}")
    return json.dumps({name: None if value is None else str(value) for name, value in sorted(row.items())})


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
