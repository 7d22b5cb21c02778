"""The page that tests use one after the other shows each of them nothing of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.e2e.conftest import Tab
from tests.support.server import Server

LEFT = """() => [localStorage.length, sessionStorage.length, document.cookie, innerWidth, innerHeight,
  ["print", "(prefers-color-scheme: light)", "(prefers-reduced-motion)"].map(
    (one) => matchMedia(one).matches)]"""


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Tab]:
    tab = Tab(browser)
    yield tab
    await tab.close()


async def use(page: Page, address: str) -> None:
    await page.goto(address)
    await page.set_viewport_size({"width": 400, "height": 400})
    await page.emulate_media(media="print", color_scheme="dark", reduced_motion="no-preference")
    await page.evaluate("localStorage.a = sessionStorage.a = document.cookie = 'left=behind'")


async def test_nothing_is_left_in_a_page_that_is_used_again(tab: Tab, server: Server):
    first = await tab.take()
    await use(first, server.url)
    assert await first.evaluate(LEFT) == [1, 1, "left=behind", 400, 400, [True, False, False]]
    await tab.give_back()
    again = await tab.take()
    assert again is first
    assert again.url == "about:blank"
    await again.goto(server.url)
    assert await again.evaluate(LEFT) == [0, 0, "", 1280, 900, [False, True, True]]


async def test_a_page_that_cannot_be_made_as_before_is_given_up(tab: Tab, server: Server):
    async def changes_its_scripts(page: Page) -> None:
        await page.add_init_script("window.left = true")

    async def changes_permissions(page: Page) -> None:
        await page.context.grant_permissions(["clipboard-read"])

    async def opens_another(page: Page) -> None:
        await page.context.new_page()

    async def goes_to_two_servers(page: Page) -> None:
        await use(page, server.url.replace("127.0.0.1", "localhost"))

    for change in (changes_its_scripts, changes_permissions, opens_another, goes_to_two_servers):
        page = await tab.take()
        await use(page, server.url)
        await change(page)
        await tab.give_back()
        assert await tab.take() is not page, change.__name__
        assert page.is_closed()
