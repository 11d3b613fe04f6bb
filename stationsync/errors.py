"""Errors, grouped by what to do next.

    StationSyncError
    ├── TryAgain            an environment fault: the same run may succeed later; no row is to blame
    │   ├── StationOffline  a station does not answer: normal operation, exit code 3
    │   ├── DatabaseBusy    deadlock, too many connections, disk full, read-only
    │   │   └── LockWait    somebody keeps rows or a whole table locked: waited for already
    │   ├── LeaseLost       the control session that held the lease is gone; its transaction is rolled back
    │   └── JournalUnavailable  the place of the journal cannot be written or read
    ├── Refused             a person decides: exit code 1
    │   ├── SchemaRefused   the two tables do not fit each other, or a table is gone
    │   ├── BrakePulled     a sweep would delete or turn back too much
    │   ├── StationWentBack a station was restored from a backup, or emptied
    │   ├── ControlWentBack control's table was restored from a backup, or emptied, and our bookkeeping was not
    │   ├── StationPaused   somebody paused the station
    │   ├── BatchRefused    validation stopped the run before anything was written
    │   └── RowRefused      the database refuses data of this chunk (engine-internal: found by halving)
    │       ├── ParentMissing  for now: it refers to a row that is not there yet
    │       └── DuplicateKey   for now: another row has its value of a unique index
    ├── SetUpError          fix the set-up: exit code 1, `UsageError` 2
    │   ├── GrantMissing    the database user lacks a right
    │   ├── LoginRefused    wrong user, password or database name
    │   ├── NotInitialised  bookkeeping tables are missing: `stationsync init`
    │   ├── SuiteError      an expectation suite is wrong
    │   └── UsageError      topology, arguments or secrets: exit code 2
    └── Unexpected          an exception that is none of these: report it; exit code 1

Every message says where, what, what was *not* done, and the next step. No exception ends more than its own station
and table: whoever goes through several puts the work on each into `guarded`.
"""

from __future__ import annotations

import difflib
import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stationsync.model.printable import printable

if TYPE_CHECKING:
    from stationsync.model.changes import Report


_LOG = logging.getLogger(__name__)


