"""A control table that is to be made after a station's. Frozen values; each dialect says it in its own words."""

from __future__ import annotations

from dataclasses import dataclass

from stationsync.model.schema import Column

KEY_INDEX = "stationsync_key"
MODIFIED_INDEX = "stationsync_modified"


@dataclass(frozen=True)
class NewColumn:
    """`required`: NOT NULL. `stamped`: the server sets it at every change. `json`: it holds JSON, and nothing else."""

    like: Column
    required: bool
    stamped: bool = False
    json: bool = False


@dataclass(frozen=True)
class NewTable:
    """`surrogate`: control's own primary key, which comes first. `modified`: an index on it and the key."""

    name: str
    surrogate: str
    columns: tuple[NewColumn, ...]
    key: tuple[str, ...]
    modified: str
