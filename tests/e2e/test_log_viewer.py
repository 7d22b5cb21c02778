"""The log in the browser: any size, live, at the right place, as text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import Console
from tests.support.gates import let_go, waiting
from tests.support.server import Server, wait_for


async def opened(page: Page, server: Server, job_id: int, place: str = "") -> None:
    """Opens a job's page and waits until its log is drawn."""
    await page.goto(f"{server.url}/ui/jobs/{job_id}{place}")
    await expect(page.locator("#log .row").first).to_be_visible()


async def shows(page: Page, text: str) -> None:
    """Waits until a line is just `text`."""
    line = page.locator("#log .row .text").filter(has_text=re.compile(f"^{re.escape(text)}$"))
    await expect(line.first).to_be_visible(timeout=30_000)


async def ended(page: Page) -> None:
    """Waits until the page knows all of the log."""
    await expect(page.locator("#log[data-ended]")).to_be_attached(timeout=60_000)


async def rows(page: Page) -> list[str]:
    """The texts of the rows that are in the page, from top to bottom."""
    return await page.locator("#log .row .text").all_text_contents()


async def in_sight(page: Page) -> list[str]:
    """The texts of the rows that can be seen."""
    return await page.evaluate(
        """() => {
          const view = document.querySelector('#log .output').getBoundingClientRect();
          return [...document.querySelectorAll('#log .row')]
            .filter((row) => { const box = row.getBoundingClientRect();
                               return box.bottom > view.top + 1 && box.top < view.bottom - 1; })
            .map((row) => (row.querySelector('.text') ?? row).textContent);
        }"""
    )


async def all_lines(page: Page, count: int) -> list[str]:
    """All lines that have numbers, found by scrolling through the log."""
    found: dict[int, str] = {}
    height = await page.evaluate("document.querySelector('#log .output').scrollHeight")
    for top in range(0, height + 600, 300):
        await page.evaluate("(top) => (document.querySelector('#log .output').scrollTop = top)", top)
        await page.wait_for_timeout(40)
        found |= {
            int(line): text
            for line, text in await page.evaluate(
                """() => [...document.querySelectorAll('#log .row:has(a.number)')]
                     .map((row) => [row.dataset.line, row.querySelector('.text').textContent])"""
            )
        }
        if len(found) == count:
            break
    return [found[line] for line in sorted(found)]


@pytest.fixture(scope="module")
def red(server: Server) -> dict[str, Any]:
    """A build that fails in its second step, with groups and an error among much else."""
    prepare = "echo ::group::Install; seq 5; echo ::endgroup::; echo ready"
    test = "seq 500; echo 'src/main.c:42:7: error: no counter'; seq 501 1000; exit 2"
    return server.run(
        {
            "name": "viewer",
            "steps": [{"name": "prepare", "content": prepare}, {"name": "test", "content": test}],
        }
    )


async def test_a_failed_build_opens_at_its_first_error(page: Page, server: Server, red: dict[str, Any]):
    await opened(page, server, red["job"]["id"])
    await expect(page.locator("#log .row.error .text")).to_have_text("src/main.c:42:7: error: no counter")
    await expect(page.locator("#log .row.error")).to_be_in_viewport()
    assert {"499", "500", "501", "502"} <= set(await in_sight(page))


async def test_a_cancelled_build_opens_at_its_end(page: Page, server: Server):
    step = "trap 'echo cleaned up; exit 1' TERM; seq 500; echo waits; while :; do sleep 0.05; done"
    job_id = server.start_job({"name": "cancelled", "steps": [step]})
    server.wait_output(job_id, "waits\n")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    await opened(page, server, job_id)
    await shows(page, "cleaned up")
    assert "cleaned up" in await in_sight(page)


async def test_a_link_to_lines_opens_there_with_them_marked(page: Page, server: Server, red: dict[str, Any]):
    await opened(page, server, red["job"]["id"], "#step:2:15-17")
    await expect(page.locator("#log .row.marked .text")).to_have_text(["15", "16", "17"])
    await expect(page.locator("#log .row.marked").first).to_be_in_viewport()


async def test_numbers_are_links_and_shift_extends_them(page: Page, server: Server, red: dict[str, Any]):
    await opened(page, server, red["job"]["id"], "#step:2:10")
    await page.locator('#log a.number[data-number="12"]').click()
    assert page.url.endswith("#step:2:12")
    await page.locator('#log a.number[data-number="14"]').click(modifiers=["Shift"])
    assert page.url.endswith("#step:2:12-14")
    await expect(page.locator("#log .row.marked .text")).to_have_text(["12", "13", "14"])


async def test_the_groups_come_also_when_they_did_not_come_at_first(
    page: Page, server: Server, red: dict[str, Any], console: Console
):
    console.allow("ERR_FAILED")
    await page.route("**/log/outline", lambda route: route.abort(), times=1)
    await opened(page, server, red["job"]["id"], "#step:1:1")
    await expect(page.locator("#log .row .toggle")).to_have_count(3)


