"""The first half of a reconcile: range after range compared by sums, those that differ remembered. Writes nothing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace

from stationsync.compare import Comparison, Sum
from stationsync.ranges import Key, Span
from stationsync.topology import TableOptions
from stationsync.wire import key_text, parse_key_text

# What one range may take at a station; it has an application to serve.
_RANGE_SECONDS = 0.5
_FEWEST = 500
_STRETCH_SECONDS = 5


@dataclass(frozen=True)
class Scan:
    """How far a scan is: the ranges up to `place` are done, `equal` is the sum of those that are the same everywhere,
    `unequal` are the others."""

    place: Key | None = None
    equal: Sum = field(default_factory=Sum)
    unequal: tuple[Span, ...] = ()
    ranges: int = 0
    done: bool = False

    def to_json(self) -> str:
        spans = [[_text(span.after), _text(span.upto)] for span in self.unequal]
        return json.dumps(
            {"rows": self.equal.rows, "digest": self.equal.digest, "unequal": spans, "ranges": self.ranges}
        )

    @staticmethod
    def from_json(place: str, text: str) -> Scan:
        data = json.loads(text)
        spans = tuple(Span(_key(after), _key(upto)) for after, upto in data["unequal"])
        return Scan(parse_key_text(place), Sum(data["rows"], data["digest"]), spans, data["ranges"])


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
        while True:
            begun = time.monotonic()
            scan = self._range(scan)
            self._adapt(time.monotonic() - begun)
            if scan.done or time.monotonic() >= until:
                return scan
            if self._pause:
                time.sleep(self._pause.total_seconds())

    def _range(self, scan: Scan) -> Scan:
        span = Span(scan.place, self._comparison.station.after(scan.place, self._rows))
        station, base, control = self._comparison.sums(span)
        further = replace(scan, place=span.upto, ranges=scan.ranges + 1, done=span.upto is None)
        if station == base and not control:
            return replace(further, equal=scan.equal + base)
        return replace(further, unequal=(*scan.unequal, span))

    def _adapt(self, seconds: float) -> None:
        fitting = int(self._rows * _RANGE_SECONDS / max(seconds, 0.001))
        self._rows = max(min(fitting, self._rows * 2, self._most), min(_FEWEST, self._most))
