"""What the commands of the journal are asked for: a range of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.common import settings
from stationsync.errors import UsageError
from stationsync.journal.read import JournalQuery
from stationsync.model.amounts import parse_duration

Run = Annotated[str | None, typer.Option(help="Only this run: its id, the beginning of it, or a Prefect flow run's.")]
Since = Annotated[str | None, typer.Option(help="From here on: 2026-11-23T10:00 (UTC), or 2h for two hours ago.")]
Until = Annotated[str | None, typer.Option(help="Only what was before this.")]


def wanted_of(
    ctx: typer.Context, station: str | None, table: str | None, run: str | None, since: str | None, until: str | None
) -> JournalQuery:
    settings(ctx).require_known(station, table)
    return JournalQuery(station, table, moment(since, "--since"), moment(until, "--until"), run)


def moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except ValueError:
        pass
    try:
        return datetime.now(UTC).replace(tzinfo=None) - parse_duration(text)
    except ValueError:
        step = "Write a moment such as 2026-11-23T10:00 (UTC), or a duration such as 2h."
        raise UsageError(option, f"{text} is no moment.", not_done="Nothing was done.", next_step=step) from None
