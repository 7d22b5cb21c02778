"""The pages of builds of several jobs: the graph, approvals, retries, attempts, what failed."""

from __future__ import annotations

import re

from playwright.async_api import Browser, Page, expect

from tests.support import axe
from tests.support.gates import let_go, waiting
from tests.support.server import Server, wait_for


def config(jobs: str, name: str = "Several") -> str:
    return f"name: {name}\njobs:\n{jobs}"


MATRIX = """\
  lint: {steps: ['echo linted']}
  test:
    needs: lint
    matrix: {n: [1, 2, 3]}
    steps: ['echo "error: number ${{ matrix.n }} is odd"; test ${{ matrix.n }} != 2']
  docs: {if: branch == 'never', steps: ['true']}
  pack: {needs: [lint, docs], steps: ['true']}
  deploy: {needs: [test, pack], steps: ['true']}
"""


def part_of(server: Server, job_id: int, name: str) -> dict[str, object]:
    steps = server.get(f"/jobs/{job_id}/steps").json
    return next(step["part"] for step in steps if step["content"] == name)


def running_part(server: Server, job_id: int, name: str, text: str) -> int:
    """The job of a part, once that has printed a text."""
    wait_for(lambda: part_of(server, job_id, name)["state"] == "running", f"{name} runs")
    number = part_of(server, job_id, name)["job_id"]
    assert isinstance(number, int)
    server.wait_output(number, text)
    return number


async def test_the_graph_is_live_and_folds_a_matrix(page: Page, server: Server):
    jobs = f"""\
  begin: {{steps: ['echo on; {waiting()}']}}
  test: {{needs: begin, matrix: {{n: [1, 2]}}, steps: ['true']}}
  end: {{needs: test, steps: ['true']}}
"""
    job = server.start_job(config(jobs))
    begin = running_part(server, job, "begin", "on")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    nodes = page.locator("#graph .node")
    await expect(nodes).to_have_count(3)
    await expect(nodes.nth(0)).to_contain_text("running")
    await expect(nodes.nth(1)).to_contain_text("2 waiting")
    await expect(nodes.nth(2)).to_contain_text("after test")
    await expect(page.locator("#graph header")).to_contain_text("0 of 4 jobs done")
    lefts = [box["x"] for node in await nodes.all() if (box := await node.bounding_box())]
    assert lefts == sorted(set(lefts)), "they don't stand from left to right"
    await expect(page.locator("#parts li li", has_text="n=1")).to_be_hidden()
    await nodes.nth(1).get_by_role("link").click()
    await expect(page.locator("#parts li li", has_text="n=1")).to_contain_text("Waits for begin")
    let_go(server, begin)
    await expect(page.locator("#graph header")).to_contain_text("4 of 4 jobs done")
    await expect(nodes.nth(1)).to_contain_text("2 success")
    await expect(page.locator("h1")).to_contain_text("success")
    # What was unfolded stays so.
    row = page.locator("#parts li li", has_text="n=1").get_by_role("link")
    await expect(row).to_be_visible()
    await expect(page.locator("#parts .path")).to_contain_text("begin → test (n=")
    await row.click()
    await expect(page.locator("h1")).to_contain_text("test (n=1)")
    await page.get_by_role("link", name=f"Build #{job}").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{job}")


async def test_the_log_of_what_failed_first_is_open(page: Page, server: Server):
    job = server.run(config(MATRIX))["job"]["id"]
    failed = part_of(server, job, "test (n=2)")["job_id"]
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("#why")).to_contain_text("test (n=2): Step 1 failed (exit 1)")
    await expect(page.locator("#why")).to_contain_text("number 2 is odd")
    await expect(page.locator("#log h2")).to_have_text("Log of test (n=2)")
    await expect(page.locator("#log .output")).to_contain_text("number 2 is odd")
    why = page.locator("#parts li", has_text="n=2").last.get_by_role("link", name="Step 1 failed (exit 1)")
    await expect(why).to_contain_text("number 2 is odd")
    await expect(why).to_have_attribute("href", f"/ui/jobs/{failed}#step:1:1")
    skipped = page.locator("#parts > ol > li", has_text="deploy")
    await expect(skipped).to_contain_text("Needs test, which did not succeed")
    await expect(page.locator("#parts > ol > li", has_text="docs")).to_contain_text("Its 'if' does not hold")
    await page.locator("#log").get_by_role("link", name="Log of the build").click()
    await expect(page.locator("#log .output")).to_contain_text("lint: runs as job")
    await page.locator("#log").get_by_role("link", name="Log of test (n=2)").click()
    await page.locator("#log h2 a").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{failed}")


