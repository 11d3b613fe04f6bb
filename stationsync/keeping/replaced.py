"""Nothing is replaced unseen: the rule, and the one way to keep a version that a write replaces.

**Whenever a write replaces a version that its writer cannot have seen, that version is kept where `conflicts list` or
the trash shows it**: before the write, or in one transaction with it. The journal's before-image does not count: it may
be off, and it ends.

A writer has seen what its own side had. That is the base's version, as long as the new version was written on top of
it. So a version is replaced unseen (`unseen`) where

- it is not what the base has: both sides wrote the row (the merge's conflict, adoption, a column that is synchronised
  from today on: the base knows no value of it, see `adopt_columns`); or
- the new version is older than the base's (`decide.is_older`): a restored copy, or a clock that was set back. A stamp
  alone cannot tell which, so what it replaces is always kept; or
- the row had this very version before, and no stamp tells that it is not newer (`before`): it is out of a backup; or
- somebody said that a side is right as it is (`reseed`, `reseed-control`, `trust`, `trust-control`): what the other
  side, or the base, has in another version is what they overrule without having looked at each row.

Who replaces, and where it is kept:

| write                                      | replaces                     | kept by                                 |
|--------------------------------------------|------------------------------|-----------------------------------------|
| merge (pull, sweep, backfill, adopt, retry)| control's row                | `conflicts`: the rule's loser           |
| push (push, sweep, revert, retry)          | the station's row, if it is  | `push`: where control's version is      |
|                                            | still the base's             | older than it                           |
| reseed, reseed-control                     | the station's, control's row | `reseed_page`, `reseed_control_page`    |
| trust, trust-control                       | control's, the station's row | `trust_page`, `reseed_control_page`     |
| a row that the station lacked then         | control's row, or one that   | `lacked`: remembered for the merge,     |
|                                            | stands in quarantine only    | or kept at once                         |
| a version that the row had before          | control's row                | `before`: a digest is remembered, the  |
|                                            |                              | merge keeps what it replaces           |
| a newer version of a row in quarantine     | the one that stood there only| `superseded`: trash, or conflicts       |
| a row that control had deleted comes again | the base's version           | `trash`, if another row, or older       |
| deletes that travel, keys given again      | the whole row                | `trash`; with an edit `deletes`         |
| revert, trash restore, conflicts take      | nothing unseen: a row that differs from what they know is left        ||

Whatever is added to this list goes through `keep` (or `trash.keep`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.pairing.decide import is_older
from stationsync.session.session import Session
from stationsync.store import kept
from stationsync.store.bookkeeping import conflict, key_hash

Version = Mapping[str, Any]
# By key hash, side and version: the columns in which that version is kept as one that was replaced.
_Lost = dict[tuple[str, str, str], set[str]]

STATION, CONTROL = "station", "control"
_AT_ONCE = 500


# --- the rule, pure


def unseen(
    new: Version, replaced: Version, known: Version | None, modified: str, offset: timedelta = timedelta(0)
) -> bool:
    """Whether the writer of `new` cannot be assumed to have seen `replaced`. `known` is what the base has: the last
    version that the writer's side is known to have had; None: nothing is known."""
    if replaced == new:
        return False
    return known is None or replaced != known or is_older(new[modified], known[modified], offset)


# --- keeping


@dataclass(frozen=True)
class Replaced:
    """One row of which a version is replaced: the versions of both sides and of the base, what both are to have
    (`result`; None: no row), and whose version that is no more (`loser`: station, control, both).

    `columns` are those in which it lost, by default all that differ from the result. `policy`: by whose word; by
    default that of the table's option. `clock_offset`: what was taken into account, by default what the clocks say."""

    key_text: str
    loser: str
    reason: str
    station: Version | None
    control: Version | None
    base: Version | None
    result: Version | None
    columns: Sequence[str] | None = None
    policy: str | None = None
    clock_offset: timedelta | None = None

    @property
    def version(self) -> Version | None:
        """The version that is replaced (of `both` the station's, beside control's)."""
        return self.control if self.loser == CONTROL else self.station

    @property
    def lost(self) -> Sequence[str]:
        if self.columns is not None:
            return self.columns
        version, result = self.version or {}, self.result
        return [name for name in version if result is None or version[name] != result[name]]


def keep(session: Session, rows: Sequence[Replaced], *, once: bool = False) -> int:
    """Write these versions down as conflicts, in the caller's transaction on control; how many were new.

    `once`: not if the very version is kept already as one that its side lost, in all these columns, whoever kept it:
    for writers that may meet it again, because they were cut off or only carry out what somebody else has decided."""
    already: _Lost = _already(session, rows) if once else {}
    versions: list[kept.Kept] = []
    records: list[dict[str, Any]] = []
    for row in rows:
        whole = [None if one is None else kept.keep(one) for one in (row.station, row.control, row.base, row.result)]
        digest, texts = key_hash(row.key_text), [None if one is None else one.text for one in whole]
        marks = [(digest, *mark) for mark in _versions_of(row.loser, texts[0], texts[1])]
        if once and all(mark in already and already[mark].issuperset(row.lost) for mark in marks):
            continue
        for mark in marks:
            already.setdefault(mark, set()).update(row.lost)
        versions += [one for one in whole if one is not None]
        records.append(_record(session, row, digest, texts))
    if records:
        kept.store(session.control, versions, session.now)
        session.control.execute(sa.insert(conflict), records)
    return len(records)


def _record(session: Session, row: Replaced, digest: str, versions: Sequence[str | None]) -> dict[str, Any]:
    station, control, base, result = versions
    offset = session.known.clock_offset if row.clock_offset is None else row.clock_offset
    return {
        "at": session.now,
        "station": session.pair.name,
        "table_name": session.pair.table,
        "key_hash": digest,
        "key_text": row.key_text,
        "policy": row.policy or str(session.pair.options.conflicts),
        "loser": row.loser,
        "reason": row.reason,
        "columns": json.dumps(list(row.lost), ensure_ascii=False),
        "clock_offset": int(offset.total_seconds()),
        "station_row": station,
        "control_row": control,
        "base_row": base,
        "result_row": result,
    }


def _already(session: Session, rows: Sequence[Replaced]) -> _Lost:
    """What is kept of these rows. Of a row where both lost, both sides' versions are."""
    c = conflict.c
    of = (c.station == session.pair.name, c.table_name == session.pair.table)
    found: _Lost = {}
    for hashes in _parts(dict.fromkeys(key_hash(row.key_text) for row in rows)):
        query = sa.select(c.key_hash, c.loser, c.columns, c.station_row, c.control_row)
        for digest, loser, text, *versions in session.control.execute(query.where(*of, c.key_hash.in_(hashes))):
            columns = json.loads(text)
            for mark in _versions_of(loser, *versions):
                found.setdefault((digest, *mark), set()).update(columns)
    return found


def _versions_of(loser: str, station: str | None, control: str | None) -> list[tuple[str, str]]:
    """By side, what was replaced."""
    both = ((STATION, station), (CONTROL, control))
    return [(side, plain(version)) for side, version in both if loser in (side, "both")]


def _parts(values: Iterable[str]) -> Iterator[list[str]]:
    every = list(values)
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def plain(text: str | None) -> str:
    """A kept row's JSON, to be compared: the merge keeps values as the driver has them, others as they are printed."""
    row = json.loads(text or "{}")
    return json.dumps({name: None if value is None else str(value) for name, value in sorted(row.items())})
