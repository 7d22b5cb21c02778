"""The chart of a pipeline's builds."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page, expect

from tests.e2e.test_finding import add_build, add_rows
from tests.support.server import Server

BEGAN = 1_700_000_000_000


async def test_chart_has_an_axis_and_one_outlier_does_not_flatten_the_rest(page: Page, tmp_path: Path):
    server = Server(tmp_path / "data", executor="process").start()
    server.stop()
    add_rows(server, 1)
    for number in range(30):
        seconds = 7200 if number == 20 else 10
        add_build(server, 1, started_at=BEGAN, finished_at=BEGAN + seconds * 1000)
    server.start()
    await page.goto(f"{server.url}/ui/pipelines/1")
    plot, bars = page.locator(".plot"), page.locator(".plot .bars a")
    await expect(bars).to_have_count(30)
    heights = [box["height"] if (box := await bar.bounding_box()) else 0 for bar in await bars.all()]
    whole = await plot.bounding_box()
    assert whole is not None
    assert min(heights) > whole["height"] / 4
    assert heights[20] == max(heights) <= whole["height"] + 1
    # The outlier is cut, so that its length is said by its title alone.
    await expect(bars.nth(20).locator("title")).to_have_text("#21 success, 2h00m")
    marks = await page.locator(".plot .axis span").all_text_contents()
    assert len(marks) >= 3 and marks[-1] == "0" and "2h00m" not in marks
    server.stop()
