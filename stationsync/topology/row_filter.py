"""`where:` of a table: which of a station's rows are synchronised, as a condition in SQL over the station's columns.
Pure: what can be said of the text alone. Whether the station's server takes it, `check` and every run ask there."""

from __future__ import annotations

import re
from enum import StrEnum

_LONGEST = 2_000
_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`)"
    r"|(?P<comment>--|\#|/\*)|(?P<name>[^\W\d]\w*)|(?P<open>\()|(?P<close>\))|(?P<other>.)",
    re.DOTALL | re.VERBOSE,
)
_OTHER_TABLES = frozenset({"select", "union", "with", "values", "table", "into"})
# What is another value at another moment, in another session, or for another user; or does something.
_NOT_OF_THE_ROW = frozenset(
    {
        "now", "sysdate", "curdate", "curtime", "current_date", "current_time", "current_timestamp", "localtime",
        "localtimestamp", "utc_date", "utc_time", "utc_timestamp", "unix_timestamp", "rand", "random", "randomblob",
        "uuid", "uuid_short", "sys_guid", "connection_id", "user", "current_user", "current_role", "session_user",
        "system_user", "database", "schema", "version", "found_rows", "row_count", "last_insert_id",
        "last_insert_rowid", "changes", "total_changes", "sleep", "benchmark", "get_lock", "release_lock",
        "release_all_locks", "is_free_lock", "is_used_lock", "load_file", "load_extension", "master_pos_wait",
        "nextval", "lastval", "setval",
    }
)  # fmt: skip


class Leaving(StrEnum):
    """What becomes of control's row when the station's is let through no more."""

    KEEP = "keep"
    DELETE = "delete"


def check_filter(text: str) -> str:
    """The condition, without space around it. Raises ValueError: what in it is not allowed, and why."""
    text = text.strip()
    if not text:
        raise ValueError("is empty: write a condition over the station's columns, such as status <> 'draft'")
    if len(text) > _LONGEST:
        raise ValueError(f"has {len(text):,} characters; {_LONGEST:,} at most")
    if "\\" in text:
        raise ValueError("has a backslash, which means different things to different servers")
    depth, before = 0, ""
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth < 0:
            raise ValueError("closes a parenthesis that it never opened")
        _check_token(token, text[token.end() :].lstrip().startswith("("), before)
        before = token.group().strip() or before
    if depth:
        raise ValueError("leaves a parenthesis open")
    return text


def _check_token(token: re.Match[str], called: bool, before: str) -> None:
    kind, words = token.lastgroup, token.group()
    if kind == "comment":
        raise ValueError(f"has a comment ({words}); write it as a comment of the file")
    if kind == "other" and words in "'\"`":
        raise ValueError(f"leaves a quotation mark ({words}) open")
    if kind == "other" and words in ";@?{}\0":
        raise ValueError(f"has the sign {words!r}; only a condition over the row's columns is asked")
    if kind == "text" and words.lower() == "'now'":
        raise ValueError("asks for the moment ('now'): a row would come and go without being changed")
    if kind != "name":
        return
    name = words.lower()
    if name in _OTHER_TABLES and (called or name in ("select", "union", "with", "into")):
        raise ValueError(f"asks another table ({words}); only the row's own columns say whether it goes through")
    if name in _NOT_OF_THE_ROW and (called or name.startswith(("current_", "local", "utc_"))):
        raise ValueError(f"asks for {words}, which the row does not say: it would come and go without being changed")
    if called and before == ".":
        raise ValueError(f"calls a stored function ({words}); nobody knows whether it says the same tomorrow")


def check_leaving(leaving: Leaving, where: str | None, deletes_are_followed: bool) -> Leaving:
    """Raises ValueError where the option would say nothing, or what is to happen is not said."""
    if leaving is Leaving.DELETE and where is None:
        raise ValueError("is about rows that leave the filter: write the filter under where")
    if leaving is Leaving.DELETE and not deletes_are_followed:
        raise ValueError("says that rows go, and `deletes` that none go: write deletes: archive (or flag) as well")
    return leaving
