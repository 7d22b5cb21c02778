"""Lists of builds: nothing is out of sight, and what went wrong is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.async_api import Page, expect

from tests.support.repos import Repo
from tests.support.server import Server, wait_for

BRANCH = "feature/a-branch-with-a-name-that-goes-on-" + "and-on-" * 20 + "to-the-end"
FAILS = {
    "name": "integration",
    "content": 'echo before\nprintf \'Traceback (most recent call last):\\n  File "x.py", line 3\\n'
    "httpx.ConnectTimeout: timed out\\n'\nexit 1",
}
OUT_OF_SIGHT = """() => [...document.querySelectorAll("main td, main th")].filter((cell) => {
  const box = cell.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 1 || box.left < 0);
}).map((cell) => cell.className)"""


def failed(server: Server, repo: Repo) -> tuple[int, int]:
    """A pipeline with a build of a long branch that failed."""
    repo.commit({"a": "1"}, "First")
    repo.git("checkout", "--quiet", "-b", BRANCH[:200])
    repo.commit({"a": "2"}, "Use the retrying client")
    pipeline = server.pipeline(
        {"name": "p" * 100, "repo_name": repo.url, "branch": BRANCH[:200], "steps": ["true", FAILS]}
    )
    job = server.start_build(pipeline)
    server.wait_finished(job)
    return pipeline, job


@pytest.mark.parametrize("width", [375, 390, 800, 1280, 1920])
async def test_a_long_branch_hides_no_column(page: Page, server: Server, repo: Repo, width: int):
    pipeline, job = failed(server, repo)
    await page.set_viewport_size({"width": width, "height": 900})
    for path in ("/", f"/ui/pipelines/{pipeline}"):
        await page.goto(f"{server.url}{path}")
        row = page.locator(f"#build-{job}")
        for cell in (".at-started", ".at-duration"):
            await expect(row.locator(cell)).to_be_visible()
        assert await page.evaluate(OUT_OF_SIGHT) == []
        assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        await expect(row.locator(".at-branch .clip")).to_have_attribute("title", BRANCH[:200])


async def test_the_reason_is_in_lists_and_leads_to_its_line(page: Page, server: Server, repo: Repo):
    pipeline, job = failed(server, repo)
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("#why")).to_have_text(
        "integration failed (exit 1): httpx.ConnectTimeout: timed out"
    )
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    reason = page.locator(f"#build-{job} .at-reason a")
    await expect(reason).to_have_text("integration failed (exit 1): httpx.ConnectTimeout: timed out")
    await reason.click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{job}#step:2:4")
    # What the API and the log say stays.
    assert server.job(job)["error"] == "step 2 (bash) exited with 1"


async def test_the_reason_comes_while_one_watches(page: Page, server: Server):
    job = server.start_job({"name": "Watched", "steps": ["sleep 2; echo error: out of paper; exit 3"]})
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("#why")).to_have_text("Step 1 failed (exit 3): error: out of paper")
    await expect(page.locator("#job")).not_to_have_attribute("hx-get", re.compile("state"))


async def test_failures_of_an_earlier_server_are_looked_at(new_server: Callable[..., Server], page: Page):
    server = new_server(executor="process").start()
    job = server.start_job({"name": "Old", "steps": ["echo error: no paper; exit 3"]})
    server.wait_finished(job)
    server.stop()
    server.sql("UPDATE job SET failure = NULL")
    server.start()
    wait_for(lambda: "no paper" in server.get("/").text, "the reason is on the dashboard")


async def test_a_reason_can_not_write_the_page_anew(page: Page, server: Server):
    printed = "error: <b onclick=x>\u202egnorw\\033[31m \\a"
    job = server.start_job({"name": "Hostile", "steps": [f"printf '{printed}\\n'; exit 1"]})
    server.wait_finished(job)
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("#why")).to_have_text(
        "Step 1 failed (exit 1): error: <b onclick=x>\\u202egnorw"
    )


async def test_a_stored_pipeline_shows_title_and_author(page: Page, server: Server, repo: Repo):
    pipeline, job = failed(server, repo)
    assert server.job(job)["title"] == "Use the retrying client"
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    row = page.locator(f"#build-{job}")
    await expect(row).to_contain_text("Use the retrying client")
    await expect(row).to_contain_text(repo.git("log", "-1", "--format=%an"))
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator(".commit-title")).to_have_text("Use the retrying client")


async def test_buttons_of_the_dashboard_stay_where_they_are(page: Page, new_server: Callable[..., Server]):
    server = new_server(executor="process", concurrency="1").start()
    pipeline = server.pipeline({"name": "Slow", "steps": ["sleep 60"]})
    for width in (390, 1280, 1920):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.goto(server.url)
        start = page.locator(f"#pipeline-{pipeline} button")
        before = await start.bounding_box()
        jobs = [server.start_build(pipeline) for _ in range(6)]
        await expect(page.locator(f"#now-{jobs[-1]}")).to_be_attached()
        assert await start.bounding_box() == before
        for job in reversed(jobs):
            server.post(f"/jobs/{job}/cancel")
