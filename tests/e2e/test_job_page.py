"""A job's page, from its start to its end, and what leads away from it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

from playwright.async_api import Page, expect

from tests.e2e.conftest import whole
from tests.support.gates import let_go, waiting
from tests.support.repos import Repo
from tests.support.server import Server

WAITS_FOR_FILE = f"echo waiting; {waiting()}; echo went on"
FAILS = {"name": "check", "content": "exit 3"}


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command as somebody who pasted it."""
    return subprocess.run(["sh", "-ec", command], cwd=folder, capture_output=True, text=True)


async def test_it_is_live_from_running_to_the_end(page: Page, server: Server):
    job = server.start_job({"name": "Live", "steps": [{"name": "wait", "content": WAITS_FOR_FILE}, FAILS]})
    server.wait_output(job, "waiting")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page).to_have_title(f"#{job} running · Live")
    await expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/icons/running.svg")
    await expect(page.locator("#step-1")).to_contain_text("running")
    ticking = page.locator(".summary time[data-since]")
    first = await ticking.inner_text()
    await expect(ticking).not_to_have_text(first)
    let_go(server, job)
    await expect(page.locator("h1")).to_contain_text("failed")
    await expect(page).to_have_title(f"#{job} failed · Live")
    await expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/icons/failed.svg")
    await expect(page.locator("#step-1")).to_contain_text("success")
    await expect(page.locator("#step-2")).to_contain_text("exit 3")
    await expect(page.locator(".notice.bad:visible")).to_contain_text("check failed (exit 3)")
    await expect(page.locator(".phases")).to_contain_text("Queued")
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()


async def test_the_title_of_a_tab_in_the_background_says_that_the_build_has_ended(page: Page, server: Server):
    job = server.start_job({"name": "Unseen", "steps": [waiting()]})
    server.wait_output(job, "Step 1")
    await page.clock.install()
    await page.goto(f"{server.url}/ui/jobs/{job}")
    await expect(page).to_have_title(f"#{job} running · Unseen")
    await page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    let_go(server, job)
    await asyncio.to_thread(server.wait_finished, job)
    await page.clock.run_for(12_000)
    await expect(page).to_have_title(f"#{job} success · Unseen")


async def test_a_running_build_is_cancelled(page: Page, server: Server):
    job = server.start_job({"name": "Long", "steps": ["sleep 120"]})
    server.wait_output(job, "Step 1")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("h1")).to_contain_text("cancelled")
    assert server.job(job)["status"] == "cancelled"


async def test_screen_readers_hear_of_the_end_of_a_build(page: Page, server: Server):
    job = server.start_job({"name": "Heard", "steps": [waiting()]})
    server.wait_output(job, "Step 1")
    await page.goto(f"{server.url}/ui/jobs/{job}")
    said = page.get_by_role("status").filter(has_text="Heard")
    await expect(said).to_have_count(0)
    let_go(server, job)
    await expect(said).to_have_text(f"Heard #{job}: success")


async def test_a_retry_and_its_original_lead_to_each_other(page: Page, server: Server):
    first = server.run({"name": "Again", "steps": ["true"]})["job"]["id"]
    await page.goto(f"{server.url}/ui/jobs/{first}")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator("#job")).to_have_attribute("data-status", "success")
    again = int(page.url.rsplit("/", 1)[1])
    assert server.job(again)["retry_of"] == first
    await page.locator(".facts").get_by_role("link", name=f"#{first}").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{first}")
    await page.locator(".facts").get_by_role("link", name=f"#{again}").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{again}")


async def test_the_builds_before_and_after_are_one_click_away(page: Page, server: Server):
    pipeline = server.pipeline({"name": "Row", "steps": ["true"]})
    jobs = [server.start_build(pipeline) for _ in range(3)]
    for job in jobs:
        server.wait_finished(job)
    await page.goto(f"{server.url}/ui/jobs/{jobs[1]}")
    await page.get_by_role("link", name=f"#{jobs[0]}").click()
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{jobs[0]}")
    await whole(page)
    await page.keyboard.press("]")
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{jobs[1]}")
    await whole(page)
    await page.keyboard.press("]")
    await expect(page).to_have_url(f"{server.url}/ui/jobs/{jobs[2]}")


async def test_the_environment_is_shown_and_the_build_is_reproduced(
    page: Page, docker_server: Server, repo: Repo, tmp_path: Path
):
    repo.commit({"app/text": "from the commit\n"}, "The text")
    config = {
        "name": "Reproduced",
        "repo_name": repo.url,
        "folder": "app",
        "steps": [
            {"content": "echo deployed", "when": {"event": "tag"}},
            'cat text; echo "it\'s $WHO at $RAPIDFLOW_REF, $RAPIDFLOW_TITLE"',
        ],
    }
    job = docker_server.run(config, environments={"WHO": "me & you"})["job"]["id"]
    await page.goto(f"{docker_server.url}/ui/jobs/{job}")
    await page.get_by_text("Environment (1)").click()
    await expect(page.locator("#environment")).to_contain_text("me & you")
    await page.get_by_text("Commands").click()
    await expect(page.locator("#commands")).to_contain_text(
        f"{docker_server.url}/jobs/{job}/logs/stream?follow=true"
    )
    command = await page.locator("#reproduce").inner_text()
    done = await asyncio.to_thread(run, command, tmp_path)
    expected = "from the commit\nit's me & you at refs/heads/main, The text\n"
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


async def test_a_step_that_is_silent_for_longer_than_ever_says_so_with_its_processes(
    page: Page, new_server: Callable[..., Server]
):
    server = new_server().start()
    silent = f"echo ready; {waiting()}"
    used_to_it = server.pipeline({"name": "Used to it", "steps": [silent]})
    first = server.start_build(used_to_it)
    server.wait_output(first, "ready")
    let_go(server, first)
    step = server.wait_finished(first)["steps"][0]["id"]
    server.stop()
    server.sql("UPDATE step SET longest_silence = 60000 WHERE id = ?", step)
    server.start()
    jobs = [server.start_job({"name": "Hangs", "steps": [silent]}), server.start_build(used_to_it)]
    for job in jobs:
        server.wait_output(job, "ready")
    await page.goto(f"{server.url}/ui/jobs/{jobs[0]}")
    await expect(page.locator(".status.running").first).to_be_visible()
    assert await page.locator("#stall").count() == 0
    hint = page.locator("#stall")
    await expect(hint).to_contain_text("The step has printed nothing for 1", timeout=30_000)
    await expect(hint.locator("td.mono", has_text="steps/1.bash")).to_have_count(1)
    await asyncio.sleep(1)  # the other began to be silent later
    hangs, waits = (server.get(f"/jobs/{job}/activity").json for job in jobs)
    assert (hangs["stalled"], waits["stalled"], waits["longest_silence_ms"]) == (True, False, 60_000)
    assert min(hangs["silent_ms"], waits["silent_ms"]) > 15_000
    assert any("steps/1.bash" in process["command"] for process in waits["processes"])
    for job in jobs:
        let_go(server, job)
    await expect(page.locator("h1")).to_contain_text("success")
    await expect(hint).to_have_count(0)
    assert server.get(f"/jobs/{jobs[0]}/activity").json == {
        "job_id": jobs[0], "step_id": None, "silent_ms": None, "longest_silence_ms": None,
        "stalled": False, "processes": None, "waits_for": None,
    }  # fmt: skip
