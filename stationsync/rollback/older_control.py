"""Recognising a control table that went back in time while our bookkeeping did not: restored from an older backup,
emptied, or damaged. Its old rows look like edits of control's, and would turn the stations' newer rows back.

The base remembers what each row was. Every run looks at the newest rows that it saw and sent: a merge brings control to
the base's version at least, so a row that is older there, or missing, was put back by somebody. Only where that is so
of several the whole base is asked (the rules are pure, the rest reads)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from stationsync.errors import ControlWentBack
from stationsync.keeping import books
from stationsync.model.changes import Direction
from stationsync.model.wire import Family
from stationsync.pairing import stamp
from stationsync.pairing.decide import moment
from stationsync.pairing.keys import Key, among
from stationsync.pairing.pair import Pair
from stationsync.rollback import rebuilding, remembered, went_back
from stationsync.rollback.brake import RESTORED, limit
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import PENDING, STATION

# So many rows put back by hand are somebody's edits.
_BY_HAND = 2
# So many of the newest rows may be deleted at control before the base is asked.
_FEW = 20
# Rows of the base that are compared; and of these, those that a restore turns back first.
_CLOSER, _NEWEST = 10_000, 64
_SECOND = timedelta(seconds=1)
# An edit of control's is stamped by its application: not after the base's version, where a clock is wrong by less.
_CLOCKS = timedelta(minutes=15)
# By these words of a refusal other stations' runs know that the table is in doubt.
_WORDS = "and its bookkeeping was not"


class ControlHow(StrEnum):
    """How control's row stands to the base's."""

    MISSING = "missing"
    OLDER = "older"
    TURNED = "turned"  # older by more than clocks that are wrong can explain
    NEWER = "newer"  # an edit
    SAME = "same"


@dataclass(frozen=True)
class ControlStanding:
    """A row of the base: its stamp there, and control's."""

    how: ControlHow
    base: str | None
    control: str | None = None

    @property
    def gone(self) -> bool:
        return self.how in (ControlHow.MISSING, ControlHow.OLDER, ControlHow.TURNED)


@dataclass(frozen=True)
class ControlFacts:
    """`newest` are the base's newest rows, the newest first; of `known` rows, control lacks `missing`. `in_doubt`: a
    run of this station or another was refused because of this table, and nobody has said yet who is right."""

    newest: Sequence[ControlStanding]
    known: int
    missing: int
    deletes_usual: bool = False
    sends_deletes: bool = False
    in_doubt: bool = False


def how(base: str | None, control: str | None, *, there: bool, allowed: timedelta) -> ControlHow:
    """`allowed`: what clocks that are wrong may explain."""
    if not there:
        return ControlHow.MISSING
    known, now = moment(base), moment(control)
    if known is None or now is None:
        # A row without a date is the older one; why, nobody can tell.
        return ControlHow.SAME if known == now else ControlHow.NEWER if known is None else ControlHow.OLDER
    if now - known > _SECOND:
        return ControlHow.NEWER
    if known - now > allowed:
        return ControlHow.TURNED
    return ControlHow.OLDER if known - now > _SECOND else ControlHow.SAME


def suspicious(rows: Sequence[ControlStanding], *, in_doubt: bool = False) -> bool:
    """Of rows that were seen lately."""
    gone = sum(row.gone for row in rows)
    unharmed = any(row.how is ControlHow.SAME for row in rows)
    return turned_back(rows) or gone > _FEW or (gone > 0 and (in_doubt or not unharmed))


def turned_back(rows: Sequence[ControlStanding]) -> bool:
    return sum(row.how is ControlHow.TURNED for row in rows) > _BY_HAND


def fell_back(facts: ControlFacts) -> int:
    """How many rows a restore, or whatever emptied the table, has taken; 0 where none is likely.

    Older versions of the newest rows are enough, for no application writes them; one is, of a table in doubt. Rows that
    are missing may be deleted: then all of the newest must be gone, and more than are usual (few, where deletes are
    carried to the station)."""
    most = limit(facts.known)
    gone = [row for row in facts.newest if row.gone]
    older = sum(row.how is not ControlHow.MISSING for row in gone)
    doubtful = facts.in_doubt and (older or (facts.missing and facts.sends_deletes))
    if older > most or turned_back(facts.newest[:_NEWEST]) or doubtful:
        return older + facts.missing
    if facts.missing == facts.known > most:
        return facts.known
    unharmed = max((row.base or "" for row in facts.newest if row.how is ControlHow.SAME), default="")
    run = sum((row.base or "") > unharmed for row in gone)
    usual = _FEW if facts.sends_deletes else most
    return older + facts.missing if run > usual and not facts.deletes_usual else 0


# --- looking


def require_as_known(session: Session) -> None:
    """Raises ControlWentBack and StationWentBack, before a run does anything."""
    require_current(session)
    went_back.require_present(session)


def require_current(session: Session) -> None:
    """Raises ControlWentBack where control's table is older than what its bookkeeping knows of this station."""
    rows, in_doubt = _remembered(session)
    if suspicious(rows, in_doubt=in_doubt):
        look_closer(session, in_doubt=in_doubt, certain=turned_back(rows))


