"""Control's table was restored from an older backup, emptied or damaged, and our bookkeeping was not: control is given
back what it had of a station (`reseed`), or taken as it is (`trust`).

Given back is what the base has: the last version of each row that the station is known to have. So the station may
be off-line or paused; what it changed since comes with the next pull. Cut off anywhere, the same command goes on: each
page is one transaction of control's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from stationsync.journal.recorder import new_run
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.recovery.reseed import Found, cut, held
from stationsync.recovery.reseed_control_page import (
    Given,
    Refused,
    Rows,
    accept,
    give,
    give_up,
    keep_waiting,
    look,
    next_keys,
)
from stationsync.recovery.reseed_returned import returned
from stationsync.recovery.reseed_rule import Fate
from stationsync.rollback import rebuilding
from stationsync.session.retrying import with_retries
from stationsync.session.session import Session


def plan(pair: Pair) -> Report:
    """What a reseed of control would do. Nothing is written."""
    begun = time.monotonic()
    found = Found()
    with held(pair, at_control=True) as session:
        for keys in _pages(session):
            rows = with_retries(look)(session, keys)
            found.add(zip(rows.keys, rows.fates, strict=True), len(rows.at(Fate.REWRITE, Fate.NEWER)))
        back = returned(session, write=False)
    return _told(found.report(pair, begun, dry_run=True), back)


def reseed(pair: Pair) -> Report:
    """Give control back what it had. Rows that it refuses are tried again at the end, and then kept in quarantine: the
    base forgets them, so that they are no edits of control's."""
    return _each(pair, give, give_back=True)


def trust(pair: Pair) -> Report:
    """What control has is right, and waits to go down. Versions of the station that it replaces are kept."""
    return _each(pair, accept)


def _each(pair: Pair, work: Callable[[Session, Sequence[Key]], Given], *, give_back: bool = False) -> Report:
    begun, run = time.monotonic(), new_run()
    found = Found()
    with held(pair, at_control=True) as session:
        session.journal.run = run
        session.journal.tidy()
        (rebuilding.begin if give_back else rebuilding.forget)(session)
        refused: list[Refused] = []
        todo: Iterator[list[Key]] = _pages(session)
        while True:
            before, refused = len(refused), []
            for keys in todo:
                refused += _noted(found, *with_retries(work)(session, keys))
            if not refused or len(refused) == before:
                break
            todo = cut([one.key for one in refused])
        give_up(session, refused)
        back = 0
        if give_back:
            keep_waiting(session)
            back = returned(session, write=True)
        rebuilding.end(session)
    found.refused = len(refused)
    report = replace(found.report(pair, begun), run=run, status=Status.DONE if found.any else Status.NOTHING)
    return _told(report, back)


def _told(report: Report, back: int) -> Report:
    """`back`: rows that had been deleted, and are there again."""
    status = Status.DONE if back else report.status
    return replace(report, direction=Direction.UP, status=status, details={**report.details, "returned": back})


def _noted(found: Found, rows: Rows | None, refused: list[Refused]) -> list[Refused]:
    if rows is not None:
        found.add(zip(rows.keys, rows.fates, strict=True), len(rows.at(Fate.REWRITE, Fate.NEWER)))
    return refused


def _pages(session: Session) -> Iterator[list[Key]]:
    after: Key | None = None
    while keys := with_retries(next_keys)(session, after):
        yield keys
        after = keys[-1]
