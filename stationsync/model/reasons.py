"""Why a row is in quarantine: a code that the program goes by, and the words that a person reads. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Stored with the entry and shown beside its words. In which direction the row goes is the entry's to say."""

    INVALID = "invalid"  # it breaks a rule of its table's suite
    UNREADABLE = "unreadable"  # a value cannot be carried as it is: text of no Unicode, or of another type
    REFUSED = "refused"  # the database does not take it
    WAITS_FOR_ROW = "waits_for_row"  # it refers to a row that is not there yet: it goes in by itself, later
    WAITS_FOR_VALUE = "waits_for_value"  # another row has its value of a unique index: it goes in by itself, later
    LOCKED = "locked"  # an application at control keeps the row locked: it is tried again with every run
    FOREIGN = "foreign"  # another station owns the key
    KEY_CLASH = "key_clash"  # control takes its key for another row's of the station: tried again with every run
    GONE = "gone"  # the station no longer has the row that control edited
    NOT_EDITABLE = "not_editable"  # control edited columns that it may not
    DISPUTED = "disputed"  # triggers at both sides change it whenever it is written
    NOT_BACK = "not_back"  # the station does not take it back: it waits for the next reseed, not for an edit
    DELETE_REFUSED = "delete_refused"  # it was deleted at the other side, and cannot go at this one
    DELETE_LOCKED = "delete_locked"  # the same, as long as an application keeps it locked


# Rows that go in by themselves once another row has come, or made way.
WAITING = (Code.WAITS_FOR_VALUE, Code.WAITS_FOR_ROW)
CONTROL, STATION = "control", "the station"
_REFUSES = {
    Code.REFUSED: "refuses the row",
    Code.WAITS_FOR_ROW: "refuses the row, it refers to a row that is not there yet",
    Code.WAITS_FOR_VALUE: "refuses the row until a value is free",
    Code.NOT_BACK: "refuses to have the row back",
}


@dataclass(frozen=True)
class Reason:
    """`words`: one sentence or several. `owner`: of the code `foreign`, the station whose key it is."""

    code: Code
    words: tuple[str, ...]
    owner: str | None = None

    def __str__(self) -> str:
        return "; ".join(self.words)

    @property
    def stored(self) -> str:
        """The words as JSON."""
        return json.dumps(list(self.words), ensure_ascii=False)

    def also(self, words: str) -> Reason:
        """The same with more at the end of its last sentence."""
        return Reason(self.code, (*self.words[:-1], f"{self.words[-1]}; {words}"), self.owner)


def refused(side: str, code: Code, what: str) -> Reason:
    """That `side` does not take the row; `what` its database says."""
    return Reason(code, (f"{side} {_REFUSES[code]}: {what}",))


def not_deleted(words: str) -> Reason:
    return Reason(Code.DELETE_REFUSED, (words,))


def foreign(owner: str) -> Reason:
    return Reason(Code.FOREIGN, (f"station {owner} owns this key; its row was left as it is",), owner)


LOCKED = Reason(Code.LOCKED, ("an application at control keeps the row locked; it is tried again with every run",))
GONE = Reason(Code.GONE, ("the station no longer has this row; control's edit is kept here and was not sent",))
