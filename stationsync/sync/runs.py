"""The loop of a run. It takes its steps as arguments: plain functions for the command, Prefect tasks for the flows."""

from __future__ import annotations

import contextvars
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from stationsync.errors import ColumnLost, StationOffline, StationSyncError, guarded, secondary
from stationsync.journal.recorder import new_run
from stationsync.keeping import books
from stationsync.model import stored_text
from stationsync.model.changes import Checked, Chunk, Counts, Direction, Origin, Position, Report, Status
from stationsync.model.details import RunDetails
from stationsync.model.wire import Family, key_text, key_texts
from stationsync.pairing.decide import moment
from stationsync.pairing.pair import Pair
from stationsync.pairing.watermark import Reading
from stationsync.rollback import older_control, went_back
from stationsync.session import extract
from stationsync.session.lease import lease, with_retries
from stationsync.session.session import Session
from stationsync.sync import adopt_columns, beginning, leaving, merge, push, stamps_seen
from stationsync.sync.beside import beside
from stationsync.sync.push import Pushed
from stationsync.sync.suites import load_suite, spelled
from stationsync.sync.validation import Validator
from stationsync.topology.model import TableDirection, ZeroDates
from stationsync.writing import waiting

A = TypeVar("A")
T = TypeVar("T")
# Pages that are read ahead.
_AHEAD = 2
# Bytes that one pull reads at most, whatever `run_rows` says.
_RUN_BYTES = 200 * 1024**3


@dataclass(frozen=True)
class Steps:
    """What a driver may wrap. Signatures are those of the plain functions below."""

    extract: Callable[[Session, Reading, Position | None], Chunk]
    extract_keys: Callable[[Session, tuple[tuple[str | bytes, ...], ...]], Chunk]
    validate: Callable[[Validator, Chunk], Checked]
    merge: Callable[[Session, Checked, Reading | None], Counts]
    push: Callable[[Session, Reading | None, Position | None], Pushed]
    # Not tried again by the command: a person wants to hear at once that a station is off-line.
    open: Callable[[Session], None] = Session.open
    # Before anything is compared with the base.
    adopt: Callable[[Session], None] = adopt_columns.adopt
    # Before the pages of a pull are read.
    leave: Callable[[Session, Reading], Counts] = leaving.leave
    # For the journal: the run that this is part of (None: one of its own), and the Prefect flow run.
    run: str | None = None
    flow_run: str | None = None
    # They look and do not write.
    dry_run: bool = False


def extract_page(session: Session, reading: Reading, after: Position | None) -> Chunk:
    return extract.read_page(session, reading.start, after)


def validate(validator: Validator, chunk: Chunk) -> Checked:
    return validator.validate(chunk)


def plain_steps() -> Steps:
    """The steps as they are, each tried again a few times where that is worth it."""
    return Steps(
        with_retries(extract_page),
        with_retries(extract.read_keys),
        validate,
        with_retries(merge.merge_chunk),
        with_retries(push.push_page),
        adopt=with_retries(adopt_columns.adopt),
        leave=with_retries(leaving.leave),
    )


def pull(pair: Pair, steps: Steps, *, remember: bool = True) -> Report:
    """Bring a station's changes up, page by page, from the watermark on. The books know of it where it is to
    `remember`."""
    return _run(pair, steps, Direction.UP, lambda session, tally: _pull(session, steps, tally), remember=remember)


def push_edits(pair: Pair, steps: Steps, *, remember: bool = True) -> Report:
    """Bring control's edits down to the station."""
    return _run(pair, steps, Direction.DOWN, lambda session, tally: _push(session, steps, tally), remember=remember)


def pull_keys(pair: Pair, steps: Steps, keys: tuple[tuple[str | bytes, ...], ...]) -> Report:
    """Read these rows of the station again, whatever their `modified`, and merge them. Moves no watermark."""

    def work(session: Session, tally: _Tally) -> None:
        beginning.recall(session)
        if not steps.dry_run:
            went_back.require_present(session, missing=False, many=False)
        _look_again(session, steps, tally, keys)
        _try_waiting(session, steps, tally)

    return _run(pair, steps, Direction.UP, work, remember=False)


