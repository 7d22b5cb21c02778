"""What helps to find, to send and to keep lines of a log."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.e2e.conftest import Console
from tests.e2e.test_log_viewer import ended, in_sight, opened, shows
from tests.support.server import Server


@pytest.fixture(scope="module")
def tools(server: Server) -> dict[str, Any]:
    """A build with steps, groups, and lines that other tools show in their own way."""
    first = "\n".join(
        (
            "echo ::group::Install; seq 5; echo ::endgroup::",
            "echo '::error file=a.c,line=1::it is wrong'; echo '::warning::take care'",
            "echo '##[error]so is it'",
            "echo '=== not the server ==='; printf -- '--- Folded\\na\\nb\\n+++ Open\\nc\\n'",
        )
    )
    steps = [{"name": "first", "content": first}, {"name": "second", "content": "seq 1000"}]
    return server.run({"name": "tools", "steps": steps})


async def test_header_of_the_step_in_sight_sticks(page: Page, server: Server, tools: dict[str, Any]):
    await opened(page, server, tools["job"]["id"], "#step:2:500")
    stuck = page.locator("#log .stuck")
    await expect(stuck).to_contain_text("2. second")
    await expect(stuck.locator(".toggle")).to_be_in_viewport()
    await expect(page.locator("#step-2")).to_have_attribute("aria-current", "step")
    await page.evaluate("document.querySelector('#log .output').scrollTop = 0")
    await expect(page.locator("#step-1")).to_have_attribute("aria-current", "step")
    await expect(page.locator("[aria-current=step]")).to_have_count(1)
    await expect(stuck.locator(".toggle")).to_have_count(0)


async def test_search_finds_as_one_types_and_marks_where(page: Page, server: Server, tools: dict[str, Any]):
    await opened(page, server, tools["job"]["id"], "#step:2:1")
    await page.keyboard.press("/")
    await page.keyboard.type("99")
    output = page.locator("#log output")
    await expect(output).to_have_text("1 of 19")
    assert "99" in await in_sight(page)
    marks = page.locator("#log canvas.marks")
    await expect(marks).to_be_visible()
    assert int(await marks.get_attribute("data-marks") or 0) >= 10
    await page.keyboard.type("9")
    await expect(output).to_have_text("1 of 1")
    assert "999" in await in_sight(page)
    await page.keyboard.press("Escape")
    await expect(marks).to_be_hidden()


async def test_the_previous_match_from_the_end_is_the_last_one(
    page: Page, server: Server, tools: dict[str, Any]
):
    await opened(page, server, tools["job"]["id"], "#step:2:1")
    await page.click('[data-action="follow"]')
    await expect(page.locator("#log .row").filter(has_text="1000")).to_be_in_viewport()
    await page.keyboard.press("/")
    await page.locator("#log-query").fill("50")  # of which none is in sight or after it
    await page.keyboard.press("Shift+Enter")
    await expect(page.locator("#log output")).to_have_text("20 of 20")


async def expect_marked(page: Page, *texts: str) -> None:
    """Waits until just these texts are marked, in this order."""
    marked = "[...CSS.highlights.get('search') ?? []].map(String)"
    await page.wait_for_function(
        f"(texts) => {marked}.join() === texts.join()", arg=list(texts), timeout=30_000
    )


async def test_an_expression_that_takes_for_ever_in_browsers_does_not_hold_the_page(
    page: Page, server: Server
):
    script = "echo aaa; printf 'a%.0s' $(seq 40); echo '!'; echo aa"
    job = server.run({"name": "for ever", "steps": [script]})["job"]["id"]
    await opened(page, server, job)
    await page.keyboard.press("/")
    await page.get_by_label("Regular expression").check()
    output = page.locator("#log output")
    await page.locator("#log-query").fill("(a+)+$")
    await expect(output).to_have_text("1 of 2, not all marked")
    await expect_marked(page, "aaa", "aa")
    await page.locator("#log-query").fill("^a+!")
    await expect(output).to_have_text("1 of 1")
    await expect_marked(page, "a" * 40 + "!")


async def test_what_matches_is_marked_also_where_the_worker_comes_late(page: Page, server: Server):
    late = asyncio.Event()

    async def delayed(route: Route) -> None:
        await late.wait()
        await route.continue_()

    job = server.run({"name": "late", "steps": ["echo aaa; echo bbb"]})["job"]["id"]
    await page.route("**/matches.js*", delayed)
    await opened(page, server, job)
    await page.keyboard.press("/")
    await page.locator("#log-query").fill("aaa")
    output = page.locator("#log output")
    await expect(output).to_have_text("1 of 1")
    await page.wait_for_timeout(1_500)  # longer than a text may take
    late.set()
    await expect_marked(page, "aaa")
    await expect(output).to_have_text("1 of 1")


async def test_a_worker_that_does_not_come_is_asked_for_again(page: Page, server: Server, console: Console):
    console.allow("ERR_FAILED")
    job = server.run({"name": "lost", "steps": ["echo aaa; echo bbb"]})["job"]["id"]
    await page.route("**/matches.js*", lambda route: route.abort())
    await opened(page, server, job)
    await page.keyboard.press("/")
    await page.locator("#log-query").fill("aaa")
    await expect(page.locator("#log output")).to_have_text("1 of 1, not all marked")
    await page.unroute_all()
    await page.locator("#log-query").fill("bb")
    await expect_marked(page, "bb")
    await page.locator("#log-query").fill("")
    await expect_marked(page)


async def test_marks_go_with_what_was_searched_for(page: Page, server: Server, console: Console):
    console.allow("422")
    job = server.run({"name": "gone", "steps": ["echo aa; echo bb"]})["job"]["id"]
    await opened(page, server, job)
    await page.keyboard.press("/")
    query, output = page.locator("#log-query"), page.locator("#log output")
    await query.fill("aa")
    await expect_marked(page, "aa")
    await query.fill("zzzz")
    await expect(output).to_have_text("Nothing found")
    await expect_marked(page)
    await query.fill("aa")
    await expect_marked(page, "aa")
    await page.get_by_label("Regular expression").check()
    await query.fill("aa(")
    await expect(output).to_contain_text("missing")
    await expect_marked(page)


async def test_link_of_a_line_is_copied_in_two_clicks(
    browser: Browser, server: Server, tools: dict[str, Any]
):
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await opened(page, server, tools["job"]["id"], "#step:2")
    await page.locator('#log a.number[data-number="12"]').last.click()
    await page.get_by_role("button", name="Copy link").click()
    await expect(page.locator("#log .said")).to_have_text("Copied the link.")
    link = await page.evaluate("navigator.clipboard.readText()")
    assert link == f"{server.url}/ui/jobs/{tools['job']['id']}#step:2:12"
    await context.close()


async def test_lines_for_other_tools_look_as_there(page: Page, server: Server, tools: dict[str, Any]):
    await opened(page, server, tools["job"]["id"], "#step:1:1")
    await ended(page)
    groups = page.locator("#log .row.group")
    await expect(groups).to_have_text(
        [re.compile("Install.*5 lines"), re.compile("Folded.*2 lines"), re.compile("Open.*1 line$")]
    )
    await expect(groups.nth(1).locator(".toggle")).to_have_attribute("aria-expanded", "false")
    await expect(groups.nth(2).locator(".toggle")).to_have_attribute("aria-expanded", "true")
    errors = page.locator("#log .row.announces-error .text")
    await expect(errors).to_have_text(["Error: it is wrong", "Error: so is it"])
    await expect(page.locator("#log .row.announces-warning .text")).to_have_text("Warning: take care")
    assert not any("endgroup" in text for text in await in_sight(page))
    job = tools["job"]["id"]
    assert server.get(f"/ui/jobs/{job}/log/search?q=Error%3A%20it").json["count"] == 1
    # A build can't imitate the server's own lines, the last of which says nothing new.
    await shows(page, "=== not the server ===")
    await expect(page.locator("#log .row.final")).to_have_count(0)
    await page.keyboard.press("f")
    await shows(page, "1000")
    assert not any("Build completed" in text for text in await in_sight(page))


async def test_lines_are_copied_where_browsers_have_no_clipboard(
    page: Page, server: Server, tools: dict[str, Any]
):
    await page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.add_init_script(
        "document.addEventListener('copy', () => { window.copied = getSelection().toString()"
        " || document.activeElement.value; })"
    )
    await opened(page, server, tools["job"]["id"], "#step:2:15-17")
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.locator("#log .said")).to_have_text("Copied 3 lines.")
    assert await page.evaluate("window.copied") == "15\n16\n17"


async def test_refused_copy_is_told(page: Page, server: Server, tools: dict[str, Any]):
    await page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
        "document.execCommand = () => false;"
    )
    await opened(page, server, tools["job"]["id"], "#step:2:15-17")
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.locator("#log .said")).to_contain_text("refused to copy")


async def test_print_says_that_it_has_not_the_whole_log(page: Page, server: Server, tools: dict[str, Any]):
    await opened(page, server, tools["job"]["id"])
    note = page.locator("#log .printed")
    await expect(note).to_be_hidden()
    await page.emulate_media(media="print")
    await expect(note).to_be_visible()
    await expect(note).to_contain_text("Only the lines in sight are printed")
    await expect(page.get_by_role("toolbar")).to_be_hidden()
