"""axe finds nothing on any page, in light, in dark and on a phone; no page scrolls sideways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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
FIND = """async (rules) => (await axe.run(rules ? { runOnly: rules } : {})).violations.flatMap(
  (rule) => rule.nodes.map((node) => `${rule.id}: ${node.html} ${node.any[0]?.message ?? ""}`))"""
OPEN = "document.querySelectorAll('details:not([open])').forEach((one) => { one.open = true; })"
OF_COLORS = ["color-contrast", "link-in-text-block"]
WINDOWS = {
    "wide": ({"width": 1280, "height": 900}, ("light", "dark")),
    "narrow": ({"width": 390, "height": 800}, ("light",)),
}
"""Their sizes, and the color schemes in each; these change no more of a page than its colors."""


@dataclass
class Pages:
    """Addresses by what is to be seen there, and the cookie of an administrator."""

    addresses: dict[str, str]
    cookie: str
    others: list[str]
    """Clone URLs of repositories that can be added."""


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
    others: list[str] = []
    for name in WINDOWS:
        other = Repo(folder / name)
        other.commit({".rapidflow.yml": "name: other\nsteps: ['true']\n"})
        others.append(other.url)
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
            "new": f"{busy.url}/ui/pipelines/new",
            "api": f"{busy.url}/ui/api",
            "404": f"{busy.url}/ui/jobs/99999",
            "account": f"{team.url}/ui/account",
            "made": f"{team.url}/ui/account",
            "users": f"{team.url}/ui/users",
            "user": f"{team.url}/ui/users/2",
            "audit": f"{team.url}/ui/audit",
            "secrets": f"{team.url}/ui/secrets?secret=OF_ALL",
            "restricted": f"{team.url}/ui/pipelines/1",
            "list": team.url,
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
            **{status: f"{busy.url}/ui/jobs/{job}" for status, job in jobs.items()},
        },
        cookie,
        others,
    )
    for job in (pending, running):
        busy.post(f"/jobs/{job}/cancel")
    busy.stop()
    empty.stop()
    listening.stop()
    team.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def context_of(
    browser: Browser, pages: Pages
) -> AsyncIterator[Callable[[str], Awaitable[BrowserContext]]]:
    """A logged-in browser with a window of a size; the policy lets axe in."""
    contexts: list[BrowserContext] = []

    async def make(window: str) -> BrowserContext:
        context = await browser.new_context(bypass_csp=True, viewport=WINDOWS[window][0])
        contexts.append(context)
        name, _, value = pages.cookie.partition("=")
        await context.add_cookies([{"name": name, "value": value, "url": pages.addresses["account"]}])
        return context

    yield make
    for context in contexts:
        await context.close()


@pytest.mark.parametrize("window", WINDOWS)
async def test_axe_finds_nothing_and_nothing_scrolls_sideways(pages: Pages, context_of, window: str):
    context = await context_of(window)
    found: list[str] = []
    for name, address in pages.addresses.items():
        tab = await context.new_page()
        await tab.goto(address)
        if name == "new":
            await tab.locator("#config").fill("stpes: []\n")
            await expect(tab.locator(".problems")).to_be_visible()
        if name == "made":
            await tab.get_by_label("Name").fill("axe")
            await tab.get_by_role("button", name="Make token").click()
            await expect(tab.locator("#made")).to_be_visible()
        if name == "added":
            await tab.get_by_label("Clone URL").fill(pages.others.pop())
            await tab.get_by_role("button", name="Add repository").click()
            await expect(tab.locator("#made")).to_be_visible()
        if name == "delivery":
            await tab.get_by_role("button", name="Dry run").click()
            await expect(tab.locator("#foreseen")).to_be_visible()
        await tab.evaluate(OPEN)
        await tab.add_script_tag(path=AXE)
        for scheme in WINDOWS[window][1]:
            await tab.emulate_media(color_scheme=scheme)
            rules = OF_COLORS if scheme == "dark" else None
            found += [f"{name}, {scheme}: {violation}" for violation in await tab.evaluate(FIND, rules)]
            if await tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{name}, {scheme}: scrolls sideways")
        await tab.close()
    assert found == []


async def test_axe_finds_nothing_in_the_list_of_keys(pages: Pages, context_of):
    tab = await (await context_of("wide")).new_page()
    await tab.emulate_media(color_scheme="dark")
    await tab.goto(pages.addresses["running"])
    await tab.keyboard.press("?")
    await expect(tab.get_by_role("dialog")).to_be_visible()
    await tab.add_script_tag(path=AXE)
    assert await tab.evaluate(FIND) == []
