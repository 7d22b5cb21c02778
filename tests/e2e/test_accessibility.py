"""axe finds nothing on any page, in light, in dark and on a phone; none scrolls sideways or breaks words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import axe_playwright_python
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from tests.support import images
from tests.support.deliveries import Hook
from tests.support.repos import Repo
from tests.support.repositories import add, events, handled, push
from tests.support.server import Server
from tests.support.users import add_user, session_of, token_of

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
FIND = """async (rules) => (await axe.run({
  resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {})
})).violations.flatMap(
  (rule) => rule.nodes.map((node) => `${rule.id}: ${node.html} ${node.any[0]?.message ?? ""}`))"""
"""Of what is right, axe would otherwise find a selector for each element, which takes most of its time."""
OPEN = "document.querySelectorAll('details:not([open])').forEach((one) => { one.open = true; })"
FEWER = "document.querySelectorAll('.stack > .panel:nth-child(n + 16)').forEach((one) => one.remove())"
"""Leaves some of the calls of the API, which all look alike, once all were looked at."""
OF_COLORS = ["color-contrast", "link-in-text-block"]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
SMALLEST, LARGEST = {"width": 375, "height": 800}, {"width": 1920, "height": 1080}
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Waits until the page has heard that its window has another size: it moves what is open."""
HIDES = """document.documentElement.scrollWidth > innerWidth
  || [...document.querySelectorAll('.scroll')].some((one) => one.scrollWidth > one.clientWidth)"""
BROKEN = """[...document.querySelectorAll("main :is(td, th)")].flatMap((cell) => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), found = [];
  while (texts.nextNode())
    for (const word of texts.currentNode.data.matchAll(/(?<!\\S)[\\w:]{2,15}(?!\\S)/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) found.push(word[0]);
    }
  return found;
})"""
"""Words of tables that are broken though they are short: their column has no place for them."""
VIEWS = ((WIDE, "light"), (WIDE, "dark"), (NARROW, "light"))
"""Sizes of windows and color schemes; these change no more of a page than its colors."""


@dataclass
class Pages:
    """Addresses by what is to be seen there, and the cookie of an administrator."""

    addresses: dict[str, str]
    cookie: str
    other: str
    """The clone URL of a repository that can be added."""


