"""What a reconcile does about differences, and on a dry run would do: each kind to who repairs it, under the lease,
in between live runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stationsync.model.changes import Counts, Report, Status
from stationsync.model.plan import CONTROL, SAMPLES, Gathering, Sample, Share, key_of
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.reconcile import deletes
from stationsync.reconcile.compare import Difference
from stationsync.session.lease import tries
from stationsync.session.session import Session
from stationsync.sync import leaving, push, runs
from stationsync.sync.rehearse import Rehearsal
from stationsync.sync.runs import Steps
from stationsync.topology.model import TableDirection, TableOptions
from stationsync.topology.row_filter import Leaving

_KEYS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Todo:
    """Rows to be read again and merged (`read`); brought back to control (`back`); deleted at control or at the station
    after the other side (of these the filter keeps `left` back at the station); that neither side has any more
    (`lost`); to be sent down; that control keeps as they are, because they left the filter (`leave`). `since`: deletes
    that are not to be done, because they came after those that were allowed."""

    read: tuple[Key, ...] = ()
    back: tuple[Key, ...] = ()
    at_control: tuple[Key, ...] = ()
    at_station: tuple[Key, ...] = ()
    lost: tuple[Key, ...] = ()
    send: tuple[Key, ...] = ()
    leave: tuple[Key, ...] = ()
    left: tuple[Key, ...] = ()
    since: int = 0

    @property
    def deletes(self) -> int:
        return len(self.at_control) + len(self.at_station)


def sort_out(found: Difference, options: TableOptions) -> Todo:
    """Pure: what the table's options say about each kind of difference."""
    both = set(found.gone) & set(found.vanished)
    gone = tuple(key for key in found.gone if key not in both)
    vanished = tuple(key for key in found.vanished if key not in both)
    down = options.direction is TableDirection.DOWN
    left = found.outside if options.leaving is Leaving.DELETE else ()
    return Todo(
        read=(*found.changed, *found.older),
        back=() if options.sends_deletes or down else vanished,
        at_control=(*(gone if options.follows_deletes else ()), *left),
        at_station=vanished if options.sends_deletes else (),
        lost=tuple(key for key in found.gone if key in both),
        send=found.edited,
        leave=() if left else found.outside,
        left=left,
    )


class Repairs:
    """`counts` is what they did so far; `warnings`: gaps in the journal."""

    def __init__(self, pair: Pair, steps: Steps) -> None:
        self._pair = pair
        self._steps = steps
        self.counts = Counts()
        self.warnings: list[str] = []

    def do(self, todo: Todo) -> None:
        if todo.leave:
            self._hold(lambda session: leaving.mark_keys(session, todo.leave))
        if left := tuple(set(todo.left) & set(todo.at_control)):
            # What follows takes the station's rows away.
            self._hold(lambda session: leaving.take_back(session, left))
        if todo.at_station:
            # Before the station's changes are merged: a row that it changed is not deleted, and said to be in conflict.
            again: list[Key] = []
            self._hold(lambda session: _follow_control(session, todo.at_station, again))
            self.merge(again)
        self.merge(todo.read)
        if todo.back:
            self._hold(lambda session: deletes.bring_back(session, todo.back))
            self.merge(todo.back)
        if gone := (*todo.at_control, *todo.lost):
            self._hold(lambda session: deletes.follow_station(session, gone))
            # Others may have waited for what these rows had.
            self._patiently(lambda: runs.take_in_waiting(self._pair, self._steps))
        if todo.send:
            self._hold(lambda session: _mark(session, todo.send))
        # Rows that the filter lets through again may have edits that waited for it.
        if todo.send or (todo.read and self._pair.options.where is not None):
            self._patiently(lambda: runs.push_edits(self._pair, self._steps))

    def merge(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            self._merge_part(tuple(keys[start : start + _KEYS_AT_ONCE]))

    def _merge_part(self, keys: tuple[Key, ...]) -> None:
        self._patiently(lambda: runs.pull_keys(self._pair, self._steps, keys))

    def _hold(self, work: Callable[[Session], Counts]) -> None:
        self._patiently(lambda: runs.holding(self._pair, self._steps, work))

    def _patiently(self, run: Callable[[], Report]) -> None:
        """A run needs the lease, and waits for it: live sync goes on."""
        again = f"Run again: stationsync reconcile {self._pair.name} --table {self._pair.table}"
        for _ in tries(self._pair.place, next_step=again):
            if (report := run()).status is not Status.UNDER_WAY:
                break
        self.counts += report.counts
        self.warnings += [note for note in report.gaps if note not in self.warnings]


def _mark(session: Session, keys: Sequence[Key]) -> Counts:
    with session.transaction():
        push.mark_pending(session, list(keys))
    return Counts()


def _follow_control(session: Session, keys: Sequence[Key], again: list[Key]) -> Counts:
    counts, changed = deletes.follow_control(session, keys)
    again += changed
    return counts


def plan_of(pair: Pair, steps: Steps, todo: Todo) -> tuple[Share, ...]:
    """Rows that a merge would decide are read from the station, and compared; for the others the keys say it all."""
    rehearsal, plan, left = Rehearsal(), Gathering(), set(todo.left)
    Repairs(pair, rehearsal.steps(steps)).merge(todo.read)
    for share in rehearsal.plan.shares:
        plan.add(share)
    for at, kind, keys, what in (
        (CONTROL, "inserts", todo.back, "control has lost it"),
        (CONTROL, "deletes", tuple(k for k in todo.at_control if k not in left), "the station has deleted it"),
        (CONTROL, "deletes", todo.left, "the station's filter keeps it back"),
        (pair.name, "updates", todo.send, "control has edited it"),
        (pair.name, "deletes", todo.at_station, "control has deleted it"),
    ):
        if keys:
            rows = (Sample(key_of(key), what) for key in keys[:SAMPLES])
            plan.add(Share.of(pair.name, pair.table, at, kind, rows, len(keys)))
    return plan.shares
