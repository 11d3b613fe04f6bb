"""The part of `check` that tries expectation suites, on the columns as they were found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stationsync.errors import StationSyncError, guarded
from stationsync.health.check_notes import of_error
from stationsync.model.notes import Note
from stationsync.model.wire import Family
from stationsync.pairing.fit import Fit
from stationsync.pairing.pair import Pair
from stationsync.sync.suites import load_suite, spelled

_Families = dict[str, Family] | None


def suite_notes(pairs: Sequence[Pair], fits: Sequence[Fit]) -> Iterator[Note]:
    """Each suite once for every set of column types that it meets; on its own where no table could be looked at."""
    by_place = {fit.place: fit.families for fit in fits}
    wanted: dict[tuple[str, str], tuple[str, _Families]] = {}
    for pair in pairs:
        if name := pair.options.expectations:
            families = by_place.get(pair.place)
            wanted.setdefault((name, repr(families)), (name, families))
    met = {name for name, families in wanted.values() if families is not None}
    for name, families in wanted.values():
        if families is not None or name not in met:
            yield from _tried(name, families)


def _tried(name: str, families: _Families) -> Iterator[Note]:
    # Here, because Great Expectations comes with it.
    from stationsync.sync.validation import check_suite

    try:
        with guarded(f"expectations/{name}"):
            check_suite(spelled(load_suite(name), families or ()), families)
    except StationSyncError as error:
        yield of_error(error)