def happened(server: Server, repo: Repo) -> tuple[str, str, str]:
    """Addresses of a repository with events of all outcomes, of a build that waits, and of a delivery."""
    definition = (
        "name: A pipeline with a rather long name that goes on\non: [push, pull_request]\nsteps: ['true']\n"
    )
    repo.commit({".rapidflow/a.yml": definition, ".rapidflow/b.yml": "name: b\nsteps: 1\n"})
    added = add(server, repo)
    repo.commit(
        {"a": "b"}, "A title that is rather long and goes on for quite a while, as some people write them"
    )
    push(server, added["id"], repo)
    repo.git("branch", "a-branch-with-a-name-that-goes-on-and-on-and-on")
    repo.commit({"a": "c"}, "Nothing [skip ci]")
    push(server, added["id"], repo)
    base, head = repo.git("rev-parse", "HEAD"), repo.commit({"a": "d"}, "From outside")
    repo.git("update-ref", "refs/pull/1/head", head)
    repo.git("reset", "-q", "--hard", base)
    answer = Hook(server, added).pull_request(head)
    handled(server, answer.json["delivery"])
    (decision,) = [one for one in events(server, added["id"])[0]["decisions"] if one["job_id"]]
    return (
        f"{server.url}/ui/repositories/{added['id']}",
        f"{server.url}/ui/jobs/{decision['job_id']}",
        f"{server.url}/ui/deliveries/{answer.json['delivery']}",
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Servers with a page in every state; one build runs and one waits until the end of the module."""
    folder = tmp_path_factory.mktemp("states")
    busy = Server(
        folder / "busy", default_image=images.ensure(images.BASH), concurrency="1", grace="1s"
    ).start()
    empty = Server(folder / "empty", executor="process").start()
    listening = Server(folder / "listening", executor="process", file_roots=str(folder)).start()
    other = Repo(folder / "other")
    other.commit({".rapidflow.yml": "name: other\nsteps: ['true']\n"})
    repository, approval, delivery = happened(listening, Repo(folder / "repo"))
    team = Server(folder / "team", executor="process").start()
    team.pipeline({"name": "Seen by some", "secrets": ["MISSING", "OF_ALL"], "steps": ["true"]})
    for user, role in (("root", "admin"), ("a.rather-long-name@department.example.org", "viewer")):
        add_user(team, user, role)
    token_of(team, "root", "--pipeline", "1")
    cookie = session_of(team, "root")
    for path, body in (
        ("/pipelines/1/visibility", '{"restricted": true}'),
        ("/secrets/OF_ALL", '{"value": "a value"}'),
        (f"/pipelines/1/secrets/{'A_LONG_NAME_' * 5}", '{"value": "a value"}'),
        (f"/secrets/{'A_LONG_NAME_' * 5}", '{"value": "a value"}'),
    ):
        headers = {"Cookie": cookie, "Content-Type": "application/json"}
        assert team.request("PUT", path, body, headers).status == 200
    name = "A pipeline with a name that is rather long and goes on for quite a while"
    pipeline = busy.pipeline({"name": name, "steps": [{"name": name, "content": "sleep $((${LONG:-0}))"}]})
    success = busy.start_build(pipeline, environments={"KEY": "value" * 30})
    busy.wait_finished(success)
    failed = busy.run({"name": "Fails", "steps": ["echo error: no; exit 1", "true"]})["job"]["id"]
    answer = busy.request(
        "PUT", "/pipelines/2", "name: Fails\nsteps: ['echo error: yes; exit 1', 'true']\n",
        {"Content-Type": "application/yaml"},
    )  # fmt: skip
    assert answer.status == 200
    failed_too = busy.start_build(2)
    busy.wait_finished(failed_too)
    cancelled = busy.start_job({"name": "Cancelled", "steps": ["sleep 60"]})
    busy.wait_output(cancelled, "Step 1")
    busy.post(f"/jobs/{cancelled}/cancel")
    running = busy.start_build(pipeline, environments={"LONG": "300"})
    busy.wait_output(running, "Step 1")
    pending = busy.start_build(pipeline)
    jobs = {
        "success": success,
        "failed": failed,
        "cancelled": cancelled,
        "running": running,
        "pending": pending,
    }
    yield Pages(
        {
            "empty": empty.url,
            "busy": busy.url,
            "pipeline": f"{busy.url}/ui/pipelines/{pipeline}",
            "pipelines": f"{busy.url}/ui/pipelines",
            "builds": f"{busy.url}/ui/builds",
            "new": f"{busy.url}/ui/pipelines/new",
            "api": f"{busy.url}/ui/api",
            "docs": f"{busy.url}/ui/docs",
            "document": f"{busy.url}/ui/docs/pipelines",
            "404": f"{busy.url}/ui/jobs/99999",
            "account": f"{team.url}/ui/account",
            "made": f"{team.url}/ui/account",
            "users": f"{team.url}/ui/users",
            "user": f"{team.url}/ui/users/2",
            "audit": f"{team.url}/ui/audit",
            "secrets": f"{team.url}/ui/secrets?secret=OF_ALL",
            "restricted": f"{team.url}/ui/pipelines/1",
            "list": team.url,
            "my builds": f"{team.url}/ui/builds?mine=yes",
            "no account": f"{empty.url}/ui/account",
            "no users": f"{empty.url}/ui/users",
            "no repositories": f"{empty.url}/ui/repositories",
            "new repository": f"{empty.url}/ui/repositories/new",
            "repositories": f"{listening.url}/ui/repositories",
            "repository": repository,
            "branches": f"{repository}/branches",
            "events": f"{repository}/events",
            "deliveries": f"{repository}/deliveries",
            "delivery": delivery,
            "approval": approval,
            "of a repository": f"{listening.url}/ui/pipelines/1",
            "added": f"{listening.url}/ui/repositories/new",
            "comparison": f"{busy.url}/ui/jobs/{failed_too}/compare?with={failed}",
            **{status: f"{busy.url}/ui/jobs/{job}" for status, job in jobs.items()},
        },
        cookie,
        other.url,
    )
    for job in (pending, running):
        busy.post(f"/jobs/{job}/cancel")
    busy.stop()
    empty.stop()
    listening.stop()
    team.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, pages: Pages) -> AsyncIterator[BrowserContext]:
    """A logged-in browser; the policy lets axe in."""
    context = await browser.new_context(bypass_csp=True, viewport=WIDE)
    name, _, value = pages.cookie.partition("=")
    await context.add_cookies([{"name": name, "value": value, "url": pages.addresses["account"]}])
    yield context
    await context.close()


async def test_axe_finds_nothing_and_nothing_scrolls_sideways(pages: Pages, context: BrowserContext):
    found: list[str] = []
    for name, address in pages.addresses.items():
        tab = await context.new_page()
        await tab.goto(address)
        if name == "new":
            await tab.locator("#config").fill("stpes: []\n")
            await expect(tab.locator(".problems")).to_be_visible()
            await tab.locator("#config").press("Control+End")
            await tab.locator("#config").press("Control+ ")
            await expect(tab.get_by_role("listbox")).to_be_visible()
        if name == "made":
            await tab.get_by_label("Name").fill("axe")
            await tab.get_by_role("button", name="Create token").click()
            await expect(tab.locator("#made")).to_be_visible()
        if name == "added":
            await tab.get_by_label("Clone URL").fill(pages.other)
            await tab.get_by_role("button", name="Add repository").click()
            await expect(tab.locator("#made")).to_be_visible()
        if name == "delivery":
            await tab.get_by_role("button", name="Dry run").click()
            await expect(tab.locator("#foreseen")).to_be_visible()
        await tab.evaluate(OPEN)
        await tab.add_script_tag(path=AXE)
        for window in (SMALLEST, NARROW, WIDE, LARGEST):
            await tab.set_viewport_size(window)
            await tab.evaluate(DRAWN)
            if await tab.evaluate(HIDES):
                found.append(f"{name}, {window}: scrolls sideways")
            if broken := await tab.evaluate(BROKEN):
                found.append(f"{name}, {window}: breaks {broken}")
        for window, scheme in VIEWS:
            await tab.set_viewport_size(window)
            await tab.emulate_media(color_scheme=scheme)
            rules = OF_COLORS if scheme == "dark" else None
            violations = await tab.evaluate(FIND, rules)
            found += [f"{name}, {window}, {scheme}: {violation}" for violation in violations]
            if name == "api":
                await tab.evaluate(FEWER)
        await tab.close()
    assert not found, "\n".join(found)


async def test_axe_finds_nothing_in_the_list_of_keys(pages: Pages, context: BrowserContext):
    tab = await context.new_page()
    await tab.emulate_media(color_scheme="dark")
    await tab.goto(pages.addresses["running"])
    await tab.keyboard.press("?")
    await expect(tab.get_by_role("dialog")).to_be_visible()
    await tab.add_script_tag(path=AXE)
    assert await tab.evaluate(FIND) == []


async def test_axe_finds_nothing_in_the_list_of_notifications(pages: Pages, context: BrowserContext):
    tab = await context.new_page()
    await tab.emulate_media(color_scheme="dark")
    await tab.goto(pages.addresses["running"])
    running = pages.addresses["running"].rpartition("/")[2]
    # The browser without windows may not notify.
    await tab.evaluate(
        "(id) => localStorage.setItem('rapidflow.told /ui/builds/told ', `{\"${id}\": ${Date.now() + 1e6}}`)",
        running,
    )
    await tab.reload()
    await tab.locator("[data-bell]").click()
    await expect(tab.get_by_role("dialog").get_by_role("listitem")).to_have_count(1)
    await tab.set_viewport_size(SMALLEST)
    assert not await tab.evaluate(HIDES)
    await tab.add_script_tag(path=AXE)
    assert await tab.evaluate(FIND) == []