async def test_steps_and_groups_fold(page: Page, server: Server, red: dict[str, Any]):
    await opened(page, server, red["job"]["id"], "#step:1:1")
    group = page.locator("#log .row.group .toggle")
    await expect(group).to_have_text(re.compile("Install"))
    assert {"1", "5"} <= set(await rows(page))
    await group.click()
    await expect(group).to_have_attribute("aria-expanded", "false")
    assert "ready" in await in_sight(page)
    before = await rows(page)
    assert before.index("ready") == 0 or "5" not in before[: before.index("ready")]
    step = page.locator("#log .row.step .toggle").first
    await step.click()
    await expect(step).to_have_attribute("aria-expanded", "false")
    assert "ready" not in await rows(page)
    await page.keyboard.press("e")
    await expect(page.locator("#log .row.error")).to_be_in_viewport()


async def test_the_whole_log_is_searched(page: Page, server: Server, red: dict[str, Any], console: Console):
    console.allow("422")
    await opened(page, server, red["job"]["id"], "#step:1:1")
    await page.keyboard.press("/")
    await page.keyboard.type("99")
    output = page.locator("#log output")
    await expect(output).to_have_text("1 of 19")
    assert "99" in await in_sight(page)
    await page.keyboard.press("Enter")
    await expect(output).to_have_text("2 of 19")
    assert "199" in await in_sight(page)
    await page.keyboard.press("Shift+Enter")
    await expect(output).to_have_text("1 of 19")
    await page.get_by_label("Regular expression").check()
    await page.locator("#log-query").fill("^9.9$")
    await expect(output).to_have_text("1 of 10")
    await page.wait_for_function("CSS.highlights.get('search')?.size")
    await page.locator("#log-query").fill("(")
    await expect(output).to_have_text(re.compile("not a regular expression"))
    await page.wait_for_function("!CSS.highlights.has('search')")


async def test_what_a_build_prints_is_shown_as_text_as_a_terminal_would(page: Page, server: Server):
    script = r"""
printf '\033[1;31mred and bold\033[0m plain\n'
printf 'progress 10%%\rprogress 99%%\rdone        \n'
echo '<script>document.title = "hacked"</script><img src=x onerror="document.title=1">'
printf '\033]8;;https://example.com/a\033\\link\033]8;;\033\\ and https://example.com/b?c=1.\n'
printf 'broken \377\376 utf-8 \342\202\n'
printf '\033[2J\033[10;10H\033]0;title\007cleared\n'
"""
    job = server.run({"name": "text", "steps": [script]})
    await opened(page, server, job["job"]["id"])
    texts = await rows(page)
    assert texts[0] == "red and bold plain"
    assert texts[1].rstrip() == "done%" or texts[1].startswith("done")
    assert texts[2].startswith("<script>")
    assert texts[3] == "link and https://example.com/b?c=1."
    assert texts[4].startswith("broken \ufffd")
    assert texts[5].endswith("cleared")
    assert "hacked" not in await page.title()
    bold = page.locator("#log .text .bold.coloured")
    await expect(bold).to_have_text("red and bold")
    links = page.locator("#log .text a")
    assert [await one.get_attribute("href") for one in await links.all()] == [
        "https://example.com/a",
        "https://example.com/b?c=1",
    ]


async def test_a_line_of_ten_megabytes_is_shown_and_harms_nothing(page: Page, server: Server):
    job = server.run({"name": "long", "steps": ["head -c 10000000 /dev/zero | tr '\\0' x; echo; echo after"]})
    await opened(page, server, job["job"]["id"])
    await expect(page.locator("#log .row .text").first).to_have_text(re.compile("^x{3000}"))
    await page.keyboard.press("f")
    await shows(page, "after")
    assert await page.evaluate("document.querySelectorAll('#log .row').length") < 1000


async def test_a_running_build_is_followed_and_stays_put_for_who_reads_further_up(page: Page, server: Server):
    script = f"seq 300; {waiting()}; seq 301 30300; echo the end"
    job_id = server.start_job({"name": "live", "steps": [script]})
    server.wait_output(job_id, "\n300\n")
    await opened(page, server, job_id)
    await shows(page, "300")
    await expect(page.locator("[data-action=follow]")).to_have_attribute("aria-pressed", "true")
    await page.locator("#log .output").hover()
    await page.mouse.wheel(0, -2000)
    await expect(page.locator("[data-action=follow]")).to_have_attribute("aria-pressed", "false")
    await page.wait_for_timeout(200)
    before = await in_sight(page)
    let_go(server, job_id)
    await expect(page.locator("#log .pill")).to_be_visible()
    assert await in_sight(page) == before
    await page.locator("#log .pill").click()
    await ended(page)
    seen = await in_sight(page)
    assert seen[-1] == "the end"


