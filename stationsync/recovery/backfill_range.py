"""What a backfill is asked for: a range of `modified`, a range of the key, or all; and reading it at the station,
page after page."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from stationsync.errors import UsageError
from stationsync.model.changes import Chunk
from stationsync.model.wire import Family, key_text, parse_key_text
from stationsync.pairing import keys, stamp
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import Key, Typed, native
from stationsync.session import extract
from stationsync.session.session import Session
from stationsync.topology import zones
from stationsync.topology.zones import SERVER

# How a range is asked for, by the command and in the form of the flow.
COMMAND = "Name one of: --since 2024-05-01 --until 2024-06-01; --from-key 1000 --to-key 1999; --all."
FORM = "Fill in one of: Since and Until, such as 2024-05-01; From Key and To Key, such as 1000 and 1999; All."


@dataclass(frozen=True)
class BackfillRange:
    """`since` is in the range, `until` is not; both keys are. A key may be the leading columns of one.

    A moment without a zone is on the station's own clock, as its `modified` shows it."""

    since: datetime | None = None
    until: datetime | None = None
    from_key: Key = ()
    to_key: Key = ()
    # For messages, in the words of whoever asked.
    examples: str = field(default=COMMAND, compare=False, repr=False)

    @property
    def by_time(self) -> bool:
        return self.since is not None or self.until is not None

    @property
    def text(self) -> str:
        """The same for the same range, however it was typed."""
        moments = [None if moment is None else moment.isoformat() for moment in (self.since, self.until)]
        return json.dumps([*moments, key_text(self.from_key), key_text(self.to_key)])

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def options(self) -> str:
        """The options of the command that ask for it."""
        words = [f"--since {shlex.quote(str(self.since))}"] if self.since else []
        words += [f"--until {shlex.quote(str(self.until))}"] if self.until else []
        words += [f"--from-key {shlex.quote(key_text(self.from_key))}"] if self.from_key else []
        words += [f"--to-key {shlex.quote(key_text(self.to_key))}"] if self.to_key else []
        return " ".join(words) or "--all"

    def __str__(self) -> str:
        if self.by_time:
            words = [f"modified from {self.since}"] if self.since else ["modified"]
            return " ".join([*words, *([f"until {self.until}"] if self.until else [])])
        words = [f"from key {key_text(self.from_key)}"] if self.from_key else []
        words += [f"up to key {key_text(self.to_key)}"] if self.to_key else []
        return " ".join(words) or "all rows"


def asked_from(text: str) -> BackfillRange:
    """The reverse of `Asked.text`."""
    since, until, first, last = json.loads(text)
    begin, end = (None if moment is None else datetime.fromisoformat(moment) for moment in (since, until))
    return BackfillRange(begin, end, parse_key_text(first), parse_key_text(last))


def asked(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    from_key: str | None = None,
    to_key: str | None = None,
    everything: bool = False,
    examples: str = COMMAND,
) -> BackfillRange:
    """Raises UsageError for no range, or more than one."""

    def wrong(what: str) -> UsageError:
        return _wrong(what, examples)

    by_time, by_key = since is not None or until is not None, from_key is not None or to_key is not None
    if (kinds := sum((by_time, by_key, everything))) != 1:
        raise wrong(
            "no range is named" if kinds == 0 else "a range of time, a range of keys and all exclude each other"
        )
    if since is not None and until is not None:
        if (since.tzinfo is None) != (until.tzinfo is None):
            raise wrong("one of since and until has a time zone and the other has none")
        if since >= until:
            raise wrong(f"since ({since}) is not before until ({until})")
    return BackfillRange(since, until, _key(from_key, wrong), _key(to_key, wrong), examples)


def typed_key(given: str | int | float | Sequence[str | int | float] | None) -> str | None:
    """A key as text, of one that came as JSON."""
    if given is None or isinstance(given, str):
        return given
    return json.dumps(given, ensure_ascii=False)


