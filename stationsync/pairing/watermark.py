"""Where a run reads from, and how far it may say "seen". Pure (DESIGN.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stationsync.database.dialect import Clock
from stationsync.database.table_facts import Remembered
from stationsync.model.changes import Position
from stationsync.pairing.stamp_zone import Evidence

_SECOND = timedelta(seconds=1)
# A re-measured clock offset within this is the same offset: conflicts must resolve alike on every replay.
_STEADY = timedelta(seconds=2)


@dataclass(frozen=True)
class Mark:
    """What is remembered of one (station, table, direction).

    Every row stamped before `watermark` was seen. A run that was cut off leaves `place`, behind which the next one
    goes on, and `place_bound`, the bound that held when it began. `clock_measured`: source clock minus control's
    UTC; `clock_offset`: source clock minus control's, in whole seconds, as conflicts use it. `about`: a digest of the
    tables and columns it was made for. `newest`: the newest rows that were seen (or sent), None where nobody has looked
    yet.
    `row_filter`: the filter that it was made under; None where that is not known.
    `skew`: the station's UTC minus control's. `remembered`: what the station's server said of the table."""

    watermark: datetime | None = None
    place: Position | None = None
    place_bound: datetime | None = None
    clock_measured: timedelta | None = None
    clock_offset: timedelta = timedelta(0)
    about: str | None = None
    newest: tuple[Position, ...] | None = None
    skew: timedelta | None = None
    # Stamps that are whole hours off the clock.
    stamps: Evidence | None = None
    remembered: Remembered | None = None
    row_filter: str | None = None


@dataclass(frozen=True)
class Reading:
    """One run's reading: from `start` (None: from the beginning) or behind `after`; no row behind `bound` counts as
    seen. `before` is the watermark until then, `mark` what to remember once everything was read."""

    start: datetime | None
    after: Position | None
    bound: datetime
    before: datetime | None
    mark: Mark
    warnings: tuple[str, ...] = ()

    def remember(self, last: Position | None, *, more: bool) -> Mark:
        """The mark after a chunk that ends at `last`."""
        if not more or last is None:
            return self.mark
        return replace(self.mark, watermark=self.before, place=last, place_bound=self.bound)


def plan(
    mark: Mark, source: Clock, control: Clock, *, lookback: timedelta, settle: timedelta, max_hold: timedelta
) -> Reading:
    """Plan a run from what is remembered and both clocks as they are now."""
    bound, warnings = _safe_bound(source, settle, max_hold)
    measured = source.now - control.utc
    went_back = timedelta(0) if mark.clock_measured is None else max(timedelta(0), mark.clock_measured - measured)
    after = mark.place
    if went_back > _SECOND:
        # The source's clock (or its summer time) was set back: rows were stamped "before" the watermark meanwhile.
        after = None
    else:
        went_back = timedelta(0)
        if after is not None and mark.place_bound is not None:
            bound = min(bound, mark.place_bound)
    before = None if mark.watermark is None else min(mark.watermark, bound) - went_back
    start = None if before is None else _earlier(source, before, lookback)
    offset = steady(mark.clock_offset, source.now - control.now)
    done = Mark(bound, None, None, measured, offset)
    return Reading(start, after, bound, before, done, warnings)


def _safe_bound(source: Clock, settle: timedelta, max_hold: timedelta) -> tuple[datetime, tuple[str, ...]]:
    """The least of the clock minus `settle`, cut to whole seconds, and the start of the oldest open writer."""
    back = settle
    warnings: tuple[str, ...] = ()
    if source.oldest_open is not None:
        # The server tells a transaction's start in whole seconds.
        back = max(settle, min(source.oldest_open + _SECOND, max_hold))
        if source.oldest_open > max_hold:
            warnings = (f"a transaction has been open for {source.oldest_open}; no longer waiting for it",)
    then = source.now - back
    if source.forward is not None and source.utc - back < source.forward.at:
        # Summer time began since: what was stamped then stands lower on this clock.
        then -= source.forward.by
    return then.replace(microsecond=0), warnings


def _earlier(source: Clock, moment: datetime, by: timedelta) -> datetime:
    """So long before a moment of the source's clock, over the beginning of summer time."""
    if source.forward is None:
        return moment - by
    begun = source.forward.at + (source.now - source.utc)
    return moment - by - (source.forward.by if moment - by < begun <= moment else timedelta(0))


def steady(before: timedelta, measured: timedelta) -> timedelta:
    """The offset of two clocks: as it was before, where it still is so; else anew, in whole seconds."""
    if abs(measured - before) <= _STEADY:
        return before
    return timedelta(seconds=round(measured.total_seconds()))
