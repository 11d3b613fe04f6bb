"""The part of `check` that tries the journal: whether this user may write there, and who else may read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stationsync.errors import JournalUnavailable
from stationsync.journal import place
from stationsync.model.notes import Level, Note
from stationsync.pairing.pair import Pair


def journal_notes(pairs: Sequence[Pair]) -> Iterator[Note]:
    """Of the machine and the user that check runs as: workers elsewhere have a journal, or rights, of their own. A file
    is written, and taken away at once."""
    for journal in {pair.journal for pair in pairs}:
        if journal.url is None:
            continue
        try:
            place.require_usable(journal.url)
        except JournalUnavailable as error:
            level = Level.PROBLEM if journal.required else Level.WARNING
            step = "Give it to the user of the workers, and run commands as that user or one of its group: chown, chmod"
            yield Note(level, error.place, error.what, step)
        if place.readable_by_all(journal.url):
            step = f"Take that right away: chmod -R o-rwx {journal.url}"
            yield Note(Level.WARNING, f"journal {journal.url}", "every user of this machine may read it.", step)
