"""An entry is put into a hand-written stations.yaml, and every other byte stays as it was."""

from __future__ import annotations

import difflib
import json

import pytest
from support.paths import ROOT

from stationsync.topology.editing import Entry, Line, NotEditable, parsed_content, scalar, with_entry, with_table_at

TABLE = Entry(
    "주문 2: x", (Line("key", ("site", "no"), "its primary key"), Line("", comment="Mind: x"), Line("modified", "null"))
)
STATION = Entry(
    "s9",
    (Line("url", "mysql+pymysql://a@b:3306/c?x=/s, {y}"), Line("password", "${file:/run/x}"), Line("tables", ["a"])),
)
BY_HAND = """\
# 제어
control: {url: "mysql+pymysql://a@b/c",   password: '${X}'}
tables:
    orders:
        key:
            - id
            - code        # two
        modified: at

    # about stock
    stock: {key: [id],
       modified: at}   # flowing
    # further tables come here

# ---- All the stations ----
stations:
    s1:
        url:    x   # wide
        tables:
        - orders
        - stock
    # the end
# last line"""
FILES = {
    "sample": (ROOT / "deployments/stations.yaml").read_text(encoding="utf-8"),
    "by hand": BY_HAND,
    "windows": BY_HAND.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + BY_HAND,
    "empty sections": "control: {url: x}\ntables:\n  # here\n\n# two\nstations:\n",
    "null": "tables: ~\nstations: null  # none\n",
    "empty braces": "tables: {}  # none\nstations: {}\n",
    "in braces": "{stations: {a: {url: x}}, tables: {b: {key: [a] # x\n}}}",
    "no sections": "control: 1",
    "a text in lines": "stations:\n  a:\n    n: |\n      text\n\n      # no\n\n# top\ntables:\n  b:\n    x: >-\n     y",
    "an anchor": "x: &x {key: [id], modified: at}\ntables:\n  a:\n    <<: *x\n  b: *x\nstations:\n",
}


@pytest.mark.parametrize("name", FILES)
def test_what_was_there_stays_byte_for_byte(name: str) -> None:
    before = FILES[name]
    after = before
    for section, entry in (("tables", TABLE), ("stations", STATION)):
        after = with_entry(after, section, entry, "f")
        assert parsed_content(after)[section][entry.name] == entry.content
    wanted = json.loads(json.dumps(parsed_content(before)))
    for section, entry in (("tables", TABLE), ("stations", STATION)):
        wanted[section] = {**(wanted.get(section) or {}), entry.name: entry.content}
    assert parsed_content(after) == wanted
    gone = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("- ")]
    # Only a line that the entry is put into is another one.
    allowed = {"null": 2, "empty braces": 2, "in braces": 2}
    assert len(gone) <= allowed.get(name, 0), gone
    assert ("\r\n" in after) == ("\r\n" in before)
    assert "\n" not in after.replace("\r\n", "") or "\r\n" not in before


def test_comments_stay_where_they_belong() -> None:
    after = with_entry(with_entry(BY_HAND, "tables", TABLE, "f"), "stations", STATION, "f").splitlines()
    places = [
        next(i for i, line in enumerate(after) if text in line)
        for text in ("# further tables", "주문 2", "# ---- All", "# the end", "s9:", "# last line")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("tables", "wanted"),
    [
        ("[a, b]  # two", "[a, b, new]  # two"),
        ("[]", "[new]"),
        ("[a, b,]", "[a, b, new]"),
        ("\n      - a\n      - b", "\n      - a\n      - b\n      - new"),
        ("{a: {lookback: 5m}}", "{a: {lookback: 5m}, new: {}}"),
        ("\n      a: {lookback: 5m}   # slow", "\n      a: {lookback: 5m}   # slow\n      new: {}"),
        ("", ""),
        ("null", "null"),
    ],
)
def test_a_table_is_added_to_those_that_a_station_names(tables: str, wanted: str) -> None:
    text = "tables:\n  new: {key: [id]}\nstations:\n  s:\n    url: x\n    tables: %s\n  t: {url: y}\n"
    assert with_table_at(text % tables, "s", "new", "f") == text % wanted
    assert with_table_at(text % tables, "t", "new", "f") == text % tables


@pytest.mark.parametrize(
    "text",
    ["- a\n- b\n", "tables: [a]\n", "tables: text\n", "x: &x\n  a: {key: [1]}\ntables: *x\n", "tables: |\n  a\n"],
)
def test_what_cannot_be_added_to_is_left_to_a_person(text: str) -> None:
    with pytest.raises(NotEditable, match="Nothing was changed"):
        with_entry(text, "tables", TABLE, "f")


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "null",
        "~",
        "",
        " a",
        "a ",
        "a: b",
        "a #b",
        "a#b",
        "'",
        "#",
        "한글",
        "1:30",
        "&a",
        "*a",
        "a,b",
        "-",
        "\n",
        "?",
        "a\x85b\u2028",
        "a\x1b\x7f😀",
    ],
)
@pytest.mark.parametrize("flow", [False, True])
def test_any_text_is_read_back_as_it_was(text: str, flow: bool) -> None:
    written = f"a: [{scalar(text, flow=True)}]" if flow else f"a: {scalar(text)}"
    assert parsed_content(written) == {"a": [text] if flow else text}


def test_what_a_database_calls_itself_begins_no_line() -> None:
    entry = Entry("t", (Line("key", "id", "its unique index x\n  y: 1\r\u2028z\x1b[2J"),))
    after = with_entry("tables:\n", "tables", entry, "f")
    assert len(after.splitlines()) == 3
    assert "\x1b" not in after
