"""Whether what a person approved covers what a run would do by now. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from stationsync.sync.plan import KINDS, Share

# Rows come in while a plan waits. So much more than was approved is still the same work; a mass change is not.
_ROWS, _PART = 20, 0.1

Totals = Mapping[str, int]


def totals(shares: Iterable[Share]) -> dict[str, int]:
    """Rows of each kind that there is any of, over all shares."""
    listed = list(shares)
    counts = {kind: sum(getattr(share, kind) for share in listed) for kind in KINDS}
    return {kind: n for kind, n in counts.items() if n}


def covers(approved: Totals, now: Totals) -> bool:
    """Of no kind there is much more now. Deletes count to the row."""
    return all(n <= _most(kind, approved.get(kind, 0)) for kind, n in now.items())


def _most(kind: str, approved: int) -> float:
    return approved if kind == "deletes" else approved + max(_ROWS, approved * _PART)


def as_text(found: Totals) -> str:
    """One canonical text of them."""
    return json.dumps(dict(found), sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Totals | None:
    """Back again; None of any other text."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and set(found) <= set(KINDS) else None
