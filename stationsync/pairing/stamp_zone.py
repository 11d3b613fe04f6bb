"""Does an application stamp its rows in another zone than we take them for (`modified_zone`)? Pure.

Stamps ahead of the clock are plain to see. Stamps behind it may be of a station that wrote nothing for hours: only rows
that came since the last run, and are stamped hours before it, tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from stationsync.database.dialect import Clock
from stationsync.topology.zones import SERVER, offset_name

_QUARTER, _HOUR = timedelta(minutes=15), timedelta(hours=1)
# A row may be late, or a clock wrong, by so much for other reasons.
_GRACE = timedelta(minutes=10)
# How far the clocks of an application and of its database may be apart.
_CLOCKS = timedelta(minutes=2)
_FARTHEST = timedelta(hours=14)
# Of rows that came in a longer time nobody knows when they were written.
_SHORT = timedelta(hours=2)
_NOTHING = timedelta(0)


@dataclass(frozen=True)
class Evidence:
    """Rows are stamped so far off the clock (ahead: positive), in quarters of an hour; how many, in how many runs."""

    off: timedelta
    rows: int
    runs: int = 1

    @property
    def enough(self) -> bool:
        return self.rows > 1 or self.runs > 1

    def as_text(self) -> str:
        return json.dumps([self.off // _QUARTER, self.rows, self.runs])

    @classmethod
    def from_text(cls, text: str | None) -> Evidence | None:
        if text is None:
            return None
        quarters, rows, runs = json.loads(text)
        return cls(quarters * _QUARTER, rows, runs)


@dataclass(frozen=True)
class StampsSeen:
    """What a run saw so far of rows it had not seen before: how many were stamped before the last run or ahead of the
    clock, with the first and the last of them; and whether any was stamped as is to be expected."""

    late: int = 0
    first_late: datetime | None = None
    last_late: datetime | None = None
    ahead: int = 0
    last_ahead: datetime | None = None
    usual: bool = False

    def with_stamps(
        self, stamps: Iterable[datetime], now: datetime, since: datetime | None, newest: datetime | None
    ) -> StampsSeen:
        """`since`: the clock at the last run; `newest`: the newest stamp that it saw. None: nobody looked yet."""
        new = [at for at in stamps if newest is None or at > newest]
        early = [] if since is None else [at for at in new if at < since - _GRACE]
        ahead = [at for at in new if now + _CLOCKS < at <= now + _FARTHEST + _GRACE]
        usual = any((since is None or at >= since - _GRACE) and at <= now + _CLOCKS for at in new)
        first = [*early, *filter(None, [self.first_late])]
        last = [*early, *filter(None, [self.last_late])]
        return StampsSeen(
            self.late + len(early),
            min(first, default=None),
            max(last, default=None),
            self.ahead + len(ahead),
            max([*ahead, *filter(None, [self.last_ahead])], default=None),
            self.usual or usual,
        )


def judge(known: Evidence | None, seen: StampsSeen, clock: Clock, since: datetime | None) -> Evidence | None:
    """What is known after a run, or a look; None where stamps are as they should be."""
    if seen.last_ahead is not None:
        off = _ahead(known, seen.last_ahead - clock.now, seen.ahead, _as_utc(clock))
        found = None if off is None else Evidence(off, seen.ahead)
    elif seen.last_late is not None and seen.first_late is not None and since is not None:
        if clock.now - since > _SHORT:
            return known
        off = _behind(clock.now - seen.first_late, clock.now - seen.last_late, clock.now - since, _as_utc(clock))
        found = None if off is None else Evidence(off, seen.late)
        if off is not None and -off == _as_utc(clock):
            found = Evidence(off, seen.late, runs=2)  # as UTC to the minute: that is no accident
    else:
        return None if seen.usual else known
    if found is None or known is None or known.off != found.off:
        return found
    return Evidence(found.off, known.rows + seen.late if seen.late else found.rows, known.runs + found.runs)


def warning(evidence: Evidence | None, clock: Clock, what: str, zone: str, *, instants: bool) -> str | None:
    """In words, with the line to write; `what`: the stamps, `zone`: what the topology says now, `instants`: the column
    is a TIMESTAMP, whose zone is that of the application's session."""
    if evidence is None or not evidence.enough:
        return None
    way = "ahead of" if evidence.off > _NOTHING else "behind"
    said = f"{what} are {_in_hours(abs(evidence.off))} {way} the clock of their server"
    if instants:
        return f"{said}: the application's zone is not that of its session. Let it SET time_zone when it connects"
    so = f"{said}, so changes may wait for a reconcile, and conflicts are decided wrong"
    return f"{so}. If its application stamps in another zone, write for this table: {line(clock, evidence.off, zone)}"


def _in_hours(off: timedelta) -> str:
    return f"{off / _HOUR:g} h"


def line(clock: Clock, off: timedelta, zone: str) -> str:
    """What to write into the topology, which says `zone` now."""
    stamped = _quarters(clock.now - clock.utc) + off
    server = clock.now if clock.server is None else clock.server
    if zone != SERVER and stamped == _quarters(server - clock.utc):
        return f"modified_zone: {SERVER}"
    return f"modified_zone: {offset_name(stamped)}"


def _as_utc(clock: Clock) -> timedelta:
    return _quarters(clock.now - clock.utc)


def _quarters(offset: timedelta) -> timedelta:
    return round(offset / _QUARTER) * _QUARTER


def _ahead(known: Evidence | None, least: timedelta, rows: int, utc: timedelta) -> timedelta | None:
    """The newest row is so far ahead, and was written some time ago."""
    if known is not None and least - _CLOCKS <= known.off:
        return known.off
    just_now = next(_likely(least - _CLOCKS, least + _CLOCKS, -utc), None)
    if just_now is not None or rows == 1:
        return just_now
    return next(_likely(least - _CLOCKS, least + _HOUR, -utc), None)


def _behind(most: timedelta, least: timedelta, interval: timedelta, utc: timedelta) -> timedelta | None:
    """The rows are so old by their stamps, and were written since the last run."""
    off = next(_likely(most - interval - _CLOCKS, least + _CLOCKS, utc), None)
    return None if off is None else -off


def _likely(least: timedelta, most: timedelta, utc: timedelta) -> Iterator[timedelta]:
    """Quarters of an hour within a range: first what would be UTC, then whole hours, then half ones."""
    first = max(1, -(-least // _QUARTER))
    all_of_them = [n * _QUARTER for n in range(first, most // _QUARTER + 1)]
    yield from (off for off in all_of_them if off == utc)
    for step in (_HOUR, 2 * _QUARTER, _QUARTER):
        yield from (off for off in all_of_them if off % step == _NOTHING and off <= _FARTHEST)