class _Tracebacks(logging.Filter):
    """They quote the words of exceptions, and so of databases."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            record.exc_text = printable("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


_LOG.addFilter(_Tracebacks())
_HERE = Path(__file__).parent.parent
_OURS = ("stationsync", "tasks", "flows", "cli")


class StationSyncError(Exception):
    """Base of all errors: `place` (where), `what`, `not_done`, `next_step` (a command where there is one)."""

    exit_code = 1
    default_not_done = "Nothing was written."
    default_next_step = ""
    # Its words are all our own, and may have several lines.
    several_lines = False
    # What the run had done before: set by `runs`, for errors that end one. Does not travel between processes.
    report: Report | None = None

    def __init__(self, place: str, what: str, *, not_done: str = "", next_step: str = "") -> None:
        self.place = place
        self.what = what
        self.not_done = not_done or self.default_not_done
        self.next_step = next_step or self.default_next_step
        # A driver's words rarely end with a full stop.
        sentence = what if what.endswith((".", "!", "?", ":")) else what + "."
        # Whoever logs an exception puts out this text.
        said = " ".join(part for part in (f"{place}: {sentence}", self.not_done, self.next_step) if part)
        super().__init__(printable(said, one_line=not self.several_lines))

    def __reduce__(self) -> tuple[object, ...]:
        # Prefect carries exceptions between processes; the keyword arguments must travel too.
        return (_rebuild, (type(self), self.place, self.what, self.not_done, self.next_step))


def _rebuild(kind: type[StationSyncError], place: str, what: str, not_done: str, next_step: str) -> StationSyncError:
    return kind(place, what, not_done=not_done, next_step=next_step)


class TryAgain(StationSyncError):
    """An environment fault. Whatever was committed stays; the next run goes on from the watermark."""

    default_not_done = "The chunk under way was rolled back; nothing is lost."
    default_next_step = "The next run goes on from the watermark."


class StationOffline(TryAgain):
    exit_code = 3
    default_not_done = "Nothing is lost, nothing is to be repaired."
    default_next_step = "The next run after the station is back goes on from the watermark."


class DatabaseBusy(TryAgain):
    pass


class LockWait(DatabaseBusy):
    """Somebody keeps rows or a whole table locked, for longer than we wait."""


class LeaseLost(TryAgain):
    pass


class JournalUnavailable(TryAgain):
    default_next_step = (
        "Make journal.url in stations.yaml a place that can be written here, or write `required: false` under journal"
        " to go on with gaps in it, or `journal: off`."
    )


class Refused(StationSyncError):
    pass


class SchemaRefused(Refused):
    pass


class BatchRefused(Refused):
    pass


class BrakePulled(Refused):
    """A sweep found more deletes, or older rows, than are likely: the station may be empty, rebuilt or restored."""


class StationWentBack(Refused):
    """Rows that were seen at the station are older or missing there: restored from a backup, or emptied."""

    default_not_done = "Nothing was done."


class ControlWentBack(Refused):
    """Rows that control had are older or missing there: its table was restored from a backup, or emptied."""

    default_not_done = "Nothing was read, sent or deleted."


class StationPaused(Refused):
    default_not_done = "Nothing was done, and nothing is lost: the station is only behind."


class RowRefused(Refused):
    """Data that the database will not take: too long, bad charset, constraint."""


class ParentMissing(RowRefused):
    """The row refers to a row that is not there yet: it may go in later."""


class DuplicateKey(RowRefused):
    """Another row has the row's value of a unique index: it may go in once that one has given it up."""


class SetUpError(StationSyncError):
    several_lines = True


class GrantMissing(SetUpError):
    several_lines = False


class LoginRefused(SetUpError):
    several_lines = False


class ColumnLost(SchemaRefused):
    """A column that was synchronised is gone at one side."""


class NotInitialised(SetUpError):
    default_next_step = "Run: stationsync init"


class SuiteError(SetUpError):
    pass


class UsageError(SetUpError):
    exit_code = 2


class Unexpected(StationSyncError):
    """An exception that nobody foresaw: a fault of ours, or of a library."""

    default_not_done = "What was under way was rolled back; nothing is lost."
    default_next_step = "Run the command with --debug for the traceback, and report it."


@contextmanager
def guarded(place: str) -> Iterator[None]:
    """The work on one (station, table): any exception that is not one of ours comes out as `Unexpected`."""
    try:
        yield
    except StationSyncError:
        raise
    except Exception as error:
        raise unexpected(place, error) from error


def unexpected(place: str, error: Exception) -> Unexpected:
    """What may be told of `error`: its kind, and where in our code it came up. Its words may hold a secret, such as a
    URL with a password, or a row; they go to the log only, at its level for debugging."""
    _LOG.debug("%s: unexpected %s", place, type(error).__name__, exc_info=error)
    # The operating system's own words for its number.
    said = f" ({error.strerror})" if isinstance(error, OSError) and isinstance(error.errno, int) else ""
    return Unexpected(place, f"unexpected {type(error).__name__}{said}{_where(error)}")


def _where(error: BaseException) -> str:
    """The last line of ours that it came through."""
    lines = [
        f"{Path(frame.filename).relative_to(_HERE)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if any(Path(frame.filename).is_relative_to(_HERE / package) for package in _OURS)
    ]
    return f" in {lines[-1]}" if lines else ""


@contextmanager
def secondary(first: BaseException) -> Iterator[None]:
    """What fails while `first` is on its way is noted on it and does not take its place."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - told on the first
        # Its words are not known to hold no secret.
        first.add_note(f"Clearing up after it failed as well: {type(error).__name__}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: the nearest known one, if any is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
