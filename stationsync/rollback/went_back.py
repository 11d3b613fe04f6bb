"""Recognising a station that went back in time: restored from a backup, rebuilt, emptied, or its keys given again.

A pull remembers the newest rows that it saw and what the server said of the table (`remembered`), and every run looks
for them first: one query at the station. An edit only makes a row newer and a new row changes nothing, so an
application that writes on after a restore hides nothing. Only where they are gone, or the server says something else,
the base is asked how much is older, missing or another row (the rules are pure: `went_back_rule` and below; the rest
reads)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.table_facts import Lacked, Remembered
from stationsync.errors import StationWentBack
from stationsync.model.changes import Position, SeenRow
from stationsync.model.wire import Family, key_text
from stationsync.pairing import stamp
from stationsync.pairing.decide import moment
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import Key, among, sameness
from stationsync.pairing.pair import Pair
from stationsync.pairing.went_back_rule import (
    FEW,
    LOST,
    How,
    Server,
    Standing,
    Verdict,
    Version,
    how,
    is_habit,
    judge,
    older_copy,
    refined,
    server,
    top,
)
from stationsync.rollback import ownership
from stationsync.rollback.brake import RESTORED, limit
from stationsync.rollback.remembered import MADE, MODIFIED, NEWEST, ask_the_server, counted, present, seen_in, until
from stationsync.session import extract, stage
from stationsync.session.lease import lease
from stationsync.session.session import Session
from stationsync.store.bookkeeping import PENDING, STATION

# Rows of the base that a closer look compares: more than any limit.
_CLOSER = 10_000
_SECOND = timedelta(seconds=1)
# Long values are not looked at: they tell little that short ones do not.
_SHORT = frozenset(Family) - {Family.BINARY, Family.JSON, Family.FLOAT, Family.OTHER}

Stamps = Mapping[str, str | None]
Versions = Mapping[str, Version]
Explained = Callable[[str | None], bool]


@dataclass(frozen=True)
class _Known:
    """What the base knows of this station: how many rows, the newest of them, and the highest key that the table's
    counter gave."""

    rows: int
    newest: tuple[SeenRow, ...]
    highest: int | None


def require_present(session: Session, *, missing: bool = True, many: bool = True) -> None:
    """Raises StationWentBack where the station's table was put back, emptied or made anew; where that is not certain,
    nothing may be replaced unseen (`Known.doubtful`).

    A sweep judges deletes itself: without `missing`, rows that are only missing are no reason, and without `many` not
    how many they are."""
    newest = session.known.newest
    if not newest and session.known.reads_all:
        require_own(session)
    if newest is not None:
        rows = _standings(session, newest, _versions(session, newest))
        said = server(session.known.remembered, session.known.facts, _highest(session, newest))
        if not _worth_a_closer_look(session, rows, said):
            return
    _look_closer(session, missing=missing, many=many)
    session.known = replace(session.known, newest=present(session))


def require_own(session: Session, kind: str = "") -> None:
    """Raises Refused where the station's table is control's, or what another name is known to have."""

    def present_of(rows: Sequence[Position]) -> int:
        now = _versions(session, rows)
        found = ((moment(row.modified), now.get(key_text(row.key))) for row in rows)
        return sum(there is not None and not _older(there.modified, was) for was, there in found)

    ownership.require_own(session, present_of, kind)


def require_own_of(pair: Pair) -> None:
    """The same outside of a run; left to a run that is under way."""
    with lease(pair, "check", even_paused=True) as session:
        if session is not None:
            session.open(base=False)
            require_own(session, "check")


def _older(now: str | None, was: datetime | None) -> bool:
    stamp = moment(now)
    return was is not None and (stamp is None or stamp < was)


def _worth_a_closer_look(session: Session, rows: Sequence[Standing], said: Server) -> bool:
    gone = sum(row.how in LOST for row in rows)
    if said.counter_down or said.gives_again or gone > FEW or 0 < gone == len(rows):
        return True
    if said.anew:
        # A row may be as it was seen, and older than what a push made of it since.
        return True
    if any(row.how in (How.OLDER, How.OTHER) for row in top(rows)):
        return True
    # Nothing is as it was, and no column says whether these are the same rows.
    unknown = session.fit.made is None and not is_habit(session.known.remembered)
    return unknown and bool(rows) and not any(row.how is How.SAME for row in rows)


def _standings(session: Session, seen: Sequence[Position], now: Versions) -> list[Standing]:
    window = session.known.window
    return [
        Standing(how(_version(row), now.get(key_text(row.key)), window), moment(row.modified))
        for row in sorted(seen, key=lambda row: row.modified or "", reverse=True)
    ]


def _version(row: Position) -> Version:
    return Version(row.modified, row.made if isinstance(row, SeenRow) else None)


def _nothing(_: str | None) -> bool:
    return False


def lost(seen: Sequence[Position], stamps: Stamps, explained: Explained = _nothing) -> list[Position]:
    """Those that are missing (`stamps`: the station's `modified` by key), or older by more than a second, and not by
    what the station's clock explains."""
    return [place for place in seen if _is_lost(moment(place.modified), stamps, key_text(place.key), explained)]


def turned_back(
    newest: Sequence[Position],
    stamps: Stamps,
    most: int,
    *,
    deletes_usual: bool,
    explained: Explained = _nothing,
) -> int:
    """How many of the base's newest rows (the newest first) a restore or a rebuild has taken, by their number alone; 0
    where none is likely.

    More than `most` must be lost, and all of the newest: a restore leaves none of those, while an application that
    deletes rows mostly does. Where deletes are usual, only older versions count."""
    gone = lost(newest, stamps, explained)
    older = [place for place in gone if key_text(place.key) in stamps]
    if len(older) > most:
        return len(gone)
    if deletes_usual or len(gone) <= most:
        return 0
    last = moment(newest[min(most, len(newest) - 1)].modified)
    keys = {place.key for place in gone}
    kept = any(place.key not in keys for place in newest if last is None or (moment(place.modified) or last) >= last)
    return 0 if kept else len(gone)


def _is_lost(was: datetime | None, stamps: Stamps, key: str, explained: Explained) -> bool:
    if key not in stamps:
        return True
    now = moment(stamps[key])
    return was is not None and (now is None or was - now > _SECOND) and not explained(stamps[key])


def _versions(session: Session, rows: Sequence[Position]) -> Versions:
    """The station's stamps of these rows, by their keys' texts."""
    fit, dialect = session.fit, session.pair.station.dialect
    kinds = [fit.by_name[name].station for name in fit.key]
    own = [session.station_table.c[kind.name] for kind in kinds]
    query = sa.select(*(dialect.readable(c, kind).label(n) for c, kind, n in zip(own, kinds, fit.key, strict=True)))
    families = dict(fit.families)
    query = query.add_columns(stamp.at_station(fit, session.station_table).label(MODIFIED))
    families[MODIFIED] = fit.families[fit.modified]
    if fit.made:
        query = query.add_columns(session.station_table.c[fit.by_name[fit.made].station.name].label(MADE))
        families[MADE] = fit.families[fit.made]
    # After the key was changed in the topology, what is remembered is of another one: gone, so the base is asked.
    keys = [row.key for row in rows if len(row.key) == len(fit.key)]
    found: dict[str, Version] = {}
    for first in range(0, len(keys), extract.KEYS_A_QUERY):
        wanted = among(keys[first : first + extract.KEYS_A_QUERY], list(zip(own, kinds, strict=True)))
        with session.station() as conn, conn.begin():
            part, _ = dialect.read(conn, query.where(wanted), families, extract.MAX_BYTES)
        texts = map(key_text, zip(*(part[name].to_pylist() for name in fit.key), strict=True))
        stamps = part[MODIFIED].to_pylist()
        made = part[MADE].to_pylist() if fit.made else [None] * len(stamps)
        found |= {text: Version(*two) for text, *two in zip(texts, stamps, made, strict=True)}
    return found


def _stamps(rows: Versions) -> Stamps:
    return {text: version.modified for text, version in rows.items()}


def _look_closer(session: Session, *, missing: bool, many: bool) -> None:
    known = _base(session)
    if not known.rows:
        _look_at_quarantined(session)
        return
    # The server after the base: whatever a run brings meanwhile, its counter is past that.
    ask_the_server(session)
    table, fit, options = session.station_table, session.fit, session.pair.options
    modified = stamp.at_station(fit, table)
    with session.station() as conn, conn.begin():
        any_row = sa.select(sa.literal(1)).select_from(table).where(session.identified).limit(1)
        has_rows = conn.execute(any_row).first() is not None
        last = conn.scalar(sa.select(sa.func.max(modified)).where(modified <= until(session))) if has_rows else None
    remembered = session.known.remembered
    asked = known.highest if remembered and remembered.facts.counter is not None else None
    highest = max(filter(None, (asked, _highest(session, session.known.newest or ()))), default=None)
    said = server(remembered, session.known.facts, highest)
    now = _versions(session, known.newest) if has_rows else {}
    # What is remembered may be of another key, which the topology had before.
    remembered_rows = session.known.newest or known.newest[:NEWEST]
    seen = [row.key for row in remembered_rows if len(row.key) == len(fit.key)]
    gone_from = [place.key for place in lost(known.newest, _stamps(now))]
    sent = sent_by_us(session, list(dict.fromkeys((*gone_from, *seen))))
    known = replace(known, newest=tuple(place for place in known.newest if place.key not in sent))
    sample = _refined(session, [key for key in seen if key not in sent])
    rows = _standings(session, known.newest, now)
    if any(row.how is How.EDITED for row in sample) and not any(row.how is How.OTHER for row in sample):
        # Somebody corrected when rows were made: what was looked at whole is the same rows.
        rows = [replace(row, how=How.EDITED) if row.how is How.OTHER else row for row in rows]
    rules = {
        "declared": fit.created is not None, "habit": is_habit(remembered), "short_lived": options.short_lived,
    }  # fmt: skip
    verdicts = [judge(some, said, **rules) for some in (sample, rows)]
    if many and not verdicts.count(Verdict.CERTAIN) and _too_many(session, known, now, has_rows=has_rows):
        verdicts.append(Verdict.CERTAIN)
    gone = sum(row.how in LOST for row in rows)
    harmed = any(row.how in LOST - {How.MISSING} for row in (*sample, *rows))
    if Verdict.CERTAIN in verdicts and (missing or harmed):
        raise _refusal(session, last, known, gone, said, others=sum(row.how is How.OTHER for row in rows))
    newest: list[Position] = [*known.newest[:1], *remembered_rows]
    _remember_copy(session, rows, said, newest, limit(known.rows))
    if Verdict.CERTAIN in verdicts:
        # Only rows that are missing say so, and of those the sweep judges.
        session.known = replace(session.known, doubtful=True)
    elif Verdict.DOUBT in verdicts:
        session.known = replace(session.known, doubtful=True)
        if not (said.anew or said.counter_down):
            known_then = session.known.remembered or Remembered()
            session.known = replace(session.known, remembered=replace(known_then, doubts=known_then.doubts + 1))


def _look_at_quarantined(session: Session) -> None:
    """All that was seen is in quarantine."""
    seen = session.known.newest or ()
    said = server(session.known.remembered, session.known.facts, _highest(session, seen))
    _remember_copy(session, _standings(session, seen, _versions(session, seen)), said, seen, limit(0))


def _remember_copy(
    session: Session, rows: Sequence[Standing], said: Server, seen: Sequence[Position], most: int
) -> None:
    """Where the table may be an older copy: which of the versions that are known it may lack."""
    until = max((at for row in seen if (at := moment(row.modified))), default=None)
    ahead = max(session.skew, timedelta(0))
    copy = older_copy(rows, said, most, declared=session.fit.created is not None, ahead=ahead)
    if copy is not None and until is not None and not session.pair.options.short_lived:
        known, found = session.known.remembered or Remembered(), Lacked(copy.since, until, copy.inclusive)
        # Of the same copy, a run that was before this one, and moved no watermark, may have known more.
        if known.lacked is not None and known.facts.made != session.known.facts.made:
            found |= known.lacked
        session.known = replace(session.known, remembered=replace(known, lacked=found))


def sent_by_us(session: Session, keys: Sequence[Key], stamps: Stamps | None = None) -> frozenset[Key]:
    """Those of these rows that are older at the station than the base because a push made them so and was cut off
    before the base followed: an edit of control's waits, and the station has its stamp by now."""
    waiting = _waiting(session, keys) if keys else {}
    if not waiting:
        return frozenset()
    now = _stamps(_versions(session, list(waiting.values()))) if stamps is None else stamps
    return frozenset(
        key
        for key, edit in waiting.items()
        if (text := key_text(key)) in now and moment(now[text]) == moment(edit.modified)
    )


def _waiting(session: Session, keys: Sequence[Key]) -> dict[Key, Position]:
    """Those that wait to be sent, with the stamp that control has."""
    fit, base, control = session.fit, session.base, session.control_table
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    columns = [session.dialect.readable(column, kind).label(n) for (column, kind), n in zip(own, fit.key, strict=True)]
    query = (
        sa.select(*columns, stamp.of(fit, control).label("stationsync_modified"))
        .select_from(base.join(control, stage.same_key(fit, base, control)))
        .where(base.c[STATION] == session.pair.name, base.c[PENDING] > 0)
    )
    families = {name: fit.by_name[name].control.family for name in (*fit.key, fit.modified)}
    families["stationsync_modified"] = families.pop(fit.modified)
    found: dict[Key, Position] = {}
    with session.transaction():
        for first in range(0, len(keys), extract.KEYS_A_QUERY):
            wanted = among(keys[first : first + extract.KEYS_A_QUERY], own)
            rows, _ = session.dialect.read(session.control, query.where(wanted), families, extract.MAX_BYTES)
            stamps = rows["stationsync_modified"].to_pylist()
            texts = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
            found |= {key: Position(stamp, key) for key, stamp in zip(texts, stamps, strict=True)}
    return found


def _too_many(session: Session, known: _Known, now: Versions, *, has_rows: bool) -> bool:
    """By their number alone."""
    usual, most = session.pair.options.short_lived, limit(known.rows)
    if not has_rows:
        # It counts from 1 again: its next rows would overwrite.
        return known.rows > most and not usual
    explained = session.known.window.explains
    return bool(turned_back(known.newest, _stamps(now), most, deletes_usual=usual, explained=explained))


def _refined(session: Session, keys: Sequence[tuple[str | bytes, ...]]) -> list[Standing]:
    """How these rows stand to what the base has of them (a push or a revert may have changed them since they were
    seen), looked at whole where that says more."""
    fit = session.fit
    seen, base = _of_base(session, [key for key in keys if len(key) == len(fit.key)])
    seen.sort(key=lambda row: row.modified or "", reverse=True)
    rows = _standings(session, seen, _versions(session, seen))
    if not any(row.how in (How.OTHER, How.EDITED) for row in rows):
        return rows
    now = _of_station(session, [row.key for row in seen])
    texts = [key_text(row.key) for row in seen]
    return refined(rows, [base.get(t) for t in texts], [now.get(t) for t in texts], tells=fit.made is not None)


def _telling(fit: Fit) -> list[str]:
    apart = {*fit.key, *fit.stamps, fit.made}
    return [c.name for c in fit.columns if c.name not in apart and c.station.family in _SHORT and not _long(c.station)]


def _long(column: Any) -> bool:
    return column.type.split("(")[0] in ("text", "mediumtext", "longtext", "tinytext")


def _of_base(
    session: Session, keys: Sequence[tuple[str | bytes, ...]]
) -> tuple[list[SeenRow], dict[str, dict[str, Any]]]:
    """The base's stamps of these rows, and what tells them apart."""
    fit, base = session.fit, session.base
    names = [name for name in dict.fromkeys((*fit.key, *fit.stamps, fit.made, *_telling(fit))) if name]
    columns = {name: session.dialect.readable(base.c[name], fit.by_name[name].control) for name in names}
    own = [(base.c[name], fit.by_name[name].control) for name in fit.key]
    query = sa.select(*(c.label(n) for n, c in columns.items())).where(base.c[STATION] == session.pair.name)
    query = query.where(among(keys, own) if keys else sa.false())
    families = {name: fit.by_name[name].control.family for name in names}
    with session.transaction():
        rows, _ = session.dialect.read(session.control, query, families, extract.MAX_BYTES)
    return seen_in(fit, rows, stamp.of_rows(fit, rows)), _by_key(fit, rows, control=True)


def _of_station(session: Session, keys: Sequence[tuple[str | bytes, ...]]) -> dict[str, dict[str, Any]]:
    """What tells these rows apart, as the station has them."""
    fit, dialect, table = session.fit, session.pair.station.dialect, session.station_table
    names = [*fit.key, *_telling(fit)]
    kinds = {name: fit.by_name[name].station for name in names}
    own = [(table.c[kinds[name].name], kinds[name]) for name in fit.key]
    query = sa.select(*(dialect.readable(table.c[k.name], k).label(name) for name, k in kinds.items()))
    with session.station() as conn, conn.begin():
        rows, _ = dialect.read(conn, query.where(among(keys, own)), fit.families, extract.MAX_BYTES)
    return _by_key(fit, rows, control=False)


def _by_key(fit: Fit, rows: pa.Table, *, control: bool) -> dict[str, dict[str, Any]]:
    """Rows by their keys' texts, in values that are equal where both databases mean the same."""
    same = {}
    for name in rows.column_names:
        own, theirs = fit.by_name[name].station, fit.by_name[name].control
        same[name] = sameness(theirs, own) if control else sameness(own, theirs)
    texts = map(key_text, zip(*(rows[name].to_pylist() for name in fit.key), strict=True))
    telling = _telling(fit)
    values = zip(*(map(same[name], rows[name].to_pylist()) for name in telling), strict=True)
    if not telling:
        return {text: {} for text in texts}
    return {text: dict(zip(telling, row, strict=True)) for text, row in zip(texts, values, strict=True)}


def _highest(session: Session, rows: Sequence[Position]) -> int | None:
    name = counted(session)
    if name is None:
        return None
    at = session.fit.key.index(name)
    return max((int(row.key[at]) for row in rows if len(row.key) == len(session.fit.key)), default=None)


def _base(session: Session) -> _Known:
    fit, base = session.fit, session.base
    ours = base.c[STATION] == session.pair.name
    columns = {name: session.dialect.readable(base.c[name], fit.by_name[name].control) for name in fit.key}
    query = sa.select(*(c.label(n) for n, c in columns.items()), stamp.of(fit, base).label(MODIFIED))
    families = {c.name: c.control.family for c in fit.columns}
    families[MODIFIED] = families[fit.modified]
    if fit.made:
        query = query.add_columns(base.c[fit.made].label(MADE))
        families[MADE] = families[fit.made]
    query = query.where(ours, stamp.of(fit, base) <= until(session)).order_by(stamp.of(fit, base).desc())
    column = counted(session)
    most = sa.null() if column is None else sa.func.max(base.c[column])
    with session.transaction():
        known, highest = session.control.execute(sa.select(sa.func.count(), most).select_from(base).where(ours)).one()
        rows, _ = session.dialect.read(session.control, query.limit(_CLOSER), families, extract.MAX_BYTES * 8)
    keys = zip(*(rows[name].to_pylist() for name in fit.key), strict=True)
    stamps = rows[MODIFIED].to_pylist()
    made = rows[MADE].to_pylist() if fit.made else [None] * len(stamps)
    newest = tuple(SeenRow(*row) for row in zip(stamps, keys, made, strict=True))
    return _Known(int(known or 0), newest, None if highest is None else int(highest))


def _refusal(session: Session, last: object, known: _Known, gone: int, said: Server, *, others: int) -> StationWentBack:
    here = f"its newest row is of {last}" if last is not None else "its table is empty"
    least = "at least " if gone == _CLOSER < known.rows else ""
    pair, seen = session.pair, known.newest[0].modified if known.newest else "-"
    what = "older or missing" if not others else "older, missing or other rows under the same keys"
    counter = ""
    if said.counter_down and session.known.remembered:
        was, now = session.known.remembered.facts.counter, session.known.facts.counter
        counter = f" Its AUTO_INCREMENT counter is {now:,}; it was {was:,}: numbers are given again."
    return StationWentBack(
        pair.place,
        f"the station {RESTORED} or emptied: {here}, rows up to {seen} were seen;"
        f" {least}{gone:,} of {known.rows:,} rows known are {what} there.{counter}",
        next_step=which_side(pair),
    )


def which_side(pair: Pair) -> str:
    """The two ways on, as commands."""
    of = f"{pair.name} --table {pair.table}"
    usual = "where its application deletes rows all the time, short_lived: true in the topology"
    return f"Who is right? Control: stationsync reseed {of}; the station, as it is: stationsync trust {of}; {usual}."
