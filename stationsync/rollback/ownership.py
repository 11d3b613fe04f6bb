"""Whether a station's table is its own: not control's, by another spelling of the host, and not what another name is
known to have, as after a change of names in the topology.

Looked at before the first run of a name, and by `check`. What a server says of itself decides nothing alone, for
stations are often made from one image: the rows have to be there as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from stationsync.database.table_facts import Remembered
from stationsync.errors import Refused
from stationsync.keeping import books
from stationsync.model.changes import Direction, Position
from stationsync.pairing.pair import Pair
from stationsync.session.lease import lease_name
from stationsync.session.session import Session
from stationsync.store.bookkeeping import state

# How many of the given rows are there, by key, as new as they were or newer.
Present = Callable[[Sequence[Position]], int]


def require_own(session: Session, present: Present, kind: str = "") -> None:
    """Of a session that holds the lease of this kind of its pair. Raises Refused."""
    pair = session.pair
    with session.station() as conn, conn.begin():
        at_control = pair.station.dialect.lease_held_there(conn, lease_name(pair, kind))
    if at_control and pair.station_table == pair.control_table:
        raise Refused(
            pair.place,
            "this is control's own table: the station's url leads to control's database.",
            not_done="Nothing was done.",
            next_step="Mend the url in the topology, then: stationsync check",
        )
    with session.transaction():
        others = _known(session.control, pair)
    for name, server, newest in others:
        same_server = server is not None and server == session.known.facts.server
        if same_server and newest and 2 * present(newest) >= len(newest):
            raise _refusal(pair, name)


def known_to_others(conn: sa.Connection, pair: Pair) -> bool:
    """Whether this name is new to a table of which other names are known: then it may be one of those."""
    return bool(_known(conn, pair))


def _known(conn: sa.Connection, pair: Pair) -> list[tuple[str, str | None, Sequence[Position]]]:
    """Other names, with what their server said of itself, and the newest rows that were seen there. None where this
    name has run already: then what it has is its own."""
    c = state.c
    query = sa.select(c.station, c.newest, c.table_facts).where(
        c.table_name == pair.table, c.direction == str(Direction.UP), c.table_facts.is_not(None)
    )
    rows = books.read_state(conn, query).all()
    if any(name == pair.name for name, *_ in rows):
        return []
    found: list[tuple[str, str | None, Sequence[Position]]] = []
    for name, newest, facts in rows:
        remembered = Remembered.from_json(facts)
        found.append((str(name), remembered.facts.server if remembered else None, books.newest_from(newest) or ()))
    return found


def _refusal(pair: Pair, other: str) -> Refused:
    return Refused(
        pair.place,
        f"this is the table that control knows as {other}'s: the same server and database, with its rows.",
        not_done="Nothing was done.",
        next_step=f"Has {other} a new name? stationsync rename {other} {pair.name}; if both names are meant, they have"
        " a database each: mend the url of one in the topology, then: stationsync check",
    )
