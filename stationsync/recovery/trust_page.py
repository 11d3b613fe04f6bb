"""One page of a `trust`: the station is right as it is, so the next pull gives control its versions. Who said so has
not looked at each row: versions of control's that will be replaced are kept, and it is remembered which rows the
station lacks, for whoever gives their keys again."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import sqlalchemy as sa

from stationsync.keeping import lacked, replaced
from stationsync.keeping.replaced import Replaced
from stationsync.model.changes import Policy
from stationsync.model.wire import key_texts, wire_row
from stationsync.pairing.keys import Key, among
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION

POLICY = "trust"
_REASON = "the station went back in time, and was trusted as it is: this version is to be replaced"


def keep(session: Session, keys: Sequence[Key]) -> int:
    """How many versions were kept. Rows that both sides changed are left to the merge, which decides and keeps them."""
    there = extract.read_keys(session, keys)
    with session.transaction():
        present = stage.stage_table(session, "stationsync_present")
        stage.recreate(session.control, present)
        stage.fill(session, present, there.rows)
        lacked.mark(session, keys, present)
        station, control = _turned(session, keys, present)
        texts = key_texts(station, session.fit.key)
        versions = ((wire_row(station, i), wire_row(control, i)) for i in range(station.num_rows))
        rows = [
            Replaced(text, replaced.CONTROL, _REASON, s, c, None, s, policy=POLICY)
            for text, (s, c) in zip(texts, versions, strict=True)
        ]
        return replaced.keep(session, rows, once=True)


def _turned(session: Session, keys: Sequence[Key], present: sa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that the station has otherwise than the base, where the merge keeps nothing by itself: both versions.
    Nobody has to wait: what control edits from now on differs from the base, so the merge keeps it."""
    fit, base, control = session.fit, session.base, session.control_table
    same = stage.Comparing(session).same
    readable = session.dialect.readable
    columns = [
        readable(table.c[c.name], c.staged if table is present else c.control).label(f"{side}{i}")
        for side, table in (("s", present), ("c", control))
        for i, c in enumerate(fit.columns)
    ]
    # Column by column, the merge keeps only what both sides changed.
    merged = session.pair.options.conflicts is Policy.MERGE
    replaced_rows = [sa.not_(same(present, control))] if merged else [same(control, base)]
    query = (
        sa.select(*columns)
        .select_from(
            base.join(control, stage.same_key(fit, base, control)).join(present, stage.same_key(fit, base, present))
        )
        .where(base.c[STATION] == session.pair.name, sa.not_(same(present, base)), *replaced_rows)
        .where(among(keys, [(base.c[name], fit.by_name[name].control) for name in fit.key]))
    )
    families = {
        f"{side}{i}": (c.station if side == "s" else c.control).family
        for side in "sc"
        for i, c in enumerate(fit.columns)
    }
    rows = session.read(query, families)
    station, own = (pa.table({c.name: rows[f"{side}{i}"] for i, c in enumerate(fit.columns)}) for side in "sc")
    return station, own
