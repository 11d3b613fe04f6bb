"""What a reconcile tells: what it found, and what it proved. JSON-ready, for `Report.details`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stationsync.model.stored_text import told
from stationsync.pairing.keys import Key
from stationsync.reconcile.compare import Difference
from stationsync.reconcile.proof import hexadecimal
from stationsync.reconcile.sides import Sum

# Kind of difference: in words.
KINDS = {
    "changed": "changed or new at the station",
    "older": "older at the station than known",
    "gone": "gone at the station",
    "edited": "edited at control",
    "vanished": "gone at control",
}
# Why a row is not equal although everything was done.
EXCEPTIONS = {
    "quarantined": "in quarantine",
    "differing": "changed meanwhile",
    "gone": "gone at the station, kept at control",
    "vanished": "gone at control",
    "waiting": "control's edits that did not go down",
}
_SAMPLES = 10


def details_of(
    found: Difference, total: Sum | None, exceptions: Mapping[str, int], ranges: int, *, dry_run: bool
) -> dict[str, Any]:
    """`total` is None where nothing was proved: a dry run, or one that did not come to its end."""
    return {
        "dry_run": dry_run,
        "ranges": ranges,
        "found": {kind: len(getattr(found, kind)) for kind in KINDS},
        "samples": {kind: _samples(getattr(found, kind)) for kind in KINDS if getattr(found, kind)},
        "rows": total.rows if total else None,
        "checksum": hexadecimal(total) if total else None,
        "exceptions": {kind: n for kind, n in exceptions.items() if n},
    }


def _samples(keys: Sequence[Key]) -> list[list[str]]:
    return [
        [told(part, whole=True) if isinstance(part, str) else part.hex() for part in key] for key in keys[:_SAMPLES]
    ]


def found_in_words(details: Mapping[str, Any]) -> str:
    parts = [f"{KINDS[kind]} {n:,}" for kind, n in details["found"].items() if n]
    return ", ".join(parts) or "nothing differs"


def proof_in_words(up_to: object, rows: int, checksum: str, exceptions: Mapping[str, int]) -> str:
    """ "equal up to T, n rows, checksum c", and what is not."""
    but = ", ".join(f"{EXCEPTIONS.get(kind, kind)} {n:,}" for kind, n in exceptions.items())
    return f"equal up to {up_to}, {rows:,} rows, checksum {checksum}" + (f"; but for: {but}" if but else "")
