"""The brake: when a sweep must not go on by itself. Pure (DESIGN.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

from stationsync.topology.notation import MaxDeletes

# Said wherever a station is known to have gone back.
RESTORED = "seems to have been restored"


@dataclass(frozen=True)
class BrakeFacts:
    """What a sweep found: rows that the base knows and the station has; rows to be deleted at control (`left` of them
    because the station's filter keeps them back) and at the station; rows that are older at the station than the base
    remembers them. `cut_off`: a reseed of control has not brought all of its rows back yet."""

    known: int
    there: int
    at_control: int = 0
    at_station: int = 0
    older: int = 0
    cut_off: bool = False
    left: int = 0
    # There are more than these, that were not counted: too many for any limit.
    more: bool = False


@dataclass(frozen=True)
class Pulled:
    """Why, and whether allowing deletes is a way on."""

    what: str
    deletes: bool


_USUAL = MaxDeletes()


def limit(rows: int, option: MaxDeletes = _USUAL) -> int:
    """Of so many rows that the base knows, how many may be gone or older before a person is asked."""
    return option.limit(rows)


def judge(facts: BrakeFacts, option: MaxDeletes) -> Pulled | None:
    """None where the sweep may go on."""
    most = 0 if facts.more else limit(facts.known, option)
    of = "or more of" if facts.more else "of"
    of = f"{of} {facts.known:,} rows known"
    allowed = "more than one reconcile looks into" if facts.more else f"limit {most:,}"
    if facts.older > most:
        what = f"{facts.older:,} {of} are older at the station than they were: it {RESTORED}"
        return Pulled(what, deletes=False)
    if facts.at_control and facts.there == 0:
        table = "the station's filter lets no row through" if facts.left else "the station's table is empty"
        return Pulled(f"{table}; {facts.at_control:,} {of} would be deleted at control", deletes=True)
    if facts.at_control > most:
        gone = "gone at the station, or kept back by its filter," if facts.left else "gone at the station"
        what = f"{facts.at_control:,} {of} are {gone} and would be deleted at control ({allowed})"
        return Pulled(what, deletes=True)
    if facts.at_station and facts.cut_off:
        what = f"{facts.at_station:,} {of} are missing at control, and a reseed of it was cut off"
        return Pulled(f"{what}: run it again, or they would be deleted at the station", deletes=True)
    if facts.at_station and facts.at_station == facts.known:
        what = f"control has none {of} any more; they would be deleted at the station"
        return Pulled(what, deletes=True)
    if facts.at_station > most:
        what = f"{facts.at_station:,} {of} are gone at control and would be deleted at the station ({allowed})"
        return Pulled(what, deletes=True)
    return None
