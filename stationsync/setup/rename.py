"""Giving a station another name: all that control knows of it goes over, in one transaction, with no run under way.

The rows that it owns, its marks, results, proofs, quarantine, conflicts, trash and journal. Where the new name has
books already, because runs began under it before anybody renamed, the old ones count: their marks are behind what the
new ones have read, so that everything since is read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import DatabaseBusy, Refused
from stationsync.keeping.books import OPEN, RELEASED
from stationsync.model.reasons import Code
from stationsync.model.wire import Family
from stationsync.pairing.pair import Pair
from stationsync.session.lease import all_leases
from stationsync.setup import reason_codes
from stationsync.store.bookkeeping import STATION, left_owner, metadata, of_this_version, quarantine, require_books
from stationsync.topology.notation import BASE_PREFIX

_AT_ONCE = 500


@dataclass(frozen=True)
class Renaming:
    """What goes from the old name to the new one (or, of a plan, would).

    `rows`: control table -> rows that the station owns; `entries`: bookkeeping table -> entries; `released`: entries of
    the new name's quarantine that were there only because the old name owned their keys."""

    old: str
    new: str
    rows: Mapping[str, int] = field(default_factory=dict)
    entries: Mapping[str, int] = field(default_factory=dict)
    released: int = 0

    @property
    def any(self) -> bool:
        return bool(self.rows or self.entries)


def plan(control: Database, old: str, new: str) -> Renaming:
    """What would be done. Nothing is written."""
    with control.begin() as conn, of_this_version():
        require_books(conn)
        return _required(_counted(conn, old, new))


def rename(control: Database, old: str, new: str, pairs: Sequence[Pair]) -> Renaming:
    """Give all that is `old`'s to `new`. `pairs`: the tables of the station, under either name.

    Raises DatabaseBusy where a run of either is under way; Refused where control knows nothing of `old`."""
    both = [replace(pair, name=name) for pair in pairs for name in (old, new)]
    with all_leases(control, both) as conn:
        if conn is None:
            what = f"a run of {old} or {new} is under way."
            raise DatabaseBusy(old, what, not_done="Nothing was renamed.", next_step="Run the command again.")
        with control.transaction(conn), of_this_version():
            require_books(conn)
            reason_codes.give(conn)
            found = _required(_counted(conn, old, new))
            now = control.dialect.clock(conn, Family.DATETIME).utc
            foreign = sa.update(quarantine).where(*_foreign(old, new)).values(state=RELEASED, last_at=now)
            conn.execute(foreign)
            for table in _general():
                _make_room(conn, table, old, new)
                conn.execute(sa.update(table).where(table.c.station == old).values(station=new))
            conn.execute(sa.update(quarantine).where(quarantine.c.owner == old).values(owner=new))
            for base in _bases(conn):
                for owner in (str, left_owner):
                    own = base.c[STATION] == owner(old)
                    conn.execute(sa.update(base).where(own).values({STATION: owner(new)}))
            return found


def names(control: Database) -> frozenset[str]:
    """The stations that control knows, whatever the topology says."""
    with control.begin() as conn:
        require_books(conn)
        found = [conn.scalars(sa.select(table.c.station).distinct()).all() for table in _general()]
    return frozenset(str(name) for some in found for name in some if name)


def _required(found: Renaming) -> Renaming:
    if found.any:
        return found
    raise Refused(
        found.old,
        "control knows no station of this name.",
        not_done="Nothing was renamed.",
        next_step="See the names: stationsync status; a new station needs no renaming: stationsync sync STATION",
    )


def _counted(conn: sa.Connection, old: str, new: str) -> Renaming:
    def of(table: sa.FromClause, column: str) -> int:
        return int(conn.scalar(sa.select(sa.func.count()).select_from(table).where(table.c[column] == old)) or 0)

    rows = {base.name.removeprefix(BASE_PREFIX): of(base, STATION) for base in _bases(conn)}
    entries = {table.name: of(table, "station") for table in _general()}
    foreign = sa.select(sa.func.count()).select_from(quarantine).where(*_foreign(old, new))
    return Renaming(
        old,
        new,
        {name: number for name, number in rows.items() if number},
        {name: number for name, number in entries.items() if number},
        int(conn.scalar(foreign) or 0),
    )


def _foreign(old: str, new: str) -> tuple[sa.ColumnElement[bool], ...]:
    c = quarantine.c
    return c.station == new, c.state == OPEN, c.code == str(Code.FOREIGN), c.owner == old


def _general() -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if "station" in table.c]


def _bases(conn: sa.Connection) -> list[sa.TableClause]:
    """Of all tables that ever were synchronised."""
    found = (name for name in sa.inspect(conn).get_table_names() if name.startswith(BASE_PREFIX))
    return [sa.table(name, sa.column(STATION, sa.String)) for name in sorted(found)]


def _make_room(conn: sa.Connection, table: sa.Table, old: str, new: str) -> None:
    """The new name's entries of what the old one has an entry of as well: there is one of each."""
    keys: list[sa.PrimaryKeyConstraint | sa.UniqueConstraint] = [table.primary_key]
    keys += [one for one in table.constraints if isinstance(one, sa.UniqueConstraint)]
    for key in keys:
        others = [column for column in key.columns if column.name != "station"]
        if len(others) == len(key.columns):
            continue
        if not others:
            has = conn.scalar(sa.select(sa.literal(1)).select_from(table).where(table.c.station == old).limit(1))
            if has:
                conn.execute(sa.delete(table).where(table.c.station == new))
            continue
        taken = conn.execute(sa.select(*others).where(table.c.station == old)).all()
        for start in range(0, len(taken), _AT_ONCE):
            same = [
                sa.and_(*(column == value for column, value in zip(others, row, strict=True)))
                for row in taken[start : start + _AT_ONCE]
            ]
            conn.execute(sa.delete(table).where(table.c.station == new, sa.or_(*same)))
