"""Backfill: a range of a station's rows read again and merged, chunk by chunk, whatever the watermark says.

Each chunk takes the lease for itself and lets a live run go first that waits for it. The merge is the pull's: rows that
equal the base cost nothing, edits that wait at control are conflicts by the table's policy, no mark moves
(`sync.classify` says what is more). Where it stopped is remembered behind each chunk."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from stationsync.errors import StationOffline, StationSyncError, TryAgain, UsageError, guarded, secondary
from stationsync.journal.recorder import new_run
from stationsync.model.changes import Counts, Direction, Origin, Report, Status
from stationsync.model.details import BackfillDetails
from stationsync.model.wire import Family
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.recovery import backfill_books, backfill_range
from stationsync.recovery.backfill_books import BackfillEntry, Progress
from stationsync.recovery.backfill_range import BackfillLimits, BackfillRange, require_fitting, walk_order
from stationsync.rollback import older_control
from stationsync.session.lease import BACKFILL, Timing, awaited, lease, tries, with_retries
from stationsync.session.session import Session
from stationsync.sync import beginning, runs
from stationsync.sync.rehearse import Rehearsal
from stationsync.sync.runs import Steps

T = TypeVar("T")
# A live run waits for one chunk; fewer rows than these at a time would cost more in connections than in rows.
_MOST, _FEWEST = 10_000, 100
# A live run may have the lease for long: a first pull of a large table.
_PATIENCE = 3600.0
# What is tried again after so many seconds, once a backfill is under way.
_AGAIN = (1.0, 5.0, 15.0, 30.0)


@dataclass(frozen=True)
class BackfillOrder:
    """`rate`: rows a second at most. `restart`: from the beginning, though one of this range was cut off."""

    asked: BackfillRange
    rate: float | None = None
    dry_run: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            what = f"{self.rate} rows a second would never end"
            raise UsageError("backfill", what, not_done="Nothing was done.", next_step="Name a rate above 0, or none.")


Told = Callable[[Progress], None]
Stretch = Callable[["Backfill"], Progress]


def backfill(
    pair: Pair,
    steps: Steps,
    wanted: BackfillOrder,
    *,
    told: Told = lambda progress: None,
    stretch: Stretch | None = None,
    timing: Timing | None = None,
) -> Report:
    """Go through the range, from where one of the same range was cut off. `told` hears how far it is; `stretch` does a
    part of it (`Backfill.stretch`), and is called until all is done.

    Raises what a pull raises, and UsageError where the range does not fit the table."""
    timing = timing or Timing()
    begun = timing.now()
    # A plan is made beside a backfill that is under way.
    with lease(pair, "plan of a backfill" if wanted.dry_run else BACKFILL) as session:
        if session is None:
            what = f"{pair.place}: another backfill is under way; this one has nothing to do"
            return Report(pair.name, pair.table, Direction.UP, Status.UNDER_WAY, message=what)
        rehearsal = Rehearsal()
        job = Backfill(session, rehearsal.steps(steps) if wanted.dry_run else steps, wanted, told, timing)
        with _written_down(job, lambda: timing.now() - begun), guarded(pair.place):
            job.begin()
            while not job.at_its_end:
                (stretch or Backfill.stretch)(job)
            job.end_early()
        report = replace(job.report(), seconds=timing.now() - begun)
        return replace(rehearsal.told(report), message="") if wanted.dry_run else report


@contextmanager
def _written_down(job: Backfill, seconds: Callable[[], float]) -> Iterator[None]:
    """Why it stopped is noted, and said with the way to go on."""
    try:
        yield
    except StationSyncError as error:
        if not isinstance(error, UsageError):
            mend = "" if isinstance(error, TryAgain) else f"{error.next_step} "
            error = type(error)(error.place, error.what, not_done=error.not_done, next_step=mend + job.next_step())
        status = Status.OFFLINE if isinstance(error, StationOffline) else Status.FAILED
        error.report = replace(job.report(), status=status, seconds=seconds(), message=str(error))
        with secondary(error):  # control may be what failed
            job.stop(str(error))
        raise error from None


class Backfill:
    """One backfill under way. `session` holds its own lease, and keeps its place."""

    def __init__(self, session: Session, steps: Steps, wanted: BackfillOrder, told: Told, timing: Timing) -> None:
        self.pair: Pair = session.pair
        self.progress = Progress(session.pair.place, str(wanted.asked))
        self._session = session
        self._steps = steps
        self._wanted = wanted
        self._told = told
        self._timing = timing
        self._entry: BackfillEntry | None = None
        self._limits = BackfillLimits(())
        self._place: Key | None = None
        self._begun = timing.now()
        self._warnings: list[str] = []
        self._resumed = self._more = False
        # All chunks are one run of the journal's.
        self._run = steps.run or new_run()

    def begin(self) -> None:
        session, asked = self._session, self._wanted.asked
        self._steps.open(session)
        if not self._wanted.dry_run:
            self._steps.adopt(session)
        require_fitting(asked, session.fit, self.pair.place)
        self._warnings += session.seen.warnings(session.fit)
        entry = None if self._wanted.dry_run else self._find()
        if entry is None:
            self._limits, expected = backfill_range.begin(session, asked)
            entry = None if self._wanted.dry_run else self._remembered(expected)
        else:
            self._limits, expected, self._place = entry.limits, entry.expected, entry.place
            self._resumed = True
        # The chunks have connections of their own.
        session.drop_station()
        self._entry = entry
        rows = entry.rows if entry else 0
        self.progress = replace(self.progress, rows=rows, expected=expected)
        reached = self.progress.reached(self._limits, self._place)
        self.progress = replace(self.progress, fraction=reached, began_at=reached or 0.0)
        self._told(self.progress)

    @property
    def at_its_end(self) -> bool:
        """All is done, or as much as one run may read: a station whose rows have no end keeps none for ever."""
        return self.progress.done or self.progress.counts.read >= self.pair.options.run_rows

    def end_early(self) -> None:
        if not self.progress.done:
            self._more = True
            how = "a dry run goes no farther" if self._wanted.dry_run else self.next_step()
            what = f"{self.progress.counts.read:,} rows were read, and there is more"
            self._warn(f"{what} (run_rows: {self.pair.options.run_rows}): {how}")

    def stretch(self, seconds: float | None = None) -> Progress:
        """Chunk after chunk until all is done, or for some seconds."""
        until = None if seconds is None else self._timing.now() + seconds
        while not self.at_its_end:
            self._chunk()
            if until is not None and self._timing.now() >= until:
                break
        return self.progress

    # --- one chunk

    def _chunk(self) -> None:
        begun = self._timing.now()
        counts, place, more = self._tried_again(lambda: self._under_the_lease(self._merge_next))
        seconds = self._timing.now() - self._begun
        progress = self.progress.further(counts, self._limits, place, seconds, done=not more)
        with_retries(self._remember)(progress, place)
        self.progress, self._place = progress, place
        self._told(progress)
        if self._wanted.rate and more:
            self._timing.sleep(max(0.0, counts.read / self._wanted.rate - (self._timing.now() - begun)))

    def _merge_next(self, session: Session) -> tuple[Counts, Key | None, bool]:
        session.journal.run, session.journal.flow_run = self._run, self._steps.flow_run
        self._steps.open(session)
        self._steps.adopt(session)
        beginning.recall(session)
        older_control.require_as_known(session)
        read = with_retries(backfill_range.read)
        chunk, place = read(session, self._wanted.asked, self._limits, self._place, self._page_rows())
        checked = self._steps.validate(runs.validator_of(session), replace(chunk, origin=Origin.BACKFILL))
        counts = self._steps.merge(session, checked, None)
        self._warn(*checked.notes, *session.journal.warnings)
        return counts, place, chunk.more

    def _warn(self, *notes: str) -> None:
        self._warnings += [note for note in notes if note not in self._warnings]

    def _page_rows(self) -> int:
        """Under a rate limit, about what a second may have."""
        rate = self._wanted.rate
        rows = _MOST if rate is None else min(_MOST, max(_FEWEST, int(rate)))
        return min(rows, self.pair.options.run_rows)

    def _under_the_lease(self, work: Callable[[Session], T]) -> T:
        """In between live runs, which are always let in first."""
        for _ in tries(self.pair.place, patience=_PATIENCE, delays=(0.02, 1.0), timing=self._timing):
            if not awaited(self.pair):
                with lease(self.pair, chunk=True) as session:
                    if session is not None:
                        return work(session)
            if not self.progress.waits:
                self.progress = replace(self.progress, waits=True)
                self._told(self.progress)
        raise AssertionError("tries ends with an error")

    def _tried_again(self, work: Callable[[], T]) -> T:
        """Once it is under way, a station that is away for a moment, or a lost lease, ends nothing."""
        for delay in _AGAIN if self.progress.chunks else ():
            try:
                return work()
            except TryAgain:
                self._timing.sleep(delay * random.uniform(0.5, 1.5))
        return work()

    # --- books

    def _find(self) -> BackfillEntry | None:
        """The one that was cut off, if its place still is one."""
        session = self._session
        with session.transaction():
            entry = backfill_books.find_open(session.control, self.pair, self._wanted.asked)
            if entry is None:
                return None
            why = "begun anew, as asked for" if self._wanted.restart else ""
            if entry.about != self._about():
                why = "the table or its key is another since; begun anew"
                self._warnings.append(f"the backfill that was cut off could not be taken up: {why}")
            if not why:
                return entry
            backfill_books.drop(session.control, entry, why)
            return None

    def _remembered(self, expected: int | None) -> BackfillEntry:
        session, asked = self._session, self._wanted.asked
        with session.transaction():
            conn = session.control
            return backfill_books.begin(conn, self.pair, asked, self._about(), self._limits, expected, self._now())

    def _about(self) -> str:
        return f"{self._session.about[:40]}:{','.join(walk_order(self._wanted.asked, self._session.fit))}"[:64]

    def _remember(self, progress: Progress, place: Key | None) -> None:
        if self._entry is not None:
            with self._session.transaction():
                conn = self._session.control
                backfill_books.remember(conn, self._entry, progress, place, self._now())

    def stop(self, message: str) -> None:
        if self._entry is not None:
            with self._session.transaction():
                backfill_books.stop(self._session.control, self._entry, message)

    def _now(self) -> datetime:
        return self._session.dialect.clock(self._session.control, Family.DATETIME).utc

    # --- what it tells

    def next_step(self) -> str:
        """The command that goes on where this one stopped."""
        rate = f" --rate {self._wanted.rate:g}" if self._wanted.rate else ""
        of = f"{self.pair.name} --table {self.pair.table} {self._wanted.asked.options()}{rate}"
        return f"It goes on where it stopped with: stationsync backfill {of}"

    def report(self) -> Report:
        progress = self.progress
        warnings = list(self._warnings)
        if older := progress.counts.older:
            what = f"{older:,} rows are older at the station than they were seen, and were left as they are"
            warnings.append(f"{what}; see: stationsync reconcile {self.pair.name} --table {self.pair.table} --dry-run")
        asked = str(self._wanted.asked)
        details = BackfillDetails(asked, progress.rows, progress.expected, self._resumed, self._more)
        return Report(
            self.pair.name, self.pair.table, Direction.UP, Status.DONE if progress.counts.moved else Status.NOTHING,
            progress.counts, progress.chunks, None, progress.seconds, tuple(warnings), "", details,
            self._run,
        )  # fmt: skip
