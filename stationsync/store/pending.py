"""What `pending` of a base row says (`bookkeeping.PENDING`), as conditions and new values. Pure.

Beside whether the row waits for a push, it says whether the station lacked this version when somebody took its table
as it is (`trust`, `reseed`): whoever gives its key there, or edits an older version, has not seen it. Each value has a
second one for that, of the same sign: above 0, the row waits."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from stationsync.store.bookkeeping import PENDING, RESTAMPED, SEEN

WAITS = 1
# By the value of a row of which the station lacked nothing.
LACKED = {0: -2, RESTAMPED: -3, WAITS: 3, SEEN: 4}


def says(base: sa.FromClause, value: int) -> sa.ColumnElement[bool]:
    """It is this one, whether the station lacked the row or not."""
    return sa.or_(base.c[PENDING] == value, base.c[PENDING] == LACKED[value])


def is_lacked(base: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.or_(base.c[PENDING] < RESTAMPED, base.c[PENDING] > SEEN)


def lacked(base: sa.FromClause) -> sa.ColumnElement[int]:
    """The value of a row that the station lacks."""
    return sa.case(*((base.c[PENDING] == value, other) for value, other in LACKED.items()), else_=base.c[PENDING])


def not_lacked(base: sa.FromClause) -> sa.ColumnElement[int]:
    return sa.case(*((base.c[PENDING] == other, value) for value, other in LACKED.items()), else_=base.c[PENDING])


def becomes(base: sa.FromClause, value: int, *cases: tuple[sa.ColumnElement[bool], int]) -> sa.ColumnElement[Any]:
    """A new value, or that of the first of `cases`; of a row that the station lacked, still so."""
    still = [(sa.and_(is_lacked(base), condition), LACKED[to]) for condition, to in cases]
    return sa.case(*still, (is_lacked(base), LACKED[value]), *cases, else_=value)
