"""Kept answers: bounded by their bytes, the ones in use stay."""

from __future__ import annotations

from typing import Any

from rapidflow_web.web.response_cache import KeptAnswers
from tests.support.server import Server


def test_an_answer_is_kept_until_there_is_no_room_and_the_longest_unused_goes_first() -> None:
    kept = KeptAnswers(limit=10)
    kept.keep(1, b"1111")
    kept.keep(2, b"2222")
    assert kept.get(1) == b"1111"
    kept.keep(3, b"333")
    assert (kept.get(1), kept.get(2), kept.get(3)) == (b"1111", None, b"333")


def test_an_answer_that_is_kept_again_takes_its_place_once() -> None:
    kept = KeptAnswers(limit=10)
    for _ in range(5):
        kept.keep(1, b"12345")
    kept.keep(2, b"12345")
    assert (kept.get(1), kept.get(2)) == (b"12345", b"12345")


def test_an_answer_that_is_larger_than_all_the_room_is_not_kept() -> None:
    kept = KeptAnswers(limit=10)
    kept.keep(1, b"x" * 11)
    assert kept.get(1) is None
    kept.keep(2, b"x" * 10)
    assert kept.get(2) == b"x" * 10


def test_details_that_are_kept_are_sent_like_those_that_are_not(
    server: Server, succeeded: dict[str, Any]
) -> None:
    path = f"/jobs/{succeeded['job']['id']}/details"
    made, kept = server.get(f"{path}?"), server.get(path)
    again = server.get(path)
    changing = {"date"}
    for answer in (kept, again):
        assert (answer.status, answer.body) == (made.status, made.body)
        assert {k: v for k, v in answer.headers.items() if k not in changing} == {
            k: v for k, v in made.headers.items() if k not in changing
        }
