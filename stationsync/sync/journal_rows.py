"""What merges, pushes and deletes tell the journal: rows with what they replace, and what was decided.

What a station had before is what the base says: a push and a delete compare it before they write. So one that was cut
off is told by the run that finds its rows equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from stationsync.journal.format import Decided, Records, key_column
from stationsync.model.wire import Family
from stationsync.pairing.decide import Action, Decision
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.session.stage import ACTION, HAS_BASE
from stationsync.sync.classify import STAMPED
from stationsync.sync.send import EQUAL, Sent
from stationsync.topology.model import Deletes

_EASY = {
    str(Action.INSERT): Decided.INSERTED,
    str(Action.UPDATE): Decided.UPDATED,
    str(Action.SETTLE): Decided.SETTLED,
    # What the station made of an edit of control's; control has the same, but for a stamp of its own.
    STAMPED: Decided.SETTLED,
}
_DECIDED = {Action.UPDATE: Decided.UPDATED, Action.KEEP: Decided.KEPT, Action.COMBINE: Decided.COMBINED}


def easy(session: Session, staged: sa.Table, decided: sa.Table, found: dict[str, int], rows: pa.Table) -> None:
    """Rows that only one side changed, before they are written. Of an update, control has what the base has."""
    if not session.journal.on or not any(found.get(action) for action in _EASY):
        return
    if found == {Action.INSERT: rows.num_rows}:
        session.journal.add(Records(Decided.INSERTED, after=rows))
        return
    fit = session.fit
    read = _decided(session, staged, decided, fit.key)
    own = pa.table({name: read[f"s{fit.names.index(name)}"] for name in fit.key})
    at = pc.index_in(key_column(own, fit.key), value_set=key_column(rows, fit.key))
    if at.null_count:
        # A key that does not print as it came: the rows are read back whole.
        read = _decided(session, staged, decided, fit.names)
        came = _side(session, read, "s")
    else:
        came = rows.take(at)
    for action, kind in _EASY.items():
        which = pc.equal(read[ACTION], action)
        some, s = read.filter(which), came.filter(which)
        if action == Action.INSERT:
            session.journal.add(Records(kind, after=s))
            continue
        unknown = pc.equal(some[HAS_BASE], "0").combine_chunks()
        session.journal.add(Records(kind, after=s, before=_side(session, some, "b"), unknown=unknown))


def _decided(session: Session, staged: sa.Table, decided: sa.Table, names: Sequence[str]) -> pa.Table:
    """The easy rows: these columns as they came (s…), what the base has (b…), and what is to be done."""
    base, fit = session.base, session.fit
    readable = session.dialect.readable
    columns = [
        readable(staged.c[c.name], c.staged).label(f"s{i}") for i, c in enumerate(fit.columns) if c.name in names
    ]
    columns += [readable(base.c[c.name], c.control).label(f"b{i}") for i, c in enumerate(fit.columns)]
    joined = staged.join(decided, stage.same_key(fit, staged, decided))
    query = (
        sa.select(*columns, decided.c[ACTION], decided.c[HAS_BASE])
        .select_from(joined.outerjoin(base, stage.same_key(fit, staged, base)))
        .where(decided.c[ACTION].in_([*_EASY]))
    )
    families = _families(session, "sb") | {ACTION: Family.TEXT, HAS_BASE: Family.INTEGER}
    wanted = {column.name: families[column.name] for column in query.selected_columns}
    return session.read(query, wanted)


def conflicts(
    session: Session,
    staged: sa.Table,
    decided: sa.Table,
    marked: str,
    found: Sequence[tuple[Decision, dict[str, str] | None]],
) -> None:
    """Rows that both sides changed, before anything is written. `found` is in the order of the key: what was decided,
    and of a mixture the version that each column is of."""
    if not session.journal.on or not found:
        return
    fit, base, control = session.fit, session.base, session.control_table
    columns = [
        session.dialect.readable(t.c[c.name], c.staged if t is staged else c.control).label(f"{side}{i}")
        for side, t in (("s", staged), ("c", control), ("b", base))
        for i, c in enumerate(fit.columns)
    ]
    query = (
        sa.select(*columns)
        .select_from(
            staged.join(decided, stage.same_key(fit, staged, decided))
            .join(control, stage.same_key(fit, staged, control))
            .outerjoin(base, stage.same_key(fit, staged, base))
        )
        .where(decided.c[ACTION] == marked)
        .order_by(*(staged.c[name] for name in fit.key))
    )
    read = session.read(query, _families(session, "scb"))
    for action, kind in _DECIDED.items():
        at = [i for i, (decision, _) in enumerate(found) if decision.action is action]
        some = read.take(pa.array(at, pa.int64()))
        s, c = (_side(session, some, side) for side in "sc")
        after = s if action is Action.UPDATE else c
        if action is Action.COMBINE:
            after = _mixture(session, some, [found[i][1] or {} for i in at])
        session.journal.add(
            Records(
                kind,
                after=after,
                before=c,
                came=None if action is Action.UPDATE else s,
                rule=str(session.pair.options.conflicts),
                loser=[found[i][0].loser for i in at],
                reason=[found[i][0].reason for i in at],
            )
        )


def _families(session: Session, sides: str) -> dict[str, Family]:
    columns = enumerate(session.fit.columns)
    return {f"{side}{i}": (c.station if side == "s" else c.control).family for i, c in columns for side in sides}


def _side(session: Session, rows: pa.Table, side: str) -> pa.Table:
    return pa.table({name: rows[f"{side}{i}"] for i, name in enumerate(session.fit.names)})


def _mixture(session: Session, rows: pa.Table, sources: Sequence[dict[str, str]]) -> pa.Table:
    columns = {}
    for i, name in enumerate(session.fit.names):
        versions = {side: rows[f"{side}{i}"].to_pylist() for side in "scb"}
        values = [versions[source[name]][at] for at, source in enumerate(sources)]
        columns[name] = pa.array(values, rows[f"c{i}"].type)
    return pa.table(columns)


BOTH_DELETED = "both sides deleted the row"
VANISHED = "control had the row no more; the station's version is merged anew"


def pushed(session: Session, old: pa.Table, new: pa.Table, sent: Sent) -> None:
    for kind, indexes in ((Decided.UPDATED, sent.applied), (Decided.SETTLED, sent.at(EQUAL))):
        session.journal.add(Records(kind, after=rows_at(new, indexes), before=rows_at(old, indexes)))


def gone_at_station(
    session: Session,
    control: pa.Table,
    base: pa.Table,
    goes: Sequence[int],
    lost: Sequence[int],
    conflicts: Mapping[int, tuple[str, str]],
) -> None:
    """Rows that the station deleted: those that go at control as well, those that were gone there already, and of
    those that control had edited who lost, and why."""
    rule = str(session.pair.options.conflicts)
    flag = session.pair.options.deletes is Deletes.FLAG
    kept = [i for i in conflicts if i not in set(goes)]
    for kind, indexes in ((Decided.FLAGGED if flag else Decided.DELETED, goes), (Decided.KEPT, kept)):
        rows = rows_at(control, indexes)
        known = [conflicts.get(i, (None, "the station deleted the row")) for i in indexes]
        after = rows if flag or kind is Decided.KEPT else None
        losers, reasons = [loser for loser, _ in known], [reason for _, reason in known]
        session.journal.add(Records(kind, after=after, before=rows, rule=rule, loser=losers, reason=reasons))
    session.journal.add(Records(Decided.SETTLED, before=rows_at(base, lost), reason=BOTH_DELETED))


def gone_at_control(session: Session, gone: pa.Table, lost: pa.Table, changed: pa.Table, why: str) -> None:
    """Rows that control deleted: gone at the station as well, gone there already, or changed there and kept."""
    rule = str(session.pair.options.conflicts)
    session.journal.add(Records(Decided.DELETED, before=gone, reason="control deleted the row"))
    session.journal.add(Records(Decided.SETTLED, before=lost, reason=BOTH_DELETED))
    session.journal.add(Records(Decided.KEPT, before=changed, rule=rule, loser="control", reason=why))


def forgotten(session: Session, vanished: pa.Table) -> None:
    """Rows that control's application deleted, before the station's versions are merged anew. Control may refuse
    those: then the old ones are not to come back."""
    session.journal.add(Records(Decided.SETTLED, before=vanished, reason=VANISHED))


def rows_at(rows: pa.Table, indexes: Sequence[int]) -> pa.Table:
    return rows.take(pa.array(indexes, pa.int64()))
