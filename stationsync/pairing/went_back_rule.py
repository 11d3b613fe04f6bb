"""Was a station's table put back, emptied or made anew? Pure: how the newest rows that were seen stand there now, and
what its server says.

A restore leaves none of the newest rows as they were: each is missing, older, or another row that got its key. An
application leaves some, or edits them, and what it edits becomes newer. What the server says decides nothing alone: its
counter survives no restore, but not every crash either, and a table is made anew by ALTER TABLE as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stationsync.database.table_facts import Remembered, TableFacts
from stationsync.pairing.decide import moment

# So many rows may be deleted, or stamped back by hand, whatever the table.
FEW = 20
# After so many runs in doubt it is how the application works.
_HABIT = 3
_SECOND = timedelta(seconds=1)


class How(StrEnum):
    """How the station's row stands to the version that was seen."""

    SAME = "same"
    EDITED = "edited"  # newer; or older by a stamp that the station's clock explains
    MISSING = "missing"
    OLDER = "older"
    OTHER = "other"  # another row of this key: it was made at another time
    UNLIKE = "unlike"  # newer, and nothing of it is as it was


LOST = frozenset({How.MISSING, How.OLDER, How.OTHER, How.UNLIKE})


class Verdict(StrEnum):
    NONE = "none"
    DOUBT = "doubt"  # nothing may be replaced unseen
    CERTAIN = "certain"


@dataclass(frozen=True)
class Version:
    """A row's stamps: when it was changed, and when it was made where a column says so."""

    modified: str | None
    made: str | None = None


@dataclass(frozen=True)
class Standing:
    how: How
    at: datetime | None


@dataclass(frozen=True)
class Window:
    """Stamps that an edit since the last run has, on the station's clock as it is now: the clock explains them,
    whatever was seen before it was set back. `since` None: there was no run."""

    since: datetime | None
    until: datetime
    # The clock was not set back since that run.
    steady: bool = True

    def explains(self, stamp: str | None) -> bool:
        at = moment(stamp)
        return at is not None and self.since is not None and self.since <= at <= self.until


@dataclass(frozen=True)
class Server:
    """What the server says against what was seen: its counter went down; it will give, or gave, a known key again; the
    table was made anew."""

    counter_down: bool = False
    gives_again: bool = False
    anew: bool = False
    # It counts, and its counter did not go down: then what is missing was deleted.
    counts: bool = False


@dataclass(frozen=True)
class OlderCopy:
    """`since`: the stamp of the newest row that is as it was, None where none is. `inclusive`: few rows as they
    were are of that moment, so that others of it may be lacked as well."""

    since: datetime | None
    inclusive: bool = True


def how(seen: Version, now: Version | None, window: Window) -> How:
    if now is None:
        return How.MISSING
    made, was_made = moment(now.made), moment(seen.made)
    if made is not None and was_made is not None and abs(made - was_made) > _SECOND:
        return How.OTHER
    at, was = moment(now.modified), moment(seen.modified)
    if was is None or at is None:
        return How.SAME if was is None else How.OLDER
    if was - at > _SECOND:
        return How.EDITED if window.explains(now.modified) else How.OLDER
    return How.EDITED if at - was > _SECOND else How.SAME


def server(known: Remembered | None, now: TableFacts, highest: int | None) -> Server:
    """`highest`: the highest known key that the counter gave."""
    was = known.facts if known else TableFacts()
    counted = now.counter is not None
    down = counted and was.counter is not None and now.counter < was.counter  # type: ignore[operator]
    below = counted and highest is not None and now.counter <= highest  # type: ignore[operator]
    anew = any(
        old is not None and new is not None and old != new
        for old, new in ((was.made, now.made), (was.server, now.server))
    )
    return Server(down, bool(below) and (down or was.counter is None), anew, counted and not down)


def top(rows: Sequence[Standing]) -> list[Standing]:
    """The lost rows that are newer than every row that is as it was."""
    unharmed = max((row.at for row in rows if row.how is How.SAME and row.at is not None), default=None)
    return [row for row in rows if row.how in LOST and (unharmed is None or row.at is None or row.at > unharmed)]


