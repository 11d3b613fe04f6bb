"""What must hold after a history, over what plain drivers have read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cli.drill.history import CONTROL, Key, Setting
from cli.drill.ledger import Ledger, Row, token
from cli.drill.tables import EXTRA, PARENT, SEAT, TEXTS

VALUES = (*TEXTS, EXTRA)


@dataclass(frozen=True)
class Based:
    station: str
    pending: bool
    row: Row


@dataclass(frozen=True)
class Lost:
    """An entry of the conflict table."""

    station: str
    key: Key
    loser: str
    columns: tuple[str, ...]
    rows: Mapping[str, Row]
    # What a person had seen who took what lost: it stood there before.
    seen: Row = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """An open entry of the quarantine."""

    station: str
    direction: str
    key: Key
    row: Row
    reasons: str = ""


@dataclass(frozen=True)
class Seen:
    """Everything, as it is once all is quiet. Rows have the columns of their table; `own` and `numbers` are control's
    own columns by key."""

    stations: Mapping[str, Mapping[Key, Row]]
    control: Mapping[Key, Row]
    base: Mapping[Key, Based]
    conflicts: tuple[Lost, ...] = ()
    held: tuple[Held, ...] = ()
    trash: tuple[tuple[str, Key, Row], ...] = ()
    own: Mapping[Key, str | None] = field(default_factory=dict)
    numbers: Mapping[Key, int] = field(default_factory=dict)
    # Rows of control that are said to be deleted at their station.
    flagged: frozenset[Key] = frozenset()
    # What the journal says that the station has of each row, None where it says that there is none; and files of it
    # that are not where control's books say, or that they do not name.
    told: Mapping[Key, Row | None] | None = None
    unplaced: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, Key, Row]]:
        for station, rows in self.stations.items():
            for key, row in rows.items():
                yield station, key, row
        for key, row in self.control.items():
            yield CONTROL, key, row


def problems(ledger: Ledger, seen: Seen, setting: Setting) -> list[str]:
    """Every breach, in words; none where all is well."""
    return [
        *_unequal(ledger, seen, setting),
        *_unowned(ledger, seen, setting),
        *_stale_entries(ledger, seen),
        *held_in_vain(seen),
        *_lost(ledger, seen),
        *_doubled(ledger, seen),
        *_own_columns(ledger, seen),
        *_untold(seen),
    ]


def _unequal(ledger: Ledger, seen: Seen, setting: Setting) -> Iterator[str]:
    """Station, control and base have the same row, but for what is kept in quarantine."""
    up = {(held.station, held.key) for held in seen.held if held.direction == "up"}
    down = {(held.station, held.key) for held in seen.held if held.direction == "down"}
    for station, rows in seen.stations.items():
        for key, row in rows.items():
            if (station, key) in up:
                continue
            based, control = seen.base.get(key), seen.control.get(key)
            if control is None or based is None:
                where = "control" if control is None else "the base"
                yield f"{station} has {key}, {where} does not: {dict(row)}"
            elif based.station != station:
                yield f"{station} has {key}, the base says it is {based.station}'s"
            elif (station, key) not in down:
                yield from _differences(station, key, row, control, based)


def _differences(station: str, key: Key, row: Row, control: Row, based: Based) -> Iterator[str]:
    shared = [name for name in row if name in control]
    ours = {name: row[name] for name in shared}
    theirs = {name: control[name] for name in shared}
    if ours != theirs:
        yield f"{station} and control differ in {key}: {ours} and {theirs}"
    known = {name: based.row.get(name) for name in shared}
    if known != ours and ours == theirs:
        yield f"the base of {station} differs in {key}: {known}, not {ours}"
    if based.pending:
        yield f"{station}'s row {key} is still pending"


def _unowned(ledger: Ledger, seen: Seen, setting: Setting) -> Iterator[str]:
    """Control has no row that its station does not have, but for deletes: those that the policy ignores or flags, and
    those of rows that control had edited meanwhile."""
    deleted = ledger.deleted()
    in_conflict = {(conflict.station, conflict.key) for conflict in seen.conflicts if not conflict.rows["station"]}
    down = {(held.station, held.key) for held in seen.held if held.direction == "down"}
    for key in seen.control:
        based = seen.base.get(key)
        owners = setting.names if based is None else (based.station,)
        there = [name for name in owners if key in seen.stations.get(name, {})]
        gone = [name for name in owners if (name, key) in deleted]
        edited = [name for name in owners if (name, key) in in_conflict]
        if based is None and there:
            continue  # told by `_unequal`
        if based is not None and key in seen.stations.get(based.station, {}):
            if key in seen.flagged:
                yield f"control's row {key} is flagged, and {based.station} has it"
        elif key in ledger.brought_back:
            continue
        elif not gone:
            yield f"control has {key} of {', '.join(owners)}, and no station has or has deleted it"
        elif setting.deletes == "flag" and key not in seen.flagged and not edited:
            yield f"control has {key}, which {', '.join(gone)} deleted, without a flag"
        elif setting.deletes == "archive" and not edited and not down & {(name, key) for name in gone}:
            yield f"control has {key}, which {', '.join(gone)} deleted"


def _stale_entries(ledger: Ledger, seen: Seen) -> Iterator[str]:
    """What is kept in quarantine is the version that is there now, or one that a restore has taken since."""
    for held in seen.held:
        row = (
            seen.stations.get(held.station, {}).get(held.key) if held.direction == "up" else seen.control.get(held.key)
        )
        if row is None:
            if held.direction == "down":
                yield f"an edit of {held.key} is in quarantine, and control has no such row"
            continue
        old = [name for name in VALUES if name in held.row and held.row[name] != row.get(name)]
        if old and (held.station, held.key) not in ledger.put_back:
            now = {name: row.get(name) for name in old}
            yield f"quarantine ({held.direction}) has an old version of {held.key}: {dict(held.row)}, now {now}"


def held_in_vain(seen: Seen) -> Iterator[str]:
    """A row is refused for its unique value, or for a row that it refers to, only where it is impossible: not where
    the rows in its way are such rows themselves, and all of them together can go in."""
    for station, own in seen.stations.items():
        for direction, source, target in (("up", own, seen.control), ("down", seen.control, own)):
            ours = [held for held in seen.held if (held.station, held.direction) == (station, direction)]
            stuck = {held.key for held in ours if _in_the_way(held)} & source.keys()
            for key in stuck:
                need, known = {key}, {key}
                while need and need <= stuck:
                    need = {other for one in need for other in _before(one, source[one], target)} - known
                    known |= need
                if not need:
                    yield f"{station}'s {key} is held back ({direction}), and could go in with {sorted(known - {key})}"


def _in_the_way(held: Held) -> bool:
    return any(words in held.reasons for words in ("Duplicate entry", "refers to a row", "UNIQUE constraint"))


def _before(key: Key, row: Row, target: Mapping[Key, Row]) -> Iterator[Key]:
    """Rows that must move, or be there, before this one goes in at the other side."""
    number, code = key
    for other, there in target.items():
        if other != key and other[1] == code and row.get(SEAT) is not None and there.get(SEAT) == row[SEAT]:
            yield other
    parent = row.get(PARENT)
    if parent is not None and (int(parent), code) not in target and int(parent) != number:
        yield int(parent), code


def _lost(ledger: Ledger, seen: Seen) -> Iterator[str]:
    present = [one for _, _, row in seen.rows() for one in tokens(row)]
    for fact in ledger.lost(present, kept(seen)):
        yield f"lost: {dict(fact.wrote)}, acknowledged to {fact.side} for {fact.key}"


def tokens(row: Row) -> list[str]:
    return [one for name in VALUES if (one := token(row.get(name))) is not None]


def kept(seen: Seen) -> Iterator[str]:
    for conflict in seen.conflicts:
        for side in ("station", "control") if conflict.loser == "both" else (conflict.loser,):
            row = conflict.rows.get(side, {})
            yield from tokens({name: value for name, value in row.items() if name in conflict.columns})
        yield from tokens(conflict.seen)
    for held in seen.held:
        yield from tokens(held.row)
    for _, _, row in seen.trash:
        yield from tokens(row)


def _doubled(ledger: Ledger, seen: Seen) -> Iterator[str]:
    """A value stands in the row and the column that it was written to, and nowhere else."""
    home = ledger.home()
    for where, key, row in seen.rows():
        for name in VALUES:
            one = token(row.get(name))
            if one is not None and home.get(one) != (key, name):
                yield f"{where} has {one} in {name} of {key}; it was written to {home.get(one)}"
    told = Counter(
        repr((c.station, c.key, c.loser, c.columns, sorted((s, sorted(r.items())) for s, r in c.rows.items())))
        for c in seen.conflicts
    )
    for what, times in told.items():
        if times > 1:
            yield f"a conflict is written down {times} times: {what}"


def _own_columns(ledger: Ledger, seen: Seen) -> Iterator[str]:
    """Control's own columns are what control's applications made them; a row that was deleted may be a new one."""
    deleted = {key for _, key in ledger.deleted()}
    trashed: dict[Key, set[str | None]] = {}
    for _, key, row in seen.trash:
        trashed.setdefault(key, set()).add(row.get("own"))
    for key, known in ledger.own.items():
        here = {seen.own[key]} if key in seen.own else set()
        kept = here | trashed.get(key, set())
        if not (kept or {None} if key in deleted else here or known) & known:
            yield f"control's own column of {key} is {seen.own.get(key)!r}, not one of {sorted(map(str, known))}"
    for key, value in seen.own.items():
        if value is not None and key not in ledger.own:
            yield f"control's own column of {key} is {value!r}; nobody wrote it"
    for key, number in seen.numbers.items():
        if key not in deleted and ledger.numbers.get(key) and number not in ledger.numbers[key]:
            yield f"control's number of {key} is {number}; it was {sorted(ledger.numbers[key])}"


def _untold(seen: Seen) -> Iterator[str]:
    """The journal tells exactly what the base knows: every row that moved, and none that did not."""
    for path in seen.unplaced:
        yield f"the journal's file {path} is there or named, and not both"
    if seen.told is None:
        return
    for key, based in seen.base.items():
        told = seen.told.get(key)
        if told is None:
            yield f"the journal does not tell of {key}, which the base knows"
        elif old := [name for name in told if name in based.row and told[name] != based.row[name]]:
            ours = {name: based.row[name] for name in old}
            yield f"the journal tells { ({name: told[name] for name in old}) } of {key}, the base {ours}"
    # Brought back from the journal, and refused: it waits in quarantine, and is nowhere else.
    waiting = [(held.key, held.row) for held in seen.held if held.direction == "up"]
    for key, told in seen.told.items():
        if told is not None and key not in seen.base and (key, told) not in waiting:
            yield f"the journal tells of {key}, which the base does not know"
