"""Who wants to hear of a build is told by the browser, whatever page is open; and finds their own builds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from playwright.async_api import Browser, BrowserContext, Error, Page, Route, expect

from tests.e2e.conftest import Console, whole
from tests.support.gates import let_go, waiting
from tests.support.server import Server
from tests.support.users import add_user, session_of

PLAIN = "http://builds.example"
"""Where pages are not secure to browsers."""
RECORDS = """
window.told = [];
window.opened = [];
window.open = (...what) => { opened.push(what); };
const Real = window.Notification;
window.Notification = class extends Real {
  static permission = "granted"; // the browser without windows says "denied", whatever was granted
  constructor(title, options) {
    super(title, options);
    told.push({ title, body: options.body, click: () => this.dispatchEvent(new Event("click")) });
  }
};
"""
"""Notifications as the page makes them, and a click on one: this browser has no windows, and shows none."""
FAILS_ONCE = """
const wait = window.setTimeout;
window.setTimeout = (act, pause, ...more) => wait(act, pause === 30_000 ? 100 : pause, ...more);
const Shown = window.Notification;
let made = 0;
window.Notification = class extends Shown {
  constructor(...what) {
    if (!made++) throw new TypeError("not now");
    super(...what);
  }
};
"""
TOLD = 100_000
"""Milliseconds: a page asks again half a minute after a request that Chromium dropped."""
ASKED = """Promise.all([navigator.locks.query(), told.length]).then(([{ held, pending }]) =>
  [held.length, pending.length])"""


async def open_tab(context: BrowserContext, console: Console, address: str) -> Page:
    tab = await context.new_page()
    console.watch(tab)
    await tab.add_init_script(RECORDS)
    await tab.goto(address)
    return tab


async def told_in(tabs: list[Page]) -> list[dict[str, Any]]:
    return [one for tab in tabs for one in await tab.evaluate("told.map(({title, body}) => ({title, body}))")]


async def test_one_tab_tells_of_the_end_of_a_build_with_its_reason(
    context: BrowserContext, console: Console, server: Server
):
    await context.grant_permissions(["notifications"], origin=server.url)
    name = "Heard <b>of</b>"
    job = server.start_job({"name": name, "steps": [{"name": "wait", "content": f"{waiting()}; exit 3"}]})
    other = server.start_job({"name": "Other", "steps": [waiting()]})
    asking: list[Page] = []
    context.on(
        "request", lambda request: asking.append(request.frame.page) if "/told?" in request.url else None
    )
    build = await open_tab(context, console, f"{server.url}/ui/jobs/{job}")
    await build.get_by_role("button", name="Notify me").click()
    await expect(build.locator("[data-notify]")).to_have_text("Stop notifying me")
    await expect(build.locator("[data-bell] .number")).to_have_text("1")
    # It is of the browser: other tabs know at once, and after this one is closed.
    tabs = [
        await open_tab(context, console, f"{server.url}/ui/{page}") for page in ("builds", "pipelines", "api")
    ]
    await build.goto(f"{server.url}/ui/jobs/{other}")
    await build.get_by_role("button", name="Notify me").click()
    for tab in tabs:
        await expect(tab.locator("[data-bell] .number")).to_have_text("2")
    await build.close()
    await tabs[0].wait_for_function(f"{ASKED}.then(([held, pending]) => held === 1 && pending === 2)")

    # The bell lists them, and takes back.
    await tabs[2].get_by_role("button", name="notifications").click()
    dialog = tabs[2].get_by_role("dialog")
    await expect(dialog.get_by_role("link", name=f"#{job} {name}")).to_be_visible()
    await expect(dialog.get_by_role("listitem")).to_have_count(2)
    await dialog.get_by_role("button", name=f"Remove #{other}").click()
    await expect(dialog.get_by_role("listitem")).to_have_count(1)
    await dialog.get_by_role("button", name="Close").click()

    asking.clear()
    let_go(server, job)
    let_go(server, other)
    server.wait_finished(job)
    for tab in tabs:
        await expect(tab.locator("[data-bell]")).to_be_hidden(timeout=TOLD)
    assert await told_in(tabs) == [{"title": f"{name} #{job}: failed", "body": "wait failed (exit 3)"}]
    (teller,) = [tab for tab in tabs if await tab.evaluate("told.length")]
    assert {*asking} == {teller}  # none of the others asks
    await teller.evaluate("told[0].click()")
    assert await teller.evaluate("opened") == [[f"{server.url}/ui/jobs/{job}", f"rapidflow-build-{job}"]]
    # Then nobody asks or waits any more.
    await teller.wait_for_function(f"{ASKED}.then(([held, pending]) => held + pending === 0)")


async def test_what_fails_is_tried_again_and_of_too_many_builds_the_last_stays(
    context: BrowserContext, console: Console, server: Server
):
    await context.grant_permissions(["notifications"], origin=server.url)
    await context.add_init_script(FAILS_ONCE)
    is_broken = True

    async def answer(route: Route) -> None:
        with contextlib.suppress(Error):
            await (route.fulfill(json={}) if is_broken else route.continue_())

    await context.route("**/told?*", answer)
    job = server.start_job({"name": "Tried", "steps": [waiting()]})
    tab = await open_tab(context, console, f"{server.url}/ui/jobs/{job}")
    await tab.evaluate(
        """(job) => {
          const others = Array.from({ length: 50 }, (_, at) => [job + 1000 + at, Date.now() + 3_600_000]);
          localStorage.setItem('rapidflow.told /ui/builds/told ', JSON.stringify(Object.fromEntries(others)));
        }""",
        job,
    )
    async with tab.expect_response("**/told?*"):
        await tab.get_by_role("button", name="Notify me").click()
    await expect(tab.locator("[data-notify]")).to_have_text("Stop notifying me")
    await expect(tab.locator("[data-bell] .number")).to_have_text("50")
    let_go(server, job)
    server.wait_finished(job)
    is_broken = False
    await expect(tab.locator("[data-bell]")).to_be_hidden()
    assert [one["title"] for one in await told_in([tab])] == [f"Tried #{job}: success"]


async def test_the_control_says_why_the_browser_cannot_tell(page: Page, console: Console, server: Server):
    console.allow("Failed to fetch")  # what a page asks for while it is closed
    job = server.start_job({"name": "Unheard", "steps": [waiting()]})
    await page.goto(f"{server.url}/ui/jobs/{job}")
    # What is no build, or has expired, or is too much, counts for nothing.
    await page.evaluate(
        """() => localStorage.setItem('rapidflow.told /ui/builds/told ', JSON.stringify({
          '../x': Date.now() + 1000, 7: Date.now() - 1, 8: Date.now() + 1e12, 9: 'x', '1e3': null }))"""
    )
    await page.reload()
    await expect(page.locator("[data-bell]")).to_be_hidden()
    await page.get_by_role("button", name="Notify me").click()
    said = page.locator("#notify-said")
    await expect(said).to_have_text(
        "Notifications of this site are blocked. Allow them in the site settings of the browser."
    )
    async with page.expect_response(lambda response: response.url.endswith("/state")):
        pass
    await expect(said).to_be_visible()  # also after the page went on
    await expect(page.locator("[data-bell]")).to_be_hidden()

    async def pass_on(route: Route) -> None:
        with contextlib.suppress(Error):  # the page goes on asking until it is closed
            await route.fulfill(response=await route.fetch(url=route.request.url.replace(PLAIN, server.url)))

    await page.context.route(f"{PLAIN}/**", pass_on)
    tab = await open_tab(page.context, console, f"{PLAIN}/ui/jobs/{job}")
    await tab.get_by_role("button", name="Notify me").click()
    await expect(tab.locator("#notify-said")).to_have_text(
        "Browsers show notifications only of pages over HTTPS or on localhost."
    )
    await expect(tab.locator("[data-bell]")).to_be_hidden()
    server.post(f"/jobs/{job}/cancel")


async def test_each_user_has_a_bell_and_builds_of_their_own(
    browser: Browser, console: Console, new_server: Callable[..., Server]
):
    team = new_server(executor="process", grace="1s").start()
    cookies: dict[str, str] = {}
    for name, role in (("root", "admin"), ("ann", "builder"), ("ann.lee", "builder")):
        add_user(team, name, role)
        cookies[name] = session_of(team, name)

    def started(by: str, **more: str) -> int:
        headers = {"Cookie": cookies[by], "Content-Type": "application/json"}
        return team.request("POST", "/pipelines/1/jobs", json.dumps(more), headers).json["id"]

    config = f"name: Team\nsteps: ['{waiting()}']\n".replace('"', "")
    made = team.request(
        "POST", "/pipelines", config, {"Cookie": cookies["root"], "Content-Type": "application/yaml"}
    )
    assert made.status == 201, made.text
    jobs = {name: started(name) for name in cookies}
    team.sql("UPDATE job SET author = 'Ann LEE' WHERE id = ?", jobs["root"])

    async def context_of(name: str) -> BrowserContext:
        context = await browser.new_context()
        cookie, _, value = cookies[name].partition("=")
        await context.add_cookies([{"name": cookie, "value": value, "url": team.url}])
        await context.grant_permissions(["notifications"], origin=team.url)
        return context

    context = await context_of("ann")
    page = await open_tab(context, console, team.url)
    await page.get_by_role("link", name="My builds").click()
    await expect(page.get_by_role("heading", name="My builds")).to_be_visible()
    await whole(page)
    rows = page.locator("#results tbody tr")
    await expect(rows).to_have_count(1)
    await expect(rows).to_have_attribute("id", f"build-{jobs['ann']}")
    await page.get_by_label("Status").select_option("success")
    await expect(page.locator(".empty")).to_contain_text("No builds match.")
    await page.get_by_role("link", name="Show all").click()
    await expect(page).to_have_url(f"{team.url}/ui/builds?mine=yes")
    await expect(rows).to_have_count(1)

    # What she asked for is hers alone, also in this browser.
    await page.goto(f"{team.url}/ui/jobs/{jobs['root']}")
    await page.get_by_role("button", name="Notify me").click()
    await expect(page.locator("[data-bell]")).to_be_visible()
    cookie, _, value = cookies["ann.lee"].partition("=")
    await context.add_cookies([{"name": cookie, "value": value, "url": team.url}])
    await page.goto(f"{team.url}/ui/builds?mine=yes")
    await expect(page.locator("[data-bell]")).to_be_hidden()
    await expect(rows).to_have_count(2)  # one that she started, and one of her commit

    # A build that may not be seen any more is forgotten, and nothing is told of it.
    cookie, _, value = cookies["ann"].partition("=")
    await context.add_cookies([{"name": cookie, "value": value, "url": team.url}])
    answer = team.request(
        "PUT", "/pipelines/1/visibility", '{"restricted": true}',
        {"Cookie": cookies["root"], "Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status == 200, answer.text
    await page.goto(team.url)
    await expect(page.locator("[data-bell]")).to_be_hidden(timeout=TOLD)
    assert await told_in([page]) == []
    await context.close()