async def test_screen_readers_hear_of_a_failure_for_which_the_page_is_loaded_anew(page: Page, server: Server):
    job = server.start_job(
        config(f"  one: {{steps: ['true']}}\n  two: {{steps: ['{waiting()}; false']}}\n", "Heard")
    )
    last = running_part(server, job, "two", "Step 1")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("#parts li", has_text="one")).to_contain_text("success")
    let_go(server, last)
    await expect(page.locator("#log h2")).to_have_text("Log of two")
    said = page.get_by_role("status").filter(has_text="Heard")
    await expect(said).to_have_text(f"Heard #{job}: failed")


async def test_long_messages_and_a_graph_leave_room_for_the_rest(page: Page, server: Server):
    long = "error: " + "a message of many words " * 12
    job = server.start_job(config(f"  a: {{steps: ['echo \"{long}\"; exit 1']}}\n" + MATRIX))
    server.wait_finished(job)
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.goto(f"{server.url}/ui/jobs/{job}")
    reason = page.locator("#parts .at-reason a", has_text="many words")
    await expect(reason).to_have_attribute("title", re.compile("many words a message"))
    box = await reason.bounding_box()
    assert box is not None and box["height"] < 80
    log = await page.locator("#log").bounding_box()
    assert log is not None and log["height"] >= 399


async def test_print_has_all_jobs_and_all_parts(page: Page, server: Server):
    after = "".join(f"  after-{number}: {{needs: first, steps: ['true']}}\n" for number in range(20))
    cells = f"  matrix: {{needs: first, matrix: {{n: {list(range(20))}}}, steps: ['true']}}\n"
    job = server.run(config("  first: {steps: ['exit 1']}\n" + after + cells))["job"]["id"]
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await page.locator("#parts summary").click()
    await page.emulate_media(media="print")
    for selector in ("#graph .view", "#parts .folded .steps"):
        hidden = await page.locator(selector).evaluate("(list) => list.scrollHeight - list.clientHeight")
        assert hidden <= 0, selector


async def test_a_part_that_fails_opens_its_log_while_the_build_runs(page: Page, server: Server):
    jobs = f"""\
  bad: {{steps: ['echo first; {waiting()}; echo error: broken; exit 1']}}
  long: {{steps: ['echo second; {waiting()}']}}
"""
    job = server.start_job(config(jobs))
    bad, long = running_part(server, job, "bad", "first"), running_part(server, job, "long", "second")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.locator("#log .output")).to_contain_text("bad: runs as job")
    let_go(server, bad)
    await expect(page.locator("#log h2")).to_have_text("Log of bad")
    await expect(page.locator("#log .output")).to_contain_text("error: broken")
    await expect(page.locator("h1")).to_contain_text("running")
    let_go(server, long)
    await expect(page.locator("h1")).to_contain_text("failed")


async def test_only_what_failed_runs_again(page: Page, server: Server):
    first = server.run(config(MATRIX))["job"]["id"]
    kept = part_of(server, first, "test (n=1)")["job_id"]
    await page.goto(f"{server.url}/ui/jobs/{first}")
    await expect(page.get_by_role("button", name="Retry the whole build")).to_be_visible()
    await page.get_by_role("button", name="Retry only what failed").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "failed")
    again = int(page.url.rsplit("/", 1)[1])
    assert server.job(again)["retry_of"] == first
    assert part_of(server, again, "test (n=1)")["job_id"] == kept
    row = page.locator("#parts li li", has_text="n=1")
    await expect(row).to_contain_text("Taken over from an earlier build")
    await expect(row.get_by_role("link")).to_have_attribute("href", f"/ui/jobs/{kept}")


