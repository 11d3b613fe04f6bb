"""Reconcile: a station, the base and control compared whole, and what differs repaired by the merge and the push.

First everything is compared (`scan`), and the ranges that differ are looked into; then the brake is asked; only then
anything is repaired. Comparing needs no lease: live sync goes on, and whatever it moves meanwhile is found equal, or
decided once more by the merge (DESIGN.md, sections 3 and 5)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime

from stationsync.errors import (
    BrakePulled,
    ControlWentBack,
    StationOffline,
    StationSyncError,
    StationWentBack,
    guarded,
    secondary,
)
from stationsync.journal.recorder import new_run
from stationsync.keeping import books
from stationsync.model import stored_text
from stationsync.model.changes import Direction, Report, Status
from stationsync.model.plan import Share
from stationsync.model.wire import Family, key_text, parse_key_text
from stationsync.pairing.keys import Key, range_columns
from stationsync.pairing.pair import Pair
from stationsync.reconcile import proof, scan
from stationsync.reconcile.compare import MOST_KEYS, Comparison, Difference, Sum
from stationsync.reconcile.proof import details_of
from stationsync.reconcile.repair import Repairs, Todo, plan_of, sort_out
from stationsync.reconcile.scan import ComparisonSteps, Scan, Scanner
from stationsync.rollback import brake, older_control, rebuilding, went_back
from stationsync.rollback.brake import BrakeFacts
from stationsync.session.lease import SWEEP, lease
from stationsync.session.session import Session
from stationsync.sync import beginning, leaving, stamps_seen
from stationsync.sync.runs import Steps
from stationsync.topology.row_filter import Leaving

# Further ones to control: it has three rows to look at for each of the station's.
_CONNECTIONS = 3
# What still differs after it was repaired is another write: looked at again, so many times.
_TIMES = 3


def reconcile(
    pair: Pair,
    steps: Steps,
    looking: ComparisonSteps | None = None,
    *,
    dry_run: bool = False,
    allow_deletes: bool = False,
) -> Report:
    """Compare, repair, and write down what was proved. On a dry run nothing is written.

    Raises BrakePulled with nothing changed, StationOffline (the next sweep goes on where this one was cut off), and
    what a pull and a push raise."""
    begun = time.monotonic()
    with lease(pair, SWEEP) as session:
        if session is None:
            what = f"{pair.place}: another reconcile is under way; this one has nothing to do"
            return Report(pair.name, pair.table, Direction.BOTH, Status.UNDER_WAY, message=what)
        sweep = _Sweep(session, steps, looking or ComparisonSteps(), dry_run, allow_deletes)
        with _written_down(sweep), guarded(pair.place):
            steps.open(session)
            if not dry_run:
                steps.adopt(session)
            with _comparison(session) as comparison:
                report = sweep.run(comparison)
        return replace(report, seconds=time.monotonic() - begun)


@contextmanager
def _comparison(session: Session) -> Iterator[Comparison]:
    with ExitStack() as stack:
        others = [stack.enter_context(session.pair.control.connect()) for _ in range(_CONNECTIONS)]
        yield stack.enter_context(Comparison(session, others))


@contextmanager
def _written_down(sweep: _Sweep) -> Iterator[None]:
    try:
        yield
    except StationSyncError as error:
        status = Status.OFFLINE if isinstance(error, StationOffline) else Status.FAILED
        error.report = sweep.report(status, str(error))
        with secondary(error):  # control may be what failed
            sweep.stop(status, error)
        raise


class _Sweep:
    def __init__(
        self, session: Session, steps: Steps, looking: ComparisonSteps, dry_run: bool, allow_deletes: bool
    ) -> None:
        self._session, self._looking = session, looking
        self._pair = session.pair
        # All that it repairs is one run in the journal.
        self._steps = steps = steps if steps.run else replace(steps, run=new_run())
        self._dry_run = dry_run
        self._allow = allow_deletes
        self._scan = Scan()
        self._found = Difference()
        self._repairs = Repairs(session.pair, steps)
        self._total: Sum | None = None
        self._exceptions: Mapping[str, int] = {}
        self._up_to: datetime | None = None
        self._warnings: list[str] = []
        self._shares: tuple[Share, ...] = ()
        self._more = False
        self._without_key = 0

    def run(self, comparison: Comparison) -> Report:
        session = self._session
        bound = beginning.planned_pull(session).bound
        self._warnings += stamps_seen.warnings(session)
        self._require_current(lambda: older_control.require_current(session))
        self._require_current(lambda: went_back.require_present(session, missing=False, many=False))
        self._scan, self._up_to = self._begin(bound)
        scanner = Scanner(comparison, self._pair.options)
        most = self._scan.ranges + scan.RUN_RANGES
        while not self._scan.done:
            self._scan = self._looking.compare(scanner, self._scan)
            self._remember()
            if self._scan.ranges >= most and not self._scan.done:
                return self._end_early(f"{self._scan.ranges:,} ranges were compared", anew=False)
        self._found = self._own_apart(self._with_left(self._looking.look_into(comparison, self._scan)))
        found = self._found
        self._require_current(
            lambda: older_control.require_current_found(session, found.edited, found.count("vanished"))
        )
        if found.more:
            self._found = self._part()
        todo = self._todo()
        self._ask_the_brake(comparison, todo)
        if self._dry_run:
            self._shares = plan_of(self._pair, self._steps, todo)
            return self.report(Status.NOTHING if not self._found else Status.DONE)
        if self._found.older:
            # Few are older, but many more may be missing: then it is the station that went back.
            went_back.require_present(session)
        elif todo.at_control and not self._allow:
            # The brake has nothing against so many deletes; but a server may say that these were none.
            went_back.require_present(session, many=False)
        self._repairs.do(todo)
        self._repairs.merge(self._keys_without_unicode())
        if found.more:
            return self._end_early(f"{len(found):,} rows that differ were repaired", anew=True)
        self._prove(comparison, todo)
        return self.report(Status.DONE if self._repairs.counts.moved else Status.NOTHING)

    def _part(self) -> Difference:
        """Of more than one reconcile looks into: what takes no row away, for as long as there is any. The others are
        judged once all of them are known, or when nothing else is left."""
        found, sends = self._found, self._pair.options.sends_deletes
        older = found.older if self._session.known.accepted else ()
        safe = replace(found, gone=(), older=older, vanished=() if sends else found.vanished)
        self._warnings.append(f"more than {len(found):,} rows differ; these are the first")
        return safe if len(safe) else found

    def _end_early(self, what: str, *, anew: bool) -> Report:
        """The next sweep goes on from the place that is remembered, or begins `anew`; nothing is proved."""
        what = f"{what}, and there is more"
        again = f"stationsync reconcile {self._pair.name} --table {self._pair.table}"
        how = "a dry run goes no farther" if self._dry_run else f"the next reconcile goes on; now: {again}"
        self._warnings.append(f"{what}: {how}")
        status = Status.DONE if self._repairs.counts.moved else Status.NOTHING
        if not self._dry_run:
            with self._session.transaction():
                if self._allow:
                    proof.forget_plan(self._session.control, self._pair)
                proof.stop(self._session.control, self._pair, self._now(), status, what, anew=anew)
        self._more = True
        return self.report(status)

    def _keys_without_unicode(self) -> list[Key]:
        """Keys in quarantine that are no text: a row that was mended is no longer found by them."""
        with self._session.transaction():
            entries = books.open_entries(self._session, Direction.UP)
        return [key for text in entries if any(map(stored_text.parsed, key := parse_key_text(text)))]

    def _with_left(self, found: Difference) -> Difference:
        """With the rows that left the filter before, where they are to go at control."""
        if self._pair.options.leaving is Leaving.KEEP:
            return found
        return replace(found, outside=(*found.outside, *leaving.left_keys(self._session, MOST_KEYS)))

    def _own_apart(self, found: Difference) -> Difference:
        """What our own push made older is not: it was cut off, and the merge will find both sides equal."""
        sent = went_back.sent_by_us(self._session, found.older)
        older = tuple(key for key in found.older if key not in sent)
        return replace(found, older=older, changed=(*found.changed, *(key for key in found.older if key in sent)))

    # --- what is to be done

    def _require_current(self, look: Callable[[], None]) -> None:
        """A dry run goes on, and says so."""
        try:
            look()
        except (ControlWentBack, StationWentBack) as error:
            if not self._dry_run:
                raise
            warning = f"it would be refused: {error.what} {error.next_step}"
            self._warnings += [warning] if warning not in self._warnings else []

    def _todo(self) -> Todo:
        """Where deletes were refused and are allowed now: exactly those of both sides. `since`: how many more came."""
        todo = sort_out(self._found, self._pair.options)
        at_control, at_station = self._planned("control"), self._planned("station")
        if not (at_control or at_station):
            # Nothing was refused, so there is nothing to allow: the brake is asked.
            self._allow = False
            return todo
        allowed = replace(
            todo,
            at_control=tuple(key for key in todo.at_control if key in at_control),
            at_station=tuple(key for key in todo.at_station if key in at_station),
        )
        return replace(allowed, since=todo.deletes - allowed.deletes)

    def _planned(self, side: str) -> set[Key]:
        if not self._allow:
            return set()
        with self._session.transaction():
            return set(proof.planned_deletes(self._session.control, self._pair, side))

    def _ask_the_brake(self, comparison: Comparison, todo: Todo) -> None:
        if not (todo.at_control or todo.at_station or self._found.older):
            return
        facts = BrakeFacts(
            comparison.base.count(),
            comparison.station.count(),
            0 if self._allow else len(todo.at_control),
            0 if self._allow else len(todo.at_station),
            # Somebody has said since that the station is right as it is.
            0 if self._session.known.accepted else len(self._found.older),
            cut_off=self._is_being_rebuilt(),
            more=self._found.more,
            left=0 if self._allow else len(todo.left),
        )
        if (pulled := brake.judge(facts, self._pair.options.max_deletes)) is None:
            return
        if self._dry_run:
            self._warnings.append(f"the brake would refuse this: {pulled.what}")
            return
        if pulled.deletes:
            self._plan(todo)
        command = f"stationsync reconcile {self._pair.name} --table {self._pair.table}"
        look = f"Look at what it would do: {command} --dry-run"
        allow = f"; to allow exactly these deletes once: {command} --allow-deletes"
        if not pulled.deletes:
            allow = f". {went_back.which_side(self._pair)}"
        if facts.cut_off:
            look = f"Bring them back: {rebuilding.command(self._pair)}. {look}"
        raise BrakePulled(self._pair.place, pulled.what, not_done="Nothing was changed.", next_step=look + allow)

    def _is_being_rebuilt(self) -> bool:
        with self._session.transaction():
            return rebuilding.is_open(self._session.control, self._pair)

    # --- proof

    def _prove(self, comparison: Comparison, todo: Todo) -> None:
        """What is left of the differences, and why; and the sum of what both sides have now."""
        left = Difference()
        for _ in range(_TIMES):
            left = self._looking.look_into(comparison, self._scan)
            again = self._unexplained((*left.changed, *left.older))
            if not again:
                break
            self._repairs.merge(again)
        total = self._scan.equal
        for span in self._scan.unequal:
            total += comparison.base.sum(span)
        differing = (*left.changed, *left.older)
        unexplained = len(self._unexplained(differing))
        self._exceptions = {
            "quarantined": len(differing) - unexplained,
            "differing": unexplained,
            "gone": left.count("gone"),
            "vanished": left.count("vanished"),
            "waiting": len(left.edited),
            **({"outside": len(left.outside)} if left.outside else {}),
        }
        if todo.since:
            self._warnings.append(f"{todo.since:,} more rows are gone since the deletes were planned; they were left")
        self._total = total
        self._without_key = self._session.count_without_key()
        self._end()

    def _unexplained(self, keys: Sequence[Key]) -> tuple[Key, ...]:
        """Rows that differ, and are not in quarantine."""
        if not keys:
            return ()
        with self._session.transaction():
            entries = books.open_entries(self._session, Direction.UP, discarded=True)
        return tuple(key for key in keys if key_text(key) not in entries)

    # --- books

    def _begin(self, bound: datetime) -> tuple[Scan, datetime]:
        if self._dry_run:
            return Scan(), bound
        session = self._session
        with session.transaction():
            return proof.begin(session.control, self._pair, self._about(), session.now, bound)

    def _about(self) -> str:
        """What the ranges of a sweep that was cut off are about: the same columns too, cut in the same order."""
        columns = [repr(column) for column in self._session.fit.columns]
        what = [self._session.about, range_columns(self._session.fit), columns]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def _remember(self) -> None:
        if not self._dry_run and not self._scan.done:
            with self._session.transaction():
                proof.remember(self._session.control, self._pair, self._scan)

    def _plan(self, todo: Todo) -> None:
        with self._session.transaction():
            proof.plan_deletes(self._session.control, self._pair, "control", todo.at_control)
            proof.plan_deletes(self._session.control, self._pair, "station", todo.at_station)

    def _end(self) -> None:
        assert self._total is not None
        assert self._up_to is not None
        session = self._session
        with session.transaction():
            proof.forget_plan(session.control, self._pair)
            if not self._exceptions["vanished"]:
                rebuilding.close(session.control, self._pair)
            proof.end(session.control, self._pair, self._now(), self._up_to, self._total, self._exceptions)
            if session.fit.nullable_key:
                books.write_without_key(session.control, self._pair, self._without_key)

    def stop(self, status: Status, error: StationSyncError) -> None:
        if self._dry_run:
            return
        anew = self._scan.done
        with self._session.transaction():
            proof.stop(self._session.control, self._pair, self._now(), status, str(error), anew=anew)

    def _now(self) -> datetime:
        return self._session.dialect.clock(self._session.control, Family.DATETIME).utc

    def report(self, status: Status, message: str = "") -> Report:
        details = details_of(self._found, self._total, self._exceptions, self._scan.ranges, dry_run=self._dry_run)
        details = replace(details, without_key=self._without_key, plan=self._shares, more=self._more)
        up_to = self._up_to if self._total is not None else None
        return Report(
            self._pair.name, self._pair.table, Direction.BOTH, status, self._repairs.counts, self._scan.ranges, up_to,
            0.0, (*self._warnings, *self._repairs.warnings), message, details, self._steps.run or "",
        )  # fmt: skip
