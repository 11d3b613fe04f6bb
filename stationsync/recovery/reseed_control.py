"""Control's table was lost, emptied, damaged, or restored from an older backup: control is given back what it had of a
station (`reseed`), or taken as it is (`trust`).

Each row comes from the best source that there is: what the base has, which is the last version that the station is
known to have; over it control's own edit, where the journal tells of one that had not gone down; and where the base
knows no such row, what the journal last told. So the station may be off-line or paused; what it changed since comes
with the next pull. Cut off anywhere, the same command goes on: each page is one transaction of control's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from stationsync.journal import read
from stationsync.journal.recorder import new_run
from stationsync.model.changes import Counts, Direction, Report, Status
from stationsync.model.details import JournalRead, Left, ReseedControlDetails
from stationsync.model.plan import CONTROL, Gathering, Sample, Share, edited, key_of
from stationsync.model.wire import key_text
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.recovery import deleted_and_back
from stationsync.recovery.base_pages import PAGE
from stationsync.recovery.journal_versions import Gathered, gathered, is_range
from stationsync.recovery.reseed_control_page import GivenToControl, Refusal, accept, give, give_up, keep_waiting, look
from stationsync.recovery.reseed_control_rows import Terms, next_keys
from stationsync.recovery.reseed_control_rule import (
    EDITS,
    INSERTS,
    LEFT,
    OF_JOURNAL,
    REWRITES,
    TOUCHED,
    ControlOutcome,
    JournalState,
    JournalVersion,
    row_of,
    shape,
)
from stationsync.rollback import rebuilding
from stationsync.session.lease import held, with_retries
from stationsync.session.session import Session
from stationsync.sync import leaving
from stationsync.topology.model import Deletes
from stationsync.writing import locked

_NAMED = 10
_Give = Callable[[Session, Sequence[JournalState], Terms], GivenToControl]
# In reports: what becomes of rows.
_KINDS = {"insert": INSERTS, "rewrite": REWRITES, "newer": (ControlOutcome.NEWER,)}


@dataclass(frozen=True)
class JournalSelection:
    """`journal`: a range of it, which says which rows are given back (what they are is the last that is known of each);
    by default all. `missing`: only rows that control lacks are inserted, and nothing is overwritten."""

    journal: read.JournalQuery = field(default_factory=read.JournalQuery)
    missing: bool = False

    def as_typed(self) -> str:
        given = {"run": self.journal.run, "since": self.journal.since, "until": self.journal.until}
        texts = {name: f"{one:%Y-%m-%dT%H:%M:%S}" if isinstance(one, datetime) else one for name, one in given.items()}
        options = "".join(f" --{name} {text}" for name, text in texts.items() if text)
        return f" --missing{options}" if self.missing else options


ALL = JournalSelection()


def plan(pair: Pair, asked: JournalSelection = ALL) -> Report:
    """What a reseed of control would do. Nothing is written.

    Raises NotInitialised, SchemaRefused, DatabaseBusy; JournalUnavailable where a range of the journal is asked for."""
    with _work(pair, asked, dry_run=True) as work:
        work.of_all()
        if not work.partly:
            work.back, _ = deleted_and_back.returned(work.session, write=False)
    return work.report()


def reseed(pair: Pair, asked: JournalSelection = ALL) -> Report:
    """Give control back what it had. Rows that it refuses are tried again at the end, and then kept in quarantine: the
    base forgets them, so that they are no edits of control's. Raises as `plan`; what was committed before stays."""
    with _work(pair, asked) as work:
        leaving.take_back_all(work.session)
        rebuilding.begin(work.session)
        work.of_all()
        work.try_again()
        give_up(work.session, work.refused)
        keep_waiting(work.session)
        if not work.partly:
            work.back, left = deleted_and_back.returned(work.session, write=True)
            work.locked += left
        work.notes += rebuilding.end(work.session)
    return work.report()


def plan_trust(pair: Pair) -> Report:
    """What `trust` would do. Nothing is written."""
    with _work(pair, ALL, dry_run=True) as work:
        work.of_base(look)
    return work.report()


