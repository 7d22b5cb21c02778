"""On which occasions a notification is sent, and when one that failed is sent again."""

from __future__ import annotations

import pytest

from rapidflow_web.db.statuses import GIVEN_UP_AFTER
from rapidflow_web.notify.occasions import occasion
from rapidflow_web.notify.retries import LONGEST, SELDOM, next_try
from rapidflow_web.notify.words import one_line

USUAL = frozenset(("broken", "fixed"))


@pytest.mark.parametrize(
    ("before", "status", "wanted", "expected"),
    [
        (None, "failed", USUAL, "broken"),
        ("success", "failed", USUAL, "broken"),
        ("failed", "failed", USUAL, None),
        ("failed", "failed", {"failed"}, "failed"),
        ("success", "failed", {"failed"}, "failed"),
        ("success", "failed", {"failed", "broken"}, "broken"),
        ("failed", "success", USUAL, "fixed"),
        ("success", "success", USUAL, None),
        (None, "success", USUAL, None),
        (None, "success", {"fixed", "failed"}, None),
        (None, "success", {"always"}, "always"),
        ("failed", "success", {"always"}, "always"),
        ("failed", "success", {"always", "fixed"}, "fixed"),
        ("success", "cancelled", {"broken", "fixed", "failed"}, None),
        ("failed", "cancelled", {"broken", "fixed", "failed", "always"}, "always"),
    ],
)
def test_an_occasion_follows_from_this_build_and_the_one_before(
    before: str | None, status: str, wanted: set[str], expected: str | None
) -> None:
    assert occasion(status, before, wanted) == expected


def test_the_time_between_two_tries_grows_to_a_quarter_of_an_hour_and_ends_after_a_day() -> None:
    now, waits = 0, list[int]()
    while (again := next_try(len(waits) + 1, 0, now, chance=lambda: 1.0)) is not None:
        waits.append(again - now)
        now = again
    assert waits[:4] == [1000, 2000, 4000, 8000]
    assert waits == sorted(waits) and waits[-1] == LONGEST
    assert GIVEN_UP_AFTER - LONGEST < now <= GIVEN_UP_AFTER


def test_jitter_at_most_halves_a_wait() -> None:
    assert next_try(5, 0, 0, chance=lambda: 0.0) == 8000
    assert next_try(5, 0, 0, chance=lambda: 1.0) == 16_000


def test_the_other_side_says_how_long_to_wait() -> None:
    assert next_try(1, 0, 1000, not_before=90_000, permanent=True, chance=lambda: 0.0) == 90_000
    # A time that has passed says nothing.
    assert next_try(1, 0, 90_000, not_before=1000, chance=lambda: 1.0) == 91_000
    assert next_try(1, 0, 0, not_before=GIVEN_UP_AFTER + 1, chance=lambda: 0.0) is None


def test_what_a_person_has_to_mend_is_tried_seldom() -> None:
    assert next_try(1, 0, 5, permanent=True) == SELDOM + 5


@pytest.mark.parametrize(
    ("text", "most", "line"),
    [
        ("one\ntwo", 10, "one"),
        ("\r\n\n  two\tthree ", 10, "two three"),
        ("a\x1b[31mb\x00c\u202ed", 20, "a [31mb c d"),
        ("Subject\u2028Bcc: x", 30, "Subject"),
        ("abcdef", 5, "abcd…"),
        ("abcde", 5, "abcde"),
        ("", 5, ""),
        ("x" * 10_000_000, 5, "xxxx…"),
    ],
)
def test_text_of_others_becomes_one_bounded_line(text: str, most: int, line: str) -> None:
    assert one_line(text, most) == line
