"""Durations and sizes: read, and written for people."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationsync.model.amounts import LONGEST, format_age, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("1.5s", 1.5), ("90", 90), (90, 90), (0.5, 0.5)],
)
def test_a_duration_is_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "m", "5 minutes", "1h30m", "-1s", "1e3", "٣s", "nan", None, True, -1, "9" * 400, timedelta(-1)]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_a_duration_that_is_written_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("age", "words"),
    [(None, ""), (0, "0s"), (59.9, "59s"), (725, "12m 5s"), (3_600, "1h"), (90_061, "1d 1h"), (-5, "0s")],
)
def test_an_age_in_words(age: float | None, words: str) -> None:
    assert format_age(None if age is None else timedelta(seconds=age)) == words


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50 * 10**9), ("1.5 mb", 1_500_000), ("77", 77), ("20G", 20 * 10**9)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "10%", "1 PB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "words"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1_000, "1.0 KB"), (1_250_000, "1.2 MB"), (5 * 10**15, "5,000.0 TB")],
)
def test_a_size_in_words(size: int | None, words: str) -> None:
    assert format_size(size) == words
