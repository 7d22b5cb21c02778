"""From a repository to a build, in the browser: add it, push, see why, approve what comes from a fork."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Console
from tests.support.deliveries import Hook
from tests.support.repos import Repo
from tests.support.repositories import handled, push, put
from tests.support.server import Server


@pytest.fixture
def server(new_server: Callable[..., Server], repo: Repo) -> Server:
    return new_server(executor="process", file_roots=str(repo.path.parent)).start()


async def test_a_repository_is_added_pushed_to_and_a_fork_approved(page: Page, server: Server, repo: Repo):
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    repo.commit({".rapidflow.yml": "name: ci\non: [push, pull_request]\nsteps: [echo built]\n"})
    await page.goto(server.url)
    await page.get_by_role("link", name="Repositories").click()
    await page.get_by_role("link", name="Add a repository").click()
    await page.get_by_label("Clone URL").fill(repo.url)
    await page.get_by_role("button", name="Add repository").click()
    await expect(page.locator("#found")).to_contain_text(".rapidflow.yml")
    await expect(page.locator("#connect")).to_contain_text("hooks/post-receive")
    added: dict[str, Any] = {}
    for what, name in (("the URL", "hook_url"), ("the secret", "hook_secret")):
        await page.get_by_role("button", name=f"Copy {what}").click()
        await expect(page.get_by_role("button", name=f"Copied {what}")).to_be_visible()
        added[name] = await page.evaluate("navigator.clipboard.readText()")
    assert urlsplit(added["hook_url"]).path.startswith("/hooks/")
    await page.get_by_role("link", name="To the repository").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(repo.url)
    number = int(page.url.rpartition("/")[2])
    await asyncio.to_thread(put, server, number, poll="off")

    # A push is an event, and builds.
    repo.commit({"a": "b"}, "Add a feature")
    await asyncio.to_thread(push, server, number, repo)
    await page.reload()
    event = page.locator("#events li").first
    await expect(event).to_contain_text("Add a feature")
    await expect(event).to_contain_text("The push to 'main' fits 'on'.")
    await event.get_by_role("link", name=re.compile("^#")).click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    await expect(page.locator(".commit-title")).to_have_text("Add a feature")
    await expect(page.locator(".summary").first).to_contain_text("push main")

    # What comes from a fork waits until somebody has looked at it.
    base = repo.git("rev-parse", "HEAD")
    head = repo.commit({"c": "d"}, "From outside")
    repo.git("update-ref", "refs/pull/7/head", head)
    repo.git("reset", "-q", "--hard", base)
    answer = await asyncio.to_thread(Hook(server, added).pull_request, head, number=7, source="topic")
    await asyncio.to_thread(handled, server, answer.json["delivery"])
    await page.goto(f"{server.url}/ui/repositories/{number}/events")
    event = page.locator(".events > li").first
    await expect(event).to_contain_text("waits for an approval")
    await event.get_by_role("link", name="#2").click()
    panel = page.locator("#approval")
    await panel.get_by_text("Definition at this commit").click()
    await expect(panel).to_contain_text("echo built")
    await panel.get_by_role("button", name=f"Approve {head[:10]}").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    await expect(panel).to_have_count(0)
    await page.goto(f"{server.url}/ui/repositories/{number}/branches")
    await expect(page.get_by_role("row", name="#7 topic")).to_contain_text("success")
    await expect(page.get_by_role("row", name="main")).to_contain_text("Add a feature")

    # A delivery says what a replay would do, and does it.
    await page.get_by_role("link", name="Deliveries").click()
    await page.locator("#deliveries tbody a").first.click()
    await page.get_by_role("button", name="Dry run").click()
    await expect(page.locator("#foreseen")).to_contain_text("waits for an approval")
    await page.get_by_role("button", name="Replay").click()
    await expect(page.locator("main")).to_contain_text("Replay of")


async def test_a_job_page_follows_the_reading_of_its_definition(
    page: Page, server: Server, repo: Repo, console: Console
):
    console.allow("422")
    repo.commit({".rapidflow.yml": "name: ci\nsteps: [echo built]\n"})
    await page.goto(f"{server.url}/ui/repositories/new")
    url = page.get_by_label("Clone URL")
    await url.fill("ftp://example.com")
    await page.get_by_role("button", name="Add repository").click()
    # Screen readers read out what describes the field that has the focus.
    refused = await page.get_by_role("alert").inner_text()
    await expect(url).to_be_focused()
    await expect(url).to_have_accessible_description(re.compile(re.escape(refused)))
    await url.fill(repo.url)
    await page.get_by_role("button", name="Add repository").click()
    await page.get_by_role("link", name="ci").click()
    await expect(page.locator("#definition")).to_contain_text("change it in the repository")
    await page.get_by_label("Build", exact=True).select_option("tag")
    await page.locator("#branch").fill("v1")
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "failed")
    await expect(page.locator(".notice.bad", has_text="has no tag 'v1'")).to_be_visible()
    await page.go_back()
    await page.get_by_label("Build", exact=True).select_option("branch")
    await page.locator("#branch").fill("")
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    await expect(page.locator("#step-1")).to_contain_text("echo built")
    await expect(page.locator(".output")).to_contain_text("built")
