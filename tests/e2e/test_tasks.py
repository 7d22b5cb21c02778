"""What people come for, counted in clicks and keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.e2e.test_finding import add_rows
from tests.support.server import Server

FAILS = """seq 300
printf 'Traceback (most recent call last):\\n  File "x.py", line 3\\nOSError: no paper\\n'
exit 1"""
"""Under the first screen of the log."""


class Hand:
    """Clicks and presses keys of a page, and counts both."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.clicks = 0
        self.keys = 0

    async def click(self, target: Locator) -> None:
        """One click on what can be seen without scrolling."""
        await expect(target).to_be_in_viewport()
        self.clicks += 1
        await target.click()

    async def type(self, text: str) -> None:
        """Types a text where the focus is."""
        self.keys += len(text)
        await self._page.keyboard.type(text)

    async def press(self, key: str) -> None:
        """Presses a key."""
        self.keys += 1
        await self._page.keyboard.press(key)


@pytest.fixture
def hand(page: Page) -> Hand:
    return Hand(page)


@pytest.fixture(scope="module")
def failed(server: Server) -> tuple[int, int]:
    """A build that succeeded, and the next one of its pipeline, which failed."""
    steps = [{"name": "print", "content": f"test $PAPER = yes && exit\n{FAILS}"}]
    pipeline = server.pipeline({"name": "Printer", "env": {"PAPER": "yes"}, "steps": steps})
    good = server.start_build(pipeline)
    server.wait_finished(good)
    bad = server.start_build(pipeline, environments={"PAPER": "no"})
    assert server.wait_finished(bad)["job"]["status"] == "failed"
    return good, bad


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """500 pipelines."""
    server = Server(tmp_path_factory.mktemp("500") / "data", executor="process").start()
    server.stop()
    add_rows(server, 499)
    server.start()
    server.pipeline({"name": "billing of customers", "steps": ["true"]})
    yield server
    server.stop()


@pytest.mark.parametrize("path", ["/ui/builds", "/ui/builds?status=failed"])
async def test_why_it_failed_is_one_click_away(
    page: Page, server: Server, failed: tuple[int, int], hand: Hand, path: str
):
    await page.goto(server.url + path)
    reason = page.locator(f"#build-{failed[1]} .at-reason a")
    await expect(reason).to_have_text("print failed (exit 1): OSError: no paper")
    await hand.click(reason)
    line = page.locator("#log .row.marked .text")
    await expect(line).to_have_text("OSError: no paper")
    await expect(line).to_be_in_viewport()
    assert (hand.clicks, hand.keys) == (1, 0)


async def test_the_first_error_is_in_sight_once_a_failed_build_is_open(
    page: Page, server: Server, failed: tuple[int, int], hand: Hand
):
    await page.goto(f"{server.url}/ui/builds")
    await hand.click(page.locator(f"#build-{failed[1]} .at-build a").first)
    await expect(page.locator("#log .row.error").first).to_be_in_viewport()
    await expect(page.locator("#why")).to_contain_text("OSError: no paper")
    assert (hand.clicks, hand.keys) == (1, 0)


async def test_a_failed_build_is_compared_with_the_last_good_one_by_one_click(
    page: Page, server: Server, failed: tuple[int, int], hand: Hand
):
    good, bad = failed
    await page.goto(f"{server.url}/ui/jobs/{bad}")
    await hand.click(page.get_by_role("link", name="Compare with the last good"))
    await expect(page.get_by_role("heading", level=1)).to_contain_text(f"#{good}")
    await expect(page.locator("#variables tbody tr")).to_have_text("PAPERyesno")
    assert (hand.clicks, hand.keys) == (1, 0)


async def test_a_line_is_sent_to_a_friend_by_two_clicks(
    browser: Browser, server: Server, failed: tuple[int, int]
):
    context = await browser.new_context(
        permissions=["clipboard-read", "clipboard-write"], viewport={"width": 1280, "height": 900}
    )
    page = await context.new_page()
    hand = Hand(page)
    await page.goto(f"{server.url}/ui/jobs/{failed[1]}")
    await hand.click(page.locator('#log a.number[data-number="303"]'))
    await hand.click(page.get_by_role("button", name="Copy link"))
    await expect(page.locator("#log .said")).to_have_text("Copied the link.")
    assert (hand.clicks, hand.keys) == (2, 0)
    friend = await context.new_page()
    await friend.goto(await page.evaluate("navigator.clipboard.readText()"))
    await expect(friend.locator("#log .row.marked .text")).to_have_text("OSError: no paper")
    await expect(friend.locator("#log .row.marked")).to_be_in_viewport()
    await context.close()


@pytest.mark.parametrize("path", ["/", "/ui/pipelines"])
async def test_a_pipeline_among_500_is_opened_by_its_first_letters(
    page: Page, many: Server, hand: Hand, path: str
):
    await page.goto(many.url + path)
    await hand.press("/")
    await hand.type("bil")
    await hand.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("billing of customers")
    assert (hand.clicks, hand.keys) == (0, len("bil") + 2)


async def test_a_build_runs_with_other_variables_by_two_clicks(
    page: Page, server: Server, failed: tuple[int, int], hand: Hand
):
    await page.goto(f"{server.url}/ui/jobs/{failed[1]}")
    await hand.click(page.get_by_role("link", name="Run again with changes"))
    # It has the values of that build, ready to be typed over.
    await expect(page.get_by_label("PAPER")).to_have_value("no")
    await page.get_by_label("PAPER").fill("yes")
    await hand.click(page.get_by_role("button", name="Start", exact=True))
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    assert hand.clicks == 2
