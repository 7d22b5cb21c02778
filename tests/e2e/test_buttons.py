"""Buttons: each does its work once, and none comes under the pointer in place of another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.async_api import Dialog, Page, expect

from tests.e2e.conftest import Console
from tests.support.server import Server, wait_for

SLOW = {"name": "Slow", "steps": ["sleep 120"]}


async def test_a_double_click_starts_one_build(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Clicked twice", "steps": ["true"]})
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await page.get_by_role("button", name="Start", exact=True).dblclick()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    await page.get_by_role("button", name="Retry").dblclick()
    await expect(page.locator("h1")).not_to_contain_text("running")
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    assert len(server.get(f"/pipelines/{pipeline}/jobs").json) == 3


async def test_cancel_asks_by_click_and_by_key(page: Page, server: Server):
    job = server.start_job(SLOW)
    server.wait_output(job, "Step 1")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    asked: list[str] = []

    async def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.dismiss()

    page.once("dialog", refuse)
    await page.get_by_role("button", name="Cancel").click()
    page.once("dialog", refuse)
    await page.keyboard.press("c")
    assert asked == [f"Cancel build #{job}?"] * 2
    assert server.job(job)["cancelled"] is False
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "cancelled")


async def test_a_second_click_on_cancel_hits_nothing(page: Page, server: Server):
    for width in (390, 1280):
        job = server.start_job(SLOW)
        server.wait_output(job, "Step 1")
        await page.set_viewport_size({"width": width, "height": 900})
        await page.goto(f"{server.url}/ui/jobs/{job}")
        box = await page.get_by_role("button", name="Cancel").bounding_box()
        assert box is not None
        page.once("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_role("button", name="Retry")).to_be_visible()
        hit = "([x, y]) => document.elementFromPoint(x, y).closest('a, button, form')?.outerHTML ?? null"
        for share in (0.05, 0.5, 0.95):
            at = [box["x"] + share * box["width"], box["y"] + box["height"] / 2]
            assert await page.evaluate(hit, at) is None


@pytest.mark.parametrize("several", [False, True])
async def test_post_steps_of_a_cancelled_build_can_be_stopped(
    page: Page, server: Server, console: Console, several: bool
):
    console.allow("ERR_ABORTED")
    one = {"steps": SLOW["steps"], "post": ["echo post steps begin; sleep 120"]}
    job = server.start_job(
        {"name": "Slow", "jobs": {"a": one, "b": one}} if several else {"name": "Slow", **one}
    )
    if several:
        wait_for(lambda: len(server.get(f"/jobs?lead_id={job}").json) == 2, "the parts begin")
    parts = [part["id"] for part in server.get(f"/jobs?lead_id={job}").json] or [job]
    for part in parts:
        server.wait_output(part, "Step 1")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    asked: list[str] = []

    async def accept(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.accept()

    page.on("dialog", accept)
    # The page waits for the answer, which comes when the post steps have ended, and can still be used.
    await page.route("**/cancel", lambda route: route.abort("aborted"), times=1)
    await page.get_by_role("button", name="Cancel").click()
    with ThreadPoolExecutor(1) as threads:
        cancelled = threads.submit(server.post, f"/jobs/{job}/cancel", None, 120)
        for part in parts:
            server.wait_output(part, "post steps begin")
        await page.get_by_role("button", name="Stop post steps").click()
        await expect(page.locator("#job")).to_have_attribute("data-status", "cancelled")
        assert cancelled.result().status == 200
    assert asked == [f"Cancel build #{job}?", f"Stop the post steps of build #{job}?"]
