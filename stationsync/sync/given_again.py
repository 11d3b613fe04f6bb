"""A key that was given twice: `created` is a column that a row keeps for life, so another value of it under a known key
is another row. The old one goes to the trash, the new one takes its place as a row of its own.

Within a merge, for all such rows of a chunk at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database import references
from stationsync.database.statements import delete_joined
from stationsync.errors import GrantMissing, RowRefused
from stationsync.journal.format import Decided, Records
from stationsync.keeping import books, trash, unseen
from stationsync.keeping.trash import GIVEN_AGAIN
from stationsync.model.changes import Direction
from stationsync.model.schema import Column
from stationsync.model.wire import Family, key_texts
from stationsync.pairing import stamp
from stationsync.pairing.decide import OLDER, Action
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import native
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.session.stage import ACTION
from stationsync.store.bookkeeping import STATION
from stationsync.topology.model import TableDirection

AGAIN = "again"
_LACKING, _FOLLOWED, _WHY = "lacking", "followed", "why"


@dataclass(frozen=True)
class _Rows:
    """Rows whose key was given again: the station's new ones, what control has (all its columns), the base's; whether
    control lacks the old row, and the table whose rows would go along with it, if any."""

    new: pa.Table
    control: pa.Table
    base: pa.Table
    lacking: list[bool]
    followed: list[str | None]

    def at(self, *, lacking: bool) -> pa.Array:
        return pa.array([i for i, lacks in enumerate(self.lacking) if lacks is lacking], pa.int64())


def action(session: Session, staged: sa.FromClause) -> list[tuple[sa.ColumnElement[bool], str]]:
    """The case of the merge's comparison; none where the table names no such column, or nothing goes up."""
    created = session.fit.created
    if created is None or session.pair.options.direction is TableDirection.DOWN:
        return []
    other = sa.not_(stage.Comparing(session).same(staged, session.base, [created]))
    # Of a column that is synchronised from today on the base knows no value, until everything was read.
    known = session.base.c[created].is_not(None) if session.known.reads_all else sa.true()
    return [(sa.and_(session.base.c[STATION] == session.pair.name, known, other), AGAIN)]


def make_room(session: Session, staged: sa.Table, decided: sa.Table) -> None:
    """The old rows go to the trash and from control's table, so that the new ones are inserted. One that control cannot
    delete (a foreign key, a trigger) is marked to be overwritten; the trash has it all the same."""
    rows = _read(session, staged, decided)
    there, lacking = rows.at(lacking=False), rows.at(lacking=True)
    trash.keep(session, "control", rows.control.take(there), GIVEN_AGAIN, trash.KEPT)
    # Control has deleted it already, and its station has another row: nobody else has the old one any more.
    trash.keep(session, "control", rows.base.take(lacking), GIVEN_AGAIN, trash.KEPT)
    fit = session.fit
    before = rows.control.select(fit.names)
    session.journal.add(
        Records(Decided.UPDATED, after=rows.new.take(there), before=before.take(there), reason=GIVEN_AGAIN)
    )
    session.journal.add(Records(Decided.INSERTED, after=rows.new.take(lacking), reason=GIVEN_AGAIN))
    # An edit of the old row that could not go down has ended with it: the trash has it.
    books.set_state(session, Direction.DOWN, key_texts(rows.base, fit.key), books.RELEASED)
    _delete(session, decided, rows)


def keep_vanished(session: Session, staged: sa.FromClause, *where: sa.ColumnElement[bool]) -> None:
    """Of rows that vanished from control and that the station has (`staged`) in another version, whose writer may not
    have seen the base's: that one goes to the trash, for nobody else has it any more."""
    fit, base, control = session.fit, session.base, session.control_table
    same, why = stage.Comparing(session).same(staged, base), unseen.why(session)
    reasons: list[tuple[sa.ColumnElement[bool], str]] = [(other, GIVEN_AGAIN) for other, _ in action(session, staged)]
    reasons += [(stamp.of(fit, staged) < stamp.of(fit, base), OLDER)]
    reasons += [(condition, why) for condition in unseen.cases(session, staged)]
    query = (
        sa.select(
            *(session.dialect.readable(base.c[c.name], c.control).label(f"b{i}") for i, c in enumerate(fit.columns)),
            sa.case(*reasons, else_="").label(_WHY),
        )
        .select_from(
            base.join(staged, stage.same_key(fit, base, staged)).outerjoin(control, stage.same_key(fit, base, control))
        )
        .where(base.c[STATION] == session.pair.name, control.c[fit.key[0]].is_(None), sa.not_(same), *where)
    )
    families = {f"b{i}": c.control.family for i, c in enumerate(fit.columns)} | {_WHY: Family.TEXT}
    found = session.read(query, families)
    rows, whys = pa.table({c.name: found[f"b{i}"] for i, c in enumerate(fit.columns)}), found[_WHY].to_pylist()
    for reason in dict.fromkeys(filter(None, whys)):
        at = pa.array([i for i, one in enumerate(whys) if one == reason], pa.int64())
        trash.keep(session, "control", rows.take(at), reason, trash.KEPT)


