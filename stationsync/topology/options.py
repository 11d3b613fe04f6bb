"""Where the journal is, and how long it and everything that is over is kept: `journal:` and `maintenance:` in
stations.yaml. Frozen values, no I/O."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from stationsync.model.amounts import parse_size
from stationsync.topology.notation import Duration, Frozen

FOLDER = "journal"
OFF = "off"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")
_SECRET = re.compile(r"pass|secret|token|key|credential|sig", re.IGNORECASE)


class Journal(Frozen):
    """`url`: a folder, or a URL that pyarrow knows; None: there is no journal. `required`: no row is moved that the
    journal cannot take; else it is moved, and the gap is told."""

    url: Annotated[str | None, Field(validate_default=True)] = FOLDER
    retention: Duration = timedelta(hours=168)
    max_size: Annotated[int, BeforeValidator(parse_size), Field(gt=0)] | None = None
    required: bool = True

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        """`journal: off`, or `journal: /a/folder`."""
        if data is not None and not isinstance(data, str | Mapping):
            raise ValueError("write a folder, a URL, a mapping, or off")
        return data if isinstance(data, Mapping) else {"url": data}

    @field_validator("url", mode="before")
    @classmethod
    def _url(cls, text: Any, info: ValidationInfo) -> str | None:
        """No message repeats any part of the URL: it may hold a password anywhere."""
        if text is None or str(text).strip() == OFF:
            return None
        text = str(text).strip()
        if not text:
            raise ValueError("names no place; write a folder, a URL such as s3://bucket/journal, or: journal: off")
        if _SCHEME.match(text):
            return _checked(text)
        folder: Path | None = (info.context or {}).get("folder")
        return str(os.path.abspath(folder / text if folder else text))


def _checked(text: str) -> str:
    try:
        url = urlsplit(text)
        secret = "@" in url.netloc or any(_SECRET.search(name) for name in parse_qs(url.query))
    except ValueError:
        raise ValueError("is no URL; write one such as s3://bucket/journal, or a folder") from None
    if secret:
        raise ValueError(
            "holds a user, a password or a key; take it out, and give it where the worker runs as the storage's own"
            " library reads it (such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    return text.rstrip("/")


NO_JOURNAL = Journal(url=OFF)


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
