"""Responses from the cache: each is made once, until what it is made from changes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from quart import Quart, Response, g, request
from tortoise.transactions import in_transaction

from rapidflow_web.accounts.authentication import Access
from rapidflow_web.accounts.roles import ANYONE
from rapidflow_web.db import changes, pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.settings import from_environment
from rapidflow_web.web.response_cache import CachedResponses, ResponseCache, cacheable
from tests.support.databases import opened

LARGE = b"x" * 2_000_000


class _Pages:
    """A cache in front of an app that counts what it is asked, and that waits to be let go on."""

    def __init__(self, tmp_path: Path) -> None:
        self.asked = 0
        self._came = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.notice: str | None = None
        self.statuses: list[int] = []
        """Those of the next responses; later ones have 200."""
        self.body = b"the page"
        self.is_final = False
        app = Quart(__name__)

        async def page() -> Response:
            self.asked += 1
            self._came.set()
            g.actor = ANYONE
            cacheable(final=self.is_final)
            response = Response(self.body, self.statuses.pop(0) if self.statuses else 200)
            await self.go_on.wait()
            response.set_etag("the-tag")
            return await response.make_conditional(request)

        async def not_cached() -> str:
            return "as ever"

        for path in ("/", "/jobs", "/jobs/1/details"):
            app.add_url_rule(path, path, page)
        app.add_url_rule("/health", "health", not_cached)
        settings = from_environment({"RAPIDFLOW_DATA": str(tmp_path)})
        self.cache, access = ResponseCache(), Access(settings)
        self._cached = CachedResponses(app, self.cache, access, settings, lambda: self.notice, patience=60)

    async def until_asked(self, times: int) -> None:
        while self.asked < times:
            self._came.clear()
            await self._came.wait()

    async def get(
        self, path: str = "/jobs", *, method: str = "GET", query: str = "", **headers: str
    ) -> tuple[int, bytes]:
        """The status and the body."""
        sent: list[Any] = []
        given = {"host": "localhost", **headers}
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.replace("_", "-").encode(), said.encode()) for name, said in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {},
        }
        events = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            if (event := next(events, None)) is not None:
                return event
            return await asyncio.get_running_loop().create_future()

        async def send(event: Any) -> None:
            sent.append(event)

        await self._cached(cast(Any, scope), receive, send)
        return sent[0]["status"], b"".join(event.get("body", b"") for event in sent)


@pytest.fixture
async def pages(tmp_path: Path):
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        # Whatever is made before the first question for changes by others is made again after it.
        await changes.state()
        yield _Pages(tmp_path)


async def test_a_response_is_made_again_once_the_database_has_changed(pages: _Pages) -> None:
    for _ in range(5):
        assert await pages.get() == (200, b"the page")
    assert pages.asked == 1
    await pipelines.create("new", "steps: [make]")
    await pages.get()
    await pages.get()
    assert pages.asked == 2


async def test_a_response_is_made_again_once_a_notice_has_changed(pages: _Pages) -> None:
    await pages.get()
    pages.notice = "the disk is full"
    await pages.get()
    await pages.get()
    assert pages.asked == 2


async def test_a_change_while_a_response_is_made_leaves_it_out_of_the_cache(pages: _Pages) -> None:
    pages.go_on.clear()
    first = asyncio.create_task(pages.get())
    await pages.until_asked(1)
    await pipelines.create("new", "steps: [make]")
    pages.go_on.set()
    await first
    await pages.get()
    assert pages.asked == 2


async def test_a_job_that_goes_while_it_is_read_is_not_cached(pages: _Pages) -> None:
    pages.is_final = True
    pages.go_on.clear()
    reading = asyncio.create_task(pages.get("/jobs/1/details"))
    await pages.until_asked(1)
    pages.cache.evict(1)
    pages.go_on.set()
    await reading
    assert not pages.cache.has("/jobs/1/details")
    pages.statuses = [404]
    assert (await pages.get("/jobs/1/details"))[0] == 404


async def test_a_response_is_made_once_for_all_who_wait_for_it(pages: _Pages) -> None:
    await pages.get()
    await pipelines.create("new", "steps: [make]")
    pages.go_on.clear()
    waiting = [asyncio.create_task(pages.get()) for _ in range(20)]
    await pages.until_asked(2)
    await asyncio.sleep(0.01)
    # Who comes after a change is not answered with what was asked for before it.
    await pipelines.create("newer", "steps: [make]")
    later = asyncio.create_task(pages.get())
    await pages.until_asked(3)
    pages.go_on.set()
    assert await asyncio.gather(*waiting, later) == [(200, b"the page")] * 21
    assert pages.asked == 3


async def test_one_of_those_who_wait_for_a_response_that_fails_makes_the_next(pages: _Pages) -> None:
    await pages.get()
    await pipelines.create("new", "steps: [make]")
    pages.statuses = [500]
    pages.go_on.clear()
    waiting = [asyncio.create_task(pages.get()) for _ in range(20)]
    await pages.until_asked(2)
    await asyncio.sleep(0.01)
    pages.go_on.set()
    assert sorted(status for status, _ in await asyncio.gather(*waiting)) == [200] * 19 + [500]
    assert pages.asked == 3


async def test_a_maker_that_is_cancelled_leaves_nobody_waiting(pages: _Pages) -> None:
    await pages.get()
    await pipelines.create("new", "steps: [make]")
    pages.go_on.clear()
    maker = asyncio.create_task(pages.get())
    await pages.until_asked(2)
    waiting = asyncio.create_task(pages.get())
    await asyncio.sleep(0.01)
    maker.cancel()
    pages.go_on.set()
    assert await waiting == (200, b"the page")


async def test_errors_large_bodies_and_other_requests_are_not_cached(pages: _Pages) -> None:
    pages.statuses = [404, 404]
    await pages.get()
    await pages.get()
    assert pages.asked == 2
    pages.body = LARGE
    assert await pages.get() == (200, LARGE)
    await pages.get()
    assert pages.asked == 4
    pages.body = b"short"
    await pages.get()
    await pages.get()
    assert pages.asked == 5
    for headers in ({"range": "bytes=0-1"}, {"if_modified_since": "x"}, {"authorization": "Bearer unknown"}):
        await pages.get(**headers)
    await pages.get(method="HEAD")
    assert pages.asked == 9


async def test_a_response_to_a_long_query_is_not_cached(pages: _Pages) -> None:
    for _ in range(2):
        await pages.get(query="branch=" + "x" * 500)
    assert pages.asked == 1
    for _ in range(2):
        await pages.get(query="branch=" + "x" * 600)
    assert pages.asked == 3


async def test_what_is_not_cached_does_not_wait_for_the_database(
    pages: _Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds, done = asyncio.Event(), asyncio.Event()
    await pages.get()

    async def hold() -> None:
        async with in_transaction():
            holds.set()
            await done.wait()

    holder = asyncio.create_task(hold())
    await holds.wait()
    # The database is due to be asked for changes by others.
    monkeypatch.setattr(changes, "_OTHERS_SECONDS", -1.0)
    waiting = asyncio.create_task(pages.get())
    other = asyncio.create_task(pages.get("/health"))
    answered, _ = await asyncio.wait({waiting, other}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    done.set()
    await holder
    assert answered == {other}
    assert await other == (200, b"as ever")
    assert await waiting == (200, b"the page")


@pytest.mark.parametrize("tag", ['"the-tag"', 'W/"the-tag"', '"other", "the-tag"', "*"])
async def test_a_browser_that_has_the_response_is_told_so(pages: _Pages, tag: str) -> None:
    for _ in range(3):
        assert await pages.get(if_none_match=tag) == (304, b"")
        assert await pages.get(if_none_match='"other"') == (200, b"the page")
    assert pages.asked == 1
    # A change that the page does not show
    await pipelines.create("new", "steps: [make]")
    for _ in range(20):
        assert await pages.get(if_none_match=tag) == (304, b"")
    assert pages.asked == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic eDp5"},
        {"cookie": "rapidflow_session=expired"},
        {"cookie": "rapidflow_session=one; rapidflow_session=two"},
        {"cookie": 'rapidflow_session="quoted"'},
        {"cookie": "other=1"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/jobs"])
async def test_whoever_the_gate_lets_in_is_served_from_the_cache(
    pages: _Pages, path: str, headers: dict[str, str]
) -> None:
    for _ in range(3):
        assert await pages.get(path, **headers) == (200, b"the page")
        assert await pages.get(path) == (200, b"the page")
    assert pages.asked == 1
