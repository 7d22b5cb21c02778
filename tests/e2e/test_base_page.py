"""What every page has."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.e2e.conftest import Console
from tests.support.server import Server

RELOADED = "performance.getEntriesByType('navigation')[0].type === 'reload'"


async def test_the_dashboard_opens(page: Page, server: Server):
    await page.goto(server.url)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


async def test_the_first_tab_stop_skips_to_the_content(page: Page, server: Server):
    await page.goto(server.url)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"


async def test_a_chosen_theme_is_there_before_anything_is_drawn(page: Page, server: Server, console: Console):
    console.allow("ERR_FAILED")
    await page.emulate_media(color_scheme="light")
    await page.goto(server.url)
    switch = page.get_by_role("button", name="Theme")
    for name in ("light", "dark"):
        await switch.click()
        await expect(switch).to_have_text(f"Theme: {name}")
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    # Without page.js, which runs after the page was drawn, the theme is that of theme.js.
    await page.route("**/js/page.js*", lambda route: route.abort())
    await page.goto(f"{server.url}/ui/pipelines/new")
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


async def test_a_page_without_one_of_its_scripts_is_loaded_again(
    page: Page, server: Server, console: Console
):
    console.allow("ERR_FAILED")
    # Not page.js itself, but what it imports.
    await page.route("**/js/keys.js*", lambda route: route.abort(), times=3)
    await page.goto(server.url)
    assert await page.evaluate(RELOADED)
    await expect(page.get_by_role("button", name="Theme")).to_be_visible()


async def test_a_page_whose_script_never_arrives_is_left_as_it_is_in_the_end(
    page: Page, server: Server, console: Console
):
    console.allow("ERR_FAILED")
    await page.route("**/js/keys.js*", lambda route: route.abort())
    await page.goto(server.url)
    assert await page.locator("html").get_attribute("data-whole") == "no"
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


async def test_reduced_motion_stops_what_turns(page: Page, server: Server):
    job = server.start_job({"name": "Turning", "steps": ["sleep 120"]})
    server.wait_output(job, "Step 1")
    turning = "getComputedStyle(document.querySelector('.status.running svg')).animationName"
    await page.emulate_media(reduced_motion="no-preference")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    assert await page.evaluate(turning) == "turn"
    await page.emulate_media(reduced_motion="reduce")
    assert await page.evaluate(turning) == "none"
    server.post(f"/jobs/{job}/cancel")
