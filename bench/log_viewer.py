"""The log in a browser: how soon any place in a million lines is on the screen, and what the tab takes."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path

from playwright.async_api import Browser, CDPSession, Page, async_playwright, expect

from bench.table import Row
from tests.support.server import Server

_LINES = 1_000_000
_LINE = "this is a line of ordinary output that a build prints when it is busy, and goes on to print"
_MIDDLE = 654_321
_WANTED = 876_543


def log_viewer(server: Server, image: str) -> Row:
    """First lines, the end, any line and a search of a 100 MB log; the memory of the tab after all that.

    Compared with a log of one line, with what a tab takes only to load the log, and with `curl` and `grep`.
    """
    step = f'seq -f "%07.0f {_LINE}" {_LINES}'
    small, large = (
        server.run({"name": "bench log viewer", "image": image, "steps": [one]}, seconds=120)["job"]["id"]
        for one in (f"echo 0000001 {_LINE}", step)
    )
    return asyncio.run(_measure(server.url, small, large))


async def _measure(server: str, small: int, large: int) -> Row:
    stream = f"{server}/jobs/{large}/logs/stream"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium-headless-shell",
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        # The first page of a browser takes its time whatever it shows.
        await _opened(browser, f"{server}/ui/jobs/{small}")
        one_line, _ = await _opened(browser, f"{server}/ui/jobs/{small}")
        first, page = await _opened(browser, f"{server}/ui/jobs/{large}")
        end = await _until(page, _LINES, page.keyboard.press("f"))
        place = f"location.hash = '#step:1:{_MIDDLE}'"
        middle = await _until(page, _MIDDLE, page.evaluate(place))
        found = await _searched(page, _WANTED)
        frame = await _longest_frame(page)
        memory = await _memory(await browser.new_browser_cdp_session(), page)
        await page.goto(f"{server}/health")
        loaded = min([await _loaded(page, stream) for _ in range(3)])
        await browser.close()
    grepped = min(_grepped(stream, _WANTED) for _ in range(3))
    return Row(
        "1,000,000 lines, 100 MB, in the browser",
        "first lines under 1 s, or 1.5 times a log of one line; end under 1 s, any line under 0.5 s, "
        "a search under 2 s, under 250 MB",
        f"first {first:.2f} s, end {end:.2f} s, any {middle:.2f} s, search {found:.2f} s, "
        f"tab {memory:.0f} MB, longest frame while scrolling {frame:.0f} ms",
        f"a log of one line {one_line:.2f} s (first {first / one_line:.1f} times); fetched and not shown "
        f"{loaded:.2f} s (end {end / loaded:.1f} times); curl and grep {grepped:.2f} s "
        f"(search {found / grepped:.1f} times)",
        first < max(1, 1.5 * one_line) and end < 1 and middle < 0.5 and found < 2 and memory < 250,
    )


async def _opened(browser: Browser, address: str) -> tuple[float, Page]:
    """Seconds until a page of a log shows its first line, with an empty cache, and the page."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    return await _until(page, 1, page.goto(address)), page


async def _until(page: Page, number: int, action: object) -> float:
    """Seconds from an action to when the line with a number can be seen."""
    begin = time.perf_counter()
    await action  # type: ignore[misc]
    line = page.locator("#log .row .text").filter(has_text=re.compile(f"^{number:07} "))
    await expect(line).to_be_in_viewport(timeout=20_000)
    return time.perf_counter() - begin


async def _searched(page: Page, number: int) -> float:
    """Seconds from the last letter of a search to when the only line that it finds can be seen."""
    await page.evaluate("location.hash = '#step:1:1'")
    await page.keyboard.press("/")
    took = await _until(page, number, page.locator("#log-query").fill(f"{number:07} "))
    await expect(page.locator("#log output")).to_have_text("1 of 1")
    await page.keyboard.press("Escape")
    return took


async def _loaded(page: Page, stream: str) -> float:
    """Seconds in which a tab loads the whole log and does nothing with it."""
    load = """async (stream) => {
      const begin = performance.now(), reader = (await fetch(stream)).body.getReader();
      while (!(await reader.read()).done);
      return (performance.now() - begin) / 1000;
    }"""
    return await page.evaluate(load, stream)


def _grepped(stream: str, number: int) -> float:
    """Seconds in which the line with a number is found without the viewer."""
    begin = time.perf_counter()
    command = f"curl -s {stream} | grep -c '{number:07} '"
    found = subprocess.run(command, shell=True, capture_output=True, check=True)
    assert found.stdout == b"1\n", found.stdout
    return time.perf_counter() - begin


async def _longest_frame(page: Page) -> float:
    """The longest time between two frames, in ms, while the log is scrolled by two pages a frame."""
    return await page.evaluate(
        """() => new Promise((done) => {
          const view = document.querySelector('#log .output');
          let last = performance.now(), longest = 0, count = 0;
          const step = (now) => {
            longest = Math.max(longest, now - last);
            last = now;
            view.scrollTop += 2 * view.clientHeight;
            if (++count < 120) requestAnimationFrame(step); else done(longest);
          };
          requestAnimationFrame((now) => { last = now; requestAnimationFrame(step); });
        })"""
    )


async def _memory(session: CDPSession, page: Page) -> float:
    """Memory of the largest renderer, in MB: what the tab alone has, without what it shares."""
    processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    renderers = [int(process["id"]) for process in processes if process["type"] == "renderer"]
    return max(_private(renderer) for renderer in renderers)


def _private(pid: int) -> float:
    status = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_(?:Clean|Dirty):\s+(\d+) kB", status)) / 1000