def take_in_waiting(pair: Pair, steps: Steps) -> Report:
    """Read and merge rows that control refused because of another row, where that is in their way no more."""

    def work(session: Session, tally: _Tally) -> None:
        beginning.recall(session)
        _try_waiting(session, steps, tally)

    return _run(pair, steps, Direction.UP, work, remember=False)


def holding(pair: Pair, steps: Steps, work: Callable[[Session], Counts]) -> Report:
    """Do something else under the lease of the pair. Moves no watermark."""
    return _run(pair, steps, Direction.BOTH, lambda session, tally: tally.add(work(session)), remember=False)


class _Tally:
    """What a run has done so far."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.counts = Counts()
        self.chunks = 0
        self.reading: Reading | None = None
        self.warnings: list[str] = []
        self.gaps: list[str] = []
        # Where it ended although there is more: up to where everything was seen all the same.
        self.seen: datetime | None = None
        self.more = False
        self.details = RunDetails()
        # Rows of the station that are not carried, where this run counted them: `without_key`, `without_date`.
        self.left_out: dict[str, int] = {}

    def add(self, counts: Counts) -> None:
        self.counts += counts
        self.chunks += 1

    @property
    def up_to(self) -> datetime | None:
        return self.seen if self.more or self.reading is None else self.reading.bound

    @property
    def status(self) -> Status:
        return Status.DONE if self.counts.moved else Status.NOTHING


def _run(
    pair: Pair, steps: Steps, direction: Direction, work: Callable[[Session, _Tally], None], *, remember: bool = True
) -> Report:
    """Take the lease, do the work, write down how it went. A refused or failed run raises; an off-line station
    and a run that is under way are reports."""
    begun = time.monotonic()
    tally = _Tally(direction)
    run = steps.run or new_run()

    def report(status: Status, message: str = "") -> Report:
        up_to = tally.up_to if status in (Status.DONE, Status.NOTHING) else None
        return Report(
            pair.name, pair.table, direction, status, tally.counts, tally.chunks, up_to, time.monotonic() - begun,
            tuple(tally.warnings), message, tally.details, run, tuple(tally.gaps),
        )  # fmt: skip

    with lease(pair) as session:
        if session is None:
            return report(Status.UNDER_WAY, f"{pair.place}: another run is under way; this one has nothing to do")
        with _written_down(session, report, tally.left_out, remember=remember), guarded(pair.place):
            session.journal.run, session.journal.flow_run = run, steps.flow_run
            _open(session, steps)
            tally.warnings += session.seen.warnings(session.fit)
            if remember:
                session.journal.tidy()
            work(session, tally)
            tally.gaps = session.journal.warnings
            tally.warnings += tally.gaps
            if remember:
                session.remember_shapes()
        done = report(tally.status)
        if remember:
            _write(session, done, tally.left_out)
        return done


def _open(session: Session, steps: Steps) -> None:
    try:
        steps.open(session)
    except ColumnLost:
        with suppress(StationSyncError, sa.exc.SQLAlchemyError):
            adopt_columns.doubt(session)
        raise
    if not steps.dry_run:
        steps.adopt(session)


@contextmanager
def _written_down(
    session: Session, report: Callable[[Status, str], Report], left_out: Mapping[str, int], *, remember: bool
) -> Iterator[None]:
    """A failure is noted in the books where they can be reached, and goes on its way."""
    try:
        yield
    except StationSyncError as error:
        status = Status.OFFLINE if isinstance(error, StationOffline) else Status.FAILED
        so_far = error.report = report(status, str(error))
        if remember:
            with secondary(error), suppress(StationSyncError, sa.exc.SQLAlchemyError):
                _write(session, so_far, left_out)
        raise


def _write(session: Session, report: Report, left_out: Mapping[str, int]) -> None:
    with session.transaction():
        at = session.dialect.clock(session.control, Family.DATETIME).utc
        books.write_result(session.control, session.pair, report, at, left_out)


def validator_of(session: Session, max_bad: Callable[[int, int], bool] | None = None) -> Validator:
    """`max_bad`: in place of the table's own."""
    options = session.pair.options
    suite = None
    if name := options.expectations:
        suite = spelled(load_suite(name, beside=session.pair.suites), session.fit.names)
    carry = options.zero_dates is ZeroDates.CARRY
    fit = session.fit
    exceeded = max_bad or options.max_bad.exceeded
    return Validator(session.pair.place, suite, fit.families, carry, exceeded, key=fit.key)


