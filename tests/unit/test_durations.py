"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidflow_web.pipeline.durations import format_duration, format_elapsed, parse_duration
from tests.support.durations import ELAPSED, WHOLE_SECONDS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1), ("90", 90), ("007", 7), ("45s", 45), ("30m", 1800), ("2h", 7200), ("1h30m", 5400),
     ("1h5s", 3605), ("1h2m3s", 3723), ("0h1m", 60), ("90m", 5400), ("999999999", 999_999_999)],
)  # fmt: skip
def test_a_duration_is_read(text: str, seconds: int):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "0h0m0s", "-1", "+1", "1.5h", "1e3", "h", "m30", "30m1h", "1m1m", "1 h", " 1h", "1h ",
     "1h\n", "1H", "1d", "soon", "³", "३०m", "1_000", "1:30", "9" * 10, "9" * 7 + "h", "\0"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_examples(text: str):
    with pytest.raises(ValueError) as error:
        parse_duration(text)
    assert str(error.value) == f"{text!r} is not a duration; write one like 90s, 30m or 1h30m"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1, "1s"), (59, "59s"), (60, "1m"), (61, "1m1s"), (3600, "1h"), (5400, "1h30m"),
     (3605, "1h5s"), (604_800, "168h")],
)  # fmt: skip
def test_a_duration_is_written_in_the_shortest_exact_way(seconds: int, text: str):
    assert format_duration(seconds) == text


@given(st.integers(1, 100 * 24 * 3600))
def test_what_is_written_is_read_as_the_same(seconds: int):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("milliseconds", "text"), ELAPSED)
def test_elapsed_time_is_rounded_down(milliseconds: float, text: str):
    assert format_elapsed(milliseconds) == text


@pytest.mark.parametrize(("milliseconds", "text"), WHOLE_SECONDS)
def test_elapsed_time_is_written_in_whole_seconds(milliseconds: float, text: str):
    assert format_elapsed(milliseconds, tenths=False) == text


@given(st.integers(0, 3600 * 1000 - 1))
def test_elapsed_time_below_an_hour_can_be_read_as_a_duration(milliseconds: int):
    seconds = milliseconds // 1000
    assert seconds == 0 or parse_duration(format_elapsed(milliseconds, tenths=False)) == seconds
