"""What pushes and deletes tell the journal. What a station had before is what the base says: a push and a
delete compare it before they write. So one that was cut off is told by the run that finds its rows equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from stationsync.journal.format import Decided, Records
from stationsync.session.session import Session
from stationsync.sync.send import EQUAL, Sent
from stationsync.topology.model import Deletes

BOTH_DELETED = "both sides deleted the row"


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


def rows_at(rows: pa.Table, indexes: Sequence[int]) -> pa.Table:
    return rows.take(pa.array(indexes, pa.int64()))
