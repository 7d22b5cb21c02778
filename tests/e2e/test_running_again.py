"""Running a build again with changes, and a pipeline's page that follows its builds."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.support.repos import Repo
from tests.support.server import Server


async def test_a_build_is_run_again_with_another_variable(page: Page, server: Server, repo: Repo):
    repo.commit({"a": "main"})
    repo.git("checkout", "--quiet", "-b", "topic")
    repo.commit({"a": "topic"})
    pipeline = server.pipeline(
        {
            "name": "Again",
            "repo_name": repo.url,
            "env": {"LEVEL": "info", "TARGET": "staging"},
            "steps": ['cat a; echo " $LEVEL $TARGET $MORE"'],
        }
    )
    first = server.start_build(pipeline, branch="topic", environments={"TARGET": "live", "MORE": "x"})
    server.wait_finished(first)
    await page.goto(f"{server.url}/ui/jobs/{first}")
    await page.get_by_role("link", name="Run again with changes").click()
    await expect(page.get_by_label("LEVEL")).to_have_value("info")
    await expect(page.get_by_label("TARGET")).to_have_value("live")
    await expect(page.get_by_label("More variables")).to_have_value("MORE=x\n")
    await expect(page.locator("#branch")).to_have_value("topic")
    known = await page.locator("#branches-known option").evaluate_all("all => all.map((one) => one.value)")
    assert known == ["topic"]
    await page.get_by_label("LEVEL").fill("debug")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    again = int(page.url.rsplit("/", 1)[1])
    assert "topic debug live x" in server.stream(again)


@pytest.mark.parametrize("number", ["999999", "x", "0", "1" * 40])
async def test_what_is_no_build_of_the_pipeline_fills_nothing(server: Server, number: str):
    pipeline = server.pipeline({"name": "Plain", "env": {"LEVEL": "info"}, "steps": ["true"]})
    answer = server.get(f"/ui/pipelines/{pipeline}?from={number}")
    assert answer.status == 200 and "Start a build" in answer.text


async def test_what_a_build_of_another_pipeline_ran_with_is_not_shown(server: Server):
    other = server.run({"name": "Other", "steps": ["true"]}, environments={"HIDDEN_VALUE": "hidden"})
    pipeline = server.pipeline({"name": "Plain", "steps": ["true"]})
    assert "HIDDEN_VALUE" not in server.get(f"/ui/pipelines/{pipeline}?from={other['job']['id']}").text


async def test_a_pipelines_page_follows_its_builds(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Live list", "steps": ["sleep 1"]})
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await page.get_by_label("More variables").or_(page.get_by_label("Environment")).fill("TYPED=1")
    job = server.start_build(pipeline)
    await expect(page.locator(f"#build-{job}")).to_contain_text("success")
    await expect(page.locator(".plot .bars a")).to_have_count(1)
    await expect(page.locator("#environment")).to_have_value("TYPED=1")


async def test_the_last_build_of_each_branch_is_shown(page: Page, server: Server, repo: Repo):
    repo.commit({"a": "1"})
    repo.git("branch", "topic")
    pipeline = server.pipeline({"name": "Branches", "repo_name": repo.url, "steps": ["true"]})
    jobs = [server.start_build(pipeline, branch=one) for one in ("topic", "main", "main")]
    for job in jobs:
        server.wait_finished(job)
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.get_by_label("View").select_option("Branches")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.locator(f"#build-{jobs[0]}")).to_be_visible()
    await expect(page.locator(f"#build-{jobs[2]}")).to_be_visible()
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}?view=branches&branch=TOP")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator(f"#build-{jobs[0]}")).to_be_visible()
    await page.goto(f"{server.url}/ui/pipelines/{pipeline}?view=branches&status=failed")
    await expect(page.locator("tbody tr")).to_have_count(0)


async def test_steps_are_one_line_each_and_a_waterfall(page: Page, server: Server):
    steps = [{"name": "a name of a step that goes on and on", "content": "sleep 0.3"}, "exit 3", "echo never"]
    job = server.run({"name": "Falls", "steps": steps})["job"]["id"]
    await page.goto(f"{server.url}/ui/jobs/{job}")
    tops = """(item) => [...item.children].slice(0, 3).map((one) => one.getBoundingClientRect())
      .map((box) => (box.top + box.bottom) / 2)"""
    for number in (1, 2, 3):
        middles = await page.locator(f"#step-{number}").evaluate(tops)
        assert max(middles) - min(middles) < 6
    await expect(page.locator("#step-3")).to_contain_text("not run")
    lefts = [float(await page.locator(f"#step-{n} .span rect").get_attribute("x") or 0) for n in (1, 2)]
    assert lefts[0] < lefts[1]
    await expect(page.locator("#step-3 .span")).to_have_count(0)
    assert await page.locator(".phases .span").count() > 0
