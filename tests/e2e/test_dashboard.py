"""The dashboard, as it is seen and as it changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Request, expect

from tests.e2e.conftest import Console
from tests.support.server import Server

EXAMPLES = Path(__file__).parents[2] / "examples" / "pipelines"
WAITS = {"name": "Waits", "steps": [{"name": "a long step", "content": "sleep 120"}, "true"]}


async def test_an_empty_installation_says_how_to_begin(page: Page, new_server: Callable[..., Server]):
    server = new_server(executor="process").start()
    await page.goto(server.url)
    await expect(page.get_by_role("heading", name="Add a repository or a pipeline")).to_be_visible()
    await page.locator("#empty").get_by_role("link", name="New pipeline").click()
    await expect(page).to_have_url(f"{server.url}/ui/pipelines/new")
    await page.get_by_text("Start from an example").click()
    await page.get_by_role("link", name="Node", exact=True).click()
    node = (EXAMPLES / "node.yml").read_text()
    await expect(page.get_by_label("Definition, in YAML")).to_have_value(node)
    await page.goto(server.url)
    await page.locator("#empty").get_by_role("link", name="Python", exact=True).click()
    await expect(page.get_by_label("Definition, in YAML")).to_have_value(
        (EXAMPLES / "python.yml").read_text()
    )
    # One click, and something is built.
    await page.goto(server.url)
    await page.get_by_role("button", name="Run the example").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/1")
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    line = page.locator("#log .row .text").filter(has_text="drawer backwards is reward")
    await expect(line).to_have_count(1)
    assert server.get("/pipelines/1").json["config"] == (EXAMPLES / "first.yml").read_text()
    await page.goto(server.url)
    await expect(page.locator("#empty")).to_have_count(0)


async def test_it_shows_what_runs_what_waits_and_what_has_ended(
    page: Page, new_server: Callable[..., Server]
):
    server = new_server(concurrency="1", executor="process").start()
    pipeline = server.pipeline({"name": "Often", "steps": ['test -z "$SLOW" || sleep 120']})
    ended = server.start_build(pipeline)
    server.wait_finished(ended)
    running = server.start_build(pipeline, environments={"SLOW": "1"})
    server.wait_output(running, "Step 1")
    waiting = [server.start_job(WAITS), server.start_job({**WAITS, "name": "Later"})]

    await page.goto(server.url)
    row = page.locator(f"#now-{running}")
    await expect(row).to_contain_text("step 1 of 1")
    await expect(row.get_by_role("progressbar")).to_be_visible()
    await expect(row).to_contain_text("usual")
    await expect(page.locator(f"#now-{waiting[0]}")).to_contain_text("next, waiting for a slot")
    await expect(page.locator(f"#now-{waiting[1]}")).to_contain_text("number 2 in line")
    await expect(page.locator("#now header")).to_contain_text("1 of 1 slots in use, 2 waiting")
    await expect(page.locator(f"#build-{ended}")).to_contain_text("success")

    await page.locator(f'#pipeline-{pipeline} .bars a[href="/ui/jobs/{ended}"]').click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{ended}")


async def test_a_build_starts_at_the_push_of_a_button(page: Page, new_server: Callable[..., Server]):
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "Pushed", "steps": ["true"]})
    await page.goto(server.url)
    await page.locator(f"#pipeline-{pipeline}").get_by_role("button", name="Start Pushed").click()
    await expect(page).to_have_url(re.compile(r"/ui/jobs/\d+$"))
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")


async def test_an_update_leaves_focus_scroll_and_selection_alone(
    page: Page, new_server: Callable[..., Server]
):
    server = new_server(executor="process").start()
    pipelines = [
        server.pipeline({"name": f"Pipeline {number:02}", "steps": ["true"]}) for number in range(40)
    ]
    await page.goto(server.url)
    await page.locator(f"#pipeline-{pipelines[30]} button").focus()
    await page.evaluate("scrollTo(0, 700)")
    await page.evaluate(
        "number => getSelection().selectAllChildren(document.querySelector(`#pipeline-${number} .clip`))",
        pipelines[25],
    )
    await page.locator(f"#pipeline-{pipelines[30]} button").focus()
    before = await page.evaluate("scrollY")
    job = server.start_build(pipelines[-1])
    server.wait_finished(job)
    await expect(page.locator(f"#build-{job}")).to_be_attached()
    assert await page.evaluate("document.activeElement.getAttribute('aria-label')") == "Start Pipeline 30"
    assert await page.evaluate("getSelection().toString()") == "Pipeline 25"
    assert await page.evaluate("scrollY") == before


async def test_a_poll_that_finds_nothing_new_changes_nothing(page: Page, new_server: Callable[..., Server]):
    server = new_server(executor="process").start()
    server.pipeline({"name": "Quiet", "steps": ["true"]})
    await page.goto(server.url)
    async with page.expect_response("**/ui/overview"):
        pass
    async with page.expect_response("**/ui/overview"):
        pass
    await page.evaluate(
        "new MutationObserver(() => (window.changed = true)).observe(document.querySelector('#overview'),"
        "{subtree: true, childList: true, characterData: true})"
    )
    async with page.expect_response("**/ui/overview") as later:
        pass
    request = (await later.value).request
    # What Chromium counts of an answer without a body is not quite nothing.
    assert (await request.sizes())["responseBodySize"] < 100, "the browser was sent the fragment again"
    assert await page.evaluate("window.changed") is None


async def test_a_hidden_page_asks_nothing(page: Page, server: Server):
    await page.goto(server.url)
    async with page.expect_request("**/ui/overview"):
        pass
    await page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    await page.wait_for_timeout(4500)
    assert asked == []
    await page.evaluate("delete document.hidden")
    async with page.expect_request("**/ui/overview"):
        pass


async def test_it_says_that_the_server_is_away_and_recovers(
    page: Page, console: Console, new_server: Callable[..., Server]
):
    console.allow("ERR_CONNECTION_REFUSED")
    console.allow("Failed to fetch")
    console.allow("ERR_")
    server = new_server(executor="process").start()
    server.pipeline({"name": "There", "steps": ["true"]})
    await page.goto(server.url)
    await expect(page.locator("#pipelines")).to_contain_text("There")
    server.kill()
    await expect(page.locator("#lost")).to_be_visible()
    await expect(page.locator("#pipelines")).to_contain_text("There")
    server.start()
    await expect(page.locator("#lost")).to_be_hidden()


@pytest.mark.parametrize(("status", "notice"), [(502, "lost"), (404, "refused"), (401, "refused")])
async def test_it_says_that_the_server_or_a_proxy_in_front_answers_with_an_error(
    page: Page, server: Server, console: Console, status: int, notice: str
):
    console.allow(f"{status}")
    await page.route("**/ui/overview", lambda route: route.fulfill(status=status, body="<p>nothing</p>"))
    await page.goto(server.url)
    await expect(page.locator(f"#{notice}")).to_be_visible()
    await page.wait_for_timeout(100)
    await expect(page.locator(f"#{notice}")).to_be_visible()
    await page.unroute("**/ui/overview")
    await expect(page.locator(f"#{notice}")).to_be_hidden()


async def test_without_scripts_all_is_there_and_a_build_can_be_started(
    browser: Browser, new_server: Callable[..., Server]
):
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "Scriptless", "steps": ["echo scriptless output"]})
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(server.url)
    await page.locator(f"#pipeline-{pipeline} button").click()
    job = int(page.url.rsplit("/", 1)[1])
    server.wait_finished(job)
    await page.goto(page.url)
    await expect(page.locator("h1")).to_contain_text("success")
    await expect(page.locator("body")).to_contain_text("scriptless output")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator("h1")).to_contain_text(f"Build #{job + 1}")
    server.wait_finished(job + 1)
    await context.close()


async def test_recent_builds_stand_beside_many_pipelines(page: Page, server: Server):
    server.run({"name": "Beside", "steps": ["true"]})
    await page.goto(server.url)
    places = [await page.locator(one).bounding_box() for one in ("#pipelines", "#now", "#recent")]
    pipelines, now, recent = (place for place in places if place is not None)
    assert recent["x"] == now["x"] >= pipelines["x"] + pipelines["width"]
    assert recent["y"] < now["y"] + now["height"] + 50
    await page.set_viewport_size({"width": 390, "height": 800})
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")


async def test_a_phone_shows_what_runs_without_a_list_to_scroll(
    page: Page, new_server: Callable[..., Server]
):
    server = new_server(concurrency="1", executor="process").start()
    await page.set_viewport_size({"width": 390, "height": 844})
    server.pipeline({"name": "Other", "steps": ["true"]})
    await page.goto(server.url)
    start = page.get_by_role("button", name="Start Other")
    await expect(page.locator("#now")).to_contain_text("Nothing is running.")
    idle = await start.evaluate("button => button.getBoundingClientRect().top + scrollY")
    jobs = [server.start_job(WAITS) for _ in range(5)]
    await expect(page.get_by_role("link", name="All 5 running and waiting builds")).to_be_visible()
    await expect(page.locator(f"#now-{jobs[2]}")).to_be_visible()
    await expect(page.locator(f"#now-{jobs[3]}")).to_be_hidden()
    assert await page.locator(".now").evaluate("list => list.scrollHeight <= list.clientHeight")
    busy = await start.evaluate("button => button.getBoundingClientRect().top + scrollY")
    assert abs(busy - idle) < 1, "the button moved"


async def test_the_warning_of_the_executor_takes_one_line_until_it_is_opened(
    page: Page, new_server: Callable[..., Server]
):
    server = new_server(executor="process").start()
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.goto(server.url)
    notice = page.locator(".notice.folded")
    assert await notice.evaluate("notice => notice.offsetHeight") < 45
    await notice.get_by_text("Builds run without isolation").click()
    await expect(notice.get_by_text("Run only what you trust")).to_be_visible()
