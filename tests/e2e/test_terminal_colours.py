"""Lines and colours in the browser: nothing is cut, colours go on from line to line, and all can be read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.test_log_viewer import opened, shows
from tests.e2e.test_overwritten_lines import LOOK, printed
from tests.support.server import Server

CURL = b"".join(b"\r%3d  512M  %3d  5243k    0     0  5120k" % (at, at) * 3 for at in range(101))
# Per span of text: its contrast to what is behind it, worked out from what the browser paints.
CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => [red, green, blue].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    const found = parts(getComputedStyle(element).backgroundColor);
    return found[3] === 0 ? behind(element.parentElement) : found;
  };
  return [...document.querySelectorAll("#log .row .text > span")].map((span) => {
    for (let at = span; at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).opacity !== "1") return [0, `${span.textContent} is seen through`];
    }
    const text = parts(getComputedStyle(span).color);
    const [darker, lighter] = [luminance(text), luminance(behind(span))].sort((a, b) => a - b);
    return [(lighter + 0.05) / (darker + 0.05), span.textContent];
  });
}"""


async def colour_of(page: Page, text: str) -> str:
    """The colour in which the line is painted that is just `text`."""
    line = page.locator("#log .row .text").filter(has_text=re.compile(f"^{re.escape(text)}$"))
    return await line.first.evaluate("(text) => getComputedStyle(text.firstElementChild ?? text).color")


async def test_long_lines_are_one_row_without_wrap(page: Page, server: Server):
    lines = [
        b"0" * 4094 + b"\x1b[31mRED\x1b[0m end",
        b"0" * 4080 + b" see https://example.com/a/long/path end",
        CURL,
        b"x" * 50_000 + b"\x1b[32mGREEN\x1b[0m",
    ]
    job = server.run({"name": "cut", "steps": [printed(lines)]})["job"]["id"]
    await opened(page, server, job)
    await page.keyboard.press("w")
    await shows(page, "100  512M  100  5243k    0     0  5120k")
    assert (await page.evaluate(LOOK, 0))["faults"] == []
    await expect(page.locator("#log .row:has(a.number)")).to_have_count(4)
    red = page.locator("#log .row .text .coloured").first
    await expect(red).to_have_text("RED")
    await expect(page.locator("#log .row .text a")).to_have_text("https://example.com/a/long/path")
    # The far end of a line is drawn once one is there, in its own place.
    view = page.locator("#log .output")
    await expect(page.get_by_text("GREEN")).to_have_count(0)
    width = await view.evaluate("(view) => view.scrollWidth")
    await view.evaluate("(view) => { view.scrollLeft = view.scrollWidth }")
    await expect(page.get_by_text("GREEN")).to_be_in_viewport()
    assert abs(await view.evaluate("(view) => view.scrollWidth") - width) < 20


async def test_colour_of_a_part_is_the_same_from_wherever_one_comes(page: Page, server: Server):
    script = r"printf '\033[33m'; seq -f 'coloured %.0f' 20000; printf '\033[0m'; echo plain"
    job = server.run({"name": "jump", "steps": [script]})["job"]["id"]
    await opened(page, server, job)
    await shows(page, "coloured 5")
    yellow = await colour_of(page, "coloured 5")
    plain = await page.locator("#log .output").evaluate("(view) => getComputedStyle(view).color")
    assert yellow != plain
    for place in (20_000, 9_000, 15_000):
        await opened(page, server, job, f"#step:1:{place}")
        await shows(page, f"coloured {place}")
        await page.wait_for_load_state("networkidle")
        assert await colour_of(page, f"coloured {place}") == yellow
    await page.keyboard.press("f")
    await shows(page, "plain")
    assert await colour_of(page, "plain") == plain


def _every_colour() -> list[bytes]:
    foregrounds = [*range(30, 38), *range(90, 98), 39]
    grounds = [*range(40, 48), *range(100, 108), 49]
    lines = [
        b"".join(
            b"\x1b[0;%s%d;%dm%d on %d\x1b[0m " % (more, text, ground, text, ground) for text in foregrounds
        )
        for more in (b"", b"7;", b"2;")
        for ground in grounds
    ]
    greys = b"".join(b"\x1b[38;5;%d;48;5;%dm%d\x1b[0m " % (at, 511 - at, at) for at in range(232, 256))
    return [*lines, greys, b"\x1b[31;41mred on red\x1b[0m \x1b[7mreverse\x1b[0m \x1b[7;31mFAIL\x1b[0m"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_colour_can_be_read(page: Page, server: Server, scheme: Any):
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": 1280, "height": 2400})
    job = server.run({"name": "colours", "steps": [printed(_every_colour())]})["job"]["id"]
    await opened(page, server, job)
    await page.keyboard.press("w")
    await shows(page, "red on red reverse FAIL")
    await expect(page.locator("#log .row .line")).to_have_count(0)
    for row in (None, "#step:1:1-60"):  # marked rows have another ground
        if row:
            await page.evaluate("(hash) => { location.hash = hash }", row)
            await expect(page.locator("#log .row.marked").first).to_be_visible()
        found = await page.evaluate(CONTRASTS)
        assert len(found) > 300
        assert [text for contrast, text in found if contrast < 4.5] == []