def require_current_found(session: Session, edited: Sequence[Key], vanished: int) -> None:
    """The same, of what a sweep found: rows that control has in another version, and how many it lacks."""
    with session.transaction():
        _, in_doubt = books.read_newest(session.control, session.pair, _WORDS)
        older = sum(row.gone for row in _standing(session, edited[:_CLOSER])) if edited else 0
    many = older > _BY_HAND or len(edited) > _CLOSER or vanished > _FEW
    if many or (in_doubt and (older or vanished)):
        look_closer(session, in_doubt=in_doubt)


def look_closer(session: Session, *, in_doubt: bool, certain: bool = False) -> None:
    facts = _facts(session, in_doubt)
    if gone := fell_back(facts):
        raise _refusal(session, facts, gone)
    if certain:
        raise _refusal(session, facts, sum(row.gone for row in facts.newest))


def _remembered(session: Session) -> tuple[list[ControlStanding], bool]:
    """How the newest rows stand that were seen at the station, and sent to it; and whether the table is in doubt."""
    fit = session.fit
    with session.transaction():
        places, in_doubt = books.read_newest(session.control, session.pair, _WORDS)
        session.known = replace(session.known, sent=places.get(Direction.DOWN, ()))
        # After the key was changed in the topology, what is remembered is of another one.
        keys = list({place.key for some in places.values() for place in some if len(place.key) == len(fit.key)})
        if not keys:
            return [], in_doubt
        return _standing(session, keys), in_doubt


def _standing(session: Session, keys: Sequence[Key]) -> list[ControlStanding]:
    own = [(session.base.c[name], session.fit.by_name[name].control) for name in session.fit.key]
    found: list[ControlStanding] = []
    for start in range(0, len(keys), extract.KEYS_A_QUERY):
        wanted = among(keys[start : start + extract.KEYS_A_QUERY], own)
        found += _read(session, _stamps(session).where(wanted))
    return found


def _facts(session: Session, in_doubt: bool) -> ControlFacts:
    base, options, fit = session.base, session.pair.options, session.fit
    counted = sa.func.sum(sa.case((_lacking(session), 1), else_=0))
    query = sa.select(sa.func.count(), counted).select_from(_joined(session)).where(*_ours(session))
    at = stamp.of(fit, base)
    with session.transaction():
        known, missing = session.control.execute(query).one()
        dated = _stamps(session).where(at <= remembered.until(session))
        rows = _read(session, dated.order_by(at.desc()).limit(_CLOSER))
    sends = options.sends_deletes
    return ControlFacts(rows, int(known), int(missing or 0), options.short_lived, sends, in_doubt)


def _stamps(session: Session) -> sa.Select[Any]:
    """Of each row of this station: its stamp in the base and at control, and whether control has it."""
    base, control, fit = session.base, session.control_table, session.fit
    there = sa.case((_lacking(session), "0"), else_="1").label("there")
    columns = (stamp.of(fit, base).label("base"), stamp.of(fit, control).label("control"), there)
    return sa.select(*columns).select_from(_joined(session)).where(*_ours(session))


def _read(session: Session, query: sa.Select[Any]) -> list[ControlStanding]:
    fit = session.fit
    family = fit.by_name[fit.modified].control.family
    families = {"base": family, "control": family, "there": Family.TEXT}
    found, _ = session.dialect.read(session.control, query, families, extract.MAX_BYTES)
    offset = session.station_clock.now - session.control_clock.now
    stamps = zip(*(found[name].to_pylist() for name in ("base", "control", "there")), strict=True)
    return [
        ControlStanding(how(known, now, there=there == "1", allowed=_CLOCKS + abs(offset)), known, now)
        for known, now, there in stamps
    ]


def _joined(session: Session) -> sa.FromClause:
    return session.base.outerjoin(
        session.control_table, stage.same_key(session.fit, session.base, session.control_table)
    )


def _lacking(session: Session) -> sa.ColumnElement[bool]:
    return session.control_table.c[session.fit.key[0]].is_(None)


def _ours(session: Session) -> tuple[sa.ColumnElement[bool], ...]:
    """What is marked `pending` is known to be an edit, whatever its stamp."""
    return session.base.c[STATION] == session.pair.name, session.base.c[PENDING] <= 0


def _refusal(session: Session, facts: ControlFacts, gone: int) -> ControlWentBack:
    pair = session.pair
    newest = next((row for row in facts.newest if row.gone), None)
    said = ""
    if newest is not None:
        now = "is missing" if newest.how is ControlHow.MISSING else f"is of {newest.control}"
        said = f" The newest of them was of {newest.base} and {now} there."
    return ControlWentBack(
        f"{pair.place} at control",
        f"control's table {pair.control_table} {RESTORED} or emptied, {_WORDS}: {gone:,} of"
        f" {facts.known:,} rows known of {pair.name} are older or missing at control.{said}",
        next_step=which_side(pair),
    )


def which_side(pair: Pair) -> str:
    """The two ways on, as commands."""
    trust = f"stationsync trust-control {pair.name} --table {pair.table}"
    return (
        f"Who is right? The station: {rebuilding.command(pair)} gives control back what it had; control, as it is:"
        f" {trust}."
    )
