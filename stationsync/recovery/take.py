"""A person answers a conflict: what lost in it, or values of their own, become the row's new version, as an edit of
control's that travels with the next push, stands in the journal and can be taken back.

Compare-and-set: control's row is written only where it still is what the conflict left. What it replaces is that row,
which the person has seen and the conflict's own record keeps. The station is not asked and may be off-line: what it
writes until the push is a conflict by the ordinary rule."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from stationsync.errors import BatchRefused, Refused, RowRefused
from stationsync.health import conflict_list
from stationsync.health.conflict_list import Conflict
from stationsync.journal.format import Decided, Records
from stationsync.journal.recorder import new_run
from stationsync.keeping import trash
from stationsync.model import stored_text
from stationsync.model.changes import Chunk, Counts, Direction, Report, Status
from stationsync.model.details import LeftConflict, TakeDetails
from stationsync.model.plan import CONTROL, Gathering, Sample, Share, edited, key_of
from stationsync.model.schema import ByName
from stationsync.model.wire import Family, key_text, key_texts, table_of, wire_row
from stationsync.pairing import keys
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.recovery import take_rule
from stationsync.recovery.take_rule import TakeOrder, TakeRefusal
from stationsync.session import stage
from stationsync.session.lease import held, with_retries
from stationsync.session.session import Session
from stationsync.store import kept, pauses, pending
from stationsync.store.bookkeeping import PENDING, SEEN, STATION, key_hash, left_owner
from stationsync.store.bookkeeping import trash as trash_table
from stationsync.sync import merge, runs
from stationsync.topology.model import TableDirection
from stationsync.writing import locked
from stationsync.writing.halving import in_halves

RULE = "take"
_AT_ONCE = 500
_WHAT = "stationsync_what"
_OK, _GONE, _UNKNOWN, _LEFT, _FOREIGN, _CHANGED = "", "gone", "unknown", "left", "foreign", "changed"
_AGAIN = "Run the same command again."
_Row = Mapping[str, Any]


def take(pair: Pair, conflicts: Sequence[Conflict], order: TakeOrder, *, dry_run: bool = False) -> Report:
    """Answer these conflicts of the pair's. Those that cannot be answered so are left, each with the reason.

    Raises Refused for a table of which nothing goes down, UsageError for values that the table cannot have,
    SchemaRefused, NotInitialised, DatabaseBusy, JournalUnavailable: nothing was changed."""
    if pair.options.direction is TableDirection.UP:
        raise Refused(
            pair.place,
            "nothing goes down from this table, so its station would keep the row as it is.",
            not_done="Nothing was changed.",
            next_step="Change the row at the station.",
        )
    begun = time.monotonic()
    with held(pair, at_control=True) as session:
        session.journal.run = new_run()
        if not dry_run:
            session.journal.tidy()
        work = _Work(session, order, dry_run=dry_run)
        work.of(conflicts)
        return work.report(time.monotonic() - begun)


@dataclass(frozen=True)
class _Taking:
    """A conflict with control's row as it is, as it is to be, and the base's; in wire form."""

    conflict: Conflict
    before: _Row
    after: _Row
    base: _Row


class _Work:
    """What became of the conflicts so far."""

    def __init__(self, session: Session, order: TakeOrder, *, dry_run: bool) -> None:
        self._session = session
        self._order = order
        self._dry_run = dry_run
        self._values = take_rule.typed_values(order, session.fit)
        self._validator = runs.validator_of(session, max_bad=lambda bad, read: False)
        self._counts = Counts()
        self._notes: list[str] = []
        self._taken: list[_Taking] = []
        self._left: dict[int, LeftConflict] = {}

    def of(self, conflicts: Sequence[Conflict]) -> None:
        self._counts += Counts(read=len(conflicts))
        twice = take_rule.repeated(conflicts)
        by_columns: dict[tuple[str, ...], list[Conflict]] = {}
        for one in conflicts:
            if no := twice.get(one.id) or take_rule.unanswerable(one, self._session.fit):
                self._leave(one, no)
            else:
                by_columns.setdefault(_columns(self._session, one), []).append(one)
        for names, some in by_columns.items():
            for start in range(0, len(some), _AT_ONCE):
                self._counts += self._write(self._looked_at(names, some[start : start + _AT_ONCE]))

    # --- what would be done

    def _looked_at(self, names: Sequence[str], conflicts: Sequence[Conflict]) -> list[_Taking]:
        """Those whose row at control is what they left; `names`: the columns by which that is told."""
        try:
            with self._session.transaction():
                found = self._as_stored(self._compared(names, conflicts))
        except RowRefused as refused:
            if len(conflicts) == 1:
                self._leave(conflicts[0], TakeRefusal(f"control refuses the value: {refused.what}"))
                return []
            return in_halves(conflicts, partial(self._looked_at, names))
        return self._valid(found)

    def _compared(self, names: Sequence[str], conflicts: Sequence[Conflict]) -> list[_Taking]:
        session, fit = self._session, self._session.fit
        results = stage.stage_table(session, "stationsync_result")
        stage.recreate(session.control, results)
        rows = [_wire(session, kept.load(session.control, one.result_row or {}), names) for one in conflicts]
        stage.fill(session, results, table_of(rows, {name: fit.families[name] for name in names}))
        read = session.read(self._query(results, names), _families(session))
        by_key = {_plain_key(session, row): one for row, one in zip(rows, conflicts, strict=True)}
        found = []
        for i in range(read.num_rows):
            whole = wire_row(read, i)
            r, c, b = ({name: whole[f"{side}{n}"] for n, name in enumerate(fit.names)} for side in "rcb")
            one = by_key.pop(_plain_key(session, r))
            if no := self._why_not(one, str(whole[_WHAT]), {name: r[name] for name in names}, c):
                self._leave(one, *no)
            elif isinstance(new := self._new(one), TakeRefusal):
                self._leave(one, new)
            else:
                found.append(_Taking(one, c, c | new, b))
        assert not by_key, "each row of the stage is read"
        return found

    def _query(self, results: sa.Table, names: Sequence[str]) -> sa.Select[Any]:
        """What stands at control (c…) and in the base (b…) beside what the conflict left (r…), and what came of it."""
        session, fit = self._session, self._session.fit
        control, base = session.control_table, session.base
        columns = [
            session.dialect.readable(table.c[c.name], c.control).label(f"{side}{i}")
            for side, table in (("r", results), ("c", control), ("b", base))
            for i, c in enumerate(fit.columns)
        ]
        # A stamp alone is no other version: a trigger at control may have stamped the row when we wrote it.
        values = [name for name in names if name != fit.modified]
        unchanged, first = stage.Comparing(session).same(control, results, values), fit.key[0]
        what = sa.case(
            (control.c[first].is_(None), _GONE),
            (base.c[STATION].is_(None), _UNKNOWN),
            (base.c[STATION] == left_owner(session.pair.name), _LEFT),
            (base.c[STATION] != session.pair.name, _FOREIGN),
            (sa.not_(unchanged), _CHANGED),
            else_=_OK,
        )
        join = results.outerjoin(control, stage.same_key(fit, results, control))
        join = join.outerjoin(base, stage.same_key(fit, results, base))
        return sa.select(*columns, what.label(_WHAT)).select_from(join)

    def _why_not(self, one: Conflict, what: str, left: _Row, now: _Row) -> tuple[TakeRefusal, _Row | None] | None:
        pair = self._session.pair
        if what == _GONE:
            return TakeRefusal("control has the row no more", self._from_trash(one)), None
        if what == _UNKNOWN:
            why = f"{pair.name} is not known to have the row, so nothing would go down to it"
            return TakeRefusal(why, "Change it at control, where it is alone."), now
        if what == _LEFT:
            why = "the filter of rows (where) does not let it through any more, so nothing would go down to it"
            return TakeRefusal(why, f"Change the row at {pair.name}."), now
        if what == _FOREIGN:
            return TakeRefusal("its key belongs to another station now"), now
        if what == _CHANGED:
            differs = edited(left, {name: now[name] for name in left})
            why = f"control's row is another by now than the conflict left: {differs}"
            right = f"where the row is right as it is: stationsync conflicts done {one.id}"
            return TakeRefusal(why, f"Look at both: stationsync conflicts show {one.id}; {right}"), now
        return None

    def _from_trash(self, one: Conflict) -> str:
        c = trash_table.c
        row = (c.station == one.station, c.table_name == one.table, c.key_hash == key_hash(key_text(_key(one))))
        query = sa.select(sa.func.max(c.id)).where(*row, c.state != trash.RESTORED)
        number = self._session.control.scalar(query)
        return f"To have it back at control: stationsync trash restore {number}" if number else ""

    def _new(self, one: Conflict) -> dict[str, Any] | TakeRefusal:
        """The values that change."""
        session, fit = self._session, self._session.fit
        if self._values:
            new: dict[str, Any] = dict(self._values)
        else:
            lost = take_rule.what_lost(one, fit)
            if isinstance(lost, TakeRefusal):
                return lost
            new = _wire(session, kept.load(session.control, lost), list(lost))
        return new | {fit.modified: _stamp(session)}

    def _as_stored(self, takings: Sequence[_Taking]) -> list[_Taking]:
        """With the new rows as control's columns have them."""
        if not takings:
            return []
        session, fit = self._session, self._session.fit
        staged = _staged(session, "stationsync_new", [one.after for one in takings])
        columns = [session.dialect.readable(staged.c[c.name], c.staged).label(c.name) for c in fit.columns]
        read = session.read(sa.select(*columns), fit.families)
        stored = {_plain_key(session, row): row for row in (wire_row(read, i) for i in range(read.num_rows))}
        found = []
        for one in takings:
            after = stored[_plain_key(session, one.after)]
            if all(after[name] == one.before[name] for name in fit.names if name != fit.modified):
                seen = f"Say that it was seen: stationsync conflicts done {one.conflict.id}"
                self._leave(one.conflict, TakeRefusal("control's row has these values already", seen))
            else:
                found.append(_Taking(one.conflict, one.before, after, one.base))
        return found

    def _valid(self, takings: Sequence[_Taking]) -> list[_Taking]:
        """Those whose new version keeps the rules of the table's suite."""
        if not takings:
            return []
        rows = table_of([one.after for one in takings], self._session.fit.families)
        try:
            checked = self._validator.validate(Chunk(rows, None, more=False))
        except BatchRefused as refused:
            for one in takings:
                self._leave(one.conflict, TakeRefusal(refused.what, refused.next_step))
            return []
        self._notes += [note for note in checked.notes if note not in self._notes]
        bad = {row.index: str(row.reason) for row in checked.bad}
        for i, why in bad.items():
            again = f"Set what it may be: stationsync conflicts take {takings[i].conflict.id} --set COLUMN=VALUE"
            self._leave(takings[i].conflict, TakeRefusal(f"the new version breaks a rule: {why}", again))
        return [one for i, one in enumerate(takings) if i not in bad]

    # --- doing it

    def _write(self, takings: Sequence[_Taking]) -> Counts:
        if self._dry_run or not takings:
            self._taken += takings
            return Counts()
        session = self._session
        done, taken = locked.around(session, takings, self._part, lambda one: _key_of(session, one.before))
        for one in taken:
            again = "Once it is done with it, run the same command again."
            self._leave(one.conflict, TakeRefusal("an application at control keeps the row locked", again))
        return sum(done, Counts(locked=len(taken)))

    def _part(self, takings: Sequence[_Taking]) -> Counts:
        try:
            free, done = with_retries(self._transaction)(takings)
        except RowRefused as refused:
            if len(takings) == 1:
                self._leave(takings[0].conflict, TakeRefusal(f"control refuses the row: {refused.what}"))
                return Counts()
            return in_halves(takings, self._write)
        self._taken += done
        written, unchanged = ({one.conflict.id for one in some} for some in (done, free))
        for one in takings:
            if one.conflict.id not in unchanged:
                self._leave(one.conflict, TakeRefusal("control's row was changed at this very moment", _AGAIN))
            elif one.conflict.id not in written:
                self._leave(one.conflict, TakeRefusal("somebody else has answered it at this very moment"))
        return Counts(applied=len(done))

    def _transaction(self, takings: Sequence[_Taking]) -> tuple[list[_Taking], list[_Taking]]:
        """Those whose row still is what was looked at; and of these, those that nobody has answered: written."""
        session = self._session
        with session.journaled(Direction.BOTH):
            free = self._unchanged(takings)
            opened = conflict_list.take_open(session.control, [one.conflict.id for one in free], session.now)
            done = [one for one in free if one.conflict.id in opened]
            if done:
                self._overwrite(done)
        return free, done

    def _unchanged(self, takings: Sequence[_Taking]) -> list[_Taking]:
        """Those whose row at control still is what was looked at: locked."""
        session, fit = self._session, self._session.fit
        before = _staged(session, "stationsync_was", [one.before for one in takings])
        control = session.control_table
        same = sa.and_(stage.same_key(fit, before, control), stage.Comparing(session).same(before, control))
        columns = [session.dialect.readable(before.c[n], fit.by_name[n].staged).label(n) for n in fit.key]
        query = sa.select(*columns).select_from(before.join(control, same)).with_for_update()
        read = session.read(query, {name: fit.families[name] for name in fit.key})
        there = set(key_texts(read, fit.key))
        return [one for one in takings if key_text(_key_of(session, one.before)) in there]

    def _overwrite(self, takings: Sequence[_Taking]) -> None:
        session, base = self._session, self._session.base
        before = _staged(session, "stationsync_was", [one.before for one in takings])
        new = _staged(session, "stationsync_new", [one.after for one in takings])
        merge.overwrite(session, new)
        # Where the station has what is replaced, who answers has seen it; otherwise the push compares as with any edit.
        seen = stage.Comparing(session).same(base, before)
        waits = pending.becomes(base, pending.WAITS, (seen, SEEN))
        update = sa.update(base).where(stage.same_key(session.fit, before, base)).values({base.c[PENDING]: waits})
        session.control.execute(update)
        for records in self._records(takings):
            session.journal.add(records)

    def _records(self, takings: Sequence[_Taking]) -> Iterator[Records]:
        """`came`: what the station is known to have, where that is not what control had."""
        fit = self._session.fit
        for differs in (False, True):
            some = [one for one in takings if (one.base != one.before) is differs]
            if some:
                before, after, base = (
                    table_of(rows, fit.families)
                    for rows in ([x.before for x in some], [x.after for x in some], [x.base for x in some])
                )
                reasons = [take_rule.reason(one.conflict, self._order) for one in some]
                came = base if differs else None
                yield Records(Decided.UPDATED, after=after, before=before, came=came, rule=RULE, reason=reasons)

    # --- telling it

    def _leave(self, one: Conflict, no: TakeRefusal, now: _Row | None = None) -> None:
        self._left[one.id] = LeftConflict(one.id, no.why, no.next_step, now)

    def report(self, seconds: float) -> Report:
        session, pair = self._session, self._session.pair
        plan = Gathering()
        for one in self._taken:
            what = f"conflict {one.conflict.id}: {edited(one.before, one.after)}"
            sample = Sample(key_of(_key_of(session, one.before)), what)
            plan.add(Share.of(pair.name, pair.table, CONTROL, "updates", [sample]))
        taken = tuple(one.conflict.id for one in self._taken)
        left = tuple(self._left[number] for number in sorted(self._left))
        told = TakeDetails(self._dry_run, plan.shares, taken, left)
        notes = (*self._notes, *self._paused(), *session.journal.warnings)
        status, run = Status.DONE if taken else Status.NOTHING, "" if self._dry_run else session.journal.run
        return Report(
            pair.name, pair.table, Direction.BOTH, status, self._counts, 0, None, seconds, notes, "", told, run,
            tuple(session.journal.warnings),
        )  # fmt: skip

    def _paused(self) -> list[str]:
        pair = self._session.pair
        with self._session.transaction():
            pause = pauses.read(self._session.control, pair.name)
        if pause is None or not pause.lasts:
            return []
        return [f"{pair.name} is {pause}: nothing goes down before: stationsync resume {pair.name}"]


