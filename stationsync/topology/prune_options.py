"""How long what is over is kept: `maintenance:` in stations.yaml. Frozen values, no I/O."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from stationsync.topology.notation import Duration, Frozen


class Maintenance(Frozen):
    """Runs by the state that they ended in (`failed`: crashed ones too); `artifacts`: versions of them but the latest.
    `logs`: folders whose *.log* files go after `log_retention`."""

    completed: Duration = timedelta(days=7)
    cancelled: Duration = timedelta(days=7)
    failed: Duration = timedelta(days=90)
    artifacts: Duration = timedelta(days=30)
    conflicts: Duration = timedelta(days=90)
    quarantine: Duration = timedelta(days=90)
    trash: Duration = timedelta(days=90)
    backfills: Duration = timedelta(days=90)
    incidents: Duration = timedelta(days=90)
    log_retention: Duration = timedelta(days=90)
    logs: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @field_validator("logs")
    @classmethod
    def _folders(cls, folders: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        home: Path | None = (info.context or {}).get("folder")
        return tuple(os.path.abspath(home / one if home else one) for one in folders)
