"""Times on the pages are those of the reader's clock; what a pointer shows of them is UTC, with seconds."""

from __future__ import annotations

import re

from playwright.async_api import Browser, expect

from tests.support.server import Server

UTC = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$")
AT = """(element) => new Intl.DateTimeFormat([], {
  dateStyle: "medium", timeStyle: "short", timeZone: "Asia/Tokyo" }).format(Number(element.dataset.at))"""


async def test_times_are_local_and_utc_when_pointed_at(browser: Browser, server: Server):
    job = server.run({"name": "Timed", "steps": ["true"]})["job"]["id"]
    context = await browser.new_context(timezone_id="Asia/Tokyo")
    page = await context.new_page()
    await page.goto(f"{server.url}/ui/jobs/{job}")
    created = page.locator("time[data-at]").first
    await expect(created).not_to_contain_text("UTC")
    await expect(created).to_have_text(await created.evaluate(AT))
    for time in await page.locator("time").all():
        assert UTC.match(await time.get_attribute("title") or ""), await time.evaluate("one => one.outerHTML")
    await page.goto(f"{server.url}/ui/audit")
    await expect(page.locator("time[data-at]").first).not_to_contain_text("UTC")
    await context.close()


async def test_without_scripts_times_say_that_they_are_utc(browser: Browser, server: Server):
    job = server.run({"name": "Timed", "steps": ["true"]})["job"]["id"]
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("time[data-at]").first).to_contain_text("UTC")
    await context.close()
