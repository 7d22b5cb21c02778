"""axe finds nothing on any page, in light, in dark and on a phone; none scrolls sideways or breaks words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from tests.support import axe, images
from tests.support.deliveries import Hook
from tests.support.repos import Repo
from tests.support.repositories import add, events, handled, push
from tests.support.server import Server
from tests.support.users import add_user, session_of, token_of

OPEN = "document.querySelectorAll('details:not([open])').forEach((one) => { one.open = true; })"
FEWER = "document.querySelectorAll('.stack > .panel:nth-child(n + 16)').forEach((one) => one.remove())"
"""Leaves some of the calls of the API, which all look alike, once all were looked at."""


PLANTED = """<!doctype html><html lang="en"><head><title>Planted</title><style>
body { background: white; color: black }
a { color: inherit }
@media (prefers-color-scheme: dark) { body { background: black; color: white } }
FAULT
</style></head><body><main><h1>Heading</h1><p class="b">Some text with a <a href="/">link of words</a> in it
<p class="b">More of it<p>A third <label>field <input value="value"></label>
<button><span>Button</span></button></main></body></html>"""
"""A page with a fault in its styles."""


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
    context = await browser.new_context(bypass_csp=True, viewport=axe.WIDE)
    name, _, value = pages.cookie.partition("=")
    await context.add_cookies([{"name": name, "value": value, "url": pages.addresses["account"]}])
    yield context
    await context.close()


async def test_axe_finds_nothing_and_nothing_scrolls_sideways(pages: Pages, context: BrowserContext):
    found: list[str] = []
    checks = axe.Axe()
    # One tab for all: each new one would need a process that compiles all scripts anew.
    tab = await context.new_page()
    for name, address in pages.addresses.items():
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
        for window in (axe.SMALLEST, axe.NARROW, axe.LARGEST, axe.WIDE):
            await axe.resize(tab, window)
            if await tab.evaluate(axe.HIDES):
                found.append(f"{name}, {window}: scrolls sideways")
            if broken := await tab.evaluate(axe.BROKEN):
                found.append(f"{name}, {window}: breaks {broken}")
        found += [f"{name}, wide, light: {fault}" for fault in await checks.faults(tab)]
        await tab.emulate_media(color_scheme="dark")
        found += [f"{name}, wide, dark: {fault}" for fault in await checks.faults_of_colors(tab)]
        await tab.emulate_media(color_scheme="light")
        if name == "api":
            await tab.evaluate(FEWER)
        await axe.resize(tab, axe.NARROW)
        found += [f"{name}, narrow, light: {fault}" for fault in await checks.faults(tab)]
        await axe.resize(tab, axe.WIDE)
    assert not found, "\n".join(found)


async def test_faults_are_found_in_each_view_after_pages_without_any(context: BrowserContext):
    checks, of_links = axe.Axe(), "link-in-text-block"
    tab = await context.new_page()
    for fault, wide, dark, narrow in (
        ("", [], [], []),
        (".b { color: #aaa }", ["color-contrast"], [], []),
        ("p + p { color: #aaa }", ["color-contrast"], [], []),
        (".b { background: #333 }", ["color-contrast"], [], []),
        (".b { opacity: 0.3 }", ["color-contrast"], ["color-contrast"], []),
        ("input { color: #aaa }", ["color-contrast"], ["color-contrast"], []),
        ("a { text-decoration: none; color: #444 }", [of_links], ["color-contrast"], [of_links]),
        ("@media (prefers-color-scheme: dark) { .b { color: #555 } }", [], ["color-contrast"], []),
        ("@media (width < 500px) { .b { color: #bbb } }", [], [], ["color-contrast"]),
        ("@media (width < 500px) { button span { display: none } }", [], [], ["button-name"]),
        ("button span { display: none }", ["button-name"], [], ["button-name"]),
    ):
        await axe.resize(tab, axe.WIDE)
        await tab.emulate_media(color_scheme="light")
        await tab.set_content(PLANTED.replace("FAULT", fault))
        found = [await checks.faults(tab)]
        await tab.emulate_media(color_scheme="dark")
        found.append(await checks.faults_of_colors(tab))
        await tab.emulate_media(color_scheme="light")
        await axe.resize(tab, axe.NARROW)
        found.append(await checks.faults(tab))
        rules = [sorted({one.partition(":")[0] for one in faults}) for faults in found]
        assert rules == [wide, dark, narrow], fault


async def test_a_text_that_could_not_be_judged_is_checked_where_it_can_be(context: BrowserContext):
    checks, tab = axe.Axe(), await context.new_page()
    covering = "<div style='position: absolute; inset: 0; background: linear-gradient(red, blue)'></div>"
    for cover, expected in ((covering, []), ("", ["color-contrast"])):
        await tab.set_content(
            "<!doctype html><html lang='en'><title>A page</title><main><h1 style='color: black'>A page</h1>"
            f"<p style='color: #aaa'>Some text</p>{cover}</main></html>"
        )
        assert sorted({one.partition(":")[0] for one in await checks.faults(tab)}) == expected


async def test_axe_finds_nothing_in_the_list_of_keys(pages: Pages, context: BrowserContext):
    tab = await context.new_page()
    await tab.emulate_media(color_scheme="dark")
    await tab.goto(pages.addresses["running"])
    await tab.keyboard.press("?")
    await expect(tab.get_by_role("dialog")).to_be_visible()
    assert await axe.Axe().faults(tab) == []


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
    await axe.resize(tab, axe.SMALLEST)
    assert not await tab.evaluate(axe.HIDES)
    assert await axe.Axe().faults(tab) == []