async def test_a_burst_does_not_end_the_following(page: Page, server: Server):
    script = f"{waiting()}; for k in 1 2 3; do seq 30000; sleep 0.3; done; echo END"
    job_id = server.start_job({"name": "burst", "steps": [script]})
    server.wait_output(job_id, "=== Step 1")
    await opened(page, server, job_id)
    let_go(server, job_id)
    await ended(page)
    assert "END" in await in_sight(page)


async def test_nothing_is_lost_or_doubled_when_the_server_is_killed_in_the_middle(
    page: Page, new_server: Callable[..., Server], console: Console
):
    console.allow("ERR_")
    console.allow("Failed to fetch")
    console.allow("network error")
    console.allow("htmx")
    server = new_server().start()
    script = "for n in $(seq 600); do echo line $n of the build; sleep 0.01; done"
    job_id = server.start_job({"name": "killed", "steps": [script, "echo second"]})
    server.wait_output(job_id, "line 50 ")
    await opened(page, server, job_id)
    for _ in range(2):
        await asyncio.sleep(0.7)
        server.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.wait_finished, job_id)
    await ended(page)
    expected = [f"line {n} of the build" for n in range(1, 601)] + ["second"]
    assert await all_lines(page, len(expected)) == expected


async def test_a_tab_that_nobody_sees_has_no_connection_and_catches_up(page: Page, server: Server):
    await page.add_init_script(
        """Object.defineProperty(document, 'hidden', { get: () => Boolean(window.unseen) });
           window.see = (seen) => {
             window.unseen = !seen;
             document.dispatchEvent(new Event('visibilitychange'));
           };"""
    )
    script = f"seq 5; {waiting()}; seq 6 10; sleep 1; echo the end"
    job_id = server.start_job({"name": "unseen", "steps": [script]})
    server.wait_output(job_id, "\n5\n")
    await opened(page, server, job_id)
    await shows(page, "5")
    await followers(server, 1)
    await page.evaluate("see(false)")
    await followers(server, 0)
    let_go(server, job_id)
    await asyncio.to_thread(server.wait_finished, job_id)
    assert "the end" not in await rows(page)
    await page.evaluate("see(true)")
    await ended(page)
    assert (await in_sight(page))[1:11] == [str(number) for number in range(1, 11)]


async def test_a_link_into_a_step_that_has_not_begun_opens_when_it_has(page: Page, server: Server):
    job_id = server.start_job({"name": "later", "steps": [waiting(), "seq 2000; sleep 1"]})
    server.wait_output(job_id, "=== Step 1")
    await opened(page, server, job_id, "#step:2:1500")
    let_go(server, job_id)
    await expect(page.locator("#log .row.marked .text")).to_have_text("1500")
    await expect(page.locator("#log .row.marked")).to_be_in_viewport()


async def test_wrap_and_times_are_remembered(page: Page, server: Server, red: dict[str, Any]):
    await opened(page, server, red["job"]["id"])
    wrap, times = page.locator("[data-action=wrap]"), page.locator("[data-action=times]")
    await expect(wrap).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("w")
    await page.keyboard.press("t")
    await expect(wrap).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#log .row .time").nth(5)).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    await page.keyboard.press("t")
    await page.reload()
    await expect(wrap).to_have_attribute("aria-pressed", "false")
    await expect(times).to_have_text("Time since step start")
    await expect(page.locator("#log .row .time").nth(5)).to_have_text(re.compile(r"s$"))


async def test_the_log_reads_without_scripts(browser: Browser, server: Server, red: dict[str, Any]):
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{server.url}/ui/jobs/{red['job']['id']}")
    await expect(page.locator("#log pre.plain")).to_contain_text("=== Build completed ===")
    await expect(page.get_by_role("link", name="Raw")).to_have_attribute("href", re.compile("logs/stream"))
    # Nothing is offered that would need them.
    await expect(page.get_by_role("toolbar").get_by_role("button")).to_have_count(0)
    await context.close()


async def test_without_scripts_the_log_has_no_escape_codes(browser: Browser, server: Server):
    link = r"\033]8;;https://example.com\033\\a link\033]8;;\033\\"
    step = rf"printf '10%%\r100%%\n\033[1;32mgreen\033[0m\n{link}\n'"
    job = server.run({"name": "colours", "steps": [step]})["job"]["id"]
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{server.url}/ui/jobs/{job}")
    shown = await page.locator("#log pre.plain").inner_text()
    assert "\n100%\ngreen\na link\n" in shown
    await context.close()


async def followers(server: Server, count: int) -> None:
    """Waits until as many streams are sent."""
    text = f"rapidflow_followers {count}.0"
    await asyncio.to_thread(wait_for, lambda: text in server.get("/metrics").text, text)
