"""Taking back what runs changed: control gets the rows as they were before, as an edit of control's, and the push
carries them to their station by compare-and-set. Only rows that nobody has changed since, at neither side.

So a mass change that was pushed by mistake is taken back at both sides, and a revert is a change like any other: it is
journalled, and can be taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import Refused, RowRefused, UsageError
from stationsync.journal import read
from stationsync.journal.format import Decided, Records
from stationsync.journal.read import JournalChunk, JournalQuery
from stationsync.model.changes import Counts, Direction, Report, Status
from stationsync.model.details import Left, RevertDetails
from stationsync.model.plan import CONTROL, Gathering, Sample, Share, edited, key_of
from stationsync.model.wire import parse_key_text, table_of
from stationsync.pairing.pair import Pair
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import pending
from stationsync.store.bookkeeping import PENDING, SEEN, STATION
from stationsync.sync import merge, runs
from stationsync.sync.runs import Steps
from stationsync.topology.model import TableDirection
from stationsync.writing import locked
from stationsync.writing.halving import in_halves

Version = Mapping[str, Any]

_WROTE = frozenset({Decided.INSERTED, Decided.UPDATED, Decided.COMBINED, Decided.DELETED, Decided.FLAGGED})


@dataclass(frozen=True)
class Undo:
    """A row as it was before the first of the runs that wrote it, and as it was after the last; None: no row."""

    before: Version | None
    after: Version | None

    @property
    def why_not(self) -> str | None:
        """Why it cannot be taken back here; None where it can."""
        if self.after is None:
            return "the run deleted it: see stationsync trash list"
        if self.before is None:
            return "the run inserted it: its station has it, and may delete it"
        if self.before.keys() != self.after.keys():
            return "the table had other columns then"
        return None


def gather(chunks: Iterable[pa.Table]) -> dict[str, Undo]:
    """By the key's text; chunks in the order in which they were written. Rows that are as they were are left out."""
    found: dict[str, Undo] = {}
    for rows in chunks:
        for record in rows.select(["direction", "decision", "key", "before", "after"]).to_pylist():
            if not _wrote(record):
                continue
            key = record["key"]
            undo = Undo(record["before"], record["after"])
            found[key] = replace(found[key], after=undo.after) if key in found else undo
    return {key: undo for key, undo in found.items() if undo.before != undo.after}


def _wrote(record: Mapping[str, Any]) -> bool:
    """A push that was cut off behind the station's commit is told by the run that found its rows equal."""
    cut_off = record["decision"] == Decided.SETTLED and record["direction"] == Direction.DOWN
    return record["decision"] in _WROTE or (cut_off and record["after"] is not None)


_LIST = "List them with: stationsync journal list"


def of_runs(control: Database, given: Sequence[str]) -> list[JournalChunk]:
    """By ids of runs or of Prefect's flow runs, or their beginnings. UsageError where the journal has none, or several
    that begin so."""
    found: dict[str, JournalChunk] = {}
    for run in given:
        entries, _ = read.chunks(control, JournalQuery(run=run))
        meant = {entry.run if entry.run.startswith(run) else entry.flow_run for entry in entries}
        if len(meant) != 1:
            what = f"{len(meant)} runs in the journal begin so." if meant else "the journal has no such run."
            raise UsageError(f"run {run}", what, not_done="Nothing was changed.", next_step=_LIST)
        found |= {entry.id: entry for entry in entries}
    return list(found.values())


def within(control: Database, wanted: JournalQuery, direction: Direction | None = None) -> list[JournalChunk]:
    """What was changed in this time; `direction` UP: at control, DOWN: at stations."""
    entries, _ = read.chunks(control, wanted)
    return [entry for entry in entries if direction in (None, entry.direction)]


RULE = "revert"
_AT_ONCE = 2_000
_SAMPLES = 5
_OK = ""
_LOCKED = "an application at control keeps it locked; run the same command again"
_WHAT = "stationsync_what"


