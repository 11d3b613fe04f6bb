"""What a backfill is asked for: a range of `modified`, a range of the key, or all. Pure."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from stationsync.errors import UsageError
from stationsync.model.wire import key_text, parse_key_text
from stationsync.pairing.fit import Fit
from stationsync.pairing.keys import Key, native

# How a range is asked for, by the command and in the form of the flow.
COMMAND = "Name one of: --since 2024-05-01 --until 2024-06-01; --from-key 1000 --to-key 1999; --all."
FORM = "Fill in one of: Since and Until, such as 2024-05-01; From Key and To Key, such as 1000 and 1999; All."


@dataclass(frozen=True)
class Asked:
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


def asked_from(text: str) -> Asked:
    """The reverse of `Asked.text`."""
    since, until, first, last = json.loads(text)
    begin, end = (None if moment is None else datetime.fromisoformat(moment) for moment in (since, until))
    return Asked(begin, end, parse_key_text(first), parse_key_text(last))


def asked(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    from_key: str | None = None,
    to_key: str | None = None,
    everything: bool = False,
    examples: str = COMMAND,
) -> Asked:
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
    return Asked(since, until, _key(from_key, wrong), _key(to_key, wrong), examples)


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


def require_fitting(asked: Asked, fit: Fit, place: str) -> None:
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


def walk_order(asked: Asked, fit: Fit) -> tuple[str, ...]:
    """The columns that rows are read in the order of: an index of the station has them, and no two rows are alike."""
    if asked.by_time:
        return (fit.modified, *fit.key)
    names = {fit.by_name[name].station.name: name for name in fit.key}
    served = [tuple(names[own] for own in index) for index in fit.station.unique if set(index) <= set(names)]
    leading = [order for order in served if order == fit.key[: len(order)]]
    return (leading or served or [fit.key])[0]


def _wrong(what: str, examples: str) -> UsageError:
    return UsageError("backfill", what, not_done="Nothing was done.", next_step=examples)
