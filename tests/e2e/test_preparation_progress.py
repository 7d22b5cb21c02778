"""The page of a build shows how far its preparation is, and the log has nothing of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.async_api import Page, expect

from tests.support.registry import Registry
from tests.support.repos import Repo
from tests.support.repositories import add
from tests.support.server import Server

GIT = """#!/bin/sh
case " $* " in *" fetch --progress "*)
  printf 'Receiving objects:  12%% (12/100)\\r' >&2
  sleep 0.01
  printf 'Receiving objects:  45%% (45/100), 1.20 MiB | 600.00 KiB/s\\r' >&2
  until [ -e {go} ]; do sleep 0.05; done
esac
exec {git} "$@"
"""
"""A git whose fetch stands still in the middle, just after it has said how far it is."""


async def test_a_pull_shows_its_progress_until_it_is_there(page: Page, docker_server: Server):
    registry = Registry()
    registry.flows.clear()
    try:
        job = docker_server.start_job({"name": "Pulls", "image": registry.image, "steps": ["echo here"]})
        await page.goto(f"{docker_server.url}/ui/jobs/{job}")
        bar = page.get_by_role("progressbar", name="Progress of image")
        await expect(bar).to_be_visible()
        await expect(page.locator(".phases")).to_contain_text(
            re.compile(r"pulling .*/team/app:1: \d+ of \d+ MB")
        )
        await expect(bar).to_have_attribute("value", re.compile(r"^0\.(?!000)\d{3}$"))
        assert docker_server.stream(job) == ""
        registry.flows.set()
        await expect(page.locator("#job")).to_have_attribute("data-status", "success")
        await expect(bar).to_have_count(0)
        await expect(page.locator(".phases")).to_contain_text(registry.image)
        expected = "=== Step 1 (bash) ===\nhere\n\n=== Build completed ===\n"
        assert docker_server.stream(job) == expected
    finally:
        registry.close()


async def test_a_fetch_shows_its_progress_also_before_the_definition_is_read(
    page: Page, new_server: Callable[..., Server], repo: Repo, tmp_path: Path
):
    go = tmp_path / "go"
    git = tmp_path / "programs" / "git"
    git.parent.mkdir()
    git.write_text(GIT.format(go=go, git=shutil.which("git")))
    git.chmod(0o755)
    server = new_server(executor="process", file_roots=str(repo.path.parent))
    server.set_path(f"{git.parent}:/usr/local/bin:/usr/bin:/bin")
    server.start()
    repo.commit({".rapidflow.yml": "name: Fetched\nsteps: ['true']\n"})
    added = add(server, repo)
    repo.commit({"more": "later"})
    job = server.start_build(added["pipelines"][0]["id"], branch="main")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page.get_by_role("progressbar", name="Progress of the fetch")).to_have_attribute(
        "value", "0.415"
    )
    await expect(page.locator(".fetch")).to_have_text("receiving objects, 45 %, 1.20 MiB")
    go.touch()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    go.unlink()

    repo.commit({"still": "later"})
    stored = server.start_job({"name": "Stored", "repo_name": repo.url, "steps": ["true"]})
    await page.goto(f"{server.url}/ui/jobs/{stored}")
    bar = page.get_by_role("progressbar", name="Progress of source")
    await expect(bar).to_have_attribute("value", "0.415")
    await expect(page.locator(".phases")).to_contain_text("receiving objects, 45 %, 1.20 MiB")
    go.touch()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    await expect(bar).to_have_count(0)
    timeline = server.get(f"/jobs/{stored}/timeline").json
    assert {tuple(phase) for phase in timeline} == {
        ("name", "started_at", "finished_at", "duration_ms", "detail", "failed")
    }
