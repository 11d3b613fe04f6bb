"""What people read of a run at Prefect: its log, the message of its state, its artifacts. All text goes in through
here, as much of it comes from databases."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from stationsync.model.printable import markdown, printable


class RunLog:
    """The log of the run under way. A message is one line."""

    def __init__(self) -> None:
        self._log = get_run_logger()

    def log(self, level: int, message: str, *values: object) -> None:
        # The values first: what looks like a %s in one is none.
        self._log.log(level, "%s", printable(message % values if values else message, one_line=True))

    def info(self, message: str, *values: object) -> None:
        self.log(logging.INFO, message, *values)

    def warning(self, message: str, *values: object) -> None:
        self.log(logging.WARNING, message, *values)

    def warning_lines(self, lines: Sequence[str]) -> None:
        """One entry of several lines."""
        self._log.warning("%s", message(lines))


def message(lines: Iterable[str]) -> str:
    """The message of a state: each line by itself."""
    return "\n".join(printable(line, one_line=True) for line in lines)


def leave_table(
    rows: Sequence[Mapping[str, Any]], key: str, title: str, *, text: Iterable[str] = (), notes: Iterable[str] = ()
) -> None:
    """A table, whose cells Prefect shows as Markdown; above it the title, lines of text, and a list of notes."""
    above = [f"**{markdown(title)}**", *map(markdown, text)]
    listed = "\n".join(f"- {markdown(note)}" for note in notes)
    create_table_artifact(
        [{name: _cell(value) for name, value in row.items()} for row in rows],
        key=key,
        description="\n\n".join([*above, *([listed] if listed else [])]),
    )


def leave_progress(percent: float, key: str, title: str, text: str) -> UUID:
    create: Any = create_progress_artifact  # sync or async by where it is called, which its type cannot say
    found: UUID = create(percent, key=key, description=_progress(title, text))
    return found


def move_progress(artifact: UUID, percent: float, title: str, text: str) -> None:
    update_progress_artifact(artifact, percent, description=_progress(title, text))


def _progress(title: str, text: str) -> str:
    return f"**{markdown(title)}**{markdown(text)}"


def _cell(value: Any) -> Any:
    return markdown(value) if isinstance(value, str) else value
