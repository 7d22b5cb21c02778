"""Since when a pipeline fails, and what changed since it did not."""

from __future__ import annotations

import json

from playwright.async_api import Page, expect

from tests.support.repos import Repo
from tests.support.server import Server

STEPS = [
    {"name": "say", "content": "echo ready at $(date +%s%N)"},
    {"name": "check", "content": "cat said; exec sh check"},
]


def built(server: Server, repo: Repo) -> tuple[int, int, int]:
    """A build that succeeded, and two after it that failed."""
    repo.commit({"said": "all is well\n", "check": "exit 0\n"}, "Works")
    config = {"name": "Compared", "repo_name": repo.url, "env": {"LEVEL": "info"}, "steps": STEPS}
    pipeline = server.pipeline(config)
    jobs = [server.start_build(pipeline)]
    server.wait_finished(jobs[0])
    repo.commit({"said": "<b>nothing</b> works\n"}, "Say something else")
    repo.commit({"check": "exit 3\n"}, "Break it")
    config["env"] = {"LEVEL": "debug", "MORE": "1"}
    config["steps"] = [*STEPS, "true"]
    answer = server.request(
        "PUT", f"/pipelines/{pipeline}", json.dumps(config), {"Content-Type": "application/yaml"}
    )
    assert answer.status == 200
    for _ in range(2):
        jobs.append(server.start_build(pipeline))
        server.wait_finished(jobs[-1])
    return jobs[0], jobs[1], jobs[2]


async def test_a_failure_says_since_when_and_compares_with_the_last_good(
    page: Page, server: Server, repo: Repo
):
    good, first, second = built(server, repo)
    await page.goto(f"{server.url}/ui/jobs/{first}")
    await expect(page.locator("#streak")).to_contain_text(f"First failure, last good #{good}")
    await page.goto(f"{server.url}/ui/jobs/{second}")
    streak = page.locator("#streak")
    await expect(streak).to_contain_text(f"Failing since #{first}, last good #{good}")
    await expect(streak.get_by_role("link", name=f"#{first}", exact=True)).to_have_attribute(
        "href", f"/ui/jobs/{first}"
    )
    await streak.get_by_role("link", name="Compare with the last good").click()
    await expect(page.locator("#commits li")).to_have_count(2)
    await expect(page.locator("#commits")).to_contain_text("Say something else")
    await expect(page.locator("#definition")).to_contain_text("debug")
    await expect(page.locator("#variables")).to_contain_text("LEVEL")
    await expect(page.locator("#variables tbody tr")).to_have_count(2)
    await expect(page.locator("#steps tbody tr")).to_have_count(3)
    # The times that the first step prints are no difference.
    await expect(page.locator("#logs")).to_contain_text("all is well")
    await page.locator("#logs").get_by_role("link", name="<b>nothing</b> works").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{second}#step:2:1")


async def test_builds_of_two_pipelines_are_not_compared(server: Server):
    one, other = (server.run({"name": name, "steps": ["true"]})["job"]["id"] for name in ("One", "Other"))
    answer = server.get(f"/ui/jobs/{one}/compare?with={other}")
    assert answer.status == 400 and "different pipelines" in answer.text
    missing = server.get(f"/ui/jobs/{one}/compare?with=999999")
    assert missing.status == 404 and "There is no build 999999." in missing.text
    assert server.get(f"/ui/jobs/{one}/compare").status == 404
    assert server.get(f"/ui/jobs/{one}/compare?with={one}").status == 200


async def test_a_step_that_ended_earlier_says_so(page: Page, server: Server):
    steps = [{"name": "measure the whole city", "content": "echo a; test $MORE = no || echo b"}, "true"]
    pipeline = server.pipeline({"name": "Longer", "env": {"MORE": "no"}, "steps": steps})
    jobs = [server.start_build(pipeline, environments={"MORE": more}) for more in ("no", "yes")]
    for job in jobs:
        server.wait_finished(job)
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.goto(f"{server.url}/ui/jobs/{jobs[1]}/compare?with={jobs[0]}")
    places = page.locator("#logs dd a")
    await expect(places).to_have_text(["(end of step 1)", "b"])
    await expect(places.first).to_have_attribute("href", f"/ui/jobs/{jobs[0]}#step:1")
    # Names and what the columns are have their place on a phone, too.
    await expect(page.locator("#steps thead")).to_contain_text("Difference")
    await expect(page.locator("#steps th").first).to_be_visible()
    name = page.locator("#steps .clip").first
    assert await name.evaluate("(one) => one.scrollWidth <= one.clientWidth")


async def test_the_last_lines_of_logs_are_no_lines_of_a_step(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Ends", "env": {"CODE": "0"}, "steps": ["echo a; exit $CODE"]})
    jobs = [server.start_build(pipeline, environments={"CODE": code}) for code in ("0", "3")]
    for job in jobs:
        server.wait_finished(job)
    await page.goto(f"{server.url}/ui/jobs/{jobs[1]}/compare?with={jobs[0]}")
    links = page.locator("#logs dd a")
    await expect(links).to_have_count(2)
    for number, job in enumerate(jobs):
        await expect(links.nth(number)).to_have_attribute("href", f"/ui/jobs/{job}")
