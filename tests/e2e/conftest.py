"""A real browser: one Chromium for all tests, a context of its own for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Response,
    async_playwright,
    expect,
)

from tests.support.server import Server

# A build takes its time, on a machine that does other things as well.
expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here share one loop, because the browser belongs to the loop in which it was started."""
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def server(process_server: Server) -> Server:
    """The server that the tests of this folder share. None of them is about containers."""
    return process_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without windows, as Debian packages it.

    A page with scripts is whole when `goto` and `reload` return.
    """
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium-headless-shell",
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        chromium.new_context = partial(_new_context, chromium.new_context)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Fresh storage, as of somebody who was never here."""
    fresh = await browser.new_context(viewport={"width": 1280, "height": 900})
    fresh.set_default_timeout(15_000)
    yield fresh
    await fresh.close()


class Console:
    """What a page complains of. Tests that break things on purpose say what they expect with `allow`."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._allowed: list[str] = []

    def allow(self, text: str) -> None:
        """Complaints that contain `text` are expected."""
        self._allowed.append(text)

    def watch(self, page: Page) -> None:
        """Listens to a page's errors, among them what the content security policy blocked."""
        page.on("console", self._on_message)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _on_message(self, message: ConsoleMessage) -> None:
        # Chromium gives up requests when a network interface of a container comes or goes on its machine.
        if message.type in ("error", "warning") and "ERR_NETWORK_CHANGED" not in message.text:
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def unexpected(self) -> list[str]:
        """The complaints that nobody allowed."""
        return [line for line in self.complaints if not any(text in line for text in self._allowed)]


@pytest.fixture
def console() -> Iterator[Console]:
    """Fails the test if a page complained."""
    heard = Console()
    yield heard
    assert heard.unexpected() == []


async def whole(page: Page) -> None:
    """Waits until all of a page has arrived: keys work, and it does not load itself again any more."""
    await page.wait_for_selector("html[data-whole]", state="attached", timeout=30_000)


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, console: Console) -> Page:
    """A page; errors in it fail the test."""
    tab = await context.new_page()
    console.watch(tab)
    return tab


async def _new_context(make: Callable[..., Awaitable[BrowserContext]], **options: Any) -> BrowserContext:
    # What turns for ever would be drawn 60 times a second.
    context = await make(**{"reduced_motion": "reduce", **options})
    if options.get("java_script_enabled", True):
        context.new_page = partial(_new_page, context.new_page)
    return context


async def _new_page(make: Callable[[], Awaitable[Page]]) -> Page:
    tab = await make()
    for name in ("goto", "reload"):
        setattr(tab, name, _until_whole(tab, getattr(tab, name)))
    return tab


def _until_whole(
    tab: Page, go: Callable[..., Awaitable[Response | None]]
) -> Callable[..., Awaitable[object]]:
    async def going(*arguments: Any, **options: Any) -> Response | None:
        try:
            response = await go(*arguments, **options)
        except Error as error:
            # Here the page itself did not arrive; Chromium then asks again by itself, but not when driven.
            if "ERR_NETWORK_CHANGED" not in error.message:
                raise
            response = await go(*arguments, **options)
        # Some answers are no pages, or not the server's.
        headers = response.headers if response is not None else {}
        if "html" in headers.get("content-type", "") and "content-security-policy" in headers:
            await whole(tab)
        return response

    return going
