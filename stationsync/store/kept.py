"""Rows that we keep (in quarantine, conflicts, trash) as JSON: bytes as {"hex": ...}, NULL as null.

A row must fit into one packet of the server, however long its values are. So the longest are kept apart, in parts and
once for equal content; the JSON then has {"sha256", "bytes", "kind": "text" or "bytes"} in their place, which still
tells equal rows from different ones. Lists and comparisons never read the parts.

    one = keep(row)                     # values of the driver or of the wire
    store(conn, [one], now)             # in the transaction that writes one.text
    row = load(conn, json.loads(one.text))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.statements import insert_ignore
from stationsync.errors import Refused
from stationsync.model import stored_text
from stationsync.store.bookkeeping import value as values_apart

# Of a row's JSON, as the driver sends it: a conflict has four rows in a statement, and a packet may be 1 MB small.
ROW = 128 * 1024
# The driver may double it.
PART = 256 * 1024
_REFERENCE = 160
_NUMBER = 40
_DIGESTS_A_QUERY = 500


@dataclass(frozen=True)
class Kept:
    """`text` is the row's JSON, `apart` the contents that it only refers to, by their digest."""

    text: str
    apart: Mapping[str, bytes]


def keep(row: Mapping[str, Any]) -> Kept:
    """The row to be kept. Nothing is written here."""
    sizes = {name: _sent_size(value) for name, value in row.items()}
    total = sum(sizes.values())
    short, apart = dict(row), dict[str, bytes]()
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if total <= ROW or sizes[name] <= _REFERENCE:
            break
        content = row[name].encode() if isinstance(row[name], str) else bytes(row[name])
        digest = hashlib.sha256(content).hexdigest()
        apart[digest] = content
        kind = "text" if isinstance(row[name], str) else "bytes"
        short[name] = {"sha256": digest, "bytes": len(content), "kind": kind}
        total += _REFERENCE - sizes[name]
    shown = {name: stored_text.as_json(value) for name, value in short.items()}
    return Kept(json.dumps(shown, default=_plain, ensure_ascii=False), apart)


def store(conn: sa.Connection, rows: Iterable[Kept], at: datetime) -> None:
    """Write what these rows keep apart, where it is not there yet."""
    contents: dict[str, bytes] = {}
    for row in rows:
        contents |= row.apart
    for digest in sorted(contents.keys() - _touched(conn, sorted(contents), at)):
        # IGNORE: another station's run may write the same content at this moment.
        insert = insert_ignore(values_apart)
        conn.execute(insert, [{"sha256": digest, "at": at, **part} for part in _parts(contents[digest])])


def load(conn: sa.Connection, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with all its values, from its JSON; bytes as bytes. Refused where a value is not there any more."""
    return {name: _loaded(conn, value) for name, value in row.items()}


def brief(value: object) -> str:
    """A value of a kept row's JSON, for people."""
    if _is_reference(value):
        return f"<{value['bytes']:,} bytes, sha256 {value['sha256'][:12]}…>"  # type: ignore[index]
    return json.dumps(stored_text.as_json(value), ensure_ascii=False)


def _sent_size(value: Any) -> int:
    """Bytes on the way to the server: JSON escapes, and then the driver does."""
    if isinstance(value, bytes | bytearray | memoryview):
        return 2 * len(value)
    if not isinstance(value, str):
        return _NUMBER
    text = json.dumps(value, ensure_ascii=False)
    return len(text.encode()) + text.count("\\") + text.count("'") + text.count('"')


def _parts(content: bytes) -> Iterator[dict[str, Any]]:
    for number, start in enumerate(range(0, len(content), PART)):
        yield {"part": number, "content": content[start : start + PART]}


def _touched(conn: sa.Connection, digests: list[str], at: datetime) -> set[str]:
    """Digests whose content is there, all its parts, and stays: made young, and locked until this transaction ends.
    Maintenance deletes old contents that no row refers to, and cannot see the row that is about to be written."""
    found: set[str] = set()
    for start in range(0, len(digests), _DIGESTS_A_QUERY):
        query = sa.select(values_apart.c.sha256).where(values_apart.c.part == 0)
        # Not those that are missing: locking the place of a row to come invites deadlocks.
        some = list(conn.scalars(query.where(values_apart.c.sha256.in_(digests[start : start + _DIGESTS_A_QUERY]))))
        if some:
            there = (values_apart.c.sha256.in_(some), values_apart.c.part == 0)
            conn.execute(sa.update(values_apart).where(*there).values(at=at))
            # Once more, past the snapshot: maintenance may have deleted it in between.
            found.update(conn.scalars(query.where(values_apart.c.sha256.in_(some)).with_for_update()))
    return found


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and "sha256" in value


def _loaded(conn: sa.Connection, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "hex" in value:
        return of_hex(value)
    parts = sa.select(values_apart.c.content).where(values_apart.c.sha256 == value["sha256"])
    content = b"".join(conn.scalars(parts.order_by(values_apart.c.part)))
    if hashlib.sha256(content).hexdigest() != value["sha256"]:
        what = f"the kept value {value['sha256']} is not there whole."
        raise Refused("control", what, next_step=f"Restore table {values_apart.name} from a backup.")
    return content.decode() if value["kind"] == "text" else content


def of_hex(value: Mapping[str, str]) -> str | bytes:
    """A value of a kept row that stands there as bytes; text that is no Unicode in its wire form."""
    content = bytes.fromhex(value["hex"])
    return stored_text.written(value["charset"], content) if "charset" in value else content


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"hex": value.hex()}
    return _time_text(value) if isinstance(value, timedelta) else str(value)


def _time_text(value: timedelta) -> str:
    """MariaDB's TIME, which may exceed a day."""
    sign, size = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(size // timedelta(seconds=1), 60)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"
