"""Replay: control's table gets the rows back that it lacks, from what the journal tells and the base knows. Nothing is
overwritten or deleted, the station is not asked, and what it changed since comes with its next pull.

A range of the journal says which rows; each gets the last that is known of it: what the base has of it, or else what
the journal last told, inside of the range or not. Without a range, the rows of which the journal tells nothing come
back from the base too. Under the lease of the pair, in transactions of some rows: cut off, it is simply run again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from stationsync.journal.read import Wanted
from stationsync.journal.recorder import new_run
from stationsync.model.changes import Counts, Direction, Report, Status
from stationsync.model.wire import key_text
from stationsync.pairing.pair import Pair
from stationsync.recovery import replay_page, replay_stage
from stationsync.recovery.replay_page import Refused
from stationsync.recovery.replay_read import Gathered, gathered
from stationsync.recovery.replay_refused import give_up
from stationsync.recovery.replay_rule import LEFT, WRITES, Fate, Key, State, Told, shape
from stationsync.recovery.replay_stage import row_of
from stationsync.rollback import rebuilding
from stationsync.session.lease import held, with_retries
from stationsync.session.session import Session
from stationsync.sync.plan import CONTROL, Gathering, Sample, Share, details, edited, key_of
from stationsync.topology.model import Deletes
from stationsync.writing import locked

_PAGE, _NAMED = 2_000, 20


def replay(pair: Pair, wanted: Wanted, *, dry_run: bool = False) -> Report:
    """Bring back what control lacks of this station's rows. Works while the station is off-line or paused.

    Raises NotInitialised, SchemaRefused, JournalUnavailable, DatabaseBusy: what was committed before stays."""
    begun = time.monotonic()
    with held(pair, at_control=True) as session:
        work = _Replay(session, wanted, dry_run)
        work.do()
        return work.report(time.monotonic() - begun)


class _Replay:
    def __init__(self, session: Session, wanted: Wanted, dry_run: bool) -> None:
        self._session = session
        self._pair = session.pair
        self._wanted = wanted
        self._dry_run = dry_run
        self._all = (wanted.since, wanted.until, wanted.run) == (None, None, None)
        self._plan = Gathering()
        self._fates: Counter[Fate] = Counter()
        self._left: dict[Fate, list[str]] = {}
        self._refused: list[Refused] = []
        self._locked: list[State] = []
        self._edits = 0
        self._chunks = 0
        # Of what was inserted from the journal: columns that it has not, and that control has no more.
        self._lacking: set[str] = set()
        self._dropped: set[str] = set()
        self._sampled: set[tuple[str, ...]] = set()
        self._gap = 0
        self._notes: list[str] = []
        self._told: dict[str, int] = {}
        session.journal.run = new_run()

    def do(self) -> None:
        session = self._session
        if not self._dry_run:
            session.journal.tidy()
            rebuilding.begin(session)
        with gathered(self._pair, session.fit.key, self._wanted) as found:
            self._note(found)
            for states in found.pages():
                self._rows([self._as_now(state) for state in states])
        if self._all:
            self._rest()
        if not self._dry_run:
            self._try_again()
            self._notes += rebuilding.end(session)
        self._notes += session.journal.warnings

    def _as_now(self, state: State) -> State:
        """A row that was flagged, of a table that flags none any more: it is in the trash."""
        if state.flagged and state.control and self._pair.options.deletes is not Deletes.FLAG:
            return replace(state, control=Told(state.control.at, None))
        return state

    def _rows(self, states: Sequence[State]) -> None:
        """Transactions of rows that have the same columns."""
        for _, alike in groupby(sorted(states, key=shape), key=shape):
            done = with_retries(replay_page.replay)(self._session, list(alike), self._gap, dry_run=self._dry_run)
            self._chunks += 1
            self._refused += done.refused
            self._locked += done.locked
            self._tell(done.fates)

    def _rest(self) -> None:
        """Rows that the base knows, control lacks, and the journal does not tell of."""
        after: Key | None = None
        met = {one.state.key for one in self._refused} | {one.key for one in self._locked}
        while states := with_retries(replay_stage.lacking_after)(self._session, after, _PAGE):
            after = states[-1].key
            if self._dry_run:
                self._plan_rest(states)
                return
            if left := [one for one in states if one.key not in met]:
                self._rows(left)

    def _plan_rest(self, states: Sequence[State]) -> None:
        """On a dry run what the journal would bring back is still lacking."""
        missing = replay_stage.count_lacking(self._session)
        rest = missing - self._fates[Fate.BASE] - self._fates[Fate.EDIT]
        if rest > 0:
            samples = [sample for one in states if (sample := self._sample(one, Fate.BASE)).key not in self._sampled]
            self._fates[Fate.BASE] += rest
            self._add("inserts", samples[:_NAMED], rest)

    def _try_again(self) -> None:
        """As long as something more goes in: a row may refer to one that was refused at first itself."""
        waiting = 0
        while self._refused and len(self._refused) != waiting:
            waiting = len(self._refused)
            again, self._refused = self._refused, []
            self._rows([one.state for one in again])
        give_up(self._session, self._refused)

    # --- what it tells

    def _note(self, found: Gathered) -> None:
        self._gap = found.gap
        self._told = {"files": found.files, "unnamed": found.unnamed, "records": found.records}
        for path in found.missing:
            self._notes.append(f"{path} of the journal cannot be read, and is passed over")
        if found.of_other_key:
            self._notes.append(f"{found.of_other_key:,} records are of another key than the table has now")

    def _tell(self, fates: Sequence[tuple[State, Fate]]) -> None:
        self._fates.update(what for _, what in fates)
        written = [(state, what) for state, what in fates if what in WRITES]
        self._edits += sum(what is not Fate.BASE and bool(_edit(state)) for state, what in written)
        if written:
            self._add("inserts", [self._sample(*one) for one in written[:_NAMED]], len(written))
        if any(what is not Fate.BASE for _, what in written):
            columns, names = set(shape(written[0][0])[0]), set(self._session.fit.names)
            self._lacking |= names - columns
            self._dropped |= columns - names
        for state, what in fates:
            if what in LEFT and len(keys := self._left.setdefault(what, [])) < _NAMED:
                keys.append(key_text(state.key))

    def _add(self, kind: str, samples: Sequence[Sample], number: int) -> None:
        self._sampled |= {sample.key for sample in samples}
        self._plan.add(Share.of(self._pair.name, self._pair.table, CONTROL, kind, samples, number))

    @staticmethod
    def _sample(state: State, what: Fate) -> Sample:
        if what is Fate.BASE:
            return Sample(key_of(state.key), "as the base has it")
        words = {
            Fate.NEW: "as the journal has it",
            Fate.ALONE: "as the journal has it; the station had it no more",
            Fate.FLAG: "flagged as deleted, as the journal has it",
        }
        if edit := _edit(state):
            return Sample(key_of(state.key), f"with control's edit, which had not gone down: {edit}")
        return Sample(key_of(state.key), words[what])

    def report(self, seconds: float) -> Report:
        written = sum(self._fates[what] for what in WRITES)
        for one in self._refused:
            self._add("quarantined", [Sample(key_of(one.state.key), one.why)], 1)
        for names, what in ((self._lacking, "get control's defaults"), (self._dropped, "are left out")):
            if names:
                which = ", ".join(sorted(names))
                self._notes.append(f"columns that only one of journal and table has {what}: {which}")
        counts = Counts(
            read=sum(self._fates.values()) + len(self._refused) + len(self._locked),
            applied=0 if self._dry_run else written,
            unchanged=self._fates[Fate.THERE],
            quarantined=0 if self._dry_run else len(self._refused),
            locked=len(self._locked),
        )
        told = details(self._plan.shares) | {
            "dry_run": self._dry_run,
            "journal": self._told,
            "rows": written,
            "edits": self._edits,
            "locked_keys": [key_of(one.key) for one in self._locked],
        }
        told["left"] = [
            {"why": LEFT[what], "rows": self._fates[what], "keys": keys} for what, keys in self._left.items()
        ]
        status = Status.DONE if written or self._refused else Status.NOTHING
        pair, run = self._pair, self._session.journal.run
        again = f"{rebuilding.command(pair)}{_range(self._wanted)}"
        self._notes += locked.note(told["locked_keys"], "at control", again)
        return Report(
            pair.name, pair.table, Direction.UP, status, counts, self._chunks, None, seconds, tuple(self._notes), "",
            told, run,
        )  # fmt: skip


def _range(wanted: Wanted) -> str:
    """As it is typed."""
    given = {"run": wanted.run, "since": wanted.since, "until": wanted.until}
    texts = {name: str(one) if name == "run" else f"{one:%Y-%m-%dT%H:%M:%S}" for name, one in given.items() if one}
    return "".join(f" --{name} {text}" for name, text in texts.items())


def _edit(state: State) -> str:
    """What control had edited of the station's row, in words."""
    control, station = row_of(state.control), row_of(state.station)
    names = control.keys() & station.keys()
    return edited({name: station[name] for name in names}, {name: control[name] for name in names})
