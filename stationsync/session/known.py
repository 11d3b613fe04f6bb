"""What a run knows of its pair beyond the tables: recalled from the marks when it begins, and found since."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stationsync.database.table_facts import Remembered, TableFacts
from stationsync.model.changes import Position
from stationsync.pairing.keys import Key
from stationsync.pairing.stamp_zone import Evidence, StampsSeen
from stationsync.pairing.went_back_rule import Window

_NO_WINDOW = Window(None, datetime.min)


@dataclass(frozen=True)
class Known:
    """Frozen: what a step finds it says with `Session.learn`, and what it needs it finds here."""

    # What the station's server says of the table: when the pair was opened, or asked since.
    facts: TableFacts = field(default_factory=TableFacts)

    # --- recalled from the mark of the pull

    # Everything of the station is being read, for the first time or anew: the base may lack what it is to know.
    reads_all: bool = False
    # Somebody has said that the station is right as it is, and no pull has read it since.
    accepted: bool = False
    # Control has rows that the station's filter lets through no more.
    left: bool = False
    # The station's clock minus control's, as conflicts use it.
    clock_offset: timedelta = timedelta(0)
    # The stamps that an edit since the last run has.
    window: Window = _NO_WINDOW
    # What the station's server said of the table then, and what came of it.
    remembered: Remembered | None = None
    # Stamps off the clock, and the newest rows, as the run before knew them.
    stamps_before: Evidence | None = None
    newest_before: tuple[Position, ...] | None = ()

    # --- found by this run

    # The newest rows seen at the station, by which `went_back` knows it again; None: nobody looked yet.
    newest: tuple[Position, ...] | None = ()
    # Keys may have been given again: nothing may be replaced unseen by this run.
    doubtful: bool = False
    # The newest rows that were sent to the station, by which `older_control` knows control again.
    sent: tuple[Position, ...] = ()
    # Stamps off the clock: of the rows read, what follows from them, and of control's edits.
    stamped: StampsSeen = field(default_factory=StampsSeen)
    stamps: Evidence | None = None
    edited: StampsSeen = field(default_factory=StampsSeen)
    # Rows of this station that have values of unique indexes which others are to have.
    in_the_way: frozenset[Key] = frozenset()
    # Rows that the station's database changed while we wrote them.
    altered: frozenset[Key] = frozenset()
    # Pages that looked new all were.
    all_new: bool = True