class Reverting:
    """One pair's share of a revert. `left` is what was left alone: why, and the keys. `locked`: those of them that an
    application at control keeps locked."""

    def __init__(self, pair: Pair, undo: Mapping[str, Undo], named: str, *, dry_run: bool) -> None:
        self._pair = pair
        self._undo = undo
        self._named = named
        self._dry_run = dry_run
        self.plan = Gathering()
        self.left: dict[str, list[str]] = {}
        self.locked: list[str] = []

    def work(self, session: Session) -> Counts:
        counts = Counts(read=len(self._undo))
        for key, undo in self._undo.items():
            if undo.why_not:
                self._leave(undo.why_not, [key])
        keys = [key for key, undo in self._undo.items() if not undo.why_not]
        for start in range(0, len(keys), _AT_ONCE):
            counts += self._around(session, keys[start : start + _AT_ONCE])
        return counts

    def _around(self, session: Session, keys: Sequence[str]) -> Counts:
        if self._dry_run:
            return self._part(session, keys)
        done, taken = locked.around(session, keys, partial(self._part, session), parse_key_text)
        if taken:
            with session.pair.control.errors(), self._transaction(session, dry_run=True):
                left, may = self._unchanged(session, taken, self._at_station(session, taken), lock=False)
            self._leave_all(left)
            self._leave(_LOCKED, may)
            self.locked += may
        return sum([*done, Counts(locked=len(may) if taken else 0)], Counts())

    @staticmethod
    def _at_station(session: Session, keys: Sequence[str]) -> pa.Table:
        return extract.read_keys(session, [parse_key_text(key) for key in keys]).rows

    def _part(self, session: Session, keys: Sequence[str]) -> Counts:
        there = self._at_station(session, keys)
        try:
            with session.pair.control.errors(), self._transaction(session, dry_run=self._dry_run):
                left, may = self._unchanged(session, keys, there, lock=not self._dry_run)
                if may and not self._dry_run:
                    self._write(session, may)
        except RowRefused as refused:
            if len(keys) == 1:
                self._leave(f"control refuses the row as it was: {refused.what}", keys)
                return Counts()
            return in_halves(keys, lambda some: self._around(session, some))
        self._leave_all(left)
        self._tell(may)
        return Counts(applied=0 if self._dry_run else len(may))

    @contextmanager
    def _transaction(self, session: Session, *, dry_run: bool) -> Iterator[None]:
        if not dry_run:
            with session.journal.transaction(Direction.BOTH):
                yield
            return
        with session.control.begin() as transaction:
            yield
            transaction.rollback()

    def _unchanged(
        self, session: Session, keys: Sequence[str], there: pa.Table, *, lock: bool
    ) -> tuple[dict[str, str], list[str]]:
        """Why the others are left; and the rows that all sides still have as the run left them, locked at control."""
        now, after = (stage.stage_table(session, f"stationsync_{name}") for name in ("now", "after"))
        self._stage(session, now, there)
        self._stage(session, after, self._rows(session, [self._undo[key].after for key in keys]))
        fit, control, base = session.fit, session.control_table, session.base
        order = {key_of(parse_key_text(key)): key for key in keys}
        names = [session.dialect.readable(after.c[n], fit.by_name[n].staged).label(n) for n in fit.key]
        join = after.outerjoin(control, stage.same_key(fit, after, control))
        join = join.outerjoin(base, stage.same_key(fit, after, base)).outerjoin(now, stage.same_key(fit, after, now))
        query = sa.select(*names, self._what(session, now, after).label(_WHAT)).select_from(join)
        query = query.with_for_update() if lock else query
        left: dict[str, str] = {}
        may = []
        for row in session.control.execute(query).mappings():
            key = order[key_of([row[name] for name in fit.key])]
            why = row[_WHAT] or self._fixed(session, self._undo[key])
            if why:
                left[key] = why
            else:
                may.append(key)
        return left, may

    def _what(self, session: Session, now: sa.Table, after: sa.Table) -> sa.ColumnElement[str]:
        fit, control, base, same = session.fit, session.control_table, session.base, stage.Comparing(session).same
        first, owner = fit.key[0], base.c[STATION]
        # An edit of control's own, such as an answer to a conflict, that has not gone down yet.
        waits = sa.and_(base.c[PENDING] > 0, same(now, base))
        return sa.case(
            (control.c[first].is_(None), "control has it no more"),
            (sa.not_(same(control, after)), "control has changed it since"),
            (owner.is_distinct_from(self._pair.name), "it is no longer this station's"),
            (now.c[first].is_(None), "the station has it no more"),
            (waits, _OK),
            (sa.or_(sa.not_(same(now, after)), sa.not_(same(base, after))), "the station has changed it since"),
            else_=_OK,
        )

    @staticmethod
    def _fixed(session: Session, undo: Undo) -> str:
        """What could not go down again, because control may not edit it."""
        fixed = {column.name for column in session.fit.columns if not column.editable}
        before, after = undo.before or {}, undo.after or {}
        touched = sorted(name for name in fixed & before.keys() if before[name] != after[name])
        return f"control may not edit these columns: {', '.join(touched)}" if touched else ""

    def _write(self, session: Session, keys: Sequence[str]) -> None:
        before = self._rows(session, [self._undo[key].before for key in keys])
        after = self._rows(session, [self._undo[key].after for key in keys])
        was = stage.stage_table(session, "stationsync_was")
        self._stage(session, was, before)
        merge.overwrite(session, was)
        self._let_push_look(session, was)
        reason = f"takes back {self._named}"
        session.journal.add(Records(Decided.UPDATED, after=before, before=after, rule=RULE, reason=reason))

    @staticmethod
    def _let_push_look(session: Session, staged: sa.Table) -> None:
        """The rows are as the runs left them at both sides: who takes them back has seen what he replaces."""
        base = session.base
        waits = (
            sa.update(base)
            .where(stage.same_key(session.fit, staged, base))
            .values({base.c[PENDING]: pending.becomes(base, SEEN)})
        )
        session.control.execute(waits)

    @staticmethod
    def _stage(session: Session, table: sa.Table, rows: pa.Table) -> None:
        stage.recreate(session.control, table)
        if rows.num_rows:
            stage.fill(session, table, rows)

    @staticmethod
    def _rows(session: Session, versions: Sequence[Version | None]) -> pa.Table:
        return table_of([one or {} for one in versions], session.fit.families)

    def _leave(self, why: str, keys: Sequence[str]) -> None:
        if keys:
            self.left.setdefault(why, []).extend(keys)

    def _leave_all(self, left: Mapping[str, str]) -> None:
        for key, why in left.items():
            self._leave(why, [key])

    def _tell(self, keys: Sequence[str]) -> None:
        def sample(key: str) -> Sample:
            undo = self._undo[key]
            return Sample(key_of(parse_key_text(key)), edited(undo.after or {}, undo.before or {}))

        for at in (CONTROL, self._pair.name):
            rows = map(sample, keys[:_SAMPLES])
            self.plan.add(Share.of(self._pair.name, self._pair.table, at, "updates", rows, len(keys)))


