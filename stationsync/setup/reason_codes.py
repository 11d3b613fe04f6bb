"""Entries of the quarantine that an older version wrote have words alone: each gets the code that they stand for."""

from __future__ import annotations

import json
import re

import sqlalchemy as sa

from stationsync.model.reasons import Code
from stationsync.store.bookkeeping import quarantine

_AT_ONCE = 1_000
# How the words of those versions begin. All others are about what a row has: a rule of the table's suite.
_BEGIN = {
    "control refuses the row, it refers to a row": Code.WAITS_FOR_ROW,
    "control refuses the row until a value": Code.WAITS_FOR_VALUE,
    "control refuses the row": Code.REFUSED,
    "the station refuses the row, it refers to a row": Code.WAITS_FOR_ROW,
    "the station refuses the row until a value": Code.WAITS_FOR_VALUE,
    "the station refuses the row": Code.REFUSED,
    "an application at control keeps the row locked": Code.LOCKED,
    "the station no longer has this row": Code.GONE,
    "control may not edit these columns": Code.NOT_EDITABLE,
    "the databases of both sides change ": Code.DISPUTED,
    "the station refuses to have the row back": Code.NOT_BACK,
    "the station deleted the row, an application": Code.DELETE_LOCKED,
    "control deleted the row, an application": Code.DELETE_LOCKED,
    "the station deleted the row, control refuses": Code.DELETE_REFUSED,
    "control deleted the row, the station refuses": Code.DELETE_REFUSED,
}
_OWNER = re.compile(r"station (\S+) owns this key")
_REFERRED = re.compile(r"rows of .+ refer to it and would go")
_UNREADABLE = re.compile(r"column .+: (the value is stored as |its text is not UTF-8|its \S+ text would not come back)")


def of_words(words: str) -> tuple[Code, str | None]:
    """The code of an entry whose first reason is this; and the owner of the key, where that is the reason."""
    if owner := _OWNER.match(words):
        return Code.FOREIGN, owner[1]
    if _REFERRED.match(words):
        return Code.DELETE_REFUSED, None
    if _UNREADABLE.match(words):
        return Code.UNREADABLE, None
    return next((code for begin, code in _BEGIN.items() if words.startswith(begin)), Code.INVALID), None


def give(conn: sa.Connection) -> None:
    """Give a code to every entry that has none. In the caller's transaction."""
    c = quarantine.c
    query = sa.select(c.id, c.reasons).where(c.code.is_(None)).order_by(c.id).limit(_AT_ONCE)
    update = sa.update(quarantine).where(c.id == sa.bindparam("b_id"))
    update = update.values(code=sa.bindparam("v_code"), owner=sa.bindparam("v_owner"))
    while found := conn.execute(query).all():
        given = [(number, *of_words((json.loads(reasons) or [""])[0])) for number, reasons in found]
        conn.execute(update, [{"b_id": n, "v_code": str(code), "v_owner": owner} for n, code, owner in given])