def _columns(session: Session, one: Conflict) -> tuple[str, ...]:
    """Those that are synchronised, and that the conflict knows."""
    known = ByName((one.result_row or {}).items())
    return tuple(name for name in session.fit.names if name in known)


def _wire(session: Session, row: _Row, names: Sequence[str]) -> dict[str, Any]:
    """Values of a kept row in wire form."""
    values = ByName(row.items())
    return {name: _wire_value(values[name], session.fit.families[name]) for name in names}


def _wire_value(value: Any, family: Family) -> str | bytes | None:
    if value is None:
        return None
    if family in (Family.BINARY, Family.BIT):
        return value if isinstance(value, bytes) else str(value).encode()
    if family is Family.YEAR:
        return f"{int(value):04}"  # of fewer digits, a server makes a year of this century
    return stored_text.from_sent(value) if isinstance(value, bytes) else str(value)


def _stamp(session: Session) -> str:
    """The present moment as control's application stamps rows, with the digits that its column has."""
    column = session.fit.by_name[session.fit.modified].control
    now = session.control_clock.now
    part = 10 ** (6 - column.scale)
    now = now.replace(microsecond=now.microsecond // part * part)
    return now.isoformat(sep=" ", timespec="microseconds" if column.scale else "seconds")


def _staged(session: Session, name: str, rows: Sequence[_Row]) -> sa.Table:
    table = stage.stage_table(session, name)
    stage.recreate(session.control, table)
    stage.fill(session, table, table_of(rows, session.fit.families))
    return table


def _families(session: Session) -> dict[str, Family]:
    found = {f"{side}{i}": c.control.family for side in "rcb" for i, c in enumerate(session.fit.columns)}
    return found | {_WHAT: Family.TEXT}


def _key(one: Conflict) -> Key:
    return tuple(kept.of_hex(part) if isinstance(part, dict) else part for part in one.key)


def _plain_key(session: Session, row: _Row) -> Key:
    fit = session.fit
    return tuple(keys.plain(row[name], fit.by_name[name].control.family) for name in fit.key)


def _key_of(session: Session, row: _Row) -> Key:
    return tuple(row[name] for name in session.fit.key)
