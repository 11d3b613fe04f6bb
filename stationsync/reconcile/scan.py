"""The first half of a reconcile: range after range compared by sums, those that differ remembered. Writes nothing."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stationsync.model.wire import key_text, parse_key_text
from stationsync.pairing.keys import Key, Span
from stationsync.reconcile.compare import Comparison, Difference, Pending, Sum
from stationsync.session.lease import with_retries
from stationsync.topology.model import TableOptions

# What one range may take at a station; it has an application to serve.
_RANGE_SECONDS = 0.5
_FEWEST = 500
_STRETCH_SECONDS = 5
# So many ranges are under way: while the station works on one, control is not idle.
_UNDER_WAY = 4
# Ranges that one reconcile compares at most: a station whose keys have no end must not keep it for ever.
RUN_RANGES = 100_000
_SPANS = ("unequal", "at_control")


@dataclass(frozen=True)
class Scan:
    """How far a scan is: the ranges up to `place` are done. `equal` is the sum of those where station and base are the
    same, `unequal` are the others; `at_control` those where control and base are not the same."""

    place: Key | None = None
    equal: Sum = field(default_factory=Sum)
    unequal: tuple[Span, ...] = ()
    at_control: tuple[Span, ...] = ()
    ranges: int = 0
    done: bool = False

    def to_json(self) -> str:
        spans = {name: [[_text(s.after), _text(s.upto)] for s in getattr(self, name)] for name in _SPANS}
        return json.dumps({"rows": self.equal.rows, "digest": self.equal.digest, "ranges": self.ranges, **spans})

    @staticmethod
    def from_json(place: str, text: str) -> Scan:
        data = json.loads(text)
        spans = (tuple(Span(_key(after), _key(upto)) for after, upto in data[name]) for name in _SPANS)
        unequal, at_control = spans
        return Scan(parse_key_text(place), Sum(data["rows"], data["digest"]), unequal, at_control, data["ranges"])


def _text(key: Key | None) -> str | None:
    return None if key is None else key_text(key)


def _key(text: str | None) -> Key | None:
    return None if text is None else parse_key_text(text)


class Scanner:
    """Goes through the table. The size of a range follows what the station needs for it."""

    def __init__(self, comparison: Comparison, options: TableOptions) -> None:
        self.place = comparison.place
        self._comparison = comparison
        self._most = options.sweep_rows
        self._pause = options.sweep_pause
        self._rows = self._most

    def stretch(self, scan: Scan) -> Scan:
        """Compare ranges for some seconds, at least one, and come back with how far it is."""
        until = time.monotonic() + _STRETCH_SECONDS
        under_way: deque[Pending] = deque()
        ahead: Key | None = scan.place
        last = False
        while under_way or not last:
            while not last and len(under_way) < _UNDER_WAY:
                span = Span(ahead, self._comparison.after(ahead, self._rows))
                under_way.append(self._comparison.start(span))
                ahead, last = span.upto, span.upto is None or time.monotonic() >= until
                self._wait_a_little()
            scan = self._with(scan, under_way.popleft())
        return scan

    def _with(self, scan: Scan, pending: Pending) -> Scan:
        (station, seconds), (base, differs) = pending.station.result(), pending.control.result()
        self._adapt(seconds)
        span = pending.span
        scan = replace(scan, place=span.upto, ranges=scan.ranges + 1, done=span.upto is None)
        if differs:
            scan = replace(scan, at_control=(*scan.at_control, span))
        if station != base:
            return replace(scan, unequal=(*scan.unequal, span))
        return replace(scan, equal=scan.equal + base)

    def _wait_a_little(self) -> None:
        if self._pause:
            time.sleep(self._pause.total_seconds())

    def _adapt(self, seconds: float) -> None:
        fitting = int(self._rows * _RANGE_SECONDS / max(seconds, 0.001))
        self._rows = max(min(fitting, self._rows * 2, self._most), min(_FEWEST, self._most))


def differences(comparison: Comparison, scan: Scan) -> Difference:
    """The rows that are not equal, in the ranges that a scan found to differ."""
    return comparison.differences(scan.unequal, scan.at_control)


_STRETCH, _DIFFERENCES = with_retries(Scanner.stretch), with_retries(differences)


@dataclass(frozen=True)
class ComparisonSteps:
    """How a reconcile looks at both sides: what a driver may wrap, as the `Steps` of a run. Both only read.
    Without a driver each is tried again a few times."""

    compare: Callable[[Scanner, Scan], Scan] = _STRETCH
    look_into: Callable[[Comparison, Scan], Difference] = _DIFFERENCES