def revert(pair: Pair, steps: Steps, chunks: Sequence[JournalChunk], named: str, *, dry_run: bool = False) -> Report:
    """Take back what these chunks of the journal changed of this station's table. `named`: them, in words.

    Raises Refused for a table of which nothing goes down, JournalUnavailable, StationOffline: nothing was changed."""
    own = sorted((e for e in chunks if (e.station, e.table) == (pair.name, pair.table)), key=lambda entry: entry.at)
    undo = gather(rows for _, rows in read.records(pair.control, JournalQuery(), entries=own))
    if undo and pair.options.direction is TableDirection.UP:
        raise Refused(
            pair.place,
            "nothing goes down from this table, so its station would keep what control takes back.",
            not_done="Nothing was changed.",
            next_step="Change the rows at the station.",
        )
    work = Reverting(pair, undo, named, dry_run=dry_run)
    report = runs.holding(pair, replace(steps, dry_run=dry_run), work.work)
    if report.status is Status.UNDER_WAY:
        return report
    left = tuple(Left(why, len(keys), tuple(keys)) for why, keys in work.left.items())
    locked_keys = [key_of(parse_key_text(key)) for key in work.locked]
    told = RevertDetails(dry_run, work.plan.shares, left, locked_keys)
    status = Status.DONE if work.plan.shares else Status.NOTHING
    warnings = (*report.warnings, *_gaps(own))
    report = replace(report, direction=Direction.BOTH, status=status, details=told, warnings=warnings)
    if dry_run or status is Status.NOTHING:
        return report
    sent = runs.push_edits(pair, steps)
    if sent.counts.locked:
        what = f"{sent.counts.locked:,} rows are locked at the station: the next run sends them"
        warnings = (*warnings, f"{what}; now: stationsync push {pair.name} --table {pair.table}")
    counts = replace(report.counts, locked=report.counts.locked + sent.counts.locked)
    told = replace(told, sent=sent.counts.applied)
    return replace(report, counts=counts, details=told, warnings=(*warnings, *sent.warnings))


def _gaps(chunks: Sequence[JournalChunk]) -> list[str]:
    lost = [entry for entry in chunks if entry.lost is not None]
    if not lost:
        return []
    rows = sum(entry.rows for entry in lost)
    return [f"the journal has a gap: {rows:,} rows that were changed then are not in it, and stay as they are"]