def moment_from(text: str | None, name: str) -> datetime | None:
    """ISO text, such as 2024-05-01 or 2024-05-01T12:00:00."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        what = f"{name} is no date: {text!r}; write 2024-05-01, or '2024-05-01 12:00:00'"
        raise _wrong(what, COMMAND) from None


def _key(text: str | None, wrong: Callable[[str], UsageError]) -> Key:
    """One value of the first column, or a JSON list of the leading ones."""
    if text is None:
        return ()
    if not text.startswith("["):
        return (text,)
    try:
        # Numbers stay as they are typed.
        parts = json.loads(text, parse_int=str, parse_float=str)
        key = parse_key_text(json.dumps(parts))
    except ValueError:
        raise wrong(f'this is no key: {text}; write one value, or a JSON list such as [1000, "A"]') from None
    if not key:
        raise wrong("a key has at least one value")
    return key


def require_fitting(asked: BackfillRange, fit: Fit, place: str) -> None:
    """Raises UsageError where the keys are not of this table, or the wrong way round."""

    def wrong(what: str) -> UsageError:
        return _wrong(what, asked.examples)

    for key in filter(None, (asked.from_key, asked.to_key)):
        if len(key) > len(fit.key):
            raise wrong(f"{key_text(key)} has more values than the key of {place}, [{', '.join(fit.key)}]")
        for value, name in zip(key, fit.key, strict=False):
            try:
                native(value, fit.by_name[name].station)
            except (ValueError, ArithmeticError):
                what = f"{value!r} is no value of key column {name} of {place} ({fit.by_name[name].station.type})"
                raise wrong(what) from None
    if asked.from_key and asked.to_key:
        first, last = (native(key[0], fit.by_name[fit.key[0]].station) for key in (asked.from_key, asked.to_key))
        if isinstance(first, int) and first > last:
            raise wrong(f"the first key, {first}, is behind the last, {last}")


def walk_order(asked: BackfillRange, fit: Fit) -> tuple[str, ...]:
    """The columns that rows are read in the order of: an index of the station has them, and no two rows are alike."""
    if asked.by_time:
        return (fit.modified, *fit.key)
    names = {fit.by_name[name].station.name: name for name in fit.key}
    served = [tuple(names[own] for own in index) for index in fit.station.unique if set(index) <= set(names)]
    leading = [order for order in served if order == fit.key[: len(order)]]
    return (leading or served or [fit.key])[0]


def _wrong(what: str, examples: str) -> UsageError:
    return UsageError("backfill", what, not_done="Nothing was done.", next_step=examples)


# Rows are counted up to here: counting more would burden the station.
COUNTED = 1_000_000
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class BackfillLimits:
    """Fixed when a backfill begins, so that it ends however fast the station writes: what comes later is live sync's.

    `order` are columns, `first` and `last` the first and last row in that order, None where there is none."""

    order: tuple[str, ...]
    since: datetime | None = None
    until: datetime | None = None
    first: Key | None = None
    last: Key | None = None


def begin(session: Session, asked: BackfillRange) -> tuple[BackfillLimits, int | None]:
    """The limits, and how many rows there are; None where they are more than are counted."""
    until = wall_clock(session, asked.until, end=True)
    if asked.by_time and until is None:
        until = session.station_clock.now.replace(microsecond=0) + _SECOND
    order = walk_order(asked, session.fit)
    limits = BackfillLimits(order, wall_clock(session, asked.since), until)
    where = _where(session, asked, limits)
    limits = BackfillLimits(
        order, limits.since, until, *(_end(session, where, order, last=last) for last in (False, True))
    )
    found = sa.select(sa.literal(1)).select_from(session.station_table).where(where).limit(COUNTED + 1).subquery()
    with session.station() as conn, conn.begin():
        rows = int(conn.scalar(sa.select(sa.func.count()).select_from(found)) or 0)
    return limits, rows if rows <= COUNTED else None


def read(
    session: Session, asked: BackfillRange, limits: BackfillLimits, after: Key | None, most: int
) -> tuple[Chunk, Key | None]:
    """The next page behind `after`, and the place of its last row."""
    where = _where(session, asked, limits)
    if after is not None:
        where = sa.and_(where, extract.behind_place(session, extract.own_columns(session), limits.order, after))
    chunk = extract.read_ordered(session, where, limits.order, min(most, extract.page_rows(session)))
    if chunk.last is None:
        return chunk, after
    values = dict(zip(session.fit.key, chunk.last.key, strict=True))
    # An undated row has a key, and is met in the order of the key only.
    values.setdefault(session.fit.modified, chunk.last.modified)
    return chunk, tuple(values[name] for name in limits.order)


def wall_clock(session: Session, asked: datetime | None, *, end: bool = False) -> datetime | None:
    """On the clock that stamps the station's rows; a moment without a zone is on it already. Where that clock is put
    back about then, the range (whose end this is, or its beginning) is the wider one."""
    if asked is None or asked.tzinfo is None:
        return asked
    utc = asked.astimezone(UTC).replace(tzinfo=None)
    stamped = session.fit.by_name[session.fit.modified].station.family
    if stamped is Family.TIMESTAMP:
        return utc
    widest = zones.latest if end else zones.earliest
    zone = session.pair.options.modified_zone
    if zone != SERVER:
        return widest(zones.wall_of(zone), utc)
    with session.station() as conn, conn.begin():
        return widest(partial(session.pair.station.dialect.server_wall, conn), utc)


def _where(session: Session, asked: BackfillRange, limits: BackfillLimits) -> sa.ColumnElement[bool]:
    columns = extract.own_columns(session)
    found: list[sa.ColumnElement[bool]] = [session.carried]
    if asked.by_time:
        modified = columns[session.fit.modified]
        found.append(extract.behind(session, columns, limits.since, None))
        found += [modified < extract.as_text(limits.until)] if limits.until else []
        return sa.and_(*found)
    typed = [(columns[name], session.fit.by_name[name].station) for name in session.fit.key]
    found += [keys.at_least(typed[: len(asked.from_key)], asked.from_key)] if asked.from_key else []
    found += [_up_to(typed, asked.to_key)] if asked.to_key else []
    if limits.last is not None:
        found.append(_up_to([(columns[n], session.fit.by_name[n].station) for n in limits.order], limits.last))
    return sa.and_(*found)


def _up_to(columns: list[Typed], key: Key) -> sa.ColumnElement[bool]:
    return keys.Span(upto=key).where(columns[: len(key)])


def _end(session: Session, where: sa.ColumnElement[bool], order: tuple[str, ...], *, last: bool) -> Key | None:
    fit, dialect, columns = session.fit, session.pair.station.dialect, extract.own_columns(session)
    own: dict[str, sa.ColumnElement[Any]] = {
        name: session.station_table.c[fit.by_name[name].station.name] for name in order
    }
    own |= {fit.modified: stamp.at_station(fit, session.station_table)} if fit.modified in own else {}
    query = (
        sa.select(*(dialect.readable(own[n], fit.by_name[n].station).label(n) for n in order))
        .where(where)
        .order_by(*(columns[name].desc() if last else columns[name] for name in order))
        .limit(1)
    )
    with session.station() as conn, conn.begin():
        rows, _ = dialect.read(conn, query, {name: fit.families[name] for name in order}, extract.MAX_BYTES)
    return tuple(rows.to_pylist()[0][name] for name in order) if rows.num_rows else None
