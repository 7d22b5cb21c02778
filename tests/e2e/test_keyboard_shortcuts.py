"""What single keys do."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from tests.e2e.conftest import whole
from tests.support.server import Server

LONG = {"name": "Keyed", "steps": ["sleep 120"]}


async def test_a_question_mark_lists_the_keys_and_escape_closes_the_list(page: Page, server: Server):
    await page.goto(server.url)
    await page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(dialog).to_contain_text("Go to the dashboard")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()


async def test_single_keys_can_be_switched_off_for_good(page: Page, server: Server):
    await page.goto(f"{server.url}/ui/api")
    await page.keyboard.press("?")
    await page.get_by_label("Use single-key shortcuts").uncheck()
    await page.get_by_role("button", name="Close").click()
    await page.reload()
    await page.keyboard.type("gd")
    await page.wait_for_timeout(300)
    await expect(page).to_have_url(f"{server.url}/ui/api")
    await whole(page)
    await page.keyboard.press("?")
    await page.get_by_label("Use single-key shortcuts").check()
    await page.keyboard.press("Escape")
    await page.keyboard.type("gd")
    await expect(page).to_have_url(f"{server.url}/")


async def test_keys_do_nothing_while_one_types(page: Page, server: Server):
    await page.goto(f"{server.url}/ui/pipelines/new")
    await page.locator("#config").focus()
    await page.keyboard.type("gd?")
    await expect(page).to_have_url(f"{server.url}/ui/pipelines/new")
    await expect(page.locator("#config")).to_have_value(re.compile(r"gd\?"))


async def test_c_cancels_once_confirmed_and_r_retries(page: Page, server: Server):
    job = server.start_job(LONG)
    server.wait_output(job, "Step 1")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    await page.keyboard.press("c")
    assert server.job(job)["cancelled"] is False
    page.once("dialog", lambda dialog: dialog.accept())
    await page.keyboard.press("c")
    await expect(page.locator("h1")).to_contain_text("cancelled")
    await page.keyboard.press("r")
    await expect(page.locator("h1")).to_contain_text(re.compile("pending|running"))
    again = int(page.url.rsplit("/", 1)[1])
    assert server.job(again)["retry_of"] == job
    server.post(f"/jobs/{again}/cancel")


async def test_g_p_leads_to_the_pipeline_and_brackets_to_its_other_builds(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Sequence", "steps": ["true"]})
    jobs = [server.start_build(pipeline) for _ in range(2)]
    for job in jobs:
        server.wait_finished(job)
    await page.goto(f"{server.url}/ui/jobs/{jobs[1]}")
    await page.keyboard.press("[")
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{jobs[0]}")
    await whole(page)
    await page.keyboard.press("]")
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{jobs[1]}")
    await whole(page)
    await page.keyboard.type("gp")
    await expect(page).to_have_url(f"{server.url}/ui/pipelines/{pipeline}")
