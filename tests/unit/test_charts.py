"""What charts of builds show."""

from __future__ import annotations

import re

from rapidflow_web.db.build_lists import Bar
from rapidflow_web.pages import charts


def bar(number: int, status: str, seconds: float | None) -> Bar:
    start = None if seconds is None else number * 1_000_000
    end = None if start is None or seconds is None else start + int(seconds * 1000)
    return Bar(number, status, start, end)


def test_the_highest_bar_is_the_longest_build():
    drawn = charts.drawing((bar(1, "success", 5), bar(2, "success", 10)), "Builds", 30)
    assert re.findall(r'height="([\d.]+)"', drawn) == ["14.0", "28.0"]


def test_a_bar_links_to_its_build_and_says_its_result():
    drawn = charts.drawing((bar(7, "failed", 61),), "Builds", 30)
    assert 'href="/ui/jobs/7"' in drawn
    assert "<title>#7 failed, 1m01s</title>" in drawn


def test_one_that_took_far_longer_flattens_no_other():
    bars = (bar(1, "success", 10), bar(2, "success", 10), bar(3, "success", 1000))
    drawn = charts.drawing(bars, "Builds", 30)
    assert re.findall(r'height="([\d.]+)"', drawn) == ["9.3", "9.3", "28.0"]
    assert drawn.count("<path") == 1
    assert charts.ceiling(bars) == 30_000
    assert charts.ceiling(()) == 0


def test_a_build_without_an_end_has_a_bar_that_can_be_seen():
    assert 'height="4.0"' in charts.drawing((bar(1, "running", None), bar(2, "success", 9)), "Builds", 30)


def test_a_label_is_text():
    assert "<b>" not in charts.drawing((bar(1, "success", 1),), '"><b>', 30)


def test_durations_are_those_of_successful_builds():
    bars = [bar(number, "success", number) for number in range(1, 21)] + [bar(21, "failed", 500)]
    numbers = charts.statistics(bars)
    assert (numbers.median, numbers.p95) == (11_000, 20_000)


def test_cancelled_and_unfinished_builds_are_not_judged():
    bars = [bar(1, "success", 1), bar(2, "failed", 1), bar(3, "cancelled", 1), bar(4, "running", None)]
    assert charts.statistics(bars).success == 50


def test_without_builds_there_are_no_numbers():
    numbers = charts.statistics([])
    assert (numbers.median, numbers.p95, numbers.success, numbers.last_success) == (None,) * 4
