"""The documentation within the product: reached from where one needs it, read without scripts."""

from __future__ import annotations

import re

from playwright.async_api import Browser, Page, expect

from tests.support.server import Server

IN_SIGHT = """(element) => {
  const { top, bottom } = element.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}"""


async def test_docs_are_read_without_scripts_and_their_index_leads_to_what_it_names(
    browser: Browser, server: Server
) -> None:
    for width in (1280, 390):
        context = await browser.new_context(
            java_script_enabled=False, viewport={"width": width, "height": 800}
        )
        page = await context.new_page()
        await page.goto(f"{server.url}/")
        await page.get_by_role("link", name="Docs", exact=True).click()
        await page.get_by_role("link", name="Settings", exact=True).first.click()
        if width < 960:
            await page.get_by_text("On this page").click()
        await page.get_by_role("link", name="RAPIDFLOW_KEEP_IMAGES", exact=True).click()
        await expect(page).to_have_url(f"{server.url}/ui/docs/settings#RAPIDFLOW_KEEP_IMAGES")
        row = page.get_by_role("row" if width > 960 else "code").filter(has_text="RAPIDFLOW_KEEP_IMAGES")
        assert await row.evaluate(IN_SIGHT)
        await context.close()


async def test_api_page_has_an_index_that_leads_to_each_call(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/ui/api")
    index = page.get_by_role("navigation", name="Documentation")
    links = index.locator(".calls a")
    missing = await links.evaluate_all("(all) => all.filter((one) => !document.querySelector(one.hash))")
    assert missing == []
    ids = await page.locator("[id]").evaluate_all("(all) => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
    described = server.get("/openapi.json").json
    calls = sum(len(methods) for methods in described["paths"].values())
    assert await links.count() == calls + len(described["components"]["schemas"])
    await index.get_by_role("link", name="POST /jobs/{job_id}/retry", exact=True).click()
    assert await page.locator(":target h3").evaluate(IN_SIGHT)
    await expect(page.locator(":target h3")).to_have_text("POST /jobs/{job_id}/retry")
    # The index stays beside what one reads.
    await expect(index.get_by_role("link", name="POST /jobs/{job_id}/retry", exact=True)).to_be_in_viewport()


async def test_problems_of_a_definition_lead_to_the_docs_of_their_keys(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/ui/pipelines/new")
    await page.get_by_label("Definition").fill("name: a\ntimeout: never\nsteps: [{content: b, type: perl}]\n")
    await expect(page.locator(".problems li")).to_have_count(2)
    links = page.locator(".problems a", has_text="Docs")
    await expect(links.nth(0)).to_have_attribute("href", "/ui/docs/pipelines#keys-timeout")
    await expect(links.nth(1)).to_have_attribute("href", "/ui/docs/pipelines#keys-of-a-step-type")
    async with page.context.expect_page() as opened:
        await page.get_by_role("link", name="All keys").click()
    await expect(await opened.value).to_have_url(re.compile(r"/ui/docs/pipelines#keys$"))