def older_copy(
    rows: Sequence[Standing],
    said: Server,
    most: int,
    *,
    declared: bool = False,
    ahead: timedelta = timedelta(0),
) -> OlderCopy | None:
    """Whether the table, which was made anew, may be an older copy that was written to since: then what was seen of
    rows that are newer than all that are as they were may be in none of its versions. `most`: where more were edited
    or deleted, and nothing else happened, somebody changed the whole table, as with ALTER TABLE. `ahead`: the station's
    clock before control's; control's edits have stamps that are so much older than the station's of the same moment."""
    if not said.anew:
        return None
    same = [row.at - ahead for row in rows if row.how is How.SAME and row.at is not None]
    unharmed = max(same, default=None)
    inclusive = same.count(unharmed) <= FEW if unharmed is not None else True
    above = [
        row.how
        for row in rows
        if unharmed is None or row.at is None or row.at > unharmed or (inclusive and row.at == unharmed)
    ]
    signs = {How.OLDER, How.UNLIKE, *(() if declared else (How.OTHER,)), *(() if said.counts else (How.MISSING,))}
    if signs & set(above) or 0 < above.count(How.EDITED) + above.count(How.MISSING) <= most:
        return OlderCopy(unharmed, inclusive)
    return None


def judge(
    rows: Sequence[Standing], said: Server, *, declared: bool = False, habit: bool = False, short_lived: bool = False
) -> Verdict:
    """Of the newest rows that were seen. `declared`: the table names a column that tells another row (`created`), so a
    few keys that are given again are no restore; `habit`: its application writes rows anew all the time."""
    if short_lived:
        return Verdict.NONE
    lost = top(rows)
    if said.gives_again or (said.counter_down and lost):
        return Verdict.CERTAIN
    number = {kind: sum(row.how is kind for row in lost) for kind in How}
    other = 0 if declared and number[How.OTHER] <= FEW else number[How.OTHER]
    older = number[How.OLDER]
    doubtful = other + number[How.UNLIKE]
    if habit:
        # Only what its server says as well counts then, and is not certain.
        verdict = Verdict.DOUBT if said.anew and doubtful else Verdict.NONE
        doubtful = other = 0
    else:
        verdict = Verdict.DOUBT if doubtful else Verdict.NONE
    harm = older + other
    all_lost = len(lost) == len(rows)
    if not harm and any(row.how is How.SAME for row in rows):
        doubtful = 0  # of a table of few columns every edit leaves nothing as it was
    certain = (
        older > FEW
        or (harm >= 2 and len(lost) > FEW)
        or (other >= 2 and all_lost)
        or (said.anew and (older + doubtful >= 2 or (harm > 0 and all_lost)))
        or (said.anew and not said.counts and len(lost) > FEW)
    )
    return Verdict.CERTAIN if certain else verdict


def is_habit(known: Remembered | None) -> bool:
    return known is not None and known.doubts >= _HABIT


def refined(
    rows: Sequence[Standing],
    seen: Sequence[Mapping[str, Any] | None],
    now: Sequence[Mapping[str, Any] | None],
    *,
    tells: bool,
) -> list[Standing]:
    """Rows that seem to be other ones looked at whole: by the columns that tell these rows apart. `tells`: there is a
    column that says when a row was made; without one, a row of which nothing is left is unlike what was seen."""
    known = [row for row in seen if row is not None]
    names = list(known[0]) if known else []
    telling = [
        name
        for name in names
        if len({row[name] for row in known if row[name] is not None}) > (1 if len(known) > 1 else 0)
    ]
    found = []
    for standing, was, is_now in zip(rows, seen, now, strict=True):
        how_now = standing.how
        if was is not None and is_now is not None and telling:
            kept = [name for name in telling if was[name] == is_now[name]]
            if how_now is How.OTHER and len(kept) == len(telling):
                how_now = How.EDITED  # only its stamps were set
            elif how_now is How.EDITED and not tells and not kept:
                how_now = How.UNLIKE
        found.append(replace(standing, how=how_now))
    return found
