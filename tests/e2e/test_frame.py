"""What every page has."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.support.server import Server


async def test_the_dashboard_opens(page: Page, server: Server):
    await page.goto(server.url)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")