def _read(session: Session, staged: sa.Table, decided: sa.Table) -> _Rows:
    fit, base, control = session.fit, session.base, session.control_table
    readable, own = session.dialect.readable, _all_columns(fit)
    query = (
        sa.select(
            *(readable(staged.c[c.name], c.staged).label(f"s{i}") for i, c in enumerate(fit.columns)),
            *(readable(control.c[c.name], c).label(f"c{i}") for i, c in enumerate(own)),
            *(readable(base.c[c.name], c.control).label(f"b{i}") for i, c in enumerate(fit.columns)),
            sa.case((control.c[fit.key[0]].is_(None), "1"), else_="0").label(_LACKING),
            _following(session).label(_FOLLOWED),
        )
        .select_from(
            staged.join(decided, stage.same_key(fit, staged, decided))
            .join(base, stage.same_key(fit, staged, base))
            .outerjoin(control, stage.same_key(fit, staged, control))
        )
        .where(decided.c[ACTION] == AGAIN)
        .order_by(*(staged.c[name] for name in fit.key))
    )
    families = {f"c{i}": trash.family(c) for i, c in enumerate(own)} | {_LACKING: Family.TEXT, _FOLLOWED: Family.TEXT}
    families |= {f"s{i}": c.station.family for i, c in enumerate(fit.columns)}
    families |= {f"b{i}": c.control.family for i, c in enumerate(fit.columns)}
    found = session.read(query, families)
    return _Rows(
        pa.table({c.name: found[f"s{i}"] for i, c in enumerate(fit.columns)}),
        pa.table({c.name: found[f"c{i}"] for i, c in enumerate(own)}),
        pa.table({c.name: found[f"b{i}"] for i, c in enumerate(fit.columns)}),
        [lacks == "1" for lacks in found[_LACKING].to_pylist()],
        found[_FOLLOWED].to_pylist(),
    )


def _all_columns(fit: Fit) -> list[Column]:
    """Control's own columns too: a row comes back from the trash as it was."""
    return [c for c in fit.control.columns if not c.generated]


def _following(session: Session) -> sa.ColumnElement[Any]:
    """As for a delete; where the user may not see who refers to the table, nothing is deleted."""
    try:
        return references.following(session.control, session.control_table)
    except GrantMissing:
        return sa.literal("?")


def _delete(session: Session, decided: sa.Table, rows: _Rows) -> None:
    """Each row alone where the server refuses all at once. Those that stay are marked as updates."""
    control = session.control_table
    keys = _parameters(session, rows.base)
    stay = [key for key, child in zip(keys, rows.followed, strict=True) if child]
    _mark(session, decided, stay)
    where = sa.and_(stage.same_key(session.fit, control, decided), decided.c[ACTION] == AGAIN)
    try:
        delete_joined(session.control, control, decided, where)
    except sa.exc.DBAPIError as error:
        _require_refusal(session, error)
        _mark(session, decided, [key for key in keys if key not in stay and not _deleted(session, key)])


def _deleted(session: Session, key: dict[str, Any]) -> bool:
    control = session.control_table
    try:
        session.control.execute(sa.delete(control).where(_key_is(session, control)), key)
    except sa.exc.DBAPIError as error:
        _require_refusal(session, error)
        return False
    return True


def _require_refusal(session: Session, error: sa.exc.DBAPIError) -> None:
    """Anything else is no fault of a row."""
    if not isinstance(session.dialect.explain_error(error, session.pair.place, station=False), RowRefused):
        raise error


def _mark(session: Session, decided: sa.Table, keys: list[dict[str, Any]]) -> None:
    if keys:
        update = sa.update(decided).where(_key_is(session, decided)).values({decided.c[ACTION]: str(Action.UPDATE)})
        session.control.execute(update, keys)


def _key_is(session: Session, table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == sa.bindparam(f"k{i}") for i, name in enumerate(session.fit.key)))


def _parameters(session: Session, rows: pa.Table) -> list[dict[str, Any]]:
    kinds = [session.fit.by_name[name].control for name in session.fit.key]
    columns = [rows[name].to_pylist() for name in session.fit.key]
    return [
        {f"k{i}": native(value, kind) for i, (value, kind) in enumerate(zip(key, kinds, strict=True))}
        for key in zip(*columns, strict=True)
    ]
