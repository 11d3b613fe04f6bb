"""Versions of a station's rows that stand nowhere but in quarantine, and that another version replaces: where its
writer may not have seen them, they are kept before their entry is released or taken over. One of another row goes to
the trash ("its key was given again"), any other to the conflicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stationsync.keeping import replaced, trash, unseen
from stationsync.keeping.replaced import Replaced
from stationsync.pairing import stamp
from stationsync.pairing.decide import MAYBE_OTHER, OLDER, is_older, moment
from stationsync.session.session import Session
from stationsync.store import kept

# A key's text, the version in quarantine (a kept row's JSON), and the one that came.
Superseded = tuple[str, str, Mapping[str, Any]]


def keep(session: Session, versions: Iterable[Superseded]) -> int:
    """In the caller's transaction; how many conflicts were written down."""
    another: list[tuple[str, str]] = []
    conflicts: list[Replaced] = []
    for text, row, new in versions:
        came = kept.keep(new).text
        if came == row:
            continue
        why = _why(session, json.loads(row), json.loads(came))
        if why == trash.GIVEN_AGAIN:
            another.append((text, row))
        elif why is not None:
            old = kept.load(session.control, json.loads(row))
            conflicts.append(Replaced(text, replaced.STATION, why, old, None, None, new))
    trash.keep_texts(session, "station", another, trash.GIVEN_AGAIN, trash.KEPT)
    return replaced.keep(session, conflicts, once=True)


def deleted(session: Session, versions: Sequence[tuple[str, str]], reason: str) -> None:
    """The station has the row no more: into the trash, beside what control had of it."""
    trash.keep_texts(session, "station", versions, reason, trash.KEPT)


def _why(session: Session, old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Why the writer of `new` may not have seen `old`; None where he has."""
    fit = session.fit
    if _differ(fit.created, old, new):
        return trash.GIVEN_AGAIN
    was = stamp.of_row(old, fit.stamps)
    if is_older(stamp.of_row(new, fit.stamps), was):
        return OLDER
    if session.known.doubtful:
        return MAYBE_OTHER
    return unseen.why(session) if unseen.is_lacked(session, moment(was), old) else None


def _differ(name: str | None, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return name is not None and name in old and old[name] != new[name]
