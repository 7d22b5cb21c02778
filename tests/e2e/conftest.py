"""A real browser: one Chromium for all tests, a context of its own for each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    ViewportSize,
    async_playwright,
    expect,
)

from tests.support.server import Server

# A build takes its time, on a machine that does other things as well.
expect.set_options(timeout=30_000)

WINDOW: ViewportSize = {"width": 1280, "height": 900}
FORGET = "(localStorage.clear(), sessionStorage.clear(), origin)"


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
    fresh = await _context(browser)
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
        Page.on(page, "console", self._on_message)
        Page.on(page, "pageerror", self._on_error)

    def unwatch(self, page: Page) -> None:
        """Listens no more."""
        page.remove_listener("console", self._on_message)
        page.remove_listener("pageerror", self._on_error)

    def _on_error(self, error: Error) -> None:
        # A page that is left gives its requests up, and the next test may be the one that hears of it.
        if "The user aborted a request." not in error.message:
            self.complaints.append(str(error))

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


class Tab:
    """A page that tests use one after the other, each as if nobody had been there before.

    A new context needs a process of its own, which reads and compiles all scripts anew: that takes three
    times the CPU time of the page itself. A page that a test changed irreversibly is not used again.
    """

    FOR_GOOD = (
        "add_init_script", "add_locator_handler", "expose_binding", "expose_function", "grant_permissions",
        "new_cdp_session", "on", "once", "route", "route_from_har", "route_web_socket",
        "set_default_navigation_timeout", "set_default_timeout", "set_extra_http_headers",
        "set_geolocation", "set_offline",
    )  # fmt: skip

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._page: Page | None = None
        self._origins: set[str] = set()
        self._changed = False

    async def take(self) -> Page:
        """The page, empty."""
        if self._page is None:
            context = await _context(self._browser)
            self._page = await context.new_page()
            self._origins, self._changed = set(), False
            self._page.on("framenavigated", lambda frame: self._origins.add(_origin(frame.url)))
            for changed in (self._page, context):
                for name in self.FOR_GOOD:
                    if hasattr(changed, name):
                        setattr(changed, name, self._noting(getattr(changed, name)))
        return self._page

    async def give_back(self) -> None:
        """Takes all away that a test left: cookies, what is stored, sizes and other pages."""
        page = self._page
        assert page is not None
        self._origins.discard("null")
        if not self._changed and not page.is_closed() and len(page.context.pages) == 1:
            with contextlib.suppress(Error, TimeoutError):
                await page.context.clear_cookies()
                # A script that a test left may never let another one run.
                if self._origins in (set[str](), {await asyncio.wait_for(page.evaluate(FORGET), 15)}):
                    await page.goto("about:blank")
                    await page.set_viewport_size(WINDOW)
                    await page.emulate_media(media="null", color_scheme="light", reduced_motion="reduce")
                    await page.mouse.move(0, 0)
                    self._origins.clear()
                    return
        await self.close()

    async def close(self) -> None:
        """Ends the page. Safe to call again."""
        if self._page is not None:
            await self._page.context.close()
            self._page = None

    def _noting(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*arguments: Any, **options: Any) -> Any:
            self._changed = True
            return change(*arguments, **options)

        return changing


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tab_of_all(browser: Browser) -> AsyncIterator[Tab]:
    """The page that tests use one after the other."""
    tab = Tab(browser)
    yield tab
    await tab.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(tab_of_all: Tab, console: Console) -> AsyncIterator[Page]:
    """A page; errors in it fail the test. Its context is not the one of `context`."""
    page = await tab_of_all.take()
    console.watch(page)
    yield page
    console.unwatch(page)
    await tab_of_all.give_back()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "null"


async def _context(browser: Browser) -> BrowserContext:
    context = await browser.new_context(viewport=WINDOW)
    context.set_default_timeout(15_000)
    return context


async def _new_context(make: Callable[..., Awaitable[BrowserContext]], **options: Any) -> BrowserContext:
    # What turns for ever would be drawn 60 times a second.
    context = await make(**{"reduced_motion": "reduce", **options})
    scripts = options.get("java_script_enabled", True)
    context.new_page = partial(_new_page if scripts else _new_page_without_scripts, context.new_page)
    return context


async def _new_page(make: Callable[[], Awaitable[Page]]) -> Page:
    tab = await make()
    for name in ("goto", "reload"):
        setattr(tab, name, _until_whole(tab, getattr(tab, name)))
    return tab


async def _new_page_without_scripts(make: Callable[[], Awaitable[Page]]) -> Page:
    tab = await make()
    tab.goto = partial(_with_all_files, tab, tab.goto)
    return tab


async def _with_all_files(
    tab: Page, go: Callable[..., Awaitable[Response | None]], *arguments: Any, **options: Any
) -> Response | None:
    """Opens a page again of which Chromium dropped a style, because a network of a container came or went."""
    dropped = False

    def note(_: Request) -> None:
        nonlocal dropped
        dropped = True

    tab.on("requestfailed", note)
    response = await go(*arguments, **options)
    for _ in range(5):
        if dropped:
            dropped = False
            response = await go(*arguments, **options)
    tab.remove_listener("requestfailed", note)
    return response


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
