"""Pages for what is not there or does not work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Console
from tests.support.engine_proxy import EngineProxy
from tests.support.server import Server


@pytest.mark.parametrize("address", ["/ui/jobs/999999", "/ui/pipelines/999999", "/ui/nonsense", "/nonsense"])
async def test_what_is_not_there_says_so_and_leads_back(
    page: Page, server: Server, console: Console, address: str
):
    console.allow("404")
    await page.goto(f"{server.url}{address}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    await page.get_by_role("link", name="Back to the dashboard").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


async def test_an_engine_that_is_away_is_told_on_every_page(
    page: Page, new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
):
    proxy = EngineProxy()
    monkeypatch.setenv("DOCKER_HOST", proxy.host)
    server = new_server().start()
    job = server.run({"name": "Before", "steps": ["true"]})["job"]
    proxy.go_away()
    waiting = server.start_build(job["pipeline_id"])
    for address in ("/", f"/ui/pipelines/{job['pipeline_id']}", f"/ui/jobs/{waiting}"):
        await page.goto(f"{server.url}{address}")
        while not await page.get_by_text("No build can be started").count():
            await page.reload()
        await expect(page.get_by_text("No build can be started")).to_be_visible()
    proxy.come_back()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success", timeout=30_000)
