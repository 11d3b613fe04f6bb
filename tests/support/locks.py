"""Applications that keep rows locked, and waits for them that are short."""

from __future__ import annotations

from typing import Any

import pytest

from stationsync.database.mariadb import dialect, settings
from support.databases import MariaDBDatabases, Where


def brief(monkeypatch: pytest.MonkeyPatch, *, skips_locked: bool = True) -> None:
    """With what MariaDB has since 10.6 (SKIP LOCKED), or without."""
    monkeypatch.setattr(settings, "LOCK_WAIT_CONTROL", 1)
    monkeypatch.setattr(settings, "LOCK_WAIT_STATION", 1)
    monkeypatch.setattr(dialect, "BRIEFLY", 1)
    if not skips_locked:
        monkeypatch.setattr(dialect, "_SKIPS_LOCKED", (99,))


def locking(databases: MariaDBDatabases, where: Where, sql: str) -> Any:
    """A connection of an application, in a transaction that has done this."""
    application = databases.connect(where)
    application.cursor().execute(sql)
    return application