def _pull(session: Session, steps: Steps, tally: _Tally) -> None:
    reading = tally.reading = beginning.planned_pull(session)
    older_control.require_as_known(session)
    tally.left_out = _count_left_out(session, reading)
    without_key, without_date = (tally.left_out.get(name, 0) for name in ("without_key", "without_date"))
    tally.details = replace(tally.details, without_key=without_key, without_date=without_date)
    tally.warnings += [*reading.warnings, *_skew_warning(session), *_undated_warning(session, tally.left_out)]
    tally.counts += steps.leave(session, reading)
    validator = validator_of(session)

    def read(after: Position | None) -> Checked:
        return steps.validate(validator, steps.extract(session, reading, after))

    _pull_pages(session, steps, tally, reading, read)
    if session.known.left or session.pair.options.where is not None:
        tally.left_out["outside"] = leaving.count_left(session)
    tally.warnings += stamps_seen.warnings(session)
    _try_waiting(session, steps, tally)


def _pull_pages(
    session: Session, steps: Steps, tally: _Tally, reading: Reading, read: Callable[[Position | None], Checked]
) -> None:
    budget = _Budget(session.pair.options.run_rows)

    def read_behind(page: Future[Checked | None]) -> Checked | None:
        checked = page.result()
        more = checked is not None and checked.chunk.more and not budget.spent(checked.read, checked.chunk.rows.nbytes)
        return read(checked.chunk.last) if checked is not None and more else None

    last: Chunk | None = None
    # The next pages are read and validated while this one is merged; one of new rows may be loaded meanwhile, too.
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as ahead, beside(session) as second:
        pages: deque[Future[Checked | None]] = deque([_later(ahead, read, reading.after)])
        try:
            while True:
                while len(pages) <= _AHEAD:
                    pages.append(_later(ahead, read_behind, pages[-1]))
                if (checked := pages.popleft().result()) is None:
                    break
                if not steps.dry_run:
                    second.begin(checked.chunk, pages[0])
                tally.add(steps.merge(session, checked, reading))
                tally.warnings += [note for note in checked.notes if note not in tally.warnings]
                last = checked.chunk
        finally:
            for page in pages:
                page.cancel()
    if last is not None and last.more:
        _end_early(session, steps, tally, reading, last.last)


class _Budget:
    """What one run may read. A station that adds rows faster than they are read, or that has no end, must not keep a
    run, and with it the lease and the tables behind it, for ever."""

    def __init__(self, rows: int) -> None:
        self._rows, self._bytes = rows, _RUN_BYTES

    def spent(self, rows: int, size: int = 0) -> bool:
        self._rows -= rows
        self._bytes -= size
        return self._rows <= 0 or self._bytes <= 0


def _end_early(session: Session, steps: Steps, tally: _Tally, reading: Reading, last: Position | None) -> None:
    """The run ends behind `last`, though there is more. The mark has that place, as of a run that was cut off. Once
    that is behind the bound, all was seen that this run was to see: the watermark moves, so that late rows do not wait
    for a station that never stops writing."""
    pair, direction = session.pair, tally.direction
    at = None if last is None else moment(last.modified)
    through = at is not None and at > reading.bound
    if through and not steps.dry_run:
        with session.transaction():
            mark = books.read_mark(session.control, pair, direction)
            done = replace(reading.mark, newest=mark.newest, stamps=mark.stamps, remembered=mark.remembered)
            books.write_mark(session.control, pair, direction, done)
    tally.seen = reading.bound if through else reading.before
    tally.more = True
    tally.details = replace(tally.details, more=True)
    verb = "pull" if direction is Direction.UP else "push"
    again = f"stationsync {verb} {pair.name} --table {pair.table}"
    what = f"{tally.counts.read:,} rows were read, and there is more: the next run goes on"
    tally.warnings.append(f"{what} (run_rows: {pair.options.run_rows}); now: {again}")


