"""Secrets that are kept in Prefect blocks: `${secret:name}` in the topology."""

from __future__ import annotations

from typing import Any

from prefect.blocks.system import Secret


def secret_block(name: str) -> str:
    """The value of a Secret block, read when a connection is opened. ValueError where there is none."""
    load: Any = Secret.load  # sync or async by where it is called, which its type cannot say
    return str(load(name, _sync=True).get())
