"""The response cache: bounded by its bytes, evicts the least recently used."""

from __future__ import annotations

from typing import Any

from rapidflow_web.web.response_cache import ResponseCache
from tests.support.server import Server


def test_a_full_cache_evicts_the_least_recently_used_response() -> None:
    cache = ResponseCache(limit=10)
    cache.put(1, b"1111")
    cache.put(2, b"2222")
    assert cache.get(1) == b"1111"
    cache.put(3, b"333")
    assert (cache.get(1), cache.get(2), cache.get(3)) == (b"1111", None, b"333")


def test_a_response_that_is_cached_again_counts_once() -> None:
    cache = ResponseCache(limit=10)
    for _ in range(5):
        cache.put(1, b"12345")
    cache.put(2, b"12345")
    assert (cache.get(1), cache.get(2)) == (b"12345", b"12345")


def test_a_response_larger_than_the_cache_is_not_cached() -> None:
    cache = ResponseCache(limit=10)
    cache.put(1, b"x" * 11)
    assert cache.get(1) is None
    cache.put(2, b"x" * 10)
    assert cache.get(2) == b"x" * 10


def test_cached_details_equal_fresh_ones(server: Server, succeeded: dict[str, Any]) -> None:
    path = f"/jobs/{succeeded['job']['id']}/details"
    made, kept = server.get(f"{path}?"), server.get(path)
    again = server.get(path)
    changing = {"date"}
    for answer in (kept, again):
        assert (answer.status, answer.body) == (made.status, made.body)
        assert {k: v for k, v in answer.headers.items() if k not in changing} == {
            k: v for k, v in made.headers.items() if k not in changing
        }
