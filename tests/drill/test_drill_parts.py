"""The parts of the fault drill on their own: the proxy, the ledger, the invariants, histories, the shrinker."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cli.drill.generate import Vocabulary, generate
from cli.drill.history import Fault, History, Point, Run, Setting, Write, from_text, lines, to_text
from cli.drill.invariants import Based, Held, Lost, Seen, held_in_vain, problems
from cli.drill.ledger import Fact, Ledger, token
from cli.drill.proxy import HOST, Proxy
from cli.drill.reading import at_station
from cli.drill.shrink import shrink
from stationsync.recovery.reseed_control_rule import NO_OWNER
from stationsync.recovery.reseed_rule import POLICY

# --- the proxy


@pytest.fixture
def echo() -> Iterator[Proxy]:
    """A proxy in front of a server that answers what it hears."""
    listener = socket.create_server((HOST, 0))

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(4096):
                client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    proxy = Proxy(listener.getsockname()[1])
    yield proxy
    proxy.close()
    listener.close()


def call(proxy: Proxy) -> socket.socket:
    client = socket.create_connection((HOST, proxy.port), timeout=5)
    client.settimeout(5)
    return client


def ask(client: socket.socket, said: bytes) -> bytes:
    """The whole answer, or what came of it until the end of the connection."""
    heard = b""
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        client.sendall(said)
        while len(heard) < len(said) and (data := client.recv(4096)):
            heard += data
    return heard


def test_a_good_network_passes_everything(echo: Proxy) -> None:
    with call(echo) as client:
        assert ask(client, b"x" * 100_000) == b"x" * 100_000


def test_a_cut_ends_connections_and_new_ones_are_fine(echo: Proxy) -> None:
    with call(echo) as client:
        assert ask(client, b"before") == b"before"
        echo.cut()
        assert ask(client, b"behind") == b""
    with call(echo) as client:
        assert ask(client, b"again") == b"again"


def test_nobody_gets_through_until_it_is_healed(echo: Proxy) -> None:
    echo.refuse()
    with call(echo) as client:
        assert ask(client, b"hello") == b""
    echo.heal()
    with call(echo) as client:
        assert ask(client, b"hello") == b"hello"


def test_a_half_open_connection_is_silent_and_gone_once_healed(echo: Proxy) -> None:
    with call(echo) as client:
        assert ask(client, b"before") == b"before"
        echo.half_open()
        client.sendall(b"lost")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(10)
        echo.heal()
        client.settimeout(5)
        assert ask(client, b"behind") == b""


@pytest.mark.parametrize(("way", "arrives"), [("down", b"12345"), ("up", b"12345")])
def test_a_cut_behind_some_bytes(echo: Proxy, way: str, arrives: bytes) -> None:
    """Down, the server has heard everything and its answer is cut; up, it only hears the beginning."""
    with call(echo) as client:
        assert ask(client, b"abc") == b"abc"
        echo.cut_after(way, 5)
        heard = ask(client, b"1234567890")
        assert heard == arrives if way == "down" else arrives.startswith(heard)
    assert echo.cuts == 1
    with call(echo) as client:
        assert ask(client, b"1234567890") == b"1234567890"


def test_a_slow_network_is_slow_and_whole(echo: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("cli.drill.proxy.time.sleep", slept.append)
    echo.slow(0.5)
    with call(echo) as client:
        assert ask(client, b"slowly") == b"slowly"
    assert slept == [0.5, 0.5]  # up and down


# --- ledger and invariants: a row of station-1, written at both sides

KEY = (1, "S1")
SETTING = Setting(stations=2)


def fact(side: str, wrote: str, replaced: str = "", *, certain: bool = True, column: str = "text") -> Fact:
    return Fact(side, KEY, {column: wrote} if wrote else {}, {column: replaced} if replaced else {}, certain)


LEDGERS = {
    "the last version is there": ([fact("station-1", "1.1")], ["1.1"], [], []),
    "never arrived anywhere": ([fact("station-1", "1.1")], [], [], ["1.1"]),
    "replaced by its own side": ([fact("station-1", "1.1"), fact("station-1", "1.2", "1.1")], ["1.2"], [], []),
    "replaced by the other side, which had seen it": (
        [fact("station-1", "1.1"), fact("control", "c.2", "1.1")],
        ["c.2"],
        [],
        [],
    ),
    "overwritten by the other side, which had not seen it": (
        [fact("station-1", "1.1"), fact("control", "c.2", "1.0")],
        ["c.2"],
        [],
        ["1.1"],
    ),
    "kept as the loser of a conflict": ([fact("station-1", "1.1")], [], ["1.1"], []),
    "the one that replaced it is lost": (
        [fact("station-1", "1.1"), fact("control", "c.2", "1.1")],
        ["1.1"],
        [],
        ["c.2"],
    ),
    "never acknowledged": ([fact("station-1", "1.1", certain=False)], [], [], []),
    "replaced by one that perhaps never was": (
        [fact("station-1", "1.1"), fact("station-1", "1.2", "1.1", certain=False)],
        [],
        [],
        ["1.1"],
    ),
    "replaced by one that was, as is seen": (
        [fact("station-1", "1.1"), fact("station-1", "1.2", "1.1", certain=False), fact("control", "c.3", "1.2")],
        ["c.3"],
        [],
        [],
    ),
    "deleted by an application": ([fact("station-1", "1.1"), fact("station-1", "", "1.1")], [], [], []),
}


@pytest.mark.parametrize("case", LEDGERS)
def test_the_ledger_finds_lost_writes_and_no_others(case: str) -> None:
    facts, present, kept, lost = LEDGERS[case]
    found = Ledger(facts).lost(present, kept)
    assert [one for fact in found for one in fact.wrote.values()] == lost


def test_the_token_is_what_a_value_begins_with() -> None:
    assert [token(value) for value in ("1.7", "1.7 xxx", "", None)] == ["1.7", "1.7", None, None]


ROW = {"id": "1", "code": "S1", "text": "1.1", "note": "1.2", "modify_date": "2026-01-01 00:00:00"}
LEDGER = Ledger([Fact("station-1", KEY, {"text": "1.1", "note": "1.2"}, {})], own={KEY: {"mine"}}, numbers={KEY: {7}})
SOUND = Seen(
    {"station-1": {KEY: ROW}, "station-2": {}},
    {KEY: ROW},
    {KEY: Based("station-1", False, ROW)},
    own={KEY: "mine"},
    numbers={KEY: 7},
    told={KEY: ROW},
)
OTHER = {**ROW, "text": "1.0"}
HELD = Held("station-1", "up", KEY, ROW)
CONFLICT = Lost("station-1", KEY, "station", ("text",), {"station": ROW, "control": OTHER})
BREACHES: dict[str, Any] = {
    "a row that control lacks": (replace(SOUND, control={}, own={}, numbers={}), "control does not"),
    "a row that the base lacks": (replace(SOUND, base={}), "the base does not"),
    "a row that its station lacks": (replace(SOUND, stations={"station-1": {}}), "no station has"),
    "a deleted row that control still has": (
        replace(SOUND, stations={"station-1": {}}),
        "deleted",
        Ledger([*LEDGER.facts, Fact("station-1", KEY, {}, {"text": "1.1"})]),
    ),
    "rows that differ": (replace(SOUND, control={KEY: OTHER}), "differ"),
    "a base that differs": (replace(SOUND, base={KEY: Based("station-1", False, OTHER)}), "the base of station-1"),
    "a row that is still pending": (replace(SOUND, base={KEY: Based("station-1", True, ROW)}), "pending"),
    "another owner": (replace(SOUND, base={KEY: Based("station-2", False, ROW)}), "station-2's"),
    "a lost write": (replace(SOUND, stations={"station-1": {KEY: OTHER}}, control={KEY: OTHER}), "lost: "),
    "a value in a second row": (replace(SOUND, control={KEY: ROW, (2, "S1"): ROW}), "it was written to"),
    "a value in another column": (replace(SOUND, control={KEY: {**ROW, "note": "1.1"}}), "1.1 in note"),
    "a conflict that is told twice": (replace(SOUND, conflicts=(CONFLICT, CONFLICT)), "2 times"),
    "an old version in quarantine": (replace(SOUND, held=(replace(HELD, row=OTHER),)), "an old version"),
    "control's own column": (replace(SOUND, own={KEY: None}), "own column"),
    "a row that the journal does not tell": (replace(SOUND, told={}), "does not tell of"),
    "a row that the journal tells wrongly": (replace(SOUND, told={KEY: OTHER}), "the journal tells"),
    "a row that only the journal has": (replace(SOUND, told={KEY: ROW, (9, "S1"): ROW}), "the base does not know"),
    "a file of the journal that nothing names": (replace(SOUND, unplaced=("a.parquet",)), "a.parquet"),
    "control's own number": (replace(SOUND, numbers={KEY: 8}), "number of"),
}


def test_a_sound_end_has_no_problems() -> None:
    assert problems(LEDGER, SOUND, SETTING) == []
    assert problems(LEDGER, replace(SOUND, conflicts=(CONFLICT,), held=(HELD,)), SETTING) == []


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found(breach: str) -> None:
    seen, words, *ledger = BREACHES[breach]
    setting = replace(SETTING, deletes="archive", sweeps=True)
    assert [problem for problem in problems(ledger[0] if ledger else LEDGER, seen, setting) if words in problem]


def test_controls_own_columns_go_with_a_row_that_control_deleted() -> None:
    deleted = Fact("control", KEY, {}, {})
    for known, there, problems_ in (({"mine", None}, None, 0), ({"mine", None}, "mine", 0), ({"mine"}, None, 1)):
        ledger = replace(LEDGER, facts=[*LEDGER.facts, deleted], own={KEY: known})
        found = problems(ledger, replace(SOUND, own={KEY: there}), replace(SETTING, sweeps=True))
        assert len([problem for problem in found if "own column" in problem]) == problems_


def test_a_row_that_came_from_the_journal_and_waits_in_quarantine() -> None:
    key = (9, "S1")
    told = replace(SOUND, told={KEY: ROW, key: OTHER})
    for row, problems_ in ((OTHER, 0), (ROW, 1)):
        found = problems(LEDGER, replace(told, held=(replace(HELD, key=key, row=row),)), SETTING)
        assert len([problem for problem in found if "the base does not know" in problem]) == problems_


# What the journal says of a conflict: the direction, the decision, and what the station has.
AT_STATION: dict[str, tuple[str, ...]] = {
    "an edit that won": ("up", "kept", "came"),
    "a mixture": ("up", "combined", "came"),
    "a version that won": ("up", "updated", "after"),
    "a row that control got back": ("up", "inserted", "after", POLICY),
    "a row that control got back with its edit": ("up", "inserted", "came", POLICY),
    "a row that control got back, and had alone": ("up", "inserted", "", POLICY, NO_OWNER),
    "an edit that went down": ("down", "updated", "after"),
    "a row that was deleted": ("up", "deleted", ""),
    "a row that was flagged": ("up", "flagged", ""),
    "a row that control deleted and the station changed": ("down", "kept", ""),
}


@pytest.mark.parametrize("case", AT_STATION)
def test_what_a_record_says_that_the_station_has(case: str) -> None:
    direction, decision, version, *why = AT_STATION[case]
    rule, reason = (*why, None, None)[:2]
    came = None if rule and version == "after" else ROW
    after = None if decision == "deleted" or (direction == "down" and decision == "kept") else OTHER
    record = {"direction": direction, "decision": decision, "before": None, "after": after, "came": came}
    record |= {"rule": rule, "reason": reason}
    assert at_station(record) == (record[version] if version else None)


def test_what_quarantine_holds_may_differ_and_is_not_lost() -> None:
    bad = {**ROW, "text": "1.3 xxxx"}
    ledger = Ledger([*LEDGER.facts, Fact("station-1", KEY, {"text": "1.3"}, {"text": "1.1"})])
    seen = replace(SOUND, stations={"station-1": {KEY: bad}}, held=(replace(HELD, row=bad),), own={}, numbers={})
    assert problems(ledger, seen, SETTING) == []


SEATED = {KEY: {**ROW, "seat": "b"}, (2, "S1"): {**ROW, "id": "2", "seat": "a"}}
UNMOVED = {KEY: {**ROW, "seat": "a"}, (2, "S1"): {**ROW, "id": "2", "seat": "b"}}
REFUSED = [replace(HELD, key=key, row=row, reasons="Duplicate entry") for key, row in SEATED.items()]
LINKED = {KEY: {**ROW, "parent": "2"}, (2, "S1"): {**ROW, "id": "2", "parent": "1"}}
WAITING = [replace(HELD, key=key, row=row, reasons="it refers to a row") for key, row in LINKED.items()]
IN_VAIN: dict[str, tuple[Seen, bool]] = {
    "two rows that swap": (Seen({"station-1": SEATED}, UNMOVED, {}, held=(*REFUSED,)), True),
    "one whose value another row keeps": (Seen({"station-1": SEATED}, UNMOVED, {}, held=(REFUSED[0],)), False),
    "one whose value is free": (Seen({"station-1": SEATED}, {KEY: UNMOVED[KEY]}, {}, held=(REFUSED[0],)), True),
    "two that control swaps": (
        Seen({"station-1": UNMOVED}, SEATED, {}, held=(*(replace(one, direction="down") for one in REFUSED),)),
        True,
    ),
    "a circle": (Seen({"station-1": LINKED}, {}, {}, held=(*WAITING,)), True),
    "a row whose other row is bad": (
        Seen({"station-1": LINKED}, {}, {}, held=(WAITING[0], replace(WAITING[1], reasons="too long"))),
        False,
    ),
}


@pytest.mark.parametrize("case", IN_VAIN)
def test_rows_are_held_back_only_where_it_is_impossible(case: str) -> None:
    seen, in_vain = IN_VAIN[case]
    assert bool(list(held_in_vain(seen))) is in_vain


def test_a_row_that_went_with_its_table_counts_as_deleted_and_its_version_as_lost() -> None:
    ledger = Ledger([*LEDGER.facts], vanished={("station-1", KEY)})
    gone = replace(SOUND, stations={"station-1": {}}, told=None)
    assert [one for one in problems(ledger, gone, SETTING) if "no station has" in one] == []
    over = replace(gone, control={}, base={}, own={}, numbers={})
    assert [one for one in problems(ledger, over, SETTING) if "lost: " in one]
    assert problems(ledger, replace(over, trash=(("station-1", KEY, {**ROW, "own": "mine"}),)), SETTING) == []


# --- histories


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_a_history_comes_from_its_seed_and_goes_through_a_file(kind: str) -> None:
    vocabulary = Vocabulary(kind)
    for seed in range(200):
        history = generate(seed, vocabulary)
        assert generate(seed, vocabulary) == history
        assert from_text(to_text(history)) == history
        assert len(lines(history)) > len(history.steps)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seed": 1, "setting": {}}\n{"step": "nonsense"}', "no JSON"])
def test_a_file_that_is_no_history_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"history|Expecting|unpack"):
        from_text(text)


# --- the shrinker


def test_the_shrinker_keeps_what_is_needed_and_nothing_else() -> None:
    """Fails where station-1 writes key 3 in the middle of a run that is killed."""

    def fails(history: History) -> bool:
        runs = [step for step in history.steps if isinstance(step, Run)]
        wrote = any(isinstance(point.do, Write) and point.do.key == (3, "S1") for run in runs for point in run.points)
        return wrote and any(isinstance(p.do, Fault) and p.do.what == "kill" for run in runs for p in run.points)

    steps = generate(3, Vocabulary("mariadb")).steps
    needed = Run(
        "station-1",
        "sync",
        (
            Point(50, Write("control", (1, "S1"))),
            Point(60, Write("station-1", (3, "S1"), ("text", "note"), late=2)),
            Point(70, Fault("kill")),
        ),
        threaded=True,
    )
    history = History(3, Setting(stations=3, suite=True), (*steps[:5], needed, *steps[5:]))
    shortest = shrink(history, fails, seconds=30)
    points = (Point(60, Write("station-1", (3, "S1"))), Point(70, Fault("kill")))
    assert [*shortest.steps] == [Run("station-1", "pull", points)]
    assert shortest.setting == Setting(stations=1, page_rows=50)


def test_the_shrinker_stops_in_time_with_what_it_has() -> None:
    history = generate(5, Vocabulary("mariadb"))
    assert shrink(history, lambda _: True, seconds=0) == history
