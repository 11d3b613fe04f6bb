"""The pure rule: was a station's table put back, emptied or made anew?"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from stationsync.database.table_facts import Again, Lacked, Remembered, TableFacts
from stationsync.pairing.went_back_rule import (
    How,
    OlderCopy,
    Server,
    Standing,
    Verdict,
    Version,
    Window,
    how,
    is_habit,
    judge,
    older_copy,
    refined,
    server,
    top,
)

NOON = datetime(2024, 5, 1, 12)
WINDOW = Window(NOON - timedelta(minutes=5), NOON)
NOTHING, NONE, DOUBT, CERTAIN = Server(), Verdict.NONE, Verdict.DOUBT, Verdict.CERTAIN
ANEW, COUNTS = Server(anew=True, counts=True), Server(counts=True)
SAME, EDITED, MISSING, OLDER, OTHER, UNLIKE = How


def rows(*parts: tuple[int, How]) -> list[Standing]:
    """The newest first, one a minute."""
    kinds = [kind for number, kind in parts for _ in range(number)]
    return [Standing(kind, NOON - timedelta(minutes=n)) for n, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        (Version("2024-05-01 11:00:00"), None, MISSING),
        (Version("2024-05-01 11:00:00"), Version("2024-05-01 11:00:01"), SAME),
        (Version("2024-05-01 11:00:00"), Version("2024-05-01 11:30:00"), EDITED),
        (Version("2024-05-01 11:00:00"), Version("2024-05-01 10:00:00"), OLDER),
        (Version("2024-05-01 11:00:00"), Version(None), OLDER),
        (Version("2024-05-01 12:50:00"), Version("2024-05-01 11:58:00"), EDITED),  # a clock that was set back
        (Version("2024-05-01 11:00:00", "2024-01-01"), Version("2024-05-01 11:30:00", "2024-01-02"), OTHER),
        (Version("2024-05-01 11:00:00", None), Version("2024-05-01 11:30:00", "2024-01-02"), EDITED),
    ],
)
def test_how_a_row_stands(seen: Version, now: Version | None, expected: How) -> None:
    assert how(seen, now, WINDOW) is expected


def test_without_a_run_nothing_is_explained() -> None:
    assert not Window(None, NOON).explains("2024-05-01 11:58:00")


@pytest.mark.parametrize(
    ("was", "now", "highest", "expected"),
    [
        (None, TableFacts(10), 9, COUNTS),
        (None, TableFacts(9), 9, Server(gives_again=True, counts=True)),
        (TableFacts(10, "a", "x"), TableFacts(10, "a", "x"), 9, COUNTS),
        (TableFacts(10, "a", "x"), TableFacts(12, "b", "x"), 9, ANEW),
        (TableFacts(10, "a", "x"), TableFacts(12, "a", "y"), 9, ANEW),
        (TableFacts(10), TableFacts(5), 9, Server(counter_down=True, gives_again=True)),
        (TableFacts(20), TableFacts(10), 9, Server(counter_down=True)),
        # Somebody has taken it as it is: what is known of deleted rows says nothing more.
        (TableFacts(5), TableFacts(5), 9, COUNTS),
        (TableFacts(None, "a"), TableFacts(None, "b"), None, Server(anew=True)),
        (TableFacts(5, "a"), TableFacts(None, None), 4, NOTHING),
    ],
)
def test_what_a_server_says(was: TableFacts | None, now: TableFacts, highest: int | None, expected: Server) -> None:
    assert server(was and Remembered(was), now, highest) == expected


@pytest.mark.parametrize(
    ("seen", "said", "expected"),
    [
        (rows((32, SAME)), ANEW, NONE),
        (rows((32, EDITED)), ANEW, NONE),
        (rows((5, MISSING), (27, SAME)), ANEW, NONE),  # deletes, and OPTIMIZE TABLE
        (rows((32, MISSING)), ANEW, NONE),
        (rows((32, MISSING)), Server(anew=True), CERTAIN),  # a table that counts nothing
        (rows((32, OTHER)), ANEW, CERTAIN),
        (rows((5, OTHER)), ANEW, CERTAIN),
        (rows((1, OTHER)), ANEW, CERTAIN),
        (rows((1, OTHER), (9, SAME)), ANEW, DOUBT),
        (rows((2, OTHER), (9, SAME)), COUNTS, DOUBT),
        (rows((2, OTHER), (9, MISSING)), COUNTS, CERTAIN),
        (rows((20, OTHER), (2, MISSING), (10, EDITED)), COUNTS, CERTAIN),
        (rows((1, SAME), (31, OTHER)), ANEW, NONE),  # the newest is as it was
        (rows((32, UNLIKE)), COUNTS, DOUBT),
        (rows((32, UNLIKE)), ANEW, CERTAIN),
        (rows((20, OLDER), (12, SAME)), COUNTS, NONE),  # each is kept as a conflict
        (rows((21, OLDER), (11, SAME)), COUNTS, CERTAIN),
        (rows((2, OLDER), (30, SAME)), ANEW, CERTAIN),
        # Of a table of few columns every edit leaves nothing as it was.
        (rows((9, UNLIKE), (9, SAME)), ANEW, DOUBT),
        (rows((9, UNLIKE), (1, OTHER), (9, SAME)), ANEW, CERTAIN),
        (rows((2, OLDER), (19, MISSING), (11, SAME)), COUNTS, CERTAIN),
        (rows((9, SAME)), Server(counter_down=True), NONE),
        (rows((1, MISSING), (9, SAME)), Server(counter_down=True), CERTAIN),
        (rows((9, SAME)), Server(counter_down=True, gives_again=True), CERTAIN),
        ([], NOTHING, NONE),
    ],
)
def test_the_verdict(seen: list[Standing], said: Server, expected: Verdict) -> None:
    assert judge(seen, said) is expected
    assert judge(seen, said, short_lived=True) is NONE


def test_a_column_that_tells_another_row_makes_few_of_them_harmless() -> None:
    assert judge(rows((20, OTHER)), ANEW, declared=True) is NONE
    assert judge(rows((21, OTHER)), ANEW, declared=True) is CERTAIN
    assert judge(rows((2, OLDER), (3, OTHER)), ANEW, declared=True) is CERTAIN


SINCE = {n: OlderCopy(NOON - timedelta(minutes=n)) for n in (1, 5, 20)}


@pytest.mark.parametrize(
    ("seen", "said", "expected"),
    [
        (rows((1, EDITED)), ANEW, OlderCopy(None)),  # a table of one row
        (rows((1, EDITED), (1, OLDER)), ANEW, OlderCopy(None)),
        (rows((1, EDITED), (9, SAME)), ANEW, SINCE[1]),
        (rows((20, EDITED), (12, SAME)), ANEW, SINCE[20]),
        (rows((21, EDITED), (12, SAME)), ANEW, None),  # somebody changed the whole table, and altered it
        (rows((60, EDITED)), ANEW, None),
        (rows((1, OLDER), (60, EDITED)), ANEW, OlderCopy(None)),
        (rows((1, UNLIKE), (1, SAME)), ANEW, SINCE[1]),
        (rows((1, OTHER), (60, EDITED)), ANEW, OlderCopy(None)),
        (rows((5, MISSING), (9, SAME)), ANEW, SINCE[5]),  # deleted, but who knows where keys are not only counted
        (rows((1, MISSING), (60, EDITED)), ANEW, None),
        (rows((32, MISSING)), ANEW, None),
        (rows((5, MISSING), (9, SAME)), Server(anew=True), SINCE[5]),
        (rows((1, SAME), (9, OLDER)), ANEW, None),  # the newest is as it was
        (rows((32, SAME)), ANEW, None),
        (rows((5, EDITED), (9, SAME)), COUNTS, None),
        ([], ANEW, None),
    ],
)
def test_what_an_older_copy_that_was_written_to_may_lack(
    seen: list[Standing], said: Server, expected: OlderCopy | None
) -> None:
    assert older_copy(seen, said, 20) == expected


def test_what_is_as_new_as_a_row_that_is_as_it_was_may_be_lacked_too() -> None:
    """The backup was made within that second."""
    both = [Standing(EDITED, NOON), Standing(SAME, NOON)]
    assert older_copy(both, ANEW, 20) == OlderCopy(NOON)
    # Of a table that was filled within a second, nobody knows.
    many = [Standing(SAME, NOON)] * 21
    assert older_copy([*both, *many], ANEW, 20) is None
    assert older_copy([*rows((1, EDITED)), *many], ANEW, 20) is None
    later = [Standing(EDITED, NOON + timedelta(minutes=1)), *many]
    assert older_copy(later, ANEW, 20) == OlderCopy(NOON, inclusive=False)


def test_control_s_edits_are_stamped_by_a_clock_that_may_be_behind_the_station_s() -> None:
    seen = [Standing(SAME, NOON), Standing(EDITED, NOON - timedelta(minutes=9))]
    assert older_copy(seen, ANEW, 20) is None
    ahead = timedelta(minutes=10)
    assert older_copy(seen, ANEW, 20, ahead=ahead) == OlderCopy(NOON - ahead)


def test_a_declared_other_row_says_nothing_of_an_older_copy() -> None:
    seen = rows((1, OTHER), (60, EDITED))
    assert older_copy(seen, ANEW, 20, declared=True) is None


def test_an_application_that_writes_its_rows_anew_is_believed_after_a_while() -> None:
    assert not is_habit(Remembered(doubts=2))
    assert is_habit(Remembered(doubts=3))
    for kind in (OTHER, UNLIKE):
        assert judge(rows((32, kind)), COUNTS, habit=True) is NONE
        assert judge(rows((32, kind)), ANEW, habit=True) is DOUBT
    assert judge(rows((32, OLDER)), COUNTS, habit=True) is CERTAIN


def test_rows_of_one_moment_are_none_newer_than_another() -> None:
    assert top([Standing(SAME, NOON), Standing(MISSING, NOON)]) == []


def test_rows_looked_at_whole() -> None:
    was = [{"a": str(n), "b": f"b{n}", "fixed": "x"} for n in range(3)]
    unlike = [{"a": "9", "b": "9", "fixed": "x"} for _ in range(3)]
    stamped = rows((3, OTHER))
    assert [r.how for r in refined(stamped, was, unlike, tells=True)] == [OTHER] * 3
    assert [r.how for r in refined(stamped, was, was, tells=True)] == [EDITED] * 3
    edited = rows((3, EDITED))
    assert [r.how for r in refined(edited, was, unlike, tells=False)] == [UNLIKE] * 3
    assert [r.how for r in refined(edited, was, unlike, tells=True)] == [EDITED] * 3
    partly = [{**row, "a": "9"} for row in was]
    assert [r.how for r in refined(edited, was, partly, tells=False)] == [EDITED] * 3
    assert refined(rows((1, MISSING)), [None], [None], tells=False) == rows((1, MISSING))


def test_a_version_that_an_older_copy_may_lack() -> None:
    hour = timedelta(hours=1)
    lacked = Lacked(NOON, NOON + hour)
    assert [lacked.has(NOON + n * hour) for n in (-1, 0, 1, 2)] == [False, True, True, False]
    assert not Lacked(NOON, NOON + hour, inclusive=False).has(NOON)
    assert Lacked(None, NOON).has(NOON - hour)


def test_what_is_remembered_is_read_back() -> None:
    whole = Remembered(TableFacts(7, "made", "server"), True, 2, Again(5, NOON))
    assert Remembered.from_json(whole.to_json()) == whole
    for since in (None, NOON - timedelta(hours=1)):
        lacked = Remembered(lacked=Lacked(since, NOON, inclusive=since is None))
        assert Remembered.from_json(lacked.to_json()) == lacked
    assert Remembered.from_json(Remembered().to_json()) == Remembered()
    assert Remembered.from_json(None) is None
