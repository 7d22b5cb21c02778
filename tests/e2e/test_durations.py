"""Scripts write elapsed times exactly as the server does."""

from __future__ import annotations

from playwright.async_api import Page

from tests.support.durations import ELAPSED, WHOLE_SECONDS
from tests.support.server import Server

FORMAT = """async (times) => {
  const { formatElapsed } = await import("/static/js/durations.js");
  return times.map(([milliseconds, tenths]) => formatElapsed(milliseconds, tenths));
}"""


async def test_elapsed_times_look_alike_in_scripts_and_on_the_server(page: Page, server: Server):
    await page.goto(server.url)
    times = [[time, True] for time, _ in ELAPSED] + [[time, False] for time, _ in WHOLE_SECONDS]
    assert await page.evaluate(FORMAT, times) == [text for _, text in ELAPSED + WHOLE_SECONDS]
