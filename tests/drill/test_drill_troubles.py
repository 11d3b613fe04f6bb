"""What real sites do to it, as the shortest histories of the drill that lost a write, or never came to rest, before the
engine knew of it: keys given again, older copies, later columns, rows out of the trash, permutations, circles, zones.

Each was found by the seeds beside it: `stationsync drill --database mariadb --seed N --histories 1`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.drill import history
from cli.drill.director import Director
from cli.drill.history import (
    CONTROL,
    Alter,
    Backup,
    Delete,
    History,
    Include,
    Init,
    Jump,
    Key,
    Link,
    Lose,
    Pass,
    Permute,
    Restore,
    Run,
    Setting,
    Step,
    Write,
)
from cli.drill.loop import directing
from cli.drill.tables import EXTRA

STATION, OTHER = "station-1", "station-2"
ONE: Key = (1, "S1")
TWO: Key = (2, "S1")
THREE: Key = (3, "S1")
SHARED: Key = (1, "X")


def story(*steps: Step, stations: int = 1, sweeps: bool = True, page_rows: int = 50, **setting: object) -> History:
    return History(1, Setting(stations=stations, sweeps=sweeps, page_rows=page_rows, **setting), steps)  # type: ignore[arg-type]


def sync(station: str = STATION, what: str = "sync", key: Key | None = None) -> Run:
    return Run(station, what, key=key)


def reconcile(station: str = STATION) -> Run:
    return Run(station, "reconcile")


FIRST = (Write(STATION, ONE), sync())
TWO_ROWS = (Write(STATION, ONE), Write(STATION, TWO), sync())
COPIED = (*FIRST, Backup(STATION), Pass(60))
BACK = Restore(side=STATION)
# A backup takes two seconds.
STAMPED_BACK = (*FIRST, Write(STATION, ONE), sync(), Backup(STATION), Write(CONTROL, ONE, late=3), sync())
GIVEN_AGAIN = (*FIRST, Lose(STATION), Write(STATION, ONE))
# Two rows of which the station has an older copy.
OLD_COPY = (
    *(*TWO_ROWS, Backup(STATION), Pass(60), Write(STATION, ONE), Write(STATION, TWO), sync()),
    *(BACK, Pass(60)),
)
LOSE = Lose(STATION, 1)
LOST_ONE = (*TWO_ROWS, LOSE, Pass(60))
# A row that an older copy lacks, whose key its counter is past: 20239
LACKS = (
    *(Write(STATION, TWO), sync(), Backup(STATION), Write(STATION, ONE), sync(), Pass(60)),
    *(BACK, sync(what="trust")),
)
# Control takes no text that is so long.
REFUSED = (Write(STATION, ONE, form="long"), sync())
REFUSED_TWO = (Write(STATION, TWO, form="long"), sync())
LONG = Write(STATION, ONE, form="long")
# Both sides edited the row, and control's edit has not gone down.
WON_EDIT = (*FIRST, Write(CONTROL, ONE, ("note",)), Write(STATION, ONE, ("text",)), sync(what="pull"))
CLASH = (*FIRST, Write(CONTROL, ONE), Write(STATION, ONE))
ANSWER = sync(what="conflicts take", key=ONE)
# The station's new row stands in base and station, control has the old one.
TAKEN_OUT = (Delete(CONTROL, SHARED), sync(what="trash restore", key=SHARED))
ARCHIVED = (Write(STATION, SHARED), sync(), Delete(STATION, SHARED), reconcile())

STORIES = {
    # B1: 33, 171, 1492
    "a key given again, and the table says which column a row keeps": story(*GIVEN_AGAIN, sync(), created=True),
    "a key given again, and the server's numbers say so": story(*GIVEN_AGAIN, sync()),
    "a key given again, found by a sweep": story(*GIVEN_AGAIN, reconcile(), created=True),
    "a key given again in a table that was put back": story(
        *TWO_ROWS, Lose(STATION), Write(STATION, TWO), sync(), answer="reseed"
    ),
    "a key given again, and control had edited the old row": story(
        *GIVEN_AGAIN, Write(CONTROL, ONE), sync(), created=True, deletes="archive"
    ),
    "a key given again after the station was trusted without its row": story(
        *FIRST, Lose(STATION), sync(), Write(STATION, ONE), sync()
    ),
    # B2: 31, 544, 1158, 1249, 1797, 1881
    "an older copy, and the station had edited": story(*COPIED, Write(STATION, ONE), sync(), BACK, reconcile()),
    "an older copy, and control had edited": story(*COPIED, Write(CONTROL, ONE), sync(), BACK, reconcile()),
    "an older copy, and its row is edited before anybody looks": story(
        *COPIED, Write(STATION, ONE), sync(), BACK, Pass(60), Write(STATION, ONE), sync()
    ),
    "an older copy, and its row is edited before a sweep": story(
        *COPIED, Write(CONTROL, ONE), sync(), BACK, Pass(60), Write(STATION, ONE), reconcile()
    ),
    "an older copy, and one row of it is edited before anybody looks": story(*(*OLD_COPY, Write(STATION, ONE), sync())),
    "an older copy, and its rows are edited one after the other": story(
        *(*OLD_COPY, Write(STATION, ONE), sync(), Pass(60), Write(STATION, TWO), sync())
    ),
    "an older copy, and control had edited other columns": story(
        *(*OLD_COPY, Write(CONTROL, ONE, ("note",)), Write(STATION, ONE), sync()), policy="merge"
    ),
    # 3006: control's edit has a stamp that is older than what it was made on
    "an older copy at a station whose clock is ahead": story(
        *(Jump(STATION, 600), Write(STATION, ONE), sync(), Backup(STATION), Write(CONTROL, ONE), sync(), BACK, sync())
    ),
    "an older copy at a station whose clock is ahead, beside a row that is as it was": story(
        *(Jump(STATION, 600), Write(STATION, ONE), Write(STATION, TWO), sync(), Backup(STATION)),
        *(Write(CONTROL, ONE), sync(), BACK, sync()),
        policy="merge",
    ),
    # Control's edit is stamped no later than what it was made on
    "an older copy, and control's edit is stamped as late": story(*STAMPED_BACK, BACK, sync()),
    "an older copy, and control's edit is stamped as late, reseeded": story(
        *STAMPED_BACK, BACK, policy="control", answer="reseed"
    ),
    "an older copy, and control's edit is not stamped": story(
        *(*COPIED, Write(CONTROL, ONE, stamped=False), reconcile(), BACK, reconcile()), policy="control"
    ),
    # 37861: the newer version was the station's own, though control's clock is ahead
    "an older copy under a clock that is far behind control's": story(
        *(Write(STATION, TWO), Jump(STATION, -600), Write(STATION, ONE, ("note",)), Backup(STATION)),
        *(Write(STATION, ONE), sync(what="pull"), BACK),
    ),
    # 544
    "an older copy that lacks a row, and its key is given again": story(
        *(Write(STATION, TWO), Backup(STATION), Write(STATION, ONE), sync(), BACK, sync()),
        *(Write(STATION, ONE), sync()),
    ),
    # b1: 1492 without `created`
    "a key given again beside a row that is as it was": story(*LOST_ONE, Write(STATION, TWO), sync()),
    "a key given again beside a row that is as it was, found by a sweep": story(
        *LOST_ONE, Write(STATION, TWO), reconcile()
    ),
    "a key given again, and control had deleted the old row": story(
        *LOST_ONE, Write(STATION, TWO), Delete(CONTROL, TWO), reconcile()
    ),
    "a declared key given again, and control had deleted the old row": story(
        *LOST_ONE, Write(STATION, TWO), Delete(CONTROL, TWO), reconcile(), created=True
    ),
    # In quarantine only: 720
    "a row in quarantine whose key is given again": story(*REFUSED, Lose(STATION), Write(STATION, ONE), sync()),
    "a row in quarantine whose key is given again, and the table says so": story(
        *REFUSED, Lose(STATION), Write(STATION, ONE), sync(), created=True
    ),
    "a row in quarantine whose key is given again to a row that is refused": story(
        *REFUSED, Lose(STATION), Write(STATION, ONE, form="long"), sync(), created=True
    ),
    "a version in quarantine whose row is given again": story(
        *(*FIRST, Pass(60), *REFUSED, Lose(STATION), Write(STATION, ONE), reconcile()), created=True
    ),
    "a version in quarantine that an older copy lacks": story(*COPIED, *REFUSED, BACK, Write(STATION, ONE), sync()),
    "a version in quarantine that an older copy lacks, and a refused one": story(
        *COPIED, *REFUSED, BACK, Write(STATION, ONE, form="long"), sync()
    ),
    "a version in quarantine, and the older copy is read again": story(*COPIED, *REFUSED, BACK, sync()),
    "a version in quarantine whose row is lost": story(
        *TWO_ROWS, Pass(60), *REFUSED_TWO, LOSE, Write(STATION, THREE), reconcile(), deletes="archive"
    ),
    # B3
    "an older copy that is trusted": story(*COPIED, Write(STATION, ONE), sync(), BACK, sync(what="trust"), reconcile()),
    "an older copy that is reseeded": story(*COPIED, Write(STATION, ONE), sync(), BACK, sync(what="reseed")),
    "an older copy that is edited and reseeded": story(
        *(*OLD_COPY, Write(STATION, ONE), sync(what="reseed"), sync()), answer="reseed"
    ),
    "a key of a row that a trusted copy lacks": story(
        *LACKS, Write(STATION, ONE), sync(what="backfill"), policy="merge"
    ),
    "a key of a row that a trusted copy lacks, after a sweep": story(
        *LACKS, reconcile(), sync(), Write(STATION, ONE), reconcile()
    ),
    "a key of a row that a trusted copy lacks, and control had edited another column": story(
        *(*LACKS, Write(CONTROL, ONE, ("note",)), sync(), Write(STATION, ONE), sync()), policy="merge"
    ),
    "a key of a row that a trusted copy lacks, and control had deleted the old row": story(
        *LACKS, Delete(CONTROL, ONE), Write(STATION, ONE), sync()
    ),
    "a version in quarantine that a trusted copy lacks": story(
        *(*COPIED, *REFUSED, BACK, sync(what="trust"), Write(STATION, ONE), sync())
    ),
    "a version in quarantine that a reseeded copy lacks": story(
        *(*COPIED, *REFUSED, BACK, sync(what="reseed"), Write(STATION, ONE), sync())
    ),
    "a row in quarantine that a trusted copy lacks": story(
        *(Write(STATION, TWO), sync(), Backup(STATION), *REFUSED, Pass(60), BACK, sync(what="trust")),
        *(Write(STATION, ONE), sync()),
    ),
    # B4: 540, 1650
    "a column that was excluded": story(
        *FIRST, Write(CONTROL, ONE, (EXTRA,)), Include(), Init(), reconcile(), excluded=True
    ),
    # 20370: who types reseed-control is told to type init first
    "a column that was excluded, and control is restored before init": story(
        *(*FIRST, Write(CONTROL, ONE, (EXTRA,)), Include(), Backup(), Restore(), Write(STATION, ONE)), excluded=True
    ),
    "a column that control had first": story(
        *FIRST, Alter(CONTROL), Write(CONTROL, ONE, (EXTRA,)), Alter(STATION), Init(), reconcile()
    ),
    "a column that control had first, found by a pull": story(
        *(*FIRST, Alter(CONTROL), Write(CONTROL, ONE, (EXTRA,)), Alter(STATION), Init(), sync()), policy="merge"
    ),
    # B6: 43
    "out of the trash over the station's new row": story(
        *ARCHIVED, Write(STATION, SHARED), sync(), *TAKEN_OUT, reconcile(), deletes="archive"
    ),
    "out of the trash over another station's row": story(
        *(*ARCHIVED, Write(OTHER, SHARED), sync(OTHER), *TAKEN_OUT, reconcile(OTHER)), stations=2, deletes="archive"
    ),
    # C3: 485
    "values swapped at the station": story(*TWO_ROWS, Permute(STATION, (ONE, TWO)), sync(), seats=True, sweeps=False),
    "values swapped at control": story(*TWO_ROWS, Permute(CONTROL, (ONE, TWO)), sync(), seats=True, sweeps=False),
    "values shifted, a row a page": story(
        *(*TWO_ROWS, Permute(STATION, (ONE, TWO), "shift"), sync()), seats=True, sweeps=False, page_rows=1
    ),
    "values of a deleted row": story(
        *TWO_ROWS, Permute(STATION, (ONE, TWO), "close up"), sync(), seats=True, deletes="archive"
    ),
    # 3026: the row that has the value is at control alone
    "values of a deleted row that control keeps": story(
        *(Write(STATION, ONE), sync(), Write(STATION, TWO), Permute(STATION, (ONE, TWO), "close up"), reconcile()),
        seats=True,
        deletes="flag",
    ),
    # C4: 331
    "a circle": story(Link(STATION, (ONE, TWO), circle=True), sync(), links=True, sweeps=False),
    "a circle, a row a page": story(
        Link(STATION, (ONE, TWO, THREE), circle=True), sync(), links=True, sweeps=False, page_rows=1
    ),
    "a chain": story(Link(STATION, (ONE, TWO, THREE)), sync(), links=True, sweeps=False, page_rows=1),
    # 20200: the base has what lost or was mixed in, and neither side has it as it is.
    "an edit that won, and a version that control refuses": story(*WON_EDIT, LONG, sync(), policy="control"),
    "a mixture that waits, and a version that control refuses": story(*WON_EDIT, LONG, sync(), policy="merge"),
    # 50054 (sqlite)
    "a key given again that control refuses, of a row that both deleted": story(
        *(*FIRST, Delete(STATION, ONE), Delete(CONTROL, ONE), Pass(60), LONG, sync(), reconcile()),
        created=True,
        deletes="flag",
    ),
    # An answer to a conflict: before control's edit went down, after it, and written over before it travels itself.
    "an answer to a conflict that control won": story(*WON_EDIT, ANSWER, sync(), policy="control"),
    "an answer to a conflict that the station won": story(*WON_EDIT, ANSWER, sync(), policy="station"),
    "an answer to a conflict of a mixture": story(*CLASH, sync(), ANSWER, sync(), policy="merge"),
    "an answer to a conflict, and the station writes before it travels": story(
        *CLASH, sync(), ANSWER, Write(STATION, ONE), sync()
    ),
    "an answer to a conflict, and control writes over it": story(*CLASH, sync(), ANSWER, Write(CONTROL, ONE), sync()),
    # 1038 (sqlite)
    "an answer to a conflict, and control refuses what the station writes then": story(
        *CLASH, sync(), ANSWER, LONG, sync()
    ),
    "an answer to a conflict, and control is restored": story(
        *(*FIRST, Backup(), Write(STATION, ONE), Write(CONTROL, ONE), sync(what="pull"), ANSWER, Restore())
    ),
    # D
    "stamps in another zone": story(*FIRST, Write(STATION, ONE), sync(), zone="UTC", sweeps=False),
}


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    with directing("mariadb", suites=False) as one:
        yield one


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_equal_with_every_version_kept(director: Director, name: str) -> None:
    told = STORIES[name]
    assert history.from_text(history.to_text(told)) == told
    outcome = director.play(told)
    assert outcome.problems == [], "\n".join([*history.lines(told), *outcome.log])


# A fault that is planted (`support.sabotage`), and the story that must find it.
FINDS = {
    "forgetful_replacements": "an older copy, and control had edited",
    "forgetful_trash": "a key given again, and the table says which column a row keeps",
}


@pytest.mark.parametrize("fault", FINDS)
def test_a_version_that_is_kept_nowhere_is_found(fault: str) -> None:
    with directing("sqlite", f"support.sabotage:{fault}", suites=False) as spoilt:
        problems = spoilt.play(STORIES[FINDS[fault]]).problems
    assert any(problem.startswith("lost: ") for problem in problems), problems
