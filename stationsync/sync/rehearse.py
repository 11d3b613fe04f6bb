"""Dry runs: the loop of a run with steps that look and do not write, so that a plan is what the run itself would do.

What only a database can say while it writes is not foreseen: a row that it would refuse, or that a trigger changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import RowRefused
from stationsync.keeping import books, unseen
from stationsync.keeping.before import BEFORE, CAME_AGAIN
from stationsync.keeping.blocked import code_of
from stationsync.keeping.trash import GIVEN_AGAIN
from stationsync.keeping.unseen import UNSEEN
from stationsync.model.changes import Checked, Chunk, Counts, Direction, Position, Report, Status
from stationsync.model.details import PlanDetails
from stationsync.model.plan import CONTROL, SAMPLES, Gathering, Sample, Share, edited, key_of
from stationsync.model.reasons import Reason
from stationsync.model.wire import wire_row
from stationsync.pairing.decide import Action, decide
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.pairing.watermark import Reading
from stationsync.session import stage
from stationsync.session.lease import with_retries
from stationsync.session.session import Session
from stationsync.session.stage import ACTION
from stationsync.sync import leaving, push, runs, send
from stationsync.sync.classify import CONFLICT, FOREIGN, Classifier, foreign_rows
from stationsync.sync.conflicts import rule_of, versions_of
from stationsync.sync.given_again import AGAIN
from stationsync.sync.push import Edits, Pushed
from stationsync.sync.runs import Steps
from stationsync.sync.send import SENT, Sent

_KINDS = {str(Action.INSERT): "inserts", str(Action.UPDATE): "updates", AGAIN: "updates"}


class Rehearsal:
    """The plan of a pull, a push, or a pull and the push behind it: then a row that both meet is told once.

    `plan` is what was gathered so far, with `steps` in the place of a run's own."""

    def __init__(self) -> None:
        self.plan = Gathering()
        self._decided: set[tuple[str, ...]] = set()
        self._sent: set[tuple[str, ...]] = set()

    def pull(self, pair: Pair, steps: Steps) -> Report:
        """What `runs.pull` would do, in the report's details."""
        self.plan = Gathering()
        return self.told(runs.pull(pair, self.steps(steps), remember=False))

    def push(self, pair: Pair, steps: Steps) -> Report:
        """What `runs.push_edits` would do."""
        self.plan = Gathering()
        return self.told(runs.push_edits(pair, self.steps(steps), remember=False))

    def steps(self, steps: Steps) -> Steps:
        """These steps, with nothing written."""
        return replace(
            steps,
            merge=with_retries(self._merge),
            push=with_retries(self._push),
            leave=leaving.count_leaving,
            dry_run=True,
        )

    def told(self, report: Report) -> Report:
        """The report of a dry run, with its plan."""
        if report.status is Status.UNDER_WAY:
            return report
        shares = self.plan.shares
        status = Status.DONE if any(shares) else Status.NOTHING
        return replace(
            report,
            status=status,
            counts=Counts(read=report.counts.read, outside=report.counts.outside),
            details=PlanDetails(shares),
        )

    def _merge(self, session: Session, checked: Checked, reading: Reading | None) -> Counts:
        """What `merge.merge_chunk` would do. Moves no mark."""
        del reading
        reasons = [one.reason for one in checked.bad]
        with session.pair.control.errors():
            with session.control.begin():
                share = _quarantined(session, CONTROL, Direction.UP, checked.bad_rows, reasons)
            share += self._sorted(session, checked.chunk)
        self.plan.add(share)
        return Counts(read=checked.read)

    def _sorted(self, session: Session, chunk: Chunk) -> Share:
        try:
            with session.control.begin() as transaction:
                share = self._compared(session, chunk) if len(chunk) else _none(session, CONTROL)
                transaction.rollback()
                return share
        except RowRefused as refused:
            # As the merge does: the row that cannot even be staged is found by halving.
            if len(chunk) == 1:
                reason = Reason(code_of(refused), (refused.what,))
                with session.control.begin():
                    return _quarantined(session, CONTROL, Direction.UP, chunk.rows, [reason])
            middle = len(chunk) // 2
            halves = (chunk.rows.slice(0, middle), chunk.rows.slice(middle))
            left, right = (self._sorted(session, replace(chunk, rows=rows)) for rows in halves)
            return left + right

    def _compared(self, session: Session, chunk: Chunk) -> Share:
        share = _none(session, CONTROL)
        staged = stage.stage_table(session)
        stage.recreate(session.control, staged)
        stage.fill(session, staged, chunk.rows)
        classifier = Classifier(session, staged, chunk.origin)
        found = classifier.classify(chunk.rows)
        for action, kind in _KINDS.items():
            if number := found.get(action):
                share += _share(session, CONTROL, kind, _sampled(session, classifier, action), number)
        if found.get(FOREIGN):
            rows, reasons = foreign_rows(session, staged, classifier.decided)
            share += _quarantined(session, CONTROL, Direction.UP, rows, reasons)
        for marked, why in ((CONFLICT, None), (UNSEEN, unseen.why(session)), (BEFORE, CAME_AGAIN)):
            if found.get(marked):
                share += self._conflicts(session, classifier, marked, why)
        return share

    def _conflicts(self, session: Session, classifier: Classifier, marked: str, why: str | None) -> Share:
        """Decided by the rule, as the merge would."""
        rule, share = replace(rule_of(session), unseen=why), _none(session, CONTROL)
        for _, s, c, b in versions_of(session, classifier.staged, classifier.decided, marked):
            decision, key = decide(s, c, b, rule), key_of([s[name] for name in session.fit.key])
            if (met := (session.pair.place, *key)) in self._decided:
                continue
            self._decided.add(met)
            if decision.loser:
                what = f"{edited(s, c)} (station → control); {decision.reason}, {decision.loser} loses"
                share += _share(session, CONTROL, "conflicts", [(key, what)])
            elif decision.action in (Action.UPDATE, Action.COMBINE):
                share += _share(session, CONTROL, "updates", [(key, edited(c, decision.row or s))])
        return share

    def _push(self, session: Session, reading: Reading | None, after: Position | None) -> Pushed:
        """What `push.push_page` would do with the next page."""
        counts, last, more = Counts(), after, False
        again: list[Key] = []
        for edits, sent in push.sent_pages(session, reading, after, send.look):
            self.plan.add(self._sending(session, edits, sent))
            again += push.keys_of(session, edits.old, sent.look_again)
            last, more = edits.last, edits.more
            counts += Counts(read=len(edits))
        return Pushed(counts, last, more, tuple(again))

    def _sending(self, session: Session, edits: Edits, sent: Sent) -> Share:
        """Rows that wait and were edited since are on two pages, and told once."""
        keys = [key_of(key) for key in push.keys_of(session, edits.old, list(range(len(edits))))]
        new = {i for i, key in enumerate(keys) if (session.pair.place, *key) not in self._sent}
        self._sent.update((session.pair.place, *key) for key in keys)
        share = _none(session, session.pair.name)
        for i in sorted(new):
            if sent.outcome.get(i) == SENT:
                what = edited(wire_row(edits.old, i), wire_row(edits.new, i))
                share += _share(session, session.pair.name, "updates", [(keys[i], what)])
        unfit = {i: why for i, why in edits.unfit.items() if i in new}
        told = replace(edits, refused=[no and i in new for i, no in enumerate(edits.refused)], unfit=unfit)
        kept = Sent({i: outcome for i, outcome in sent.outcome.items() if i in new}, sent.reasons)
        with session.transaction():
            rows, reasons = push.cannot_go_down(session, told, kept)
            return share + _quarantined(session, session.pair.name, Direction.DOWN, rows, reasons)