def _try_waiting(session: Session, steps: Steps, tally: _Tally) -> None:
    """Rows that control refused because of another row, which may have come, or gone out of their way, since: as long
    as something goes in."""
    met: set[tuple[str | bytes, ...]] = set()
    while True:
        with session.transaction():
            keys = waiting.ready(session)
            if session.known.in_the_way - met:
                # What the station has of these may be newer than any run has seen: both go in together, or neither.
                keys += (*(key for key, _ in waiting.for_values(session)), *session.known.in_the_way)
                met |= session.known.in_the_way
        if not keys:
            return
        if not session.care.on:
            session.begin_care()  # some may be locked still
        before = tally.counts = replace(tally.counts, locked=0)
        _look_again(session, steps, tally, tuple(dict.fromkeys(keys)))
        if tally.counts.applied == before.applied and not session.known.in_the_way - met:
            return


def _later(ahead: ThreadPoolExecutor, read: Callable[[A], T], after: A) -> Future[T]:
    # The context travels along: a Prefect task must know its flow run.
    return ahead.submit(contextvars.copy_context().run, read, after)


def _skew_warning(session: Session) -> list[str]:
    skew = session.skew
    if abs(skew) <= session.pair.options.max_skew:
        return []
    return [f"the station's clock is {skew.total_seconds():+.0f} s off control's (conflicts are decided corrected)"]


def _count_left_out(session: Session, reading: Reading) -> dict[str, int]:
    """Rows that no page has."""
    counted = {"without_key": session.count_without_key()}
    fit = session.fit
    if reading.before is None or all(fit.by_name[name].station.nullable for name in fit.stamps):
        counted["without_date"] = extract.count_undated(session)
    return counted


def _undated_warning(session: Session, left_out: Mapping[str, int]) -> list[str]:
    undated, modified = left_out.get("without_date"), " and ".join(session.fit.stamps)
    return [f"{undated} rows without a date in {modified} were not read; reconcile brings them"] if undated else []


def _push(session: Session, steps: Steps, tally: _Tally) -> None:
    if session.pair.options.direction is TableDirection.UP:
        return
    reading = tally.reading = beginning.planned_push(session)
    older_control.require_as_known(session)
    tally.warnings += reading.warnings
    changed = _push_pages(session, steps, tally, None, None)
    changed += _push_pages(session, steps, tally, reading, reading.after)
    tally.warnings += stamps_seen.warnings_of_edits(session)
    if changed:
        # The station changed these rows meanwhile: the merge decides now, and what control won goes down.
        _look_again(session, steps, tally, tuple(dict.fromkeys(changed)))
        before = tally.counts
        _push_pages(session, steps, tally, None, None)
        # What is missing at the station was met, and counted, by the first pass.
        tally.counts = replace(tally.counts, read=before.read, missing=before.missing, locked=before.locked)


def _push_pages(
    session: Session, steps: Steps, tally: _Tally, reading: Reading | None, after: Position | None
) -> list[tuple[str | bytes, ...]]:
    changed: list[tuple[str | bytes, ...]] = []
    budget = _Budget(session.pair.options.run_rows)
    while True:
        pushed = steps.push(session, reading, after)
        tally.add(pushed.counts)
        changed += pushed.look_again
        if not pushed.more:
            return changed
        # Rows that are marked `pending` have an end: nobody marks more while this run has the lease.
        if reading is not None and budget.spent(pushed.counts.read):
            _end_early(session, steps, tally, reading, pushed.last)
            return changed
        after = pushed.last


def _look_again(session: Session, steps: Steps, tally: _Tally, keys: tuple[tuple[str | bytes, ...], ...]) -> None:
    for ours in (False, True):
        some = tuple(key for key in keys if (key in session.known.altered) is ours)
        if not some:
            continue
        chunk = replace(steps.extract_keys(session, some), origin=Origin.OURS if ours else Origin.STATION)
        checked = steps.validate(validator_of(session), chunk)
        counts = steps.merge(session, checked, None) + _release_gone(session, some, checked)
        # They were counted as read before.
        tally.add(replace(counts, read=0))


def _release_gone(session: Session, keys: Sequence[tuple[str | bytes, ...]], checked: Checked) -> Counts:
    """A row whose key is no Unicode has no other way out of quarantine: mended, it has another key."""
    texts = {key_text(key) for key in keys if any(map(stored_text.parsed, key))}
    if not texts:
        return Counts()
    for rows in (checked.chunk.rows, checked.bad_rows):
        texts -= set(key_texts(rows, session.fit.key))
    with session.transaction():
        return Counts(released=books.set_state(session, Direction.UP, sorted(texts), books.RELEASED))
