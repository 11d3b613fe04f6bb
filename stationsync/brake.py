"""The brake: when a sweep must not go on by itself. Pure (DESIGN.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

from stationsync.notation import MaxDeletes


@dataclass(frozen=True)
class Facts:
    """What a sweep found: rows that the base knows and the station has; rows to be deleted at control and at the
    station; rows that are older at the station than the base remembers them."""

    known: int
    there: int
    at_control: int = 0
    at_station: int = 0
    older: int = 0


@dataclass(frozen=True)
class Pulled:
    """Why, and whether allowing deletes is a way on."""

    what: str
    deletes: bool


def judge(facts: Facts, option: MaxDeletes) -> Pulled | None:
    """None where the sweep may go on."""
    limit = option.limit(facts.known)
    of = f"of {facts.known:,} rows known"
    if facts.older > limit:
        what = f"{facts.older:,} {of} are older at the station than they were: it seems to have been restored"
        return Pulled(what, deletes=False)
    if facts.at_control and facts.there == 0:
        return Pulled(
            f"the station's table is empty; {facts.at_control:,} {of} would be deleted at control", deletes=True
        )
    if facts.at_control > limit:
        what = f"{facts.at_control:,} {of} are gone at the station and would be deleted at control (limit {limit:,})"
        return Pulled(what, deletes=True)
    if facts.at_station > limit:
        what = f"{facts.at_station:,} {of} are gone at control and would be deleted at the station (limit {limit:,})"
        return Pulled(what, deletes=True)
    return None