async def test_a_part_is_approved_and_rejected(page: Page, server: Server):
    jobs = """\
  deploy: {approval: true, matrix: {to: [a, b]}, steps: ['true']}
  last: {approval: true, steps: ['true']}
"""
    job = server.start_job(config(jobs))
    await page.goto(f"{server.url}/ui/jobs/{job}")
    asked = page.locator("#approvals")
    await expect(asked).to_contain_text("deploy, 2 of its 2 jobs")
    await page.goto(f"{server.url}/ui/builds?status=running")
    await expect(page.locator(f"#build-{job}")).to_contain_text("0 of 3 jobs done, waits for an approval")
    await page.goto(server.url)
    await expect(page.locator(f"#now-{job}")).to_contain_text("0 of 3 jobs done, waits for an approval")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await page.locator("#node-1 a").click()
    await page.get_by_role("button", name="Reject to=b").click()
    await expect(asked).to_contain_text("deploy, 1 of its 2 jobs")
    await page.get_by_role("button", name="Approve deploy").click()
    await expect(page.locator("#node-1")).to_contain_text("1 success")
    await expect(page.locator("#node-1")).to_contain_text("1 cancelled")
    await page.get_by_role("button", name="Approve last").click()
    await expect(page.locator("h1")).to_contain_text("failed")
    await expect(asked).to_have_count(0)
    await expect(page.locator("#parts li li", has_text="to=b")).to_contain_text("Rejected by")


async def test_attempts_are_tabs_and_only_the_build_is_retried(page: Page, server: Server):
    jobs = """\
  a: {retry: 2, steps: ['echo number $RAPIDFLOW_ATTEMPT; test $RAPIDFLOW_ATTEMPT = 3']}
  b: {steps: [exit 1]}
"""
    job = server.run(config(jobs))["job"]["id"]
    await page.goto(f"{server.url}/ui/jobs/{job}")
    row = page.locator("#parts > ol > li", has_text="attempt 3")
    await row.get_by_role("link").click()
    tabs = page.get_by_role("navigation", name="Attempts of a")
    await expect(tabs.get_by_role("link")).to_have_count(3)
    await expect(tabs.locator("[aria-current]")).to_contain_text("Attempt 3 success")
    await expect(page.locator("#log .output")).to_contain_text("number 3")
    await tabs.get_by_role("link", name="Attempt 1 failed").click()
    await expect(page.locator("#log .output")).to_contain_text("number 1")
    await expect(page.get_by_role("button", name="Retry")).to_have_count(1)
    await page.get_by_role("button", name="Retry only what failed").click()
    await expect(page.locator("h1")).to_contain_text("Build #")
    await expect(page.locator("#job")).to_have_attribute("data-status", "failed")


async def test_axe_finds_nothing_and_nothing_scrolls_sideways(browser: Browser, server: Server):
    row = "  job-{}: {{needs: [{}], steps: ['true']}}\n".format
    many = "".join(row(n, f"job-{n - 1}" if n > 1 else "") for n in range(1, 13))
    pages = {
        "failed": server.run(config(MATRIX))["job"]["id"],
        "long": server.run(config(many))["job"]["id"],
        "asks": server.start_job(
            config(f"  {'a' * 90}: {{approval: true, matrix: {{n: [1, 2]}}, steps: ['true']}}\n")
        ),
    }
    wait_for(lambda: "waits_for_approval" in server.get(f"/jobs/{pages['asks']}/steps").text, "it asks")
    attempts = server.run(config("  a: {retry: 2, steps: [exit 1]}\n"))["steps"][0]["part"]["job_id"]
    context = await browser.new_context(bypass_csp=True)
    found: list[str] = []
    checks = axe.Axe()
    tab = await context.new_page()
    for name, job in {**pages, "part": attempts}.items():
        await tab.goto(f"{server.url}/ui/jobs/{job}")
        await tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for window in (axe.SMALLEST, axe.LARGEST, axe.WIDE, axe.NARROW):
            await axe.resize(tab, window)
            if await tab.evaluate(axe.HIDES):
                found.append(f"{name}, {window}: scrolls sideways")
            if window in (axe.WIDE, axe.NARROW):
                found += [f"{name}, {window}: {fault}" for fault in await checks.faults(tab)]
        await tab.emulate_media(color_scheme="dark")
        for window in (axe.NARROW, axe.WIDE):
            await axe.resize(tab, window)
            dark = await checks.faults_of_colors(tab)
            found += [f"{name}, {window}, dark: {fault}" for fault in dark]
        await tab.emulate_media(color_scheme="light")
    await context.close()
    server.post(f"/jobs/{pages['asks']}/cancel")
    assert not found, "\n".join(found)
