"""Engines with a planted fault, for the drill to find: each function spoils the engine of the process that calls it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from stationsync.model.changes import Counts
from stationsync.pairing.decide import Action
from stationsync.store.bookkeeping import STATION
from stationsync.sync import classify, merge, push


def blind_merge() -> None:
    """The merge does not look at the base: whatever the station has goes over what control's users wrote."""

    def action(self: Any) -> Any:
        s, c, b = self.staged, self.session.control_table, self.session.base
        here = c.c[self._fit.key[0]].is_(None)
        return sa.case(
            (b.c[STATION] != self.session.pair.name, classify.FOREIGN),
            (here, str(Action.INSERT)),
            (self._same(s, c), str(Action.SETTLE)),
            else_=str(Action.UPDATE),
        )

    classifier: Any = classify.Classifier
    classifier._action = action


def forgetful_conflicts() -> None:
    """Conflicts are decided, and the loser is thrown away."""
    from stationsync.keeping import replaced

    patched: Any = replaced
    real = getattr(patched, "_real_record", patched._record)
    patched._real_record = real
    patched._record = lambda *args: {**real(*args), "columns": "[]"}


def careless_quarantine() -> None:
    """Bad rows are counted, and not kept."""
    patched: Any = merge.books
    patched.quarantine_rows = lambda *args, **options: Counts(quarantined=0)


def early_base() -> None:
    """A push notes what it means to send before it has sent it."""
    patched: Any = push
    real = getattr(push, "_real_send", push.send)
    patched._real_send = real

    def send(session: Any, old: Any, new: Any, travels: Any) -> Any:
        sent = real(session, old, new, [False] * len(travels))
        return type(sent)(dict.fromkeys([i for i, goes in enumerate(travels) if goes], "sent"))

    patched.send = send


def burning_updates() -> None:
    """Each merge uses up a number of control's AUTO_INCREMENT, as INSERT ... ON DUPLICATE KEY UPDATE does."""
    patched: Any = merge
    real = getattr(merge, "_real_write_control", merge._write_control)
    patched._real_write_control = real

    def write_control(session: Any, *args: Any, **kwargs: Any) -> Any:
        if session.control.dialect.name == "sqlite":
            session.control.exec_driver_sql("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'kafka_test'")
        return real(session, *args, **kwargs)

    patched._write_control = write_control


def forgetful_journal() -> None:
    """The journal has what came up first, and no later version."""
    from stationsync.journal.format import Decided
    from stationsync.journal.recorder import Recorder

    patched: Any = Recorder
    real = getattr(patched, "_real_add", patched.add)
    patched._real_add = real
    patched.add = lambda self, records: None if records.decided is Decided.UPDATED else real(self, records)


def forgetful_reseed() -> None:
    """A control that went back is taken as it is, and what it goes over at the stations is kept nowhere."""
    from stationsync.keeping import replaced
    from stationsync.recovery import reseed_control

    patched: Any = reseed_control
    patched.reseed = patched.trust
    kept: Any = replaced
    real = getattr(kept, "_real_keep", kept.keep)
    kept._real_keep = real
    kept.keep = lambda session, rows, once=False: 0 if once else real(session, rows)  # the merge keeps its conflicts


def forgetful_replacements() -> None:
    """What is replaced unseen is kept nowhere."""
    from stationsync.keeping import replaced

    patched: Any = replaced
    patched.keep = lambda session, rows, **options: len(rows)


def forgetful_trash() -> None:
    """What goes into the trash is not there afterwards."""
    from stationsync.keeping import trash

    patched: Any = trash
    patched.keep = lambda *args: None
