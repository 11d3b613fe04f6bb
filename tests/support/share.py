"""What is long by nature: a share in `make test`, the whole in `make soak`, which sets SOAK."""

from __future__ import annotations

import os

SOAK = bool(os.environ.get("SOAK"))


def share(part: int, whole: int) -> int:
    """How many of them."""
    return whole if SOAK else part