def _share(
    session: Session, at: str, kind: str, rows: Iterable[tuple[tuple[str, ...], str]], number: int | None = None
) -> Share:
    samples = (Sample(key, what) for key, what in rows)
    return Share.of(session.pair.name, session.pair.table, at, kind, samples, number)


def _none(session: Session, at: str) -> Share:
    return Share(session.pair.name, session.pair.table, at)


def _quarantined(session: Session, at: str, direction: Direction, rows: pa.Table, reasons: list[Reason]) -> Share:
    """Those that are not there already."""
    new = books.not_kept_yet(session, direction, rows, reasons)
    keys = push.keys_of(session, rows, new)
    listed = [(key_of(key), str(reasons[i])) for i, key in zip(new, keys, strict=True)]
    return _share(session, at, "quarantined", listed)


def _sampled(session: Session, classifier: Classifier, action: str) -> Sequence[tuple[tuple[str, ...], str]]:
    """Some rows of this action: their keys, and the columns that an update changes."""
    fit, staged, control = session.fit, classifier.staged, session.control_table
    readable = session.dialect.readable
    columns = [readable(staged.c[c.name], c.staged).label(f"s{i}") for i, c in enumerate(fit.columns)]
    columns += [readable(control.c[c.name], c.control).label(f"c{i}") for i, c in enumerate(fit.columns)]
    query = (
        sa.select(*columns)
        .select_from(
            staged.join(classifier.decided, stage.same_key(fit, staged, classifier.decided)).outerjoin(
                control, stage.same_key(fit, staged, control)
            )
        )
        .where(classifier.decided.c[ACTION] == action)
        .order_by(*(staged.c[name] for name in fit.key))
        .limit(SAMPLES)
    )
    found = []
    for row in session.control.execute(query).mappings():
        s, c = ({name: row[f"{side}{i}"] for i, name in enumerate(fit.names)} for side in "sc")
        said = edited(c, s) if action == Action.UPDATE else ""
        said = f"{GIVEN_AGAIN}: the old row goes to the trash" if action == AGAIN else said
        found.append((key_of([s[name] for name in fit.key]), said))
    return found
