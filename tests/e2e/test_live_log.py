"""A log that is still written: its outline, its first error, and following its end."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.e2e.test_log_viewer import ended, in_sight, opened, rows, shows
from tests.support.gates import let_go, waiting
from tests.support.server import Server

ERROR = "src/main.c:42:7: error: no counter"


async def test_groups_fold_while_the_build_runs(page: Page, server: Server):
    script = (
        f"echo ::group::First; seq 3; echo ::endgroup::; {waiting('a')}; "
        f"echo ::group::Second; seq 4; echo ::endgroup::; {waiting('b')}"
    )
    job = server.start_job({"name": "groups", "steps": [script]})
    server.wait_output(job, "::endgroup::")
    await opened(page, server, job)
    groups = page.locator("#log .row.group")
    await expect(groups).to_have_text([re.compile("First.*3 lines")])
    await groups.locator(".toggle").click()
    await expect(page.locator("#log .row .text").filter(has_text=re.compile("^3$"))).to_have_count(0)
    let_go(server, job, "a")
    await expect(groups).to_have_text([re.compile("First.*3 lines"), re.compile("Second.*4 lines")])
    await expect(groups.first.locator(".toggle")).to_have_attribute("aria-expanded", "false")
    assert not any("endgroup" in text for text in await rows(page))
    let_go(server, job, "b")


async def test_the_first_error_is_found_while_the_build_runs(page: Page, server: Server):
    job = server.start_job({"name": "early", "steps": [f"seq 300; echo '{ERROR}'; seq 300; {waiting()}"]})
    server.wait_output(job, ERROR)
    await opened(page, server, job)
    await expect(page.locator("#log .said")).to_have_text("")
    await page.keyboard.press("e")
    await expect(page.locator("#log .row.error .text")).to_have_text(ERROR)
    await expect(page.locator("#log .row.error")).to_be_in_viewport()
    let_go(server, job)


async def test_a_search_that_is_repeated_finds_what_was_written_meanwhile(page: Page, server: Server):
    script = f"echo begun; {waiting('a')}; echo wanted one; {waiting('b')}; echo wanted two; {waiting('c')}"
    job = server.start_job({"name": "searched", "steps": [script]})
    server.wait_output(job, "begun")
    await opened(page, server, job)
    await page.keyboard.press("/")
    await page.keyboard.type("wanted")
    output = page.locator("#log output")
    await expect(output).to_have_text("Nothing found")
    for gate, line, said in (("a", "wanted one", "1 of 1"), ("b", "wanted two", "2 of 2")):
        let_go(server, job, gate)
        await expect(page.locator("#log .row .text").filter(has_text=line)).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(output).to_have_text(said)
    await page.keyboard.press("Enter")
    await expect(output).to_have_text("1 of 2")
    let_go(server, job, "c")


async def test_a_followed_build_that_fails_goes_to_its_first_error(page: Page, server: Server):
    job = server.start_job({"name": "red", "steps": [f"{waiting()}; echo '{ERROR}'; seq 900; exit 1"]})
    server.wait_output(job, "=== Step 1")
    await opened(page, server, job)
    let_go(server, job)
    await ended(page)
    await expect(page.locator("#log .row.error .text")).to_have_text(ERROR)
    await expect(page.locator("#log .row.error")).to_be_in_viewport()


async def test_a_pill_leads_who_reads_elsewhere_to_the_first_error(page: Page, server: Server):
    script = f"seq 300; {waiting()}; echo '{ERROR}'; seq 900; exit 1"
    job = server.start_job({"name": "red", "steps": [script]})
    server.wait_output(job, "\n300\n")
    await opened(page, server, job)
    await page.evaluate("document.querySelector('#log .output').scrollTop = 0")
    await expect(page.locator("[data-action=follow]")).to_have_attribute("aria-pressed", "false")
    let_go(server, job)
    await ended(page)
    assert "1" in await in_sight(page)
    pill = page.locator("#log .pill")
    await expect(pill).to_have_text("Build failed: go to the first error")
    await pill.click()
    await expect(page.locator("#log .row.error")).to_be_in_viewport()
    await expect(page.locator("#log .row.error .text")).to_have_text(ERROR)


async def test_a_failed_build_never_has_no_error(page: Page, server: Server):
    job = server.run({"name": "silent", "steps": ["seq 900", "exit 3"]})["job"]["id"]
    await opened(page, server, job, "#step:1:1")
    await ended(page)
    reason = page.locator("#log .row .text").filter(has_text="=== Build failed: ")
    await expect(reason).to_have_count(0)
    await page.keyboard.press("e")
    await expect(reason).to_be_in_viewport()
    await expect(page.locator("#log .said")).to_have_text("")


async def test_following_is_switched_off_and_on(page: Page, server: Server):
    script = f"seq 300; {waiting('a')}; seq 301 600; {waiting('b')}; seq 601 900; {waiting('c')}"
    job = server.start_job({"name": "switched", "steps": [script]})
    server.wait_output(job, "\n300\n")
    await opened(page, server, job)
    await shows(page, "300")
    follow = page.locator("[data-action=follow]")
    await follow.click()
    await expect(follow).to_have_attribute("aria-pressed", "false")
    let_go(server, job, "a")
    await expect(page.locator("#log .pill")).to_have_text("↓ 300 new lines")
    assert "300" in await in_sight(page)
    await page.keyboard.press("f")
    await expect(follow).to_have_attribute("aria-pressed", "true")
    await shows(page, "600")
    await page.keyboard.press("f")
    await expect(follow).to_have_attribute("aria-pressed", "false")
    let_go(server, job, "b")
    await expect(page.locator("#log .pill")).to_have_text("↓ 300 new lines")
    assert "600" in await in_sight(page)
    let_go(server, job, "c")
    await ended(page)
    await expect(follow).to_have_text("End")
    await expect(follow).not_to_have_attribute("aria-pressed", re.compile(""))
    await page.keyboard.press("f")
    await shows(page, "900")


async def test_what_is_selected_stays_while_the_log_grows(page: Page, server: Server):
    line = "a line of a hundred characters " * 3 + "to drag over"
    script = f"seq 100; echo '{line}'; {waiting()}; for k in $(seq 30); do seq 40; sleep 0.1; done"
    job = server.start_job({"name": "selected", "steps": [script]})
    server.wait_output(job, "to drag over")
    await opened(page, server, job)
    await shows(page, line)
    row = page.locator("#log .row .text").filter(has_text="to drag over")
    # It may just be made anew.
    while (box := await row.bounding_box()) is None:
        await expect(row).to_be_visible()
    await page.mouse.move(box["x"] + 1, box["y"] + 10)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 10, steps=8)
    selected = await page.evaluate("getSelection().toString()")
    assert len(selected) > 90
    # Before anything was selected, the row may have been made anew.
    dragged = await page.evaluate_handle("getSelection().anchorNode.parentElement")
    let_go(server, job)
    await expect(page.locator("#log .pill")).to_be_visible()
    await page.mouse.up()
    await ended(page)
    assert await page.evaluate("getSelection().toString()") == selected
    assert await dragged.evaluate("(element) => element.isConnected")
    assert line in await in_sight(page)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900), (1920, 1080)])
async def test_the_followed_end_is_never_below_the_fold(page: Page, server: Server, width: int, height: int):
    await page.set_viewport_size({"width": width, "height": height})
    job = server.start_job({"name": "fold", "steps": [f"seq 300; echo the end so far; {waiting()}"]})
    server.wait_output(job, "the end so far")
    await opened(page, server, job)
    end = page.locator("#log .row .text").filter(has_text="the end so far")
    await expect(end).to_be_in_viewport()
    box = await page.locator("#log").bounding_box()
    assert box and box["y"] + box["height"] <= height
    assert await page.evaluate("scrollY") == 0
    let_go(server, job)
