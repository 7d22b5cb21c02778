"""A pipeline's page: definition, start, history, chart."""

from __future__ import annotations

import re

from playwright.async_api import Browser, Page, expect

from tests.support.repos import Repo
from tests.support.server import Server

EDITOR = "Definition, in YAML"


async def test_an_error_is_shown_at_its_line_as_one_types(page: Page, server: Server):
    await page.goto(f"{server.url}/ui/pipelines/new")
    await page.get_by_label(EDITOR).fill("name: Typed\nstpes:\n  - true\n")
    await expect(page.locator(".problems")).to_contain_text("line 2, column 1: unknown key 'stpes'")
    await expect(page.locator(".gutter .wrong")).to_have_text("2")
    await page.get_by_label(EDITOR).fill("name: Typed\nsteps:\n  - 'true'\n")
    await expect(page.locator(".checked")).to_be_visible()
    await expect(page.locator(".gutter .wrong")).to_have_count(0)


async def test_nothing_is_stored_until_it_is_valid(page: Page, server: Server, console):
    console.allow("422")
    pipeline = server.pipeline("name: Before\nsteps:\n  - 'true'\n")
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await page.get_by_label(EDITOR).fill("name: After\nsteps: 3\n")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator(".problems")).to_be_visible()
    await expect(page.get_by_label(EDITOR)).to_have_value("name: After\nsteps: 3\n")
    assert server.get(f"/pipelines/{pipeline}").json["name"] == "Before"
    await page.get_by_label(EDITOR).fill("name: After\nsteps:\n  - 'true'\n")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("After")
    assert server.get(f"/pipelines/{pipeline}").json["name"] == "After"


async def test_the_heading_of_the_history_is_not_broken_beside_its_filters(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Narrow", "steps": ["true"]})
    await page.set_viewport_size({"width": 1000, "height": 800})
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    heading = page.get_by_role("heading", name="Builds", exact=True)
    assert await heading.evaluate("it => it.offsetHeight < 2 * parseFloat(getComputedStyle(it).fontSize)")


async def test_a_build_starts_with_its_branch_and_environment(page: Page, server: Server, repo: Repo):
    repo.commit({"a": "main"})
    repo.git("checkout", "--quiet", "-b", "topic")
    repo.commit({"a": "topic"})
    pipeline = server.pipeline({"name": "Chosen", "repo_name": repo.url, "steps": ['cat a; echo " $LEVEL"']})
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await page.locator("#branch").fill("topic")
    await page.locator("#environment").fill("LEVEL=a=b c\n")
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    assert "topic a=b c" in server.stream(int(page.url.rsplit("/", 1)[1]))


async def test_the_history_is_filtered_and_the_chart_tells_of_the_builds(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Mixed", "steps": ['test -z "$BAD"']})
    good = server.start_build(pipeline)
    bad = server.start_build(pipeline, environments={"BAD": "1"})
    for job in (good, bad):
        server.wait_finished(job)
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await expect(page.locator(".numbers")).to_contain_text("50 %")
    await expect(page.locator(".plot .bars a")).to_have_count(2)
    await page.get_by_label("Status").select_option("failed")
    await page.get_by_role("button", name="Filter").click()
    await expect(page).to_have_url(re.compile("status=failed"))
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator(f"#build-{bad}")).to_be_visible()


async def test_a_deleted_pipeline_is_gone_and_its_builds_stay(page: Page, server: Server, console):
    console.allow("404")
    pipeline = server.pipeline({"name": "Unwanted", "steps": ["true"]})
    job = server.start_build(pipeline)
    server.wait_finished(job)
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await page.get_by_text("Delete this pipeline").click()
    await page.get_by_role("button", name="Delete “Unwanted”").click()
    await expect(page.get_by_text("The pipeline is deleted. Its builds stay.")).to_be_visible()
    await expect(page.get_by_role("link", name="Unwanted")).to_have_count(0)
    assert server.job(job)["status"] == "success"
    answer = await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    assert answer is not None and answer.status == 404


async def test_without_scripts_a_pipeline_is_added_corrected_and_deleted(browser: Browser, server: Server):
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{server.url}/ui/pipelines/new")
    await page.get_by_label(EDITOR).fill("name: Plain\n")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator(".problems")).to_contain_text("steps")
    await page.get_by_label(EDITOR).fill("name: Plain\nsteps:\n  - 'true'\n")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Plain")
    await page.get_by_text("Delete this pipeline").click()
    await page.get_by_role("button", name="Delete “Plain”").click()
    await expect(page).to_have_url(f"{server.url}/ui/pipelines?done=deleted")
    await context.close()
