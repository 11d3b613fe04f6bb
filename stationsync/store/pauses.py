"""Stations that a person paused: no run of them begins, whoever starts it, until somebody resumes them.

Kept at control, because that is where every run has to go. Nothing is lost meanwhile: the station is only behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import StationPaused
from stationsync.model.wire import Family
from stationsync.store.bookkeeping import pause as table
from stationsync.store.bookkeeping import require_books
from stationsync.topology.model import Topology


@dataclass(frozen=True)
class Pause:
    """`resumed` is None while it lasts. Moments are UTC on control's clock."""

    station: str
    since: datetime
    who: str
    reason: str
    resumed: datetime | None = None

    @property
    def lasts(self) -> bool:
        return self.resumed is None

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"paused since {self.since:%Y-%m-%d %H:%M:%S} UTC by {self.who}{why}"


def pause(control: Database, station: str, who: str, reason: str) -> Pause:
    """No run of this station begins from here on; one under way goes on to its end. Of a station that is paused
    already, only the reason is written anew, where one is given."""
    with control.begin() as conn:
        require_books(conn)
        now = control.dialect.clock(conn, Family.DATETIME).utc
        found = read(conn, station)
        values: dict[str, Any]
        if found and found.lasts:
            values = {"who": who, "reason": reason} if reason else {}
        else:
            values = {"since": now, "who": who, "reason": reason, "resumed": None}
        if found is None:
            conn.execute(sa.insert(table).values(station=station, **values))
        elif values:
            conn.execute(sa.update(table).where(table.c.station == station).values(**values))
        written = read(conn, station)
        assert written is not None
        return written


def resume(control: Database, station: str) -> Pause | None:
    """Let runs begin again; the pause that ended, None where there was none."""
    with control.begin() as conn:
        require_books(conn)
        now = control.dialect.clock(conn, Family.DATETIME).utc
        found = read(conn, station)
        if found is None or not found.lasts:
            return None
        conn.execute(sa.update(table).where(table.c.station == station).values(resumed=now))
        return found


def read(conn: sa.Connection, station: str) -> Pause | None:
    row = conn.execute(sa.select(table).where(table.c.station == station)).mappings().first()
    return None if row is None else Pause(**{str(name): row[name] for name in row})


def lasting(conn: sa.Connection) -> dict[str, Pause]:
    """Station -> its pause, of those that are paused now."""
    found = conn.execute(sa.select(table).where(table.c.resumed.is_(None))).mappings()
    return {row["station"]: Pause(**{str(name): row[name] for name in row}) for row in found}


def paused_stations(control: Database) -> frozenset[str]:
    with control.begin() as conn:
        return frozenset(lasting(conn))


def not_stale(control: Database, topology: Topology) -> frozenset[str]:
    """Stations that nobody is to be told of as stale: they are paused, or were until so lately that the runs since may
    not have come to their end."""
    with control.begin() as conn:
        require_books(conn)
        now = control.dialect.clock(conn, Family.DATETIME).utc
        found = conn.execute(sa.select(table.c.station, table.c.resumed)).all()
    known = ((station, resumed) for station, resumed in found if station in topology.stations)
    return frozenset(
        station for station, resumed in known if resumed is None or now - resumed < topology.stale_after(station)
    )


def require_running(conn: sa.Connection, station: str) -> None:
    """Raises StationPaused. Books of an older version know of no pause."""
    try:
        found = read(conn, station)
    except sa.exc.DBAPIError as error:
        # Of a connection that is lost, nothing more can be asked.
        if error.connection_invalidated or sa.inspect(conn).has_table(table.name):
            raise
        return
    if found and found.lasts:
        raise StationPaused(station, str(found), next_step=f"To let it run again: stationsync resume {station}")
