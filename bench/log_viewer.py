"""The log in a browser: how soon any place in a million lines is on the screen, and what the tab takes."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from playwright.async_api import CDPSession, Page, async_playwright, expect

from bench.table import Row
from tests.support.server import Server

_LINES = 1_000_000
_LINE = "this is a line of ordinary output that a build prints when it is busy, and goes on to print"
_MIDDLE = 654_321


def log_viewer(server: Server, image: str) -> Row:
    """First lines, the end and any line of a 100 MB log; the memory of the tab after all that."""
    step = f'seq -f "%07.0f {_LINE}" {_LINES}'
    job = server.run({"name": "bench log viewer", "image": image, "steps": [step]}, seconds=120)["job"]["id"]
    return asyncio.run(_measure(f"{server.url}/ui/jobs/{job}"))


async def _measure(address: str) -> Row:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium-headless-shell",
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        first = await _until(page, 1, page.goto(address))
        end = await _until(page, _LINES, page.keyboard.press("f"))
        place = f"location.hash = '#step:1:{_MIDDLE}'"
        middle = await _until(page, _MIDDLE, page.evaluate(place))
        frame = await _longest_frame(page)
        memory = await _memory(await browser.new_browser_cdp_session(), page)
        await browser.close()
    return Row(
        "1,000,000 lines, 100 MB, in the browser",
        "first lines and end under 1 s, any line under 0.5 s, under 250 MB",
        f"first {first:.2f} s, end {end:.2f} s, any {middle:.2f} s, tab {memory:.0f} MB, "
        f"longest frame while scrolling {frame:.0f} ms",
        "",
        first < 1 and end < 1 and middle < 0.5 and memory < 250,
    )


async def _until(page: Page, number: int, action: object) -> float:
    """Seconds from an action to when the line with a number can be seen."""
    begin = time.perf_counter()
    await action  # type: ignore[misc]
    line = page.locator("#log .row .text").filter(has_text=re.compile(f"^{number:07} "))
    await expect(line).to_be_in_viewport(timeout=20_000)
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
