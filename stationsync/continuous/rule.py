"""When a whole run is due, and how long a station that fails is left alone. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from stationsync.continuous.look import Baseline, PairBooks, RowSum, StationLook
from stationsync.model.changes import Report, Status
from stationsync.model.details import RunDetails

# A station that fails is asked again after the interval, then after twice as long, and so on up to this.
LONGEST_PAUSE = 60.0
# RowSum that wait for another one, whichever table has that, are tried so often, in seconds.
WAITING_AGAIN = 30.0
# Whole runs come so often at least: they move the watermarks, compare the shapes, and ask for rights and clocks.
LONGEST = timedelta(minutes=5)
_NO_EDITS = (RowSum(), RowSum())


class Due(StrEnum):
    """Why a whole run is due; the first that fits."""

    NOT = ""
    FIRST = "nothing is known yet"
    TIME = "the last one is long ago"
    BOOKS = "the books are not as the last run left them"
    WAITING = "rows wait for another row"
    EDITS = "control has edits"
    STATION = "the station's rows changed"


def due_by_books(
    handled: Baseline | None, known: PairBooks, edits: tuple[RowSum, RowSum], *, age: float, whole_every: float
) -> Due:
    """From what control says. `age`: seconds since the last whole run began; `whole_every`: they come so often."""
    if handled is None or handled.start is None or handled.station is None:
        return Due.FIRST
    if age >= whole_every:
        return Due.TIME
    # A watermark that went back is that of a control which was put back, or somebody said that all is read anew.
    if known.up is None or known.cut_off or (handled.up is not None and known.up < handled.up):
        return Due.BOOKS
    if known.waiting and age >= WAITING_AGAIN:
        return Due.WAITING
    if edits not in (_NO_EDITS, handled.edits):
        return Due.EDITS
    return Due.NOT


def due_by_station(handled: Baseline, now: StationLook) -> Due:
    return Due.NOT if handled.station == now else Due.STATION


def is_settled(reports: Sequence[Report]) -> bool:
    """Whether a look can say that there is nothing to do, after these runs of a table: they left nothing undone."""
    return all(
        one.status in (Status.DONE, Status.NOTHING)
        and not one.counts.locked
        and not (isinstance(one.details, RunDetails) and one.details.more)
        for one in reports
    )


def whole_every(stale_after: timedelta) -> float:
    """Seconds between two whole runs of a table: often enough that it never counts as stale for want of one."""
    return min(LONGEST, stale_after / 3).total_seconds()


def pause_after(failures: int, every: float) -> float:
    """Seconds until a station is asked again that failed so often in a row."""
    return min(every * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE) * random.uniform(0.75, 1.25)


def next_round(begun: float, every: float) -> float:
    """When a station that was visited in a round that began then is visited again. Stations meet in common rounds, so
    that control is asked about many of them at once."""
    return (begun // every + 1) * every
