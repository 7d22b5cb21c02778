"""The response cache: bounded, evicts the least recently used."""

from __future__ import annotations

import pytest

from rapidflow_web.web.response_cache import Cached, Key, ResponseCache

LARGE = b"x" * 40_000


def _kept(cache: ResponseCache, *paths: str) -> list[bool]:
    return [cache.get((path,)) is not None for path in paths]


def test_a_full_cache_evicts_the_least_recently_used_response() -> None:
    cache = ResponseCache(limit=100_000)
    cache.put(("/jobs/1",), Cached(LARGE))
    cache.put(("/jobs/2",), Cached(LARGE))
    assert _kept(cache, "/jobs/1") == [True]
    cache.put(("/jobs/3",), Cached(LARGE))
    assert _kept(cache, "/jobs/1", "/jobs/2", "/jobs/3") == [True, False, True]
    assert [cache.has(f"/jobs/{number}") for number in (1, 2, 3)] == [True, False, True]


def test_a_response_that_is_cached_again_counts_once() -> None:
    cache = ResponseCache(limit=100_000)
    for _ in range(5):
        cache.put(("/jobs/1",), Cached(LARGE))
    cache.put(("/jobs/2",), Cached(LARGE))
    assert _kept(cache, "/jobs/1", "/jobs/2") == [True, True]


def test_a_response_larger_than_the_cache_is_not_cached() -> None:
    cache = ResponseCache(limit=50_000)
    cache.put(("/jobs/1",), Cached(LARGE * 2))
    cache.put(("/jobs/2",), Cached(LARGE))
    assert _kept(cache, "/jobs/1", "/jobs/2") == [False, True]


@pytest.mark.parametrize(
    ("key", "headers"),
    [((LARGE,), ()), (((frozenset(range(5_000)), None),), ()), ((), ((b"link", LARGE), (b"age", b"1")))],
    ids=["query", "pipelines", "headers"],
)
def test_keys_and_headers_count(key: tuple[object, ...], headers: tuple[tuple[bytes, bytes], ...]) -> None:
    cache = ResponseCache(limit=1_000_000)
    keys: list[Key] = [("/jobs", number, *key) for number in range(100)]
    for one in keys:
        cache.put(one, Cached(b"[]", headers))
    assert sum(cache.get(one) is not None for one in keys) < 30


def test_what_shows_a_job_that_is_gone_is_dropped() -> None:
    cache = ResponseCache(limit=100_000)
    for path in ("/jobs/1", "/jobs/1/details", "/jobs/11"):
        cache.put((path, "everyone"), Cached(LARGE[:20_000]))
    cache.evict(1)
    assert [cache.has(path) for path in ("/jobs/1", "/jobs/1/details", "/jobs/11")] == [False, False, True]
    cache.put(("/jobs/2",), Cached(LARGE[:30_000] * 2))
    assert cache.has("/jobs/11")