def trust(pair: Pair) -> Report:
    """What control has is right, and waits to go down. Versions of the station that it replaces are kept."""
    with _work(pair, ALL) as work:
        rebuilding.forget(work.session)
        work.of_base(accept)
    return work.report()


@contextmanager
def _work(pair: Pair, asked: JournalSelection, *, dry_run: bool = False) -> Iterator[_Work]:
    with held(pair, at_control=True) as session:
        session.journal.run = new_run()
        if not dry_run:
            session.journal.tidy()
        work = _Work(session, asked, dry_run=dry_run)
        yield work
        work.notes += session.journal.warnings


class _Work:
    """What became of the rows so far."""

    def __init__(self, session: Session, asked: JournalSelection, *, dry_run: bool) -> None:
        self.session = session
        self.refused: list[Refusal] = []
        self.locked: list[Key] = []
        self.notes: list[str] = []
        # Rows that had been deleted, and are there again.
        self.back = 0
        self.partly = asked.missing or is_range(asked.journal)
        self._asked = asked
        self._dry_run = dry_run
        self._begun = time.monotonic()
        self._terms = Terms(missing=asked.missing)
        self._give = look if dry_run else give
        self._fates: Counter[ControlOutcome] = Counter()
        self._samples: dict[ControlOutcome, list[JournalState]] = {}
        self._kept = self._edits = self._chunks = 0
        # Of what was written as the journal has it: columns that it has not, and that control has no more.
        self._lacking: set[str] = set()
        self._dropped: set[str] = set()
        self._journal = JournalRead()

    def of_all(self) -> None:
        """Rows that the journal tells of; then, unless a range of it is asked for, the others of the base."""
        with gathered(self.session.pair, self.session.fit.key, self._asked.journal) as found:
            self._note(found)
            self._terms = replace(self._terms, gap=found.gap)
            for states in found.pages():
                self._do(self._give, [_as_now(self.session.pair, state) for state in states])
            if not is_range(self._asked.journal):
                self.of_base(self._give, found.tells_of, left=True)

    def of_base(
        self, work: _Give, done: Callable[[Sequence[Key]], Collection[Key]] = lambda keys: (), *, left: bool = False
    ) -> None:
        """`done`: which of some rows are none of these. `left`: those too that left the station's filter."""
        after: Key | None = None
        while keys := with_retries(next_keys)(self.session, after, missing=self._terms.missing, left=left):
            after, already = keys[-1], done(keys)
            self._do(work, [JournalState(key) for key in keys if key not in already])

    def try_again(self) -> None:
        """As long as something more goes in: a row may refer to one that was refused at first itself."""
        waiting = 0
        while self.refused and len(self.refused) != waiting:
            waiting = len(self.refused)
            again, self.refused = self.refused, []
            for start in range(0, waiting, PAGE):
                self._do(self._give, [one.state for one in again[start : start + PAGE]])

    def _do(self, work: _Give, states: Sequence[JournalState]) -> None:
        if not states:
            return
        given = with_retries(work)(self.session, states, self._terms)
        self._chunks += 1
        self._kept += given.kept
        self.refused += given.refused
        self.locked += [state.key for state in given.locked]
        names = set(self.session.fit.names)
        for state, what in given.fates:
            self._fates[what] += 1
            if what in OF_JOURNAL:
                columns = set(shape(state)[0])
                self._edits += bool(_edit(state))
                self._dropped |= columns - names
                self._lacking |= set() if what in EDITS else names - columns
            if what in (*TOUCHED, *LEFT) and len(some := self._samples.setdefault(what, [])) < _NAMED:
                some.append(state)

    def _note(self, found: Gathered) -> None:
        self._journal = JournalRead(found.files, found.unnamed, found.records)
        if found.unavailable:
            self.notes.append(
                f"rows come from the bookkeeping alone, for the journal is not there: {found.unavailable}"
            )
        self.notes += [f"{path} of the journal cannot be read, and is passed over" for path in found.missing]
        if found.of_other_key:
            self.notes.append(f"{found.of_other_key:,} records are of another key than the table has now")

    def report(self) -> Report:
        pair, n, dry_run = self.session.pair, self._fates, self._dry_run
        found = {kind: sum(n[what] for what in fates) for kind, fates in _KINDS.items()}
        samples = {
            kind: [Sample(key_of(one.key), _words(one, what)) for what in fates for one in self._samples.get(what, ())]
            for kind, fates in _KINDS.items()
        }
        written, refused = found["insert"] + found["rewrite"], len(self.refused)
        for names, does in ((self._lacking, "get control's defaults"), (self._dropped, "are left out")):
            if names:
                self.notes.append(f"columns that only one of journal and table has {does}: {', '.join(sorted(names))}")
        counts = Counts(
            read=sum(n.values()) + refused + len(self.locked),
            applied=0 if dry_run else written,
            unchanged=n[ControlOutcome.THERE],
            conflicts=0 if dry_run else self._kept,
            quarantined=0 if dry_run else refused,
            changed=n[ControlOutcome.NEWER],
            locked=len(self.locked),
        )
        of_journal = sum(n[what] for what in OF_JOURNAL)
        told = ReseedControlDetails(
            dry_run,
            self._plan(samples, found),
            found,
            samples={kind: [one.key for one in some[:_NAMED]] for kind, some in samples.items() if some},
            rows=written,
            of_journal=of_journal,
            edits=self._edits,
            journal=self._journal,
            kept=self._kept,
            refused=refused,
            returned=self.back,
            locked_keys=[key_of(key) for key in self.locked],
            left=tuple(self._left(what) for what in LEFT if n[what]),
        )
        again = f"{rebuilding.command(pair)}{self._asked.as_typed()}"
        notes = (*self.notes, *locked.note(told.locked_keys, "at control", again))
        any_of = written or refused or self.back or (found["newer"] and not dry_run)
        status = Status.DONE if any_of else Status.NOTHING
        seconds, run = time.monotonic() - self._begun, "" if dry_run else self.session.journal.run
        return Report(
            pair.name, pair.table, Direction.UP, status, counts, self._chunks, None, seconds, notes, "", told, run
        )

    def _plan(self, samples: Mapping[str, Sequence[Sample]], found: Mapping[str, int]) -> tuple[Share, ...]:
        place, plan = (self.session.pair.name, self.session.pair.table, CONTROL), Gathering()
        refused = [Sample(key_of(one.state.key), one.why) for one in self.refused]
        plan.add(Share.of(*place, "inserts", samples["insert"], found["insert"]))
        plan.add(Share.of(*place, "updates", samples["rewrite"], found["rewrite"]))
        plan.add(Share.of(*place, "quarantined", refused))
        return plan.shares

    def _left(self, what: ControlOutcome) -> Left:
        return Left(LEFT[what], self._fates[what], tuple(key_text(one.key) for one in self._samples[what]))


def _as_now(pair: Pair, state: JournalState) -> JournalState:
    """A row that was flagged, of a table that flags none any more: it is in the trash."""
    if state.flagged and state.control and pair.options.deletes is not Deletes.FLAG:
        return replace(state, control=JournalVersion(state.control.at, None))
    return state


_WORDS = {
    ControlOutcome.BASE: "as the base has it",
    ControlOutcome.REWRITE: "as the base has it",
    ControlOutcome.NEWER: "edited at control since",
    ControlOutcome.NEW: "as the journal has it",
    ControlOutcome.ALONE: "as the journal has it; the station had it no more",
    ControlOutcome.FLAG: "flagged as deleted, as the journal has it",
}


def _words(state: JournalState, what: ControlOutcome) -> str:
    if what in OF_JOURNAL and (edit := _edit(state)):
        return f"with control's edit, which had not gone down: {edit}"
    return _WORDS[what]


def _edit(state: JournalState) -> str:
    """What control had edited of the station's row, in words."""
    control, station = row_of(state.control), row_of(state.station)
    names = control.keys() & station.keys()
    return edited({name: station[name] for name in names}, {name: control[name] for name in names})
